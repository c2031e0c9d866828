//! Key URIs: the one setting that selects a key service and the key in it.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::arn::KmsArn;
use crate::redact::redact_arn;
pub use crate::transit::{TransitKey, TransitKeyError};

/// The key service that `KMS_KEY_ID` selects.
///
/// ```
/// use kms_provider::KeyUri;
///
/// assert_eq!("keyring:/etc/app/keys.json".parse(), Ok(KeyUri::Keyring("/etc/app/keys.json".into())));
/// assert_eq!("alias/tokens".parse(), Ok(KeyUri::Aws("alias/tokens".into())));
/// let regions = "arn:aws:kms:eu-central-1:1:key/mrk-1,arn:aws:kms:eu-west-1:1:key/mrk-1";
/// assert!(matches!(regions.parse(), Ok(KeyUri::AwsRegions(keys)) if keys.len() == 2));
/// assert!(matches!("vault:transit/tokens".parse(), Ok(KeyUri::Vault(key)) if key.name() == "tokens"));
/// assert!("pkcs11:token=x".parse::<KeyUri>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyUri {
    /// AWS KMS: a key ARN, an alias ARN, `alias/<name>` or a bare key id.
    Aws(String),
    /// AWS KMS in several Regions: the ARNs of a key or alias in each, the nearest Region first, no Region twice.
    AwsRegions(Vec<String>),
    /// The local keyring in this file.
    Keyring(PathBuf),
    /// A key of Transit in OpenBao or Vault.
    Vault(TransitKey),
}

impl KeyUri {
    /// The keys in AWS KMS, nearest Region first; none for another key service.
    #[must_use]
    pub fn aws_keys(&self) -> &[String] {
        match self {
            Self::Aws(key) => std::slice::from_ref(key),
            Self::AwsRegions(keys) => keys,
            Self::Keyring(_) | Self::Vault(_) => &[],
        }
    }

    /// Whether both name one key, as far as their texts and the file system say: one keyring's file has many spellings, and
    /// links may lead to it.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Keyring(one), Self::Keyring(another)) => {
                let real = |file: &PathBuf| file.canonicalize().ok();
                one == another || real(one).is_some_and(|one| real(another) == Some(one))
            }
            _ => self == other,
        }
    }

    /// The URI as a log may show it: the account ids of ARNs are shortened.
    #[must_use]
    pub fn redacted(&self) -> String {
        match self {
            Self::AwsRegions(keys) => keys.iter().map(|key| redact_arn(key)).collect::<Vec<_>>().join(","),
            other => redact_arn(&other.to_string()).into_owned(),
        }
    }
}

impl FromStr for KeyUri {
    type Err = KeyUriError;

    /// Reads a key URI; surrounding white space is ignored.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.is_empty() {
            return Err(KeyUriError::Empty);
        }
        if text.contains(',') && !text.starts_with("keyring:") {
            return regions(text).map(Self::AwsRegions);
        }
        if text.starts_with("arn:") {
            return arn(text).map(|_| Self::Aws(text.into())).ok_or(KeyUriError::OtherArn);
        }
        if is_alias(text) {
            return Ok(Self::Aws(text.into()));
        }
        match text.split_once(':') {
            Some(("keyring", "")) => Err(KeyUriError::NoFile),
            Some(("keyring", file)) => Ok(Self::Keyring(file.into())),
            Some(("vault", _)) => text.parse().map(Self::Vault).map_err(|_| KeyUriError::NotATransitKey),
            Some((scheme, _)) if is_scheme(scheme) => {
                Err(KeyUriError::Unsupported { scheme: scheme.to_ascii_lowercase() })
            }
            None if is_key_id(text) => Ok(Self::Aws(text.into())),
            _ => Err(KeyUriError::Unrecognized),
        }
    }
}

impl fmt::Display for KeyUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aws(key) => f.write_str(key),
            Self::AwsRegions(keys) => f.write_str(&keys.join(",")),
            Self::Keyring(file) => write!(f, "keyring:{}", file.display()),
            Self::Vault(key) => key.fmt(f),
        }
    }
}

/// Why a text is not a key URI. The text itself is not repeated: it may be a secret that was put there by mistake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyUriError {
    /// The text is empty.
    #[error("key URI is empty: {ACCEPTED}")]
    Empty,
    /// The scheme belongs to a key service that this build does not know.
    #[error("key service {scheme:?} is not supported: {ACCEPTED}")]
    Unsupported {
        /// The part before the colon.
        scheme: String,
    },
    /// `keyring:` without a file.
    #[error("keyring: needs the path of a file after it")]
    NoFile,
    /// `vault:` without the name of a key that Transit can have.
    #[error("vault: needs the name of a Transit key: {TransitKeyError}")]
    NotATransitKey,
    /// An ARN, but not one of a KMS key or alias.
    #[error("this ARN does not name a KMS key or alias (arn:aws:kms:<region>:<account>:key/<id>)")]
    OtherArn,
    /// One of several keys is not an ARN, so its Region is unknown.
    #[error(
        "with several keys, each must be an ARN (arn:aws:kms:<region>:<account>:key/<id>), which names its Region"
    )]
    NotAnArn,
    /// Two of several keys are in one Region.
    #[error("two keys are in Region {region}: name one key per Region, and others as allowed keys")]
    SameRegion {
        /// The Region.
        region: String,
    },
    /// Anything else.
    #[error("not a key URI: {ACCEPTED}")]
    Unrecognized,
}

const ACCEPTED: &str = "expected alias/<name>, a KMS key ARN, ARNs of several Regions, a KMS key id, vault:<mount>/<key>, or keyring:<file>";

/// Several ARNs, nearest Region first.
fn regions(text: &str) -> Result<Vec<String>, KeyUriError> {
    let keys: Vec<&str> = text.split(',').map(str::trim).collect();
    if !keys.iter().all(|key| key.starts_with("arn:")) {
        return Err(KeyUriError::NotAnArn);
    }
    let mut seen = HashSet::new();
    for key in &keys {
        let region = arn(key).ok_or(KeyUriError::OtherArn)?.region();
        if !seen.insert(region) {
            return Err(KeyUriError::SameRegion { region: region.into() });
        }
    }
    Ok(keys.into_iter().map(Into::into).collect())
}

/// A KMS ARN of a key or alias whose names can be some.
fn arn(text: &str) -> Option<KmsArn<'_>> {
    KmsArn::parse(text).filter(|arn| arn.key_id().is_some_and(is_key_id) || is_alias(arn.resource()))
}

/// The characters that an alias may have, by the `AliasName` field of the KMS API reference.
fn is_alias(text: &str) -> bool {
    text.strip_prefix("alias/").is_some_and(|name| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-'))
    })
}

/// A UUID, or `mrk-` and 32 hexadecimal digits: more is left to the key service.
fn is_key_id(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// RFC 3986, section 3.1; short, so that no long secret is repeated as a scheme.
fn is_scheme(text: &str) -> bool {
    (1..=16).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<KeyUri, KeyUriError> {
        text.parse()
    }

    #[test]
    fn every_spelling_of_an_aws_key_is_accepted_and_displayed_unchanged() {
        for text in [
            "alias/vod-tender/tokens_1",
            "arn:aws:kms:eu-central-1:123456789012:key/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
            "arn:aws-cn:kms:cn-north-1:123456789012:alias/tokens",
            "arn:aws:kms:us-east-1:123456789012:key/mrk-0123456789abcdef0123456789abcdef",
            "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
            "mrk-0123456789abcdef0123456789abcdef",
        ] {
            assert_eq!(parse(text), Ok(KeyUri::Aws(text.into())));
            assert!(parse(text).is_ok_and(|uri| uri.aws_keys() == [text]));
            assert_eq!(parse(text).map(|uri| uri.to_string()), Ok(text.into()));
            assert_eq!(parse(&format!(" {text}\n")), Ok(KeyUri::Aws(text.into())));
        }
    }

    #[test]
    fn arns_of_several_regions_keep_their_order() {
        let arns = ["eu-west-1", "eu-central-1"]
            .map(|region| format!("arn:aws:kms:{region}:123456789012:key/mrk-1"));
        let parsed = parse(&arns.join(" , "));
        assert_eq!(parsed, Ok(KeyUri::AwsRegions(arns.to_vec())));
        assert!(parsed.is_ok_and(|uri| uri.to_string() == arns.join(",") && uri.aws_keys() == arns));
    }

    #[test]
    fn a_log_shows_every_account_id_shortened() {
        let uri = KeyUri::AwsRegions(vec!["arn:aws:kms:eu-west-1:123456789012:key/mrk-1".into(); 2]);
        assert_eq!(uri.redacted(), ["arn:aws:kms:eu-west-1:…9012:key/mrk-1"; 2].join(","));
    }

    #[test]
    fn a_list_that_does_not_say_which_region_each_key_is_in_is_refused() {
        const ARN: &str = "arn:aws:kms:eu-west-1:123456789012:key/mrk-1";
        for other in ["", "alias/tokens", "mrk-1", "keyring:k.json"] {
            assert_eq!(parse(&format!("{ARN},{other}")), Err(KeyUriError::NotAnArn), "{other}");
            assert!(other.starts_with("keyring:") || parse(&format!("{other},{ARN}")).is_err(), "{other}");
        }
        assert_eq!(parse(&format!("{ARN},arn:aws:s3:::bucket")), Err(KeyUriError::OtherArn));
        assert_eq!(
            parse(&format!("{ARN},{ARN}")),
            Err(KeyUriError::SameRegion { region: "eu-west-1".into() })
        );
    }

    #[test]
    fn a_keyring_names_its_file() {
        assert_eq!(parse("keyring:a b/c:d.json"), Ok(KeyUri::Keyring("a b/c:d.json".into())));
        assert_eq!(parse("keyring:a,b.json"), Ok(KeyUri::Keyring("a,b.json".into())));
        assert_eq!(parse("keyring:k.json").map(|uri| uri.to_string()), Ok("keyring:k.json".into()));
        assert_eq!(parse("keyring:"), Err(KeyUriError::NoFile));
    }

    #[test]
    fn a_transit_key_is_named_with_its_mount() {
        let parsed = parse("vault:tokens");
        assert!(parsed.as_ref().is_ok_and(|uri| uri.to_string() == "vault:transit/tokens"), "{parsed:?}");
        assert!(parsed.is_ok_and(|uri| uri.aws_keys().is_empty()));
        assert_eq!(parse("vault:"), Err(KeyUriError::NotATransitKey));
        assert_eq!(parse("vault:transit/../sys"), Err(KeyUriError::NotATransitKey));
    }

    #[test]
    fn another_key_service_is_named_as_unsupported() {
        for (text, scheme) in [
            ("azure-kv:tokens", "azure-kv"),
            ("pkcs11:token=x;object=y", "pkcs11"),
            ("gcp-kms://projects/p", "gcp-kms"),
            ("Keyring:file", "keyring"),
        ] {
            assert_eq!(parse(text), Err(KeyUriError::Unsupported { scheme: scheme.into() }), "{text}");
        }
    }

    #[test]
    fn a_text_that_is_no_key_is_refused_and_never_repeated() {
        const SECRET: &str = "c2VjcmV0LXRoYXQtc2xpcHBlZA==";
        for text in ["", " ", "alias/", "alias/a b", "keys.json", SECRET, "a/b"] {
            assert!(parse(text).is_err_and(|error| !error.to_string().contains(SECRET)), "{text}");
        }
        for text in
            ["arn:aws:s3:::bucket", "arn:aws:kms:us-east-1:123456789012:grant/x", "arn:aws:kms:::key/a"]
        {
            assert_eq!(parse(text), Err(KeyUriError::OtherArn));
        }
    }
}
