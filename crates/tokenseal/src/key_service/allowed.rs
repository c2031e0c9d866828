//! Which key service each key of `KMS_ALLOWED_KEYS` belongs to.

use kms_provider::KeyUri;

use crate::error::{ConnectError, chain};
use crate::settings::SettingsError;

/// The keys besides the one that seals.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Further {
    /// Those of the key service that seals.
    pub(super) same: Vec<String>,
    /// Another key service's, each with further keys of that one.
    pub(super) others: Vec<(KeyUri, Vec<String>)>,
}

/// Sorts the keys by their key services. Keyrings are files of their own; keys of AWS KMS are in one service, and so are
/// keys of Transit.
pub(super) fn sort(current: &KeyUri, allowed: &[String]) -> Result<Further, SettingsError> {
    let mut further = Further::default();
    for text in allowed {
        let unversioned = without_version(text);
        if kind(current) == kind_of_text(unversioned) && !matches!(current, KeyUri::Keyring(_)) {
            further.same.push(text.clone());
            continue;
        }
        let uri: KeyUri = unversioned.parse().map_err(|error| {
            let hint = "name keys as KMS_KEY_ID does, separated by commas";
            SettingsError::of("KMS_ALLOWED_KEYS", format_args!("names a key that is none: {error}"), hint)
        })?;
        if uri.is_same(current) {
            continue;
        }
        let same = |(other, _): &&mut (KeyUri, Vec<String>)| {
            kind(other) == kind(&uri) && !matches!(uri, KeyUri::Keyring(_))
        };
        match further.others.iter_mut().find(same) {
            Some((_, more)) => more.push(text.clone()),
            None => further.others.push((uri, Vec::new())),
        }
    }
    further.others.iter_mut().for_each(spread);
    Ok(further)
}

/// Keys of AWS KMS in several Regions are reached in each of them.
fn spread((uri, more): &mut (KeyUri, Vec<String>)) {
    let all: Vec<&str> = uri.aws_keys().iter().chain(&*more).map(String::as_str).collect();
    if all.len() > 1
        && all.iter().all(|key| key.starts_with("arn:"))
        && let Ok(regions @ KeyUri::AwsRegions(_)) = all.join(",").parse()
    {
        *uri = regions;
        more.clear();
    }
}

/// Why a key service that only opens cannot be set up.
pub(super) fn not_opened(uri: &KeyUri, error: &ConnectError) -> SettingsError {
    let problem = format!("names {}, whose key service cannot be used: {}", uri.redacted(), chain(error));
    let hint = "set the variables of that key service as well, or take the key out";
    SettingsError::of("KMS_ALLOWED_KEYS", problem, hint)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Aws,
    Keyring,
    Vault,
}

fn kind(uri: &KeyUri) -> Kind {
    match uri {
        KeyUri::Keyring(_) => Kind::Keyring,
        KeyUri::Vault(_) => Kind::Vault,
        _ => Kind::Aws,
    }
}

fn kind_of_text(text: &str) -> Kind {
    match text.split_once(':') {
        Some(("keyring", _)) => Kind::Keyring,
        Some(("vault", _)) => Kind::Vault,
        _ => Kind::Aws,
    }
}

/// A key of Transit as it is stored next to a value names its version, which makes no difference here.
fn without_version(text: &str) -> &str {
    let is_version = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match text.rsplit_once(":v") {
        Some((key, digits)) if text.starts_with("vault:") && is_version(digits) => key,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(current: &str, allowed: &[&str]) -> Result<Further, SettingsError> {
        let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        let current = current.parse().map_err(|_| SettingsError::of("KMS_KEY_ID", "is wrong", ""))?;
        sort(&current, &allowed)
    }

    #[test]
    fn keys_of_the_service_that_seals_stay_with_it() -> Result<(), SettingsError> {
        for (current, allowed) in [
            ("alias/a", ["alias/b", "arn:aws:kms:eu-central-1:1:key/k"]),
            ("vault:transit/a", ["vault:transit/b", "vault:other/c:v7"]),
        ] {
            let further = sorted(current, &allowed)?;
            assert_eq!(further.same, allowed);
            assert!(further.others.is_empty());
        }
        Ok(())
    }

    #[test]
    fn keys_of_other_services_are_grouped_by_service() -> Result<(), SettingsError> {
        let allowed =
            ["keyring:one", "alias/b", "vault:transit/c:v2", "keyring:two", "alias/d", "vault:transit/e"];
        let further = sorted("keyring:here", &allowed)?;
        assert!(further.same.is_empty());
        let found: Vec<(String, Vec<String>)> =
            further.others.iter().map(|(uri, more)| (uri.to_string(), more.clone())).collect();
        let expected = [
            ("keyring:one", vec![]),
            ("alias/b", vec!["alias/d"]),
            ("vault:transit/c", vec!["vault:transit/e"]),
            ("keyring:two", vec![]),
        ];
        let expected = expected.map(|(uri, more)| {
            (uri.to_owned(), more.into_iter().map(ToOwned::to_owned).collect::<Vec<String>>())
        });
        assert_eq!(found, expected);
        Ok(())
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert!(sorted("keyring:here", &["pkcs11:token=x"]).is_err());
        assert!(sorted("alias/a", &["vault:"]).is_err());
    }
}
