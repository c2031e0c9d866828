//! A file as it was when it was read.

use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::FileError;
use crate::target::{Links, refuse_irregular, resolve};

/// The content of a regular file, and which file that was. Its bytes are wiped when it is dropped.
pub struct Content {
    path: PathBuf,
    bytes: Zeroizing<Vec<u8>>,
    file: Identity,
    names: u64,
}

/// Which file has a name: a replacement makes another one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity(u64, u64);

impl Content {
    /// Reads a regular file of at most `limit` bytes.
    ///
    /// # Errors
    /// [`FileError`]; a pipe, a device or a directory is refused at once.
    pub fn read(path: impl AsRef<Path>, links: Links, limit: u64) -> Result<Self, FileError> {
        let path = resolve(path.as_ref(), links)?;
        let (mut file, metadata) = open_real(&path)?;
        let expected = usize::try_from(metadata.len().min(limit)).unwrap_or(0);
        // One allocation where the length is as announced: a buffer that grows leaves copies of its content.
        let mut bytes = Zeroizing::new(Vec::with_capacity(expected.saturating_add(1)));
        let read = file.by_ref().take(limit.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(FileError::io("read", &path))?;
        if bytes.len() as u64 > limit {
            return Err(FileError::TooLong { path, limit });
        }
        Ok(Self { path, bytes, file: identity(&metadata), names: names(&metadata) })
    }

    /// The real path of the file, without links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many names the file has: more than one if there are hard links to it, which a replacement leaves as they are.
    #[must_use]
    pub fn names(&self) -> u64 {
        self.names
    }

    /// Whether a path leads to this very file, with these very bytes.
    pub(crate) fn is_in(&self, path: &Path) -> bool {
        let limit = self.bytes.len() as u64;
        Self::read(path, Links::Refuse, limit)
            .is_ok_and(|now| now.file == self.file && now.bytes == self.bytes)
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({}, {} bytes)", self.path.display(), self.bytes.len())
    }
}

/// Opens a regular file for reading. Anything else is refused, and never waited for.
///
/// # Errors
/// [`FileError`].
pub fn open(path: impl AsRef<Path>, links: Links) -> Result<File, FileError> {
    Ok(open_real(&resolve(path.as_ref(), links)?)?.0)
}

fn open_real(path: &Path) -> Result<(File, Metadata), FileError> {
    // Looked at first, because to open a device can already change something.
    let before = fs::symlink_metadata(path).map_err(FileError::io("inspect", path))?;
    refuse_irregular(path, before.file_type())?;
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt as _;
        // A pipe that takes the file's place in this moment would block the open.
        let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits();
        options.custom_flags(i32::try_from(flags).unwrap_or_default());
    }
    let file = options.open(path).map_err(FileError::io("open", path))?;
    let metadata = file.metadata().map_err(FileError::io("inspect", path))?;
    refuse_irregular(path, metadata.file_type())?;
    Ok((file, metadata))
}

#[cfg(unix)]
pub(crate) fn identity(metadata: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt as _;
    Identity(metadata.dev(), metadata.ino())
}

#[cfg(unix)]
fn names(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(metadata)
}

#[cfg(not(unix))]
pub(crate) fn identity(_: &Metadata) -> Identity {
    Identity(0, 0)
}

#[cfg(not(unix))]
fn names(_: &Metadata) -> u64 {
    1
}
