//! Settings whose name and value are two members of a list's entry: `name: DB_PASSWORD` and `value: …` of Kubernetes, task
//! definitions of ECS, and their like.

use std::ops::Range;
use std::sync::LazyLock;

use regex::{Match, Regex};

use super::settings::{Hit, Kind, hit_of, unquoted};

// The patterns are constants; a test checks that they compile.
static NAME: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"(?i:^|[\s{,"'-])(?i:name|key)["']?\s*[:=]\s*["']?(?P<name>[A-Za-z_][\w.-]*)"#).ok()
});
static VALUE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"(?i:^|[\s{,"'-])(?i:value)["']?\s*[:=]\s*(?P<value>"[^"]*"|'[^']*'|[^\s,}"']+)"#).ok()
});

/// The settings whose values are in a line. The name of each is in the same entry: in the same line, or, where the entry has
/// more lines, in the one before it or the one after it.
pub(super) fn find<'a>(lines: &[&'a str], at: usize, kind: Kind) -> Vec<Hit<'a>> {
    let line = lines[at];
    let values = all(&VALUE, line, "value");
    let hit = |value: &Match<'a>| {
        if kind == Kind::Code && !value.as_str().starts_with(['"', '\'']) {
            return None;
        }
        let entry = entry_at(line, value.start());
        let within = name_within(line, &entry, value, &values);
        let name = within.or_else(|| name_around(lines, at, &entry))?;
        hit_of(name, unquoted(value.as_str()), kind.strictness())
    };
    values.iter().filter_map(hit).collect()
}

fn all<'a>(pattern: &LazyLock<Option<Regex>>, text: &'a str, group: &str) -> Vec<Match<'a>> {
    let found = pattern.as_ref().map(|pattern| pattern.captures_iter(text));
    found.into_iter().flatten().filter_map(|captures| captures.name(group)).collect()
}

/// The name of a value in its own line: names come before their values, unless the entry begins with a value.
fn name_within<'a>(
    line: &'a str,
    entry: &Range<usize>,
    value: &Match<'a>,
    values: &[Match<'a>],
) -> Option<&'a str> {
    let mut names = all(&NAME, line, "name");
    names.retain(|name| entry.contains(&name.start()));
    let first_value = values.iter().map(Match::start).find(|start| entry.contains(start))?;
    let (before, after): (Vec<&Match<'a>>, Vec<&Match<'a>>) =
        names.iter().partition(|name| name.start() < value.start());
    let is_named_first = names.first()?.start() < first_value;
    let name = if is_named_first { before.last() } else { after.first() };
    name.map(|name| name.as_str())
}

/// The name in the line before, or the one after, as far as those are a part of the same entry.
fn name_around<'a>(lines: &[&'a str], at: usize, entry: &Range<usize>) -> Option<&'a str> {
    let before = || {
        let begins_here = entry.start > 0 || begins_or_ends_an_entry(lines[at]);
        let line = *lines.get(at.checked_sub(1).filter(|_| !begins_here)?)?;
        let end = entry_at(line, line.len());
        all(&NAME, line, "name").iter().rfind(|name| end.contains(&name.start())).map(|name| name.as_str())
    };
    let after = || {
        let ends_here = entry.end < lines[at].len();
        let line = lines.get(at + 1).filter(|line| !ends_here && !begins_or_ends_an_entry(line))?;
        let start = entry_at(line, 0);
        all(&NAME, line, "name").iter().find(|name| start.contains(&name.start())).map(|name| name.as_str())
    };
    before().or_else(after)
}

fn begins_or_ends_an_entry(line: &str) -> bool {
    line.trim_start().starts_with(['-', '{', '}'])
}

/// The part of a line that is in the same `{…}` as a place in it, or in none as that place is. Braces in quotes are text.
fn entry_at(line: &str, place: usize) -> Range<usize> {
    let (mut open, mut quote, mut before) = (vec![0], None, ' ');
    // The number of entries that are open at the place.
    let mut depth = None;
    let mut characters = line.char_indices();
    while let Some((at, c)) = characters.next() {
        if at >= place && depth.is_none() {
            depth = Some(open.len());
        }
        match (c, quote) {
            ('\\', Some(_)) => drop(characters.next()),
            (_, Some(other)) if c == other => quote = None,
            (_, Some(_)) => {}
            // Elsewhere an apostrophe is a part of a word.
            ('"' | '\'', None) if !before.is_alphanumeric() => quote = Some(c),
            ('{', None) => open.push(at + 1),
            ('}', None) if depth == Some(open.len()) => {
                return open.last().copied().unwrap_or_default()..at;
            }
            // The entry began in an earlier line, and what follows is in none.
            ('}', None) if open.len() == 1 => open = vec![at + 1],
            ('}', None) => drop(open.pop()),
            _ => {}
        }
        before = c;
    }
    let start = open.get(depth.unwrap_or(open.len()) - 1).copied().unwrap_or_default();
    start..line.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each value that is found, with its name.
    fn pairs(text: &str) -> Vec<(&str, &str)> {
        let lines: Vec<&str> = text.lines().collect();
        let found = (0..lines.len()).flat_map(|at| find(&lines, at, Kind::Configuration));
        found.map(|hit| (hit.name, hit.value)).collect()
    }

    #[test]
    fn every_pattern_compiles() {
        assert!(NAME.is_some() && VALUE.is_some());
    }

    #[test]
    fn each_value_has_the_name_of_its_own_entry() {
        let both = [("A_PASSWORD", "hunter2-Xy9"), ("B_TOKEN", "swordfish-7Q")];
        for text in [
            r#"[{"name":"A_PASSWORD","value":"hunter2-Xy9"},{"name":"B_TOKEN","value":"swordfish-7Q"}]"#,
            r#"[{"value":"hunter2-Xy9","name":"A_PASSWORD"},{"value":"swordfish-7Q","name":"B_TOKEN"}]"#,
            "env: [{name: A_PASSWORD, value: hunter2-Xy9}, {name: B_TOKEN, value: swordfish-7Q}]",
            "- name: A_PASSWORD\n  value: hunter2-Xy9\n- name: B_TOKEN\n  value: swordfish-7Q",
            "- value: hunter2-Xy9\n  name: A_PASSWORD\n- value: swordfish-7Q\n  name: B_TOKEN",
            "{\n\"value\": \"hunter2-Xy9\",\n\"name\": \"A_PASSWORD\"\n},\n{\n\"value\": \"swordfish-7Q\",\n\"name\": \"B_TOKEN\"\n}",
            "{\n\"name\": \"A_PASSWORD\",\n\"value\": \"hunter2-Xy9\" }, { \"value\": \"swordfish-7Q\",\n\"name\": \"B_TOKEN\" }",
            "{ \"name\": \"A_PASSWORD\",\n\"value\": \"hunter2-Xy9\" }, { \"name\": \"B_TOKEN\",\n\"value\": \"swordfish-7Q\" }",
        ] {
            assert_eq!(pairs(text), both, "{text}");
        }
        // A harmless name does not hide the value of the next entry, and lends it no name.
        for text in [
            r#"[{"name":"LOG_FILE","value":"hunter2-Xy9"},{"name":"B_TOKEN","value":"swordfish-7Q"}]"#,
            "- value: hunter2-Xy9\n  name: LOG_FILE\n- value: swordfish-7Q\n  name: B_TOKEN",
            "- name: LOG_FILE\n  value: hunter2-Xy9\n- value: swordfish-7Q\n  name: B_TOKEN",
        ] {
            assert_eq!(pairs(text), both[1..], "{text}");
        }
        for text in ["- name: B_TOKEN\n- value: hunter2-Xy9", "value: hunter2-Xy9\n- name: B_TOKEN"] {
            assert_eq!(pairs(text), [], "{text}");
        }
    }

    #[test]
    fn braces_in_quotes_and_apostrophes_end_no_entry() {
        let text = r#"[{"name":"A_PASSWORD","value":"hunter2-{Xy9"},{"note":"\"}{","name":"B_TOKEN","value":"swordfish-7Q"}]"#;
        assert_eq!(pairs(text), [("A_PASSWORD", "hunter2-{Xy9"), ("B_TOKEN", "swordfish-7Q")]);
        let text =
            "[{note: it's one, name: A_PASSWORD, value: hunter2-Xy9}, {name: B_TOKEN, value: swordfish-7Q}]";
        assert_eq!(pairs(text), [("A_PASSWORD", "hunter2-Xy9"), ("B_TOKEN", "swordfish-7Q")]);
    }
}
