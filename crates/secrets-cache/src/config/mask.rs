//! Masking of passwords in connection strings.

use std::sync::LazyLock;

use regex::Regex;
use url::Url;

/// The mask of a password.
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

/// Schemes of databases and brokers, whose URLs have a secret in the password only.
const SERVERS: [&str; 13] = [
    "amqp",
    "amqps",
    "mariadb",
    "mongodb",
    "mongodb+srv",
    "mssql",
    "mysql",
    "nats",
    "postgres",
    "postgresql",
    "redis",
    "rediss",
    "sqlserver",
];

static PAIR: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let names = SECRET_NAMES.join("|");
    Regex::new(&format!(r#"(?i)([\w -]*(?:{names})[\w -]*=\s*)('(?:[^'\\]|\\.)*'|"[^"]*"|[^\s;&]*)"#)).ok()
});

/// Shows a connection string without its password: a URL, or pairs such as `host=db password=…`.
///
/// Other text is returned unchanged; a text that looks like a URL and is none is masked as a whole.
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

/// Shows scheme, user, host and path of the URL of a database or a broker; none for anything else, such as a webhook
/// whose path is the secret.
#[must_use]
pub fn secret_connection_string(text: &str) -> Option<String> {
    let mut url = Url::parse(text).ok()?;
    if !SERVERS.contains(&url.scheme()) || url.host_str().is_none_or(str::is_empty) {
        return None;
    }
    let rest = [url.path(), url.query().unwrap_or_default(), url.fragment().unwrap_or_default()];
    // With `/`, `?` or `#` in a password that is not encoded, the parts are others than they seem to be.
    let is_ambiguous = rest.iter().any(|part| part.contains('@'));
    let has_login = url.password().is_some() || !url.username().is_empty();
    if is_ambiguous || (text.contains('@') && !has_login) {
        return None;
    }
    if url.password().is_some() {
        url.set_password(Some(MASK)).ok()?;
    } else if !url.username().is_empty() {
        url.set_username(MASK).ok()?;
    }
    url.set_query(None);
    url.set_fragment(None);
    Some(url.to_string())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_url_of_a_server_is_shown_without_what_is_secret() {
        for (text, shown) in [
            ("postgres://app:canary@db:5432/crm?sslmode=require", Some("postgres://app:***@db:5432/crm")),
            ("mongodb+srv://app:canary@db/crm", Some("mongodb+srv://app:***@db/crm")),
            ("redis://:canary@cache:6379/0", Some("redis://:***@cache:6379/0")),
            ("redis://canary@cache", Some("redis://***@cache")),
            ("postgres://db/crm", Some("postgres://db/crm")),
            ("postgres://app:canary/canary@db/crm", None),
            ("postgres://app:12/canary@db/crm", None),
            ("postgres://app:12?canary@db/crm", None),
            ("postgres://app:12#canary@db/crm", None),
            ("postgres://app:a@canary/canary@db/crm", None),
            ("https://hooks.example.org/services/canary", None),
            ("https://user:canary@example.org/", None),
            ("host=db password=canary", None),
            ("canary", None),
            ("postgres:canary", None),
        ] {
            assert_eq!(secret_connection_string(text).as_deref(), shown, "{text}");
        }
    }
}
