//! Encrypted backups: the secrets of any source in one sealed file, and back into any source.
//!
//! A backup is a [sealed stream](crate::sealed_stream) of JSON lines: a header line, a line for every
//! version (previous before current), and a line with the number of them.

mod record;
mod restore;
mod write;

use std::path::Path;
use std::sync::Arc;

use envelope_core::DataKey;

use crate::error::SourceError;
use crate::sealed_stream::{Existing, IsStopped, Opens, StreamError, StreamKey, StreamKind};
use crate::source::SecretSource;

pub use restore::{NotRestored, Plan, Restored};
pub use write::Written;

/// Writes all secrets of a source into a sealed file, which appears only when it is whole. A file that is there already is
/// an error unless `existing` says to replace it.
///
/// Secrets that the source does not give out, expired ones for instance, are left out and reported, and so are previous
/// versions.
///
/// # Errors
/// [`BackupError`], [`BackupError::Stopped`] among them; then there is no new file.
pub async fn write(
    source: &dyn SecretSource,
    key: StreamKey,
    path: &Path,
    existing: Existing,
    is_stopped: IsStopped<'_>,
) -> Result<Written, BackupError> {
    write::write(source, key, path, existing, is_stopped).await
}

/// Whether a backup is read that is older than the kinds of sealed files. Such a file cannot be distinguished from another file that
/// was sealed under the same key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unlabelled {
    /// It is read.
    #[default]
    Accept,
    /// It is refused.
    Refuse,
}

impl Unlabelled {
    fn opens(self) -> Opens {
        match self {
            Self::Accept => Opens::OrUnlabelled(StreamKind::Backup),
            Self::Refuse => Opens::Only(StreamKind::Backup),
        }
    }
}

/// Reads a whole backup, and returns the changes that restoring it would make.
///
/// # Errors
/// [`BackupError`], [`BackupError::Stopped`] among them.
pub async fn plan(
    path: &Path,
    key: Arc<DataKey>,
    unlabelled: Unlabelled,
    target: &dyn SecretSource,
    is_stopped: IsStopped<'_>,
) -> Result<Plan, BackupError> {
    restore::plan(path, key, unlabelled, target, is_stopped).await
}

/// Restores a backup: secrets that differ get the value from the backup as their new version, and those that are
/// only in the target stay.
///
/// The whole file is authenticated before anything is changed. A source that has transactions gets all of it or
/// nothing; another gets all that it takes, the rest is in [`Plan::failed`], and a restore that was stopped is repeated: it
/// ends between two secrets, with [`Restored::interrupted`], or with [`BackupError::Stopped`] before the first. After the first,
/// an outage is [`Restored::outage`]; repeat that too.
///
/// # Errors
/// [`BackupError`]; [`BackupError::Stopped`] where nothing was stored.
pub async fn restore(
    path: &Path,
    key: Arc<DataKey>,
    unlabelled: Unlabelled,
    target: &dyn SecretSource,
    is_stopped: IsStopped<'_>,
) -> Result<Restored, BackupError> {
    restore::restore(path, key, unlabelled, target, is_stopped).await
}

/// Why a backup was not written, or not restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The file does not open, or cannot be read or written.
    #[error("backup file is not usable")]
    Stream(#[source] StreamError),
    /// It was stopped before anything was stored, and no new file is there.
    #[error("stopped before it was complete; nothing was changed")]
    Stopped,
    /// The file opens, but is something else than a backup, or of an unknown version.
    #[error("sealed file is not a backup of secrets that this program knows")]
    Content,
    /// The source failed.
    #[error("secret source failed")]
    Source(#[from] SourceError),
}

impl From<StreamError> for BackupError {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Stopped => Self::Stopped,
            error => Self::Stream(error),
        }
    }
}

impl From<std::io::Error> for BackupError {
    fn from(error: std::io::Error) -> Self {
        Self::Stream(error.into())
    }
}

impl BackupError {
    /// The next step for the operator.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Stream(error) => error.hint(),
            Self::Stopped => Some("run it again"),
            Self::Content => Some("check the path: this sealed file was not written by `backup`"),
            Self::Source(error) => error.hint(),
        }
    }
}

/// Runs blocking work, and passes on its result.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.unwrap_or_else(|error| Err(std::io::Error::other(error).into()))
}
