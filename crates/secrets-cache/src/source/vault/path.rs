//! The path of a source: `vault:<mount/path>`.

use std::fmt;
use std::str::FromStr;

/// The mount of KV and a path below it, as one text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvPath(String);

impl KvPath {
    /// The mount and the rest, where the first part is the mount.
    pub(super) fn split(&self) -> (String, String) {
        let (mount, base) = self.0.split_once('/').unwrap_or((&self.0, ""));
        (mount.to_owned(), base.to_owned())
    }

    /// The mount and the rest, where the server says which mount it is.
    pub(super) fn below(&self, mount: &str) -> Option<(String, String)> {
        let mount = mount.trim_matches('/');
        let rest = self.0.strip_prefix(mount)?;
        (rest.is_empty() || rest.starts_with('/'))
            .then(|| (mount.to_owned(), rest.trim_start_matches('/').to_owned()))
    }
}

impl FromStr for KvPath {
    type Err = KvPathError;

    fn from_str(text: &str) -> Result<Self, KvPathError> {
        let path = text.trim_matches('/');
        let is_fine = !path.split('/').any(|part| matches!(part, "" | "." | ".."))
            && !path.contains(['?', '#', '%'])
            && !path.chars().any(char::is_control);
        if is_fine { Ok(Self(path.into())) } else { Err(KvPathError) }
    }
}

impl fmt::Display for KvPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text is not a path of KV.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected <mount>/<path> without empty parts, `..`, `?`, `#` or `%`")]
pub struct KvPathError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_a_mount_and_a_rest() {
        let path: KvPath = "/team/kv/app/prod/".parse().unwrap_or_else(|_| unreachable!());
        assert_eq!(path.to_string(), "team/kv/app/prod");
        assert_eq!(path.split(), ("team".into(), "kv/app/prod".into()));
        assert_eq!(path.below("team/kv/"), Some(("team/kv".into(), "app/prod".into())));
        assert_eq!(path.below("team/k"), None);
        for text in ["", "/", "a//b", "a/../b", "a?b", "a%2f", "a\nb"] {
            assert_eq!(text.parse::<KvPath>(), Err(KvPathError), "{text:?}");
        }
    }
}
