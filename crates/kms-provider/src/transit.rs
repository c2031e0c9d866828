//! The name of a Transit key: `vault:<mount>/<key>`.

use std::fmt;
use std::str::FromStr;

/// Where Transit is mounted if a key URI does not say so.
const DEFAULT_MOUNT: &str = "transit";

/// The longest name that is accepted, in bytes; OpenBao sets no limit of its own.
const MAX_LEN: usize = 255;

/// A key of the secrets engine Transit in OpenBao or Vault.
///
/// ```
/// use kms_provider::uri::TransitKey;
///
/// let key: TransitKey = "vault:tokens".parse()?;
/// assert_eq!((key.mount(), key.name()), ("transit", "tokens"));
/// assert_eq!(key.to_string(), "vault:transit/tokens");
/// # Ok::<_, kms_provider::uri::TransitKeyError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TransitKey {
    mount: String,
    name: String,
}

impl TransitKey {
    /// The prefix of a key URI of this kind.
    pub const SCHEME: &'static str = "vault:";

    /// Where Transit is mounted, without slashes at either end.
    #[must_use]
    pub fn mount(&self) -> &str {
        &self.mount
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name that is stored next to values, with the version of the key that wrapped them.
    #[must_use]
    pub fn version(&self, version: u32) -> String {
        format!("{self}:v{version}")
    }

    /// Parses the key id that is stored next to a value: the key, and its version if there is one.
    #[must_use]
    pub fn parse_stored(text: &str) -> Option<(Self, Option<u32>)> {
        let (key, version) = match text.rsplit_once(":v") {
            Some((key, digits)) => (key, Some(parse_version(digits)?)),
            None => (text, None),
        };
        Some((key.parse().ok()?, version))
    }
}

/// A key version as OpenBao writes it: decimal, from 1, without a sign or leading zeros.
pub(crate) fn parse_version(digits: &str) -> Option<u32> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| plain)
}

impl FromStr for TransitKey {
    type Err = TransitKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = text.strip_prefix(Self::SCHEME).ok_or(TransitKeyError)?;
        let (mount, name) = path.rsplit_once('/').unwrap_or((DEFAULT_MOUNT, path));
        let is_fine = path.len() <= MAX_LEN && is_name(name) && mount.split('/').all(is_name);
        if is_fine { Ok(Self { mount: mount.into(), name: name.into() }) } else { Err(TransitKeyError) }
    }
}

impl fmt::Display for TransitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}/{}", Self::SCHEME, self.mount, self.name)
    }
}

/// The text does not name a Transit key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected vault:<key> or vault:<mount>/<key>: letters, digits, `_`, `-` and `.`")]
pub struct TransitKeyError;

/// The rule of OpenBao for the name of a key (`framework.GenericNameRegex`): no punctuation at either end but `_`.
fn is_name(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = text.as_bytes();
    bytes.first().copied().is_some_and(is_word)
        && bytes.last().copied().is_some_and(is_word)
        && bytes.iter().all(|byte| is_word(*byte) || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_below_the_usual_mount_unless_it_names_another() {
        for (text, mount, name) in [
            ("vault:tokens", "transit", "tokens"),
            ("vault:transit/tokens", "transit", "tokens"),
            ("vault:team-1/transit/app.tokens", "team-1/transit", "app.tokens"),
        ] {
            let key = text.parse::<TransitKey>();
            assert_eq!(key, Ok(TransitKey { mount: mount.into(), name: name.into() }), "{text}");
        }
    }

    #[test]
    fn a_name_that_could_leave_its_mount_is_refused() {
        for text in [
            "vault:",
            "vault:/a",
            "vault:a/",
            "vault:a//b",
            "vault:../a",
            "vault:a/..",
            "vault:a b",
            "vault:a?b",
            "tokens",
        ] {
            assert_eq!(text.parse::<TransitKey>(), Err(TransitKeyError), "{text}");
        }
    }

    #[test]
    fn a_stored_name_gives_the_key_and_its_version_back() {
        let key: TransitKey = "vault:t/k".parse().unwrap_or_else(|_| unreachable!());
        assert_eq!(TransitKey::parse_stored(&key.version(12)), Some((key.clone(), Some(12))));
        assert_eq!(TransitKey::parse_stored("vault:t/k"), Some((key, None)));
        for text in
            ["vault:t/k:v", "vault:t/k:v0", "vault:t/k:v01", "vault:t/k:v+1", "vault:t/k:v4294967296", "k:v1"]
        {
            assert_eq!(TransitKey::parse_stored(text), None, "{text}");
        }
    }
}
