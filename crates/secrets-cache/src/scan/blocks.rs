//! Values of YAML that are on the lines after their names.

use std::sync::LazyLock;

use regex::Regex;

use super::kind::Kind;
use super::settings::{Hit, hit_of};

/// Lines that a value is searched for in.
const MAX_LINES: usize = 32;

// The pattern is constant; a test checks that it compiles.
static HEAD: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r#"^\s*(?:-\s+)*["']?(?P<name>[A-Za-z_][\w.-]*)["']?\s*:(?:\s+[!&]\S+)*\s*(?P<sign>[|>][-+0-9]*)?\s*(?:\s#.*)?$"#,
    )
    .ok()
});

/// Finds the values of a text in YAML that look like secrets, and are below their names.
pub(super) fn find<'a>(lines: &[&'a str], kind: Kind) -> Vec<Hit<'a>> {
    let (Some(head), Kind::Configuration) = (HEAD.as_ref(), kind) else { return Vec::new() };
    let hit = |at: usize| {
        let line = *lines.get(at)?;
        // Most lines do not end so.
        if !line.contains(':') {
            return None;
        }
        let captures = head.captures(line)?;
        let value = match captures.name("sign") {
            Some(_) => scalar(lines, at)?,
            None => plain(lines, at)?,
        };
        hit_of(captures.name("name")?.as_str(), value, kind.strictness())
    };
    (0..lines.len()).filter_map(hit).collect()
}

/// Whether the rest of a line is the sign of a block scalar, and nothing after it but a comment.
pub(super) fn begins(rest: &str) -> bool {
    let Some(sign) = rest.strip_prefix(['|', '>']) else { return false };
    let after = sign.trim_start_matches(|c: char| "+-".contains(c) || c.is_ascii_digit());
    let comment = after.trim_start();
    comment.is_empty() || comment.len() < after.len() && comment.starts_with('#')
}

/// The text of a block scalar (`|` or `>`) that begins on a line, if it is one word, or the first of lines that have one word each.
pub(super) fn scalar<'a>(lines: &[&'a str], at: usize) -> Option<&'a str> {
    let words = below(lines, at);
    let is_word = |line: &&str| !line.contains(char::is_whitespace);
    words.iter().all(is_word).then(|| words.first().copied()).flatten()
}

/// A value on the line after its name.
fn plain<'a>(lines: &[&'a str], at: usize) -> Option<&'a str> {
    let below = below(lines, at);
    let [line] = below[..] else { return None };
    let value =
        line.strip_prefix(['"', '\'']).and_then(|rest| rest.strip_suffix(['"', '\''])).unwrap_or(line);
    let is_other = line.starts_with(['-', '{', '[', '#', '&', '*', '!', '?', '}', ']', '<']);
    (!is_other && !line.ends_with(':') && !line.contains(": ") && !value.contains('"')).then_some(value)
}

/// The lines below one that are indented more than it is, without blank ones.
fn below<'a>(lines: &[&'a str], at: usize) -> Vec<&'a str> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let outer = indent(lines[at]);
    let next = lines[at + 1..].iter().take(MAX_LINES);
    let inside = next.take_while(|line| line.trim().is_empty() || indent(line) > outer);
    inside.map(|line| line.trim()).filter(|line| !line.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sign_at_the_end_of_a_line_begins_a_block() {
        for rest in ["|", ">", "|-", ">+2", "| ", "|- # the key"] {
            assert!(begins(rest), "{rest:?}");
        }
        for rest in ["", "a", "|value:|", "| a", "|#a"] {
            assert!(!begins(rest), "{rest:?}");
        }
    }

    #[test]
    fn the_pattern_compiles() {
        assert!(HEAD.is_some());
    }
}
