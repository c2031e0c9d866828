//! Why a command did not do its work, and the exit code that follows.

use durable_file::FileError;
use secrets_cache::SourceError;
use secrets_cache::backup::BackupError;
use secrets_cache::name::NameError;
use secrets_cache::scan::ScanError;
use secrets_cache::sealed_stream::StreamError;
use secrets_cache::typed::ReadError;
use tokenseal::{ConnectError, SettingsError};

use super::rotation::RotationError;
use crate::exit::{CliError, Exit, Failed, source_exit};

/// A failure of a command.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Cli(Box<CliError>),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Rotation(#[from] RotationError),
}

impl Failure {
    pub(super) fn usage(problem: impl Into<String>, hint: impl Into<String>) -> Self {
        CliError::usage_with_hint(problem, hint).into()
    }
}

impl Failed for Failure {
    fn exit(&self) -> Exit {
        match self {
            Self::Cli(error) => error.exit(),
            Self::Source(error)
            | Self::Read(ReadError::Source(error))
            | Self::Backup(BackupError::Source(error))
            | Self::Rotation(RotationError::Source(error)) => source_exit(error),
            Self::Rotation(error) => rotation_exit(error),
            Self::Read(ReadError::Name(_)) | Self::Scan(_) => Exit::Usage,
            Self::Read(_) => Exit::Partial,
            Self::File(FileError::Changed { .. } | FileError::Collided { .. }) => Exit::Partial,
            Self::File(_) => Exit::Usage,
            Self::Backup(BackupError::Stream(error)) | Self::Stream(error) => stream_exit(error),
            Self::Backup(BackupError::Stopped) => Exit::Interrupted,
            Self::Backup(_) => Exit::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Cli(error) => error.hint(),
            Self::Source(error) | Self::Read(ReadError::Source(error)) => error.hint().map(Into::into),
            Self::Backup(error) => error.hint().map(Into::into),
            Self::Stream(error) => error.hint().map(Into::into),
            Self::File(error) => Some(error.hint().into()),
            Self::Rotation(error) => Some(error.hint().into()),
            Self::Read(_) | Self::Scan(_) => None,
        }
    }

    fn class(&self) -> &'static str {
        match self {
            Self::Cli(error) => error.class(),
            Self::Source(error)
            | Self::Read(ReadError::Source(error))
            | Self::Backup(BackupError::Source(error)) => error.class(),
            Self::Rotation(error) => error.class(),
            Self::Read(_) => "wrong_type",
            Self::Backup(_) => "backup",
            Self::Stream(_) => "sealed_file",
            Self::Scan(_) | Self::File(_) => "io",
        }
    }
}

impl From<CliError> for Failure {
    fn from(error: CliError) -> Self {
        Self::Cli(Box::new(error))
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        CliError::from(error).into()
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        CliError::from(error).into()
    }
}

impl From<NameError> for Failure {
    fn from(error: NameError) -> Self {
        SourceError::from(error).into()
    }
}

/// A refusal of the operating system is unexpected; everything else means another file than intended.
fn stream_exit(error: &StreamError) -> Exit {
    match error {
        StreamError::Stopped => Exit::Interrupted,
        StreamError::Io(_) | StreamError::File(FileError::Io { .. } | FileError::Attributes { .. }) => {
            Exit::Unexpected
        }
        _ => Exit::Usage,
    }
}

fn rotation_exit(error: &RotationError) -> Exit {
    match error.class() {
        "event" => Exit::Usage,
        "database" | "administrator" => Exit::Database,
        "runtime" => Exit::Unexpected,
        _ => Exit::Partial,
    }
}
