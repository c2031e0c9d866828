//! Settings of `.env` files that more than one line has, or a comment.

use std::sync::LazyLock;

use regex::Regex;

use super::lines::Lines;
use super::literal::closing;
use super::settings::{Hit, unquoted};
use super::values::{Strictness, by_name_or_randomness};

// The patterns are constants; a test checks that they compile.
static BEGINS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"^\s*(?:export\s+)?(?P<name>[A-Za-z_][\w.-]*)\s*=\s*(?P<quote>["'`])"#).ok()
});
/// A comment that begins with a setting.
static COMMENTED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r#"^\s*#[#\s-]*(?:(?:export|set)\s+)?(?P<name>[A-Za-z_][\w.-]*)\s*=\s*(?P<value>"[^"]*"|'[^']*'|`[^`]*`|\S+)(?P<rest>.*)$"#,
    )
    .ok()
});

/// Values between quotes that have several lines.
pub(super) fn quoted<'a>(text: &'a str, lines: &Lines<'a>) -> Vec<Hit<'a>> {
    let hit = |line: usize| {
        let begun = BEGINS.as_ref()?.captures(lines.texts[line])?;
        let (name, quote) = (begun.name("name")?.as_str(), begun.name("quote")?);
        let start = lines.starts[line] + quote.end();
        let end = closing(text, start, quote.as_str().chars().next()?)?;
        let value = &text[start..end];
        // Only a comment can be after the value; otherwise a quote is missing.
        let tail = text[end + 1..].split(['\n', '\r']).next()?.trim_start();
        if !value.contains(['\n', '\r']) || !(tail.is_empty() || tail.starts_with('#')) {
            return None;
        }
        let rule = by_name_or_randomness(name, value.trim(), Strictness::Settings)?;
        Some(Hit { rule, name, value })
    };
    (0..lines.texts.len()).filter_map(hit).collect()
}

/// The setting in a comment: `# DB_PASSWORD=…`.
pub(super) fn commented(line: &str) -> Option<Hit<'_>> {
    let found = COMMENTED.as_ref()?.captures(line)?;
    let (name, value) = (found.name("name")?.as_str(), unquoted(found.name("value")?.as_str()));
    // Words after the value may make it a part of a sentence.
    let rest = found.name("rest")?.as_str().trim_start();
    let is_alone = rest.is_empty() || rest.starts_with('#');
    let strictness = if is_alone { Strictness::Settings } else { Strictness::Configuration };
    let rule = by_name_or_randomness(name, value, strictness)?;
    Some(Hit { rule, name, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles() {
        assert!(BEGINS.is_some() && COMMENTED.is_some());
    }

    #[cfg(feature = "dotenv")]
    #[test]
    fn a_value_of_several_lines_is_the_one_that_a_reader_of_the_file_gets() {
        use crate::source::dotenv::DotenvFile;
        use secrecy::ExposeSecret as _;

        for text in [
            "A=1\nDB_PASSWORD=\"hunter2\nXy9zQ\"\nB=2\n",
            "DB_PASSWORD='\nhunter2-Xy9zQ\n' # why\nAPI_TOKEN=\"a\n\nb\"",
            "export DB_PASSWORD = \"hunter2\nXy9zQ\n\"\n",
            "DB_PASSWORD=\"hunter2\nXy9zQ\nB=\"2\"\nC=3\n",
        ] {
            let parsed = DotenvFile::parse(text);
            let of_lines = parsed.entries.iter().filter(|entry| entry.value.expose_secret().contains('\n'));
            let read: Vec<(&str, &str)> =
                of_lines.map(|entry| (entry.name.as_str(), entry.value.expose_secret())).collect();
            let found = quoted(text, &Lines::of(text));
            let found: Vec<(&str, &str)> = found.iter().map(|hit| (hit.name, hit.value)).collect();
            assert_eq!(found, read, "{text}");
        }
    }
}
