//! Settings in lines of any configuration format or language: a name, and the value that it has.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::dotenv::commented;
use super::kind::Kind;
use super::values::{Strictness, by_name_or_randomness};

/// A setting whose value looks like a secret.
pub(super) struct Hit<'a> {
    pub(super) rule: &'static str,
    pub(super) name: &'a str,
    pub(super) value: &'a str,
}

// The patterns are constants; a test checks that they compile.
static ASSIGNMENT: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r#"^\s*(?:[-*]\s+)?(?i:(?:export|set|setx|declare|typeset|readonly|local|env|arg|const|let|var|final|static|public|private|string|char|\$env:)[\s:]+|-[a-z]+\s+)*["'$@]*(?P<name>[A-Za-z_][\w.-]*)["']?\]?\s*(?::\s*(?:str|String|string)\s*=|:=|=>|[=:])\s*(?P<value>.*)$"#,
    )
    .ok()
});
/// The form of ENV in a Dockerfile that has no equals sign.
static OF_DOCKER: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^\s*(?i:ENV)\s+(?P<name>[A-Za-z_]\w*)\s+(?P<value>[^\s=].*)$").ok());
static MEMBER: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"["'](?P<name>[A-Za-z_][\w.-]*)["']\s*:\s*"(?P<value>[^"\\]{4,})""#).ok());
static NETRC: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?:^|\s)(?P<name>password)\s+(?P<value>\S+)").ok());
static QUOTED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"^(?:[A-Za-z]{0,2})(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|`(?P<tick>[^`]*)`)"#).ok()
});

/// Finds the settings of a line that look like secrets.
pub(super) fn find(line: &str, kind: Kind) -> Vec<Hit<'_>> {
    match kind {
        Kind::Netrc => named(&NETRC, line, Strictness::Settings),
        Kind::Pgpass => pgpass(line).into_iter().collect(),
        Kind::Env => assignment(line, Strictness::Settings).or_else(|| commented(line)).into_iter().collect(),
        Kind::Dockerfile => {
            let mut hits = named(&OF_DOCKER, line, kind.strictness());
            hits.extend(assignment_of(line, kind));
            hits
        }
        Kind::Script => assignment_of(line, kind).into_iter().collect(),
        Kind::Configuration | Kind::Code => {
            let mut hits = named(&MEMBER, line, kind.strictness());
            hits.extend(assignment_of(line, kind));
            hits
        }
    }
}

/// A setting, if its value looks like a secret.
pub(super) fn hit_of<'a>(name: &'a str, value: &'a str, strictness: Strictness) -> Option<Hit<'a>> {
    by_name_or_randomness(name, value, strictness).map(|rule| Hit { rule, name, value })
}

fn named<'a>(pattern: &LazyLock<Option<Regex>>, line: &'a str, strictness: Strictness) -> Vec<Hit<'a>> {
    let found = pattern.as_ref().map(|pattern| pattern.captures_iter(line));
    let hit = |captures: regex::Captures<'a>| {
        let (name, value) = (captures.name("name")?.as_str(), captures.name("value")?.as_str());
        by_name_or_randomness(name, value, strictness).map(|rule| Hit { rule, name, value })
    };
    found.into_iter().flatten().filter_map(hit).collect()
}

fn pgpass(line: &str) -> Option<Hit<'_>> {
    // `\:` is a colon inside a field.
    let is_field_end = |(at, c): &(usize, char)| *c == ':' && !line[..*at].ends_with('\\');
    let (at, _) = line.char_indices().filter(is_field_end).nth(3)?;
    let value = &line[at + 1..];
    let is_one = !line.trim_start().starts_with('#') && !value.is_empty() && value != "*";
    is_one.then_some(Hit { rule: "password-in-pgpass", name: "password", value })
}

fn assignment(line: &str, strictness: Strictness) -> Option<Hit<'_>> {
    let found = ASSIGNMENT.as_ref()?.captures(line)?;
    let (name, value) = (found.name("name")?.as_str(), unquoted(found.name("value")?.as_str()));
    by_name_or_randomness(name, value, strictness).map(|rule| Hit { rule, name, value })
}

/// The name of the setting in a line, and where it is, for a token that was found in the line.
pub(super) fn name_of(line: &str) -> Option<(&str, Range<usize>)> {
    ASSIGNMENT.as_ref()?.captures(line)?.name("name").map(|name| (name.as_str(), name.range()))
}

/// Outside of `.env` files a value is a literal: quoted, or of a format without quotes.
fn assignment_of(line: &str, kind: Kind) -> Option<Hit<'_>> {
    // A setting that was commented out has its value still.
    let line = line.trim_start().trim_start_matches(['#', ';']);
    let found = ASSIGNMENT.as_ref()?.captures(line)?;
    let value = found.name("value")?.as_str();
    let quoted = QUOTED.as_ref()?.captures(value);
    let inner = quoted
        .and_then(|quoted| ["double", "single", "tick"].into_iter().find_map(|group| quoted.name(group)));
    let value = match (inner, kind) {
        (Some(inner), _) => inner.as_str(),
        (None, Kind::Configuration | Kind::Dockerfile | Kind::Script) => {
            unquoted(untagged(value)).trim_end_matches(',')
        }
        (None, _) => return None,
    };
    // The settings in a list or a map are found by themselves.
    if value.starts_with('[') && value.ends_with(']') || value.starts_with('{') && value.ends_with('}') {
        return None;
    }
    let name = found.name("name")?.as_str();
    by_name_or_randomness(name, value, kind.strictness()).map(|rule| Hit { rule, name, value })
}

/// A value of YAML without its tags and its anchor: `!!str &name value`.
fn untagged(value: &str) -> &str {
    let mut rest = value;
    while let Some((tag, after)) = rest.split_once(' ').filter(|_| rest.starts_with(['!', '&'])) {
        rest = if tag.len() > 1 { after.trim_start() } else { return value };
    }
    rest
}

pub(super) fn unquoted(value: &str) -> &str {
    let value = value.trim();
    for quote in ['"', '\'', '`'] {
        if let Some(rest) = value.strip_prefix(quote) {
            return rest.split(quote).next().unwrap_or(rest);
        }
    }
    value.split(" #").next().unwrap_or(value).trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles() {
        for pattern in [&ASSIGNMENT, &OF_DOCKER, &MEMBER, &NETRC, &QUOTED] {
            assert!(pattern.is_some());
        }
    }
}
