//! Why a file was not read or not replaced.

use std::io;
use std::path::{Path, PathBuf};

/// A failure to read or replace a file. None carries content of a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// There is no such file.
    #[error("{} does not exist", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// The path is something else than a regular file.
    #[error("{} is {kind}, not a regular file", path.display())]
    NotRegular {
        /// The path.
        path: PathBuf,
        /// The kind of file, with its article.
        kind: &'static str,
    },
    /// The path is a symbolic link, and the caller refuses those.
    #[error("{} is a symbolic link", path.display())]
    Link {
        /// The path.
        path: PathBuf,
    },
    /// The file exists, and the caller asked for a new one.
    #[error("{} already exists", path.display())]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// The file is longer than the caller reads.
    #[error("{} is longer than {limit} bytes", path.display())]
    TooLong {
        /// The path.
        path: PathBuf,
        /// The most bytes that the caller reads.
        limit: u64,
    },
    /// The file has changed since the caller read it. It was not replaced.
    #[error("{} changed since it was read", path.display())]
    Changed {
        /// The path.
        path: PathBuf,
    },
    /// Two programs replaced the file at the same moment. Nothing was deleted: the other version is in `kept`.
    #[error("{} was replaced by two programs at once; the other version is in {}", path.display(), kept.display())]
    Collided {
        /// The path.
        path: PathBuf,
        /// Where the other version is.
        kept: PathBuf,
    },
    /// The owner, group, permissions or attributes of the file cannot be kept.
    #[error("the {what} of {} cannot be kept", path.display())]
    Attributes {
        /// The path.
        path: PathBuf,
        /// The attribute.
        what: &'static str,
        /// The reason.
        #[source]
        cause: io::Error,
    },
    /// The operating system refused something.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// The action that failed.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// The reason.
        #[source]
        cause: io::Error,
    },
}

impl FileError {
    /// Makes an error of an action on a path, for `map_err`.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |cause| match cause.kind() {
            io::ErrorKind::NotFound => Self::Missing { path },
            _ => Self::Io { action, path, cause },
        }
    }

    /// A hint about what to do next.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "check the path",
            Self::NotRegular { .. } => "name a regular file",
            Self::Link { .. } => "name the file itself, not a link to it",
            Self::Exists { .. } => "name a new file, or ask for the existing one to be replaced",
            Self::TooLong { .. } => "check that this is the intended file",
            Self::Changed { .. } => "finish editing the file, then repeat",
            Self::Collided { .. } => "compare both files, keep one, then repeat",
            Self::Attributes { .. } => "run as the owner of the file, or as root",
            Self::Io { .. } => "check the permissions of the file and its directory, and the free space",
        }
    }
}
