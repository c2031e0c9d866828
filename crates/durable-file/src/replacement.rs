//! A new version of a file, before it takes its place.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::FileError;
use crate::content::{Content, identity};
use crate::target::{Existing, Options, SUFFIX, directory, prefix, regular, resolve};

/// Random characters in a temporary file's name.
const RANDOM: usize = 20;

/// A file that is not in its place yet. Dropped without a commit, it leaves nothing.
#[derive(Debug)]
pub struct NewFile {
    temporary: NamedTempFile,
    target: PathBuf,
    existing: Existing,
}

impl NewFile {
    /// Creates an empty temporary file in the target's directory, with the owner and permissions of the target.
    ///
    /// # Errors
    /// [`FileError`] if the target is not a regular file, is there and must not be, or has an owner or attributes that
    /// cannot be kept, or if the directory takes no file.
    pub fn begin(path: impl AsRef<Path>, options: &Options) -> Result<Self, FileError> {
        let target = resolve(path.as_ref(), options.links)?;
        let before = regular(&target)?;
        if before.is_some() && options.existing == Existing::Refuse {
            return Err(FileError::Exists { path: target });
        }
        let mut name = tempfile::Builder::new();
        #[cfg(unix)]
        if before.is_none() {
            name.permissions(std::os::unix::fs::PermissionsExt::from_mode(options.new_mode));
        }
        let temporary =
            name.prefix(&prefix(&target)).suffix(SUFFIX).rand_bytes(RANDOM).tempfile_in(directory(&target));
        let temporary = temporary.map_err(FileError::io("create a file next to", &target))?;
        #[cfg(unix)]
        if let Some(before) = before {
            crate::attributes::keep(temporary.as_file(), &target, &before, options.widest)?;
        }
        Ok(Self { temporary, target, existing: options.existing })
    }

    /// The file that is written to.
    #[must_use]
    pub fn as_file(&self) -> &File {
        self.temporary.as_file()
    }

    /// The path that the file will have.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Syncs the file, puts it in its place, and syncs the directory.
    ///
    /// # Errors
    /// [`FileError`]. Then the target is as it was, except where the directory cannot be synced: then it is replaced, but a
    /// power cut may bring the old file back.
    pub fn commit(self) -> Result<(), FileError> {
        self.sync()?;
        let Self { temporary, target, existing } = self;
        let persisted = match existing {
            Existing::Refuse => temporary.persist_noclobber(&target),
            // A pipe may have come into its place meanwhile.
            Existing::Replace => regular(&target).map(|_| temporary.persist(&target))?,
        };
        persisted.map_err(|failed| match failed.error.kind() {
            io::ErrorKind::AlreadyExists => FileError::Exists { path: target.clone() },
            _ => FileError::io("replace", &target)(failed.error),
        })?;
        sync_directory(&target)
    }

    /// Puts the file in its place only if the target still has, to the byte, the content that was read.
    ///
    /// Old and new file exchange their names in one step, and the old one is compared after that. If it changed in the
    /// last moment, it gets its name back. An advisory lock on the directory keeps other callers of this function out.
    ///
    /// # Errors
    /// [`FileError::Changed`] if it has changed since it was read, else as [`commit`](Self::commit).
    pub fn commit_over(self, before: &Content) -> Result<(), FileError> {
        self.sync()?;
        let _lock = lock_directory(&self.target)?;
        if self.target != before.path() || !before.is_in(&self.target) {
            return Err(FileError::Changed { path: self.target });
        }
        match exchange(self.temporary.path(), &self.target) {
            Ok(()) => self.settle(before),
            Err(error) if is_unsupported(&error) => self.commit(),
            Err(error) => Err(FileError::io("replace", &self.target)(error)),
        }
    }

    /// After an exchange: removes the old file if it is unchanged since it was read, or gives it its name
    /// back.
    fn settle(self, before: &Content) -> Result<(), FileError> {
        if before.is_in(self.temporary.path()) {
            let synced = sync_directory(&self.target);
            fs::remove_file(self.temporary.path())
                .map_err(FileError::io("remove the old version of", &self.target))?;
            return synced;
        }
        if exchange(self.temporary.path(), &self.target).is_err() || !self.is_own(self.temporary.path()) {
            return Err(self.collided());
        }
        Err(FileError::Changed { path: self.target })
    }

    fn is_own(&self, path: &Path) -> bool {
        let own = self.temporary.as_file().metadata();
        let there = fs::symlink_metadata(path);
        matches!((own, there), (Ok(own), Ok(there)) if identity(&own) == identity(&there))
    }

    /// The file under the temporary name now belongs to another program: it is never deleted.
    fn collided(self) -> FileError {
        let kept = self.temporary.path().to_owned();
        // Failing to keep it is not possible on Unix, where a temporary file has no other mark than its name.
        let _ = self.temporary.keep();
        FileError::Collided { path: self.target, kept }
    }

    fn sync(&self) -> Result<(), FileError> {
        self.temporary.as_file().sync_all().map_err(FileError::io("write", &self.target))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.temporary.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.temporary.as_file_mut().flush()
    }
}

/// Makes a new name last: without it, a power cut may bring the old file back.
fn sync_directory(path: &Path) -> Result<(), FileError> {
    if !cfg!(unix) {
        return Ok(());
    }
    let directory = directory(path);
    File::open(directory)
        .and_then(|opened| opened.sync_all())
        .map_err(FileError::io("sync the directory", directory))
}

/// Waits for others that replace a file of this directory, until the handle is dropped.
fn lock_directory(path: &Path) -> Result<Option<File>, FileError> {
    if !cfg!(unix) {
        return Ok(None);
    }
    let directory = directory(path);
    let opened = File::open(directory).map_err(FileError::io("open", directory))?;
    match opened.lock() {
        // A file system without locks has no other protection than the comparison.
        Err(error) if !is_unsupported(&error) => Err(FileError::io("lock", directory)(error)),
        _ => Ok(Some(opened)),
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn exchange(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn is_unsupported(error: &io::Error) -> bool {
    // A file system that knows no exchange answers with "invalid argument".
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput)
}
