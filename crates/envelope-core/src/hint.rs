//! Hints: what to do about a failure, with settings and commands named by the program that shows them.

use std::borrow::Cow;

/// A setting or a command that a hint speaks of. A library does not know what a program calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Setting {
    /// The key that new values are sealed under.
    Key,
    /// The same, where it names the file of a local keyring.
    KeyringFile,
    /// Further keys whose wrapped data keys may be opened.
    AllowedKeys,
    /// The pairs of the application's encryption context.
    Context,
    /// The key that the local keyring is wrapped under.
    MasterKey,
    /// The limit of calls per second of a bulk run.
    Rate,
    /// The command that makes a keyring.
    KeyringInit,
    /// The command that lists the keys of a keyring.
    KeyringList,
    /// The command that imports keys into a keyring.
    KeyringImport,
    /// The command that makes a new active key.
    KeyringRotate,
    /// The command that puts a keyring under another master key.
    KeyringRekey,
}

impl Setting {
    /// Every setting.
    pub const ALL: [Self; 11] = [
        Self::Key,
        Self::KeyringFile,
        Self::AllowedKeys,
        Self::Context,
        Self::MasterKey,
        Self::Rate,
        Self::KeyringInit,
        Self::KeyringList,
        Self::KeyringImport,
        Self::KeyringRotate,
        Self::KeyringRekey,
    ];

    /// The place of its name in a pattern.
    fn slot(self) -> &'static str {
        match self {
            Self::Key => "{key}",
            Self::KeyringFile => "{keyring file}",
            Self::AllowedKeys => "{allowed keys}",
            Self::Context => "{context}",
            Self::MasterKey => "{master key}",
            Self::Rate => "{rate}",
            Self::KeyringInit => "{keyring init}",
            Self::KeyringList => "{keyring list}",
            Self::KeyringImport => "{keyring import}",
            Self::KeyringRotate => "{keyring rotate}",
            Self::KeyringRekey => "{keyring rekey}",
        }
    }

    /// Its name where no program has one for it.
    fn words(self) -> &'static str {
        match self {
            Self::Key => "the key URI",
            Self::KeyringFile => "the key URI (keyring:<file>)",
            Self::AllowedKeys => "the list of allowed keys",
            Self::Context => "the application's encryption context",
            Self::MasterKey => "the master key",
            Self::Rate => "the rate of calls",
            Self::KeyringInit => "`Keyring::init`",
            Self::KeyringList => "`Keyring::list`",
            Self::KeyringImport => "`Keyring::import`",
            Self::KeyringRotate => "`Keyring::rotate`",
            Self::KeyringRekey => "`Keyring::rekey`",
        }
    }
}

/// Fills in the names that a program has for the settings of a pattern, such as `set {key} to another key`.
#[must_use]
pub fn naming(pattern: &str, name: impl Fn(Setting) -> &'static str) -> String {
    let fill = |text: String, setting: Setting| match text.contains(setting.slot()) {
        true => text.replace(setting.slot(), name(setting)),
        false => text,
    };
    Setting::ALL.into_iter().fold(pattern.to_owned(), fill)
}

/// Fills in words for the settings of a pattern.
#[must_use]
pub fn in_words(pattern: Cow<'static, str>) -> Cow<'static, str> {
    match Setting::ALL.iter().any(|setting| pattern.contains(setting.slot())) {
        true => naming(&pattern, Setting::words).into(),
        false => pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::{Setting, in_words, naming};

    #[test]
    fn a_pattern_is_filled_with_names_or_with_words() {
        let pattern = "set {key} to the key, or add it to {allowed keys}; {\"keys\":[{}]}";
        let named = naming(pattern, |setting| if setting == Setting::Key { "A" } else { "B" });
        assert_eq!(named, "set A to the key, or add it to B; {\"keys\":[{}]}");
        let words = in_words(pattern.into());
        assert!(
            words.starts_with("set the key URI to the key, or add it to the list of allowed keys;"),
            "{words}"
        );
        for setting in Setting::ALL {
            assert_eq!(in_words(setting.slot().into()), setting.words());
        }
    }
}
