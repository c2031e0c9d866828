//! Forms in which a name and its value are apart: elements of XML, arguments of a call, values for a setting that is not set,
//! and statements of SQL.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::kind::Kind;
use super::literal::has_reference;
use super::settings::{Hit, hit_of};
use super::values::Strictness;

const PATTERNS: [&str; 11] = [
    // `<password>…</password>`, also with attributes, and on a line of its own.
    r"<(?:\w+:)?(?P<name>[A-Za-z_][\w.-]*)(?:\s[^<>]{0,200})?>\s*(?:<!\[CDATA\[)?(?P<value>[^<>\s\[\]]+)(?:\]\]>)?\s*</",
    // `<entry key="password">…</entry>`, `<property name="password"><value>…</value></property>`. Texts for people have such
    // names, too, and few of them have a digit.
    r#"<\w+\s[^<>]{0,200}?\b(?:name|key)\s*=\s*["'](?P<name>[A-Za-z_][\w.-]*)["'][^<>]{0,200}>\s*(?:<value>\s*)?(?P<value>[^<>\s]*\d[^<>\s]*)\s*</"#,
    // `<key>password</key><string>…</string>`, `<name>db.password</name><value>…</value>`
    r"<(?:name|key)>\s*(?P<name>[A-Za-z_][\w.-]*)\s*</(?:name|key)>\s*<(?:value|string)>\s*(?P<value>[^<>\s]+)\s*</",
    // `setenv("DB_PASSWORD", "…")`, `os.getenv("DB_PASSWORD", "…")`, `define('DB_PASSWORD', '…')`
    r#"(?i)(?:set|put|add|env|get|fetch|string|prop|header|default|insert|define|config|option|var|param)\w{0,20}\s*\(\s*["'](?P<name>[A-Za-z_][\w.-]*)["']\s*,\s*[rbfu]?["'](?P<value>[^"'\s]{6,})["']"#,
    // `["--password", "…"]`
    r#"["']--?(?P<name>[A-Za-z_][\w.-]*)["']\s*,\s*["'](?P<value>[^"'\s]{6,})["']"#,
    // `client.setPassword("…")`
    r#"(?i)\.(?:set_?|with_?)?(?P<name>password|passwd|secret_?key|api_?key|access_?token)\(\s*["'](?P<value>[^"'\s]{6,})["']\s*\)"#,
    // `var password string = "…"`
    r#"\bvar\s+(?P<name>[A-Za-z_]\w*)\s+[\w.*\[\]]{1,40}\s*=\s*["`](?P<value>[^"`\s]{6,})["`]"#,
    // `${DB_PASSWORD:-…}`, `${db.password:…}`
    r#"\$\{(?P<name>[A-Za-z_][\w.-]*)(?::[-=]?|[-=])(?P<value>[^}\s"'$?+=-][^}\s"'$]*)\}"#,
    // `process.env.DB_PASSWORD || "…"`, `os.environ.get("DB_PASSWORD") or "…"`
    r#"(?P<name>[A-Za-z_][\w.-]*)["'\])]{0,3}\s*(?:\|\||\?\?|\bor\b)\s*["'](?P<value>[^"'\s]{6,})["']"#,
    // `ALTER USER app PASSWORD '…'`
    r"(?i)\b(?P<name>password)\s+'(?P<value>[^'\s]{6,})'",
    // A literal on the line after its name.
    r#"(?P<name>[A-Za-z_][\w.-]*)["']?\s*(?::\s*&?[\w<>\[\].?]{1,40}\s+=|:=|[:=])[ \t]*\r?\n[ \t]*["'](?P<value>[^"'\\\s]{6,})["']"#,
];

// The patterns are constants; a test checks that they compile.
static FORMS: LazyLock<Vec<Regex>> =
    LazyLock::new(|| PATTERNS.iter().filter_map(|p| Regex::new(p).ok()).collect());

/// Finds the settings of a text that look like secrets.
pub(super) fn find<'a>(text: &'a str, kind: Kind) -> Vec<Hit<'a>> {
    let strictness = match kind {
        Kind::Netrc | Kind::Pgpass => return Vec::new(),
        Kind::Code => Strictness::Code,
        _ => Strictness::Configuration,
    };
    let hit = |captures: Captures<'a>| {
        let (name, value) = (captures.name("name")?.as_str(), captures.name("value")?.as_str());
        if has_reference(value) { None } else { hit_of(name, value, strictness) }
    };
    FORMS.iter().flat_map(|form| form.captures_iter(text)).filter_map(hit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_compiles() {
        assert_eq!(FORMS.len(), PATTERNS.len());
    }
}
