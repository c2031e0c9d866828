//! Why a keyring could not be read or written.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use envelope_core::KeyError;
use envelope_core::hint::in_words;
use envelope_core::provider::ErrorClass;

/// Why a keyring could not be read or written. Nothing in it repeats the content of the file, wrapped or not.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// There is no such file.
    #[error("keyring {} does not exist", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file already exists, and creating a keyring never replaces one.
    #[error("keyring {} exists already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others on this machine may read or change the file.
    #[error("keyring {} is open to others on this machine (mode {mode:03o})", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The operating system refused something.
    #[error("could not {action} keyring {}", path.display())]
    Io {
        /// The operation that failed.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it was refused.
        #[source]
        source: io::Error,
    },
    /// It is not the JSON document that a keyring is.
    #[error("{} is not a keyring (line {line}, column {column})", path.display())]
    NotAKeyring {
        /// The file.
        path: PathBuf,
        /// Where reading stopped, from 1.
        line: usize,
        /// Where in the line reading stopped.
        column: usize,
    },
    /// It was written by a later program.
    #[error("keyring {} has version {version}, which this program does not know", path.display())]
    UnknownVersion {
        /// The file.
        path: PathBuf,
        /// The version it states.
        version: u64,
    },
    /// The master key is not the one that the keyring was made with.
    #[error("master key does not open keyring {}", path.display())]
    WrongMasterKey {
        /// The file.
        path: PathBuf,
    },
    /// The new master key is the same as the current one.
    #[error("new master key is the same as the current one")]
    SameMasterKey,
    /// The master key is right, and the file was changed by something that does not know it.
    #[error("keyring {} is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The rule that is broken.
        what: &'static str,
    },
    /// An export does not have the expected shape.
    #[error("not an export of keys: {what} (line {line}, column {column})")]
    NotAnExport {
        /// The problem.
        what: &'static str,
        /// Where reading stopped, from 1; 0 where that is not known.
        line: usize,
        /// Where in the line reading stopped.
        column: usize,
    },
    /// A key in an export cannot be used.
    #[error("key number {number} of the export is not usable: {what}")]
    UnusableKey {
        /// Which key, from 1.
        number: usize,
        /// The problem.
        what: &'static str,
    },
    /// An export has another key under an id that the keyring has.
    #[error("the keyring has another key with the id {id:?}")]
    Conflict {
        /// The id.
        id: String,
    },
}

impl KeyringError {
    /// The next step for the operator, with places for the names of settings and commands: see
    /// [`naming`](envelope_core::hint::naming).
    #[must_use]
    pub fn hint_pattern(&self) -> &'static str {
        match self {
            Self::Missing { .. } => {
                "correct the path in {keyring file}; {keyring init} makes a new one; if there was one, restore it \
                 from your backup first: nothing that it wrapped opens without it"
            }
            Self::Exists { .. } => {
                "use it, or choose another path: its keys may be the only ones that open stored values"
            }
            Self::Exposed { .. } => "chmod 600 the file (640 to share it with a group for reading)",
            Self::Io { .. } => "check the path, its permissions and the free space on its file system",
            Self::NotAKeyring { .. } => {
                "correct the path in {keyring file}, or restore the file from a backup"
            }
            Self::UnknownVersion { .. } => "use the version of this program that wrote it, or a later one",
            Self::WrongMasterKey { .. } => {
                "set {master key} to the key that the keyring was made with, or that {keyring rekey} put it under"
            }
            Self::SameMasterKey => {
                "{master key} is the current one; make another with `openssl rand -base64 32`"
            }
            Self::Damaged { .. } => "restore the file from a backup; values wrapped under its keys need it",
            Self::NotAnExport { .. } | Self::UnusableKey { .. } => {
                "expected {\"keys\":[{\"id\":\"…\",\"key\":\"<base64 of 32 bytes>\",\"isActive\":true}]}"
            }
            Self::Conflict { .. } => {
                "nothing was imported; find out which of the two keys stored values were made with"
            }
        }
    }

    /// The next step for the operator, in words.
    #[must_use]
    pub fn hint(&self) -> Cow<'static, str> {
        in_words(self.hint_pattern().into())
    }

    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.into(), source }
    }
}

impl From<KeyringError> for KeyError {
    fn from(error: KeyringError) -> Self {
        let class = match error {
            KeyringError::Io { .. } => ErrorClass::Unavailable,
            _ => ErrorClass::Misconfigured,
        };
        Self::new(class, "keyring cannot be used").with_hint(error.hint_pattern()).with_source(error)
    }
}
