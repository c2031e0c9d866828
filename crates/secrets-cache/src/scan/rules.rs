//! What a secret looks like: the shapes of known tokens, telling names, and randomness.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;

/// Shortest value that counts as random.
const RANDOM_LEN: usize = 20;
/// Bits a character from which a value counts as random. English text has about 4.1 over 27 letters but is broken by
/// spaces; identifiers made of words stay under 3.7.
const RANDOM_BITS: f64 = 3.8;
/// The same for hexadecimal text, which has at most 4.
const RANDOM_HEX_BITS: f64 = 3.0;

/// A secret in a line.
pub(super) struct Hit<'a> {
    pub(super) rule: &'static str,
    /// The part of the value that every token of its kind has.
    pub(super) prefix: &'static str,
    pub(super) name: Option<&'a str>,
    pub(super) value: &'a str,
}

/// Rule, public prefix, shape. A group named `v` is the secret, where it is not the whole.
const SHAPES: &[(&str, &str, &str)] = &[
    ("aws-access-key", "", r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b"),
    (
        "aws-secret-key",
        "",
        r#"(?i)aws[\w.-]{0,30}(?:secret|key)[\w.-]{0,20}["']?\s*[=:]\s*["']?(?P<v>[A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|$)"#,
    ),
    ("github-token", "gh", r"\bgh[pousr]_[A-Za-z0-9]{30,255}\b"),
    ("github-token", "github_pat_", r"\bgithub_pat_[A-Za-z0-9_]{22,255}\b"),
    ("gitlab-token", "glpat-", r"\bglpat-[A-Za-z0-9_-]{20,}"),
    ("slack-token", "xox", r"\bxox[abceoprs]-[A-Za-z0-9-]{10,}"),
    ("slack-webhook", "", r"https://hooks\.slack\.com/services/T\w+/B\w+/\w+"),
    ("google-token", "ya29.", r"\bya29\.[A-Za-z0-9_-]{16,}"),
    ("google-api-key", "AIza", r"\bAIza[A-Za-z0-9_-]{35}\b"),
    ("stripe-key", "", r"\b(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{10,}"),
    ("npm-token", "npm_", r"\bnpm_[A-Za-z0-9]{36}\b"),
    ("private-key", "", r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"),
    ("json-web-token", "eyJ", r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),
    ("password-in-url", "", r#"\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s:/@"']*:(?P<v>[^\s@/"']+)@"#),
];

struct Shape {
    rule: &'static str,
    prefix: &'static str,
    pattern: Regex,
}

// The patterns are constants; a test compiles each of them.
static COMPILED: LazyLock<Vec<Shape>> = LazyLock::new(|| {
    let compile = |&(rule, prefix, pattern)| Some(Shape { rule, prefix, pattern: Regex::new(pattern).ok()? });
    SHAPES.iter().filter_map(compile).collect()
});

static ASSIGNMENT: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"^\s*(?:export\s+)?(?P<name>[A-Za-z_][\w.-]*)\s*[=:]\s*(?P<value>.*)$").ok()
});

static TELLING: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let names = "secret|passw(?:or)?d|passphrase|pwd|token|api_?key|access_?key|private_?key|master_?key|\
                 encryption_?key|signing_?key|credential|auth_?key|salt";
    Regex::new(&format!("(?i)(?:^|[_.-])(?:{names})s?(?:[_.-]|$)|(?:{names})$")).ok()
});

/// Finds the secrets in a line: one a value, by the most telling rule.
pub(super) fn find(line: &str, is_env: bool) -> Vec<Hit<'_>> {
    let assignment = ASSIGNMENT.as_ref().and_then(|pattern| pattern.captures(line));
    let name = assignment.as_ref().and_then(|found| found.name("name")).map(|name| name.as_str());
    let mut hits: Vec<Hit<'_>> = Vec::new();
    for shape in COMPILED.iter() {
        for found in shape.pattern.captures_iter(line) {
            let Some(value) = found.name("v").or_else(|| found.get(0)).map(|value| value.as_str()) else {
                continue;
            };
            let is_known = hits.iter().any(|hit| hit.value.contains(value) || value.contains(hit.value));
            if !is_known && !is_placeholder(value) {
                hits.push(Hit { rule: shape.rule, prefix: shape.prefix, name, value });
            }
        }
    }
    if let (true, true, Some(name), Some(found)) = (hits.is_empty(), is_env, name, &assignment) {
        let value = unquoted(found.name("value").map_or("", |value| value.as_str()));
        let rule = by_name_or_randomness(name, value);
        hits.extend(rule.map(|rule| Hit { rule, prefix: "", name: Some(name), value }));
    }
    hits
}

fn by_name_or_randomness(name: &str, value: &str) -> Option<&'static str> {
    if is_placeholder(value) {
        return None;
    }
    let is_telling = TELLING.as_ref().is_some_and(|pattern| pattern.is_match(name));
    let is_plain = matches!(value, "true" | "false") || value.parse::<f64>().is_ok() && value.len() < 6;
    match (is_telling && !is_plain, is_random(value)) {
        (true, _) => Some("secret-by-name"),
        (false, true) => Some("high-entropy"),
        (false, false) => None,
    }
}

fn unquoted(value: &str) -> &str {
    let value = value.trim();
    for quote in ['"', '\'', '`'] {
        if let Some(rest) = value.strip_prefix(quote) {
            return rest.split(quote).next().unwrap_or(rest);
        }
    }
    value.split(" #").next().unwrap_or(value).trim_end()
}

/// What stands for a value and is none: a reference, or a word to be replaced.
fn is_placeholder(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    let is_reference =
        ["$", "<", "{{", "%(", "arn:aws:secretsmanager:", "secret://", "vault:", "op://", "env:"]
            .iter()
            .any(|start| lower.starts_with(start));
    let is_word = [
        "changeme",
        "change-me",
        "change_me",
        "placeholder",
        "example",
        "your_",
        "your-",
        "todo",
        "redacted",
    ]
    .iter()
    .any(|word| lower.starts_with(word));
    let is_filler = !lower.is_empty() && lower.chars().all(|c| matches!(c, '*' | 'x' | '.' | '-' | '_'));
    value.is_empty() || is_reference || is_word || is_filler
}

/// Whether a value looks like the output of a random generator.
fn is_random(value: &str) -> bool {
    let is_token_text = |c: char| c.is_ascii_alphanumeric() || "+/=_-.~".contains(c);
    let has = |class: fn(&char) -> bool| value.chars().any(|c| class(&c));
    let is_mixed = has(char::is_ascii_digit) && has(char::is_ascii_alphabetic);
    if value.len() < RANDOM_LEN
        || !value.chars().all(is_token_text)
        || !is_mixed
        || value.starts_with(['/', '.'])
    {
        return false;
    }
    let is_hex = value.chars().all(|c| c.is_ascii_hexdigit());
    entropy(value) >= if is_hex { RANDOM_HEX_BITS } else { RANDOM_BITS }
}

/// Shannon entropy, in bits a character.
fn entropy(value: &str) -> f64 {
    let mut counts: HashMap<char, u32> = HashMap::new();
    value.chars().for_each(|c| *counts.entry(c).or_default() += 1);
    let total = value.chars().count() as f64;
    counts.values().map(|&count| f64::from(count) / total).map(|share| -share * share.log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles() {
        assert_eq!(COMPILED.len(), SHAPES.len());
        assert!(ASSIGNMENT.is_some() && TELLING.is_some());
    }
}
