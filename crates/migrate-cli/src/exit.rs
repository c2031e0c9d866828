//! Exit codes, and the errors that lead to them.

use std::process::ExitCode;

use envelope_core::{ErrorClass, KeyError, OpenError, SealError};
use kms_provider::keyring::KeyringError;
#[cfg(feature = "secrets")]
use secrets_cache::SourceError;
use token_store::StoreError;
use token_store::error::SealFailure;
use token_store::migration::Ended;
use token_store::profile::ProfileError;
pub(crate) use tokenseal::error::chain;
use tokenseal::{ConnectError, SettingsError, hints};

/// How a program ended; the numbers are a contract with scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything was done.
    Done = 0,
    /// An unforeseen failure.
    Unexpected = 1,
    /// The command line or the configuration is wrong; nothing was done.
    Usage = 2,
    /// Finished, but some rows or secrets failed; each is listed.
    Partial = 3,
    /// A verification found problems.
    Problems = 4,
    /// The key service or secret source is unavailable or refuses.
    KeyService = 5,
    /// The database is unavailable or unsuitable.
    Database = 6,
    /// Interrupted by a signal, and ended cleanly.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// The command line or the configuration is wrong. Each problem is a line of its own.
    #[error("{}", problems.join("\n       "))]
    Usage {
        /// The problems, one per entry.
        problems: Vec<String>,
        /// The next step for the operator.
        hint: Option<String>,
    },
    /// The key service failed.
    #[error("key service failed")]
    Key(#[from] KeyError),
    /// The local keyring failed.
    #[error("keyring failed")]
    Keyring(#[from] KeyringError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database refuses the one row that a command is about.
    #[error(transparent)]
    Row(StoreError),
    /// The source of secrets failed.
    #[cfg(feature = "secrets")]
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The database user lacks a privilege that a command needs.
    #[error("{problem}")]
    Forbidden {
        /// The operation that is not allowed.
        problem: String,
        /// The next step for the operator.
        hint: String,
    },
    /// Values of a sample do not open.
    #[error("{problem}")]
    Unopened {
        /// How many.
        problem: String,
        /// The next step for the operator.
        hint: String,
    },
    /// Standard input, standard output or a file failed.
    #[error("{what}")]
    Io {
        /// The operation that failed.
        what: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

impl CliError {
    pub(crate) fn usage(problem: impl Into<String>) -> Self {
        Self::Usage { problems: vec![problem.into()], hint: None }
    }

    pub(crate) fn usage_with_hint(problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { problems: vec![problem.into()], hint: Some(hint.into()) }
    }

    /// The error of a command about one row: an error of the database may be about that row alone.
    pub(crate) fn of_row(error: StoreError) -> Self {
        match error {
            StoreError::Database(refused) if refused.is_about_rows() => Self::Row(refused.into()),
            error => Self::Store(error),
        }
    }

    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// An error that ends a command.
pub(crate) trait Failed: std::error::Error {
    /// The code that the program ends with.
    fn exit(&self) -> Exit;

    /// The next step for the operator: a command, a variable, an IAM action.
    fn hint(&self) -> Option<String>;

    /// The label of this kind of failure in JSON.
    fn class(&self) -> &'static str;
}

impl Failed for CliError {
    fn exit(&self) -> Exit {
        match self {
            Self::Usage { .. } => Exit::Usage,
            Self::Key(error) => key_exit(error),
            // Without its file or its master key, the local keyring is a configuration error.
            Self::Keyring(_) => Exit::Usage,
            Self::Store(error) => store_exit(error),
            Self::Row(_) => Exit::Partial,
            #[cfg(feature = "secrets")]
            Self::Source(error) => source_exit(error),
            Self::Forbidden { .. } => Exit::Database,
            Self::Unopened { .. } => Exit::Problems,
            Self::Io { .. } => Exit::Unexpected,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Usage { hint, .. } => hint.clone(),
            Self::Key(error) => hints::of_key(error),
            Self::Keyring(error) => Some(hints::of_keyring(error)),
            Self::Store(error) | Self::Row(error) => hints::of_store(error),
            #[cfg(feature = "secrets")]
            Self::Source(error) => error.hint().map(Into::into),
            Self::Forbidden { hint, .. } | Self::Unopened { hint, .. } => Some(hint.clone()),
            Self::Io { .. } => None,
        }
    }

    fn class(&self) -> &'static str {
        match self {
            Self::Usage { .. } => "usage",
            Self::Key(error) => error.class().label(),
            Self::Keyring(_) => "keyring",
            Self::Store(error) | Self::Row(error) => error.class(),
            #[cfg(feature = "secrets")]
            Self::Source(error) => error.class(),
            Self::Forbidden { .. } => "database",
            Self::Unopened { .. } => "verification",
            Self::Io { .. } => "io",
        }
    }
}

impl From<SettingsError> for CliError {
    fn from(error: SettingsError) -> Self {
        let problems = error.problems.into_iter().map(|problem| problem.message).collect();
        Self::Usage { problems, hint: Some(error.hint.into()) }
    }
}

impl From<ConnectError> for CliError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Settings(error) => error.into(),
            ConnectError::Key(error) => Self::Key(error),
            ConnectError::Keyring(error) => Self::Keyring(error),
            ConnectError::Store(error) => Self::Store(error),
            #[cfg(feature = "secrets")]
            ConnectError::Secrets(error) => Self::Source(error),
            other => Self::usage(chain(&other)),
        }
    }
}

impl From<ProfileError> for CliError {
    fn from(error: ProfileError) -> Self {
        let hint = "set TOKEN_PROFILE to vod-tender, pulseplan, autonomous or the path of a TOML file";
        Self::usage_with_hint(chain(&error), hint)
    }
}

impl From<Ended> for CliError {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::KeyService(error) => Self::Key(error),
            Ended::Store(error) => Self::Store(error),
            other => Self::usage(other.to_string()),
        }
    }
}

/// Whether a failure of this class is the source's: it does not respond, or it refuses.
#[cfg(feature = "secrets")]
fn is_of_source(class: &str) -> bool {
    matches!(class, "denied" | "throttled" | "unavailable" | "timeout" | "untrusted" | "storage")
}

/// The exit code of a command that only failed, by the classes of its failures: if each is the source's, the
/// source is the problem.
#[cfg(feature = "secrets")]
pub(crate) fn failures_exit<'a>(classes: impl IntoIterator<Item = &'a str>) -> Exit {
    if classes.into_iter().all(is_of_source) { Exit::KeyService } else { Exit::Partial }
}

#[cfg(feature = "secrets")]
pub(crate) fn source_exit(error: &SourceError) -> Exit {
    match error {
        error if is_of_source(error.class()) => Exit::KeyService,
        SourceError::Name(_)
        | SourceError::Unfit { .. }
        | SourceError::Unsupported { .. }
        | SourceError::DevelopmentOnly { .. }
        | SourceError::Invalid { .. } => Exit::Usage,
        _ => Exit::Partial,
    }
}

/// A missing Region or credential is fixed in the configuration.
fn key_exit(error: &KeyError) -> Exit {
    if error.class() == ErrorClass::Misconfigured { Exit::Usage } else { Exit::KeyService }
}

fn store_exit(error: &StoreError) -> Exit {
    match error {
        StoreError::NotStorable { .. }
        | StoreError::NotAValue { .. }
        | StoreError::NotPlain { .. }
        | StoreError::Address { .. }
        | StoreError::KeyLength { .. }
        | StoreError::NoKeyMade { .. }
        | StoreError::NoTokenColumn { .. }
        | StoreError::NoIndex { .. } => Exit::Usage,
        StoreError::Open { source: OpenError::Key(error), .. }
        | StoreError::IndexKey { source: OpenError::Key(error), .. } => key_exit(error),
        StoreError::Open { source: OpenError::MissingKey { .. }, .. }
        | StoreError::IndexKey { source: OpenError::MissingKey { .. }, .. } => Exit::Usage,
        StoreError::IndexKey { .. } => Exit::KeyService,
        StoreError::NotUnique { .. } | StoreError::TooManyFound { .. } => Exit::Partial,
        StoreError::Open { .. }
        | StoreError::KeptToken { .. }
        | StoreError::NotFound { .. }
        | StoreError::KeyNotStorable { .. }
        | StoreError::Changed { .. }
        | StoreError::Exists { .. }
        | StoreError::NotPrepared { .. }
        | StoreError::Altered { .. }
        | StoreError::Unreadable { .. }
        | StoreError::Contended { .. } => Exit::Partial,
        StoreError::Seal { source: SealFailure::Envelope(SealError::Key(error)), .. } => key_exit(error),
        StoreError::Seal { source: SealFailure::Envelope(_) | SealFailure::Record(_), .. } => Exit::Partial,
        StoreError::Seal { .. } => Exit::Usage,
        _ => Exit::Database,
    }
}
