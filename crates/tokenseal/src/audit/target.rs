//! Where an audit trail is written.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::str::FromStr;

/// The socket of the systemd journal (systemd, "Native Journal Protocol").
const JOURNAL: &str = "/run/systemd/journal/socket";

/// `AUDIT_LOG`: a file, the systemd journal or standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuditTarget {
    /// A file that lines are appended to. It is created for its owner alone.
    File(PathBuf),
    /// The systemd journal, with the identifier `tokenseal-audit`.
    Journal,
    /// Standard error, at every log level.
    StandardError,
}

impl FromStr for AuditTarget {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "journal" => Self::Journal,
            "stderr" => Self::StandardError,
            path => Self::File(path.into()),
        })
    }
}

impl fmt::Display for AuditTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Journal => f.write_str("journal"),
            Self::StandardError => f.write_str("stderr"),
        }
    }
}

/// A target that is open.
pub(super) enum Out {
    File(File),
    Journal(UnixDatagram),
    StandardError,
}

impl Out {
    pub(super) fn open(target: &AuditTarget) -> io::Result<Self> {
        Ok(match target {
            AuditTarget::File(path) => {
                Self::File(OpenOptions::new().append(true).create(true).mode(0o600).open(path)?)
            }
            AuditTarget::Journal => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(JOURNAL)?;
                Self::Journal(socket)
            }
            AuditTarget::StandardError => Self::StandardError,
        })
    }

    /// Writes a line, its line break included, in one piece: other processes append to the same file.
    pub(super) fn write(&mut self, line: &str) -> io::Result<()> {
        match self {
            Self::File(file) => file.write_all(line.as_bytes()),
            Self::Journal(socket) => {
                let entry = format!("SYSLOG_IDENTIFIER=tokenseal-audit\nPRIORITY=5\nMESSAGE={line}");
                socket.send(entry.as_bytes()).map(drop)
            }
            Self::StandardError => io::stderr().lock().write_all(line.as_bytes()),
        }
    }

    /// Waits until the written lines would survive a power failure.
    pub(super) fn sync(&self) -> io::Result<()> {
        match self {
            Self::File(file) => match file.sync_data() {
                // A pipe or a terminal has nothing to be synchronized.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
                other => other,
            },
            Self::Journal(_) | Self::StandardError => Ok(()),
        }
    }
}
