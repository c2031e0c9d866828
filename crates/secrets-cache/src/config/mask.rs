//! Masking of passwords in connection strings.

use std::sync::LazyLock;

use regex::Regex;
use url::Url;

/// What stands where a password was.
pub const MASK: &str = "***";

/// Parts of a parameter's name that make its value a secret.
const SECRET_NAMES: [&str; 10] = [
    "password",
    "passwd",
    "pwd",
    "secret",
    "token",
    "apikey",
    "api_key",
    "accesskey",
    "access_key",
    "credential",
];

static PAIR: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let names = SECRET_NAMES.join("|");
    Regex::new(&format!(r#"(?i)([\w -]*(?:{names})[\w -]*=\s*)('(?:[^'\\]|\\.)*'|"[^"]*"|[^\s;&]*)"#)).ok()
});

/// Shows a connection string without its password: a URL, or pairs such as `host=db password=…`.
///
/// Text that is neither comes back as it is; what looks like a URL and is none is masked as a whole.
#[must_use]
pub fn connection_string(text: &str) -> String {
    if text.contains("://") {
        return Url::parse(text).map_or_else(|_| MASK.to_owned(), |url| self::url(&url));
    }
    match (&*PAIR, text.contains('=')) {
        (Some(pair), true) => {
            pair.replace_all(text, |found: &regex::Captures<'_>| format!("{}{MASK}", &found[1])).into_owned()
        }
        (None, true) => MASK.to_owned(),
        (_, false) => text.to_owned(),
    }
}

/// Shows a URL without its password and without parameters that are secret by their name.
#[must_use]
pub fn url(url: &Url) -> String {
    let mut shown = url.clone();
    if url.password().is_some() && shown.set_password(Some(MASK)).is_err() {
        return MASK.to_owned();
    }
    // `https://token@host`: a name without a password is a token.
    let is_web = matches!(url.scheme(), "http" | "https");
    if is_web && url.password().is_none() && !url.username().is_empty() && shown.set_username(MASK).is_err() {
        return MASK.to_owned();
    }
    if url.query_pairs().any(|(name, _)| is_secret(&name)) {
        shown.query_pairs_mut().clear().extend_pairs(
            url.query_pairs().map(
                |(name, value)| {
                    if is_secret(&name) { (name, MASK.into()) } else { (name, value) }
                },
            ),
        );
    }
    shown.to_string()
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_NAMES.iter().any(|part| name.contains(part))
}
