//! Text around a secret that a finding may show: a name that is no part of a secret, and a path without one.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::shapes::{self, Found};
use super::values::is_random;
use crate::pem;

/// Stands for a token in a path.
const HIDDEN: &str = "***";

/// A name, unless a token is in it or it is in a token, or it could be a secret itself.
pub(super) fn name<'a>(name: &'a str, at: &Range<usize>, tokens: &[Found]) -> Option<&'a str> {
    let is_of_token = tokens.iter().any(|token| token.at.start < at.end && at.start < token.at.end);
    (!is_of_token && !is_like_secret(name)).then_some(name)
}

/// Whether a text in the place of a name is a token, or looks like the output of a random generator.
pub(super) fn is_like_secret(name: &str) -> bool {
    is_random(name) || !shapes::find(name).is_empty()
}

/// A path in which every token is replaced by its public part and `***`.
pub(super) fn path(path: &Path) -> PathBuf {
    let text = path.to_string_lossy();
    let mut tokens = shapes::find(&text);
    if tokens.is_empty() {
        return path.to_owned();
    }
    tokens.sort_by_key(|token| token.at.start);
    let (mut shown, mut from) = (String::new(), 0);
    for token in tokens {
        let secret = &text[token.at.clone()];
        shown.push_str(&text[from..token.at.start]);
        shown.push_str(if secret.starts_with(token.prefix) { token.prefix } else { "" });
        shown.push_str(HIDDEN);
        from = token.at.end;
    }
    shown.push_str(&text[from..]);
    shown.into()
}

/// The lines of private keys in PEM, from the one after the beginning on.
pub(super) fn key_lines(lines: &[&str]) -> Vec<bool> {
    let mut is_inside = false;
    let mut inside = Vec::with_capacity(lines.len());
    for line in lines {
        is_inside = is_inside && (pem::is_inside(line) || pem::is_end(line));
        inside.push(is_inside);
        is_inside = match pem::beginning(line) {
            Some(begun) => begun.contains("PRIVATE KEY"),
            None => is_inside && !pem::is_end(line),
        };
    }
    inside
}
