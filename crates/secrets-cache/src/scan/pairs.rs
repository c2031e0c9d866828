//! Settings whose name and value are two members of one entry: `name: DB_PASSWORD` and `value: …` of Kubernetes, task
//! definitions of ECS, parameters of CloudFormation and Terraform, and their like.

use std::sync::LazyLock;

use regex::Regex;

use super::blocks;
use super::entries::{Entry, Item, entries};
use super::kind::Kind;
use super::lines::Lines;
use super::literal::{bare, quoted};
use super::settings::{Hit, hit_of};

/// Names before a value that can be its own.
const MAX_NAMES: usize = 8;

// The patterns are constants; a test checks that they compile.
static NAME: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r#"(?i:^|[\s{,"'(<\\-])(?i:(?:parameter|option|setting|variable|env|secret)?_?(?:name|key))\\?["']?\s*[:=]\s*\\?["']?(?:[\w.${}-]*/)*(?P<name>[A-Za-z_][\w.-]*)"#,
    )
    .ok()
});
/// What is before a value.
static VALUE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r#"(?i:^|[\s{,"'(<\\-])(?i:(?:parameter|option|setting|variable|env|secret)?_?(?:value|default))\\?["']?\s*[:=]\s*"#,
    )
    .ok()
});

/// The settings of a text that look like secrets. The name of each is in the same entry, or is the name of the entry.
pub(super) fn find<'a>(lines: &Lines<'a>, kind: Kind) -> Vec<Hit<'a>> {
    if matches!(kind, Kind::Netrc | Kind::Pgpass) {
        return Vec::new();
    }
    let is_comment = |line: &usize| lines.texts[*line].trim_start().starts_with(['#', ';']);
    let items = |line: usize| items(&lines.texts, line, kind);
    let (comments, others): (Vec<usize>, Vec<usize>) = (0..lines.texts.len()).partition(is_comment);
    let mut found = entries(lines, &others, items);
    // An entry that was commented out is whole, too.
    found.extend(entries(lines, &comments, items));
    found.iter().flat_map(|entry| hits(entry, kind)).collect()
}

/// The names and values of a line, in their order.
fn items<'a>(lines: &[&'a str], at: usize, kind: Kind) -> Vec<(usize, Item<'a>)> {
    let line = lines[at];
    let names = NAME.iter().flat_map(|pattern| pattern.captures_iter(line));
    let names = names.filter_map(|captures| captures.name("name"));
    let mut items: Vec<(usize, Item<'a>)> =
        names.map(|name| (name.start(), Item::Name(name.as_str()))).collect();
    for before in VALUE.iter().flat_map(|pattern| pattern.find_iter(line)) {
        let value = value(lines, at, before.end(), kind);
        items.extend(value.map(|value| (before.end(), Item::Value(value))));
    }
    items.sort_by_key(|(at, _)| *at);
    items
}

fn value<'a>(lines: &[&'a str], line: usize, at: usize, kind: Kind) -> Option<&'a str> {
    if let Some(quoted) = quoted(lines[line], at) {
        return Some(quoted.inner);
    }
    let value = bare(lines[line], at, |c| c.is_whitespace() || ",}\"'<>\\".contains(c));
    match kind {
        Kind::Code => None,
        _ if blocks::begins(&lines[line][at..]) => blocks::scalar(lines, line),
        _ => value,
    }
}

/// Names come before their values, unless the entry begins with a value.
fn hits<'a>(entry: &Entry<'a>, kind: Kind) -> Vec<Hit<'a>> {
    let is_named_first = matches!(entry.items.first(), Some(Item::Name(_)));
    let mut items: Vec<Item<'a>> = entry.items.clone();
    if !is_named_first {
        items.reverse();
    }
    let (mut names, mut is_used): (Vec<&str>, bool) = (Vec::new(), false);
    let mut hits = Vec::new();
    for item in items {
        match item {
            Item::Name(name) => {
                if is_used || names.len() >= MAX_NAMES {
                    names.clear();
                }
                is_used = false;
                names.push(name);
            }
            Item::Value(value) => {
                is_used = true;
                let names = names.iter().rev().copied().chain(entry.label);
                hits.extend(names.into_iter().find_map(|name| hit_of(name, value, kind.strictness())));
            }
        }
    }
    hits
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each value that is found, with its name.
    fn pairs(text: &str) -> Vec<(&str, &str)> {
        let mut found = find(&Lines::of(text), Kind::Configuration);
        found.sort_by_key(|hit| hit.value.as_ptr());
        found.iter().map(|hit| (hit.name, hit.value)).collect()
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
