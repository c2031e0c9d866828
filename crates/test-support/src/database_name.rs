//! Names and addresses of the databases that tests create.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

static NEXT_DATABASE: AtomicU32 = AtomicU32::new(0);

/// A name that no other test of any process has, now or earlier, on a server that may be shared.
pub(crate) fn fresh_name(hint: &str) -> String {
    let words: String = hint
        .rsplit("::")
        .next()
        .unwrap_or_default()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
        .take(24)
        .collect();
    let number = NEXT_DATABASE.fetch_add(1, Ordering::Relaxed);
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    format!("t_{words}_{:x}_{time:x}_{number}", std::process::id())
}

/// The same address with another database.
pub(crate) fn with_database(url: &str, name: &str) -> String {
    let (address, parameters) = match url.split_once('?') {
        Some((address, parameters)) => (address, Cow::from(format!("?{parameters}"))),
        None => (url, Cow::from("")),
    };
    let authority_start = address.find("://").map_or(0, |scheme| scheme + 3);
    let authority_end =
        address[authority_start..].find('/').map_or(address.len(), |slash| authority_start + slash);
    format!("{}/{name}{parameters}", &address[..authority_end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_replaces_the_one_in_an_address_of_any_shape() {
        for (url, expected) in [
            ("postgres://u:p@h:1/postgres", "postgres://u:p@h:1/t"),
            ("postgres://u@h/a?sslmode=disable", "postgres://u@h/t?sslmode=disable"),
            ("postgresql://h", "postgresql://h/t"),
            ("mysql://u@h:3/mysql?ssl-mode=DISABLED", "mysql://u@h:3/t?ssl-mode=DISABLED"),
        ] {
            assert_eq!(with_database(url, "t"), expected);
        }
    }

    #[test]
    fn database_names_are_plain_identifiers_that_never_repeat() {
        let long = "it::migration::A token refreshed — meanwhile, between read and write, survives";
        let (one, two) = (fresh_name(long), fresh_name(long));
        assert_ne!(one, two);
        assert!(one.len() < 63 && one.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{one}");
    }
}
