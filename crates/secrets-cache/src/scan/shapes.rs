//! The shapes of known tokens, from `rules.txt`.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::values::is_placeholder;

const RULES: &str = include_str!("rules.txt");

/// A kind of token.
pub(super) struct Shape {
    pub(super) rule: &'static str,
    /// The part that every token of this kind has.
    pub(super) prefix: &'static str,
    pattern: Regex,
}

/// A token in a text.
pub(super) struct Found {
    pub(super) rule: &'static str,
    pub(super) prefix: &'static str,
    pub(super) at: Range<usize>,
}

// The rules are part of the program; a test compiles each of them.
static SHAPES: LazyLock<Vec<Shape>> = LazyLock::new(|| lines().filter_map(shape).collect());

fn lines() -> impl Iterator<Item = &'static str> {
    RULES.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn shape(line: &'static str) -> Option<Shape> {
    let (rule, rest) = line.split_once(char::is_whitespace)?;
    let (prefix, pattern) = rest.trim_start().split_once(char::is_whitespace)?;
    let prefix = if prefix == "-" { "" } else { prefix };
    Some(Shape { rule, prefix, pattern: Regex::new(pattern.trim()).ok()? })
}

/// Every token of a known shape, in the order of the rules.
pub(super) fn find(text: &str) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for shape in SHAPES.iter() {
        for captures in shape.pattern.captures_iter(text) {
            let Some(secret) = captures.name("v").or_else(|| captures.get(0)) else {
                continue;
            };
            let at = secret.range();
            let is_known = found.iter().any(|other| other.at.start < at.end && at.start < other.at.end);
            if !is_known
                && !is_placeholder(secret.as_str())
                && !is_harmless(shape.rule, secret.as_str(), text, &at)
            {
                found.push(Found { rule: shape.rule, prefix: shape.prefix, at });
            }
        }
    }
    found
}

/// Texts that have the shape by accident.
fn is_harmless(rule: &str, secret: &str, text: &str, at: &Range<usize>) -> bool {
    match rule {
        "password-in-url" => {
            // `host:8080/path@x` has a port, and documentation has `user:password@`.
            let digits = secret.bytes().take_while(u8::is_ascii_digit).count();
            let is_port = digits > 0 && secret[digits..].starts_with('/');
            let before = &text[..at.start.saturating_sub(1)];
            let is_example = before.ends_with("//user") || before.ends_with("//username");
            is_port || is_example && matches!(secret, "password" | "pass" | "passwd" | "pw" | "pwd")
        }
        "deepseek-key" | "vault-legacy-token" => !secret.bytes().any(|byte| byte.is_ascii_digit()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_compiles() {
        for line in lines() {
            assert!(shape(line).is_some(), "{line}");
        }
        assert!(SHAPES.len() > 100);
    }
}
