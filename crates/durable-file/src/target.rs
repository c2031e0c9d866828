//! The file that a path leads to, and whether it may be replaced.

use std::fs::{self, FileType, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use crate::FileError;

/// Characters of the target's name that its temporary files carry: names have at most 255 bytes.
const NAME_CHARS: usize = 40;
/// The end of every temporary file's name.
pub(crate) const SUFFIX: &str = ".part";

/// The treatment of a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// Work on the file that it leads to. The link stays.
    Follow,
    /// Refuse it.
    Refuse,
}

/// The treatment of an existing file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Refuse to replace it, even if it appears in the last moment.
    Refuse,
    /// Replace it.
    Replace,
}

/// How to write a file.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The treatment of a symbolic link.
    pub links: Links,
    /// The treatment of an existing file.
    pub existing: Existing,
    /// The most permissions that the file gets from the one that it replaces.
    pub widest: u32,
    /// The permissions of a file that does not exist yet, within the process's umask.
    pub new_mode: u32,
}

impl Options {
    /// A new file. An existing one is refused, and so is a link.
    #[must_use]
    pub fn create() -> Self {
        Self { links: Links::Refuse, existing: Existing::Refuse, widest: 0o7777, new_mode: 0o600 }
    }

    /// A new file, or a new version of an existing one, through links, with all its permissions.
    #[must_use]
    pub fn replace() -> Self {
        Self { links: Links::Follow, existing: Existing::Replace, widest: 0o7777, new_mode: 0o600 }
    }

    /// Refuses or follows links.
    #[must_use]
    pub fn with_links(mut self, links: Links) -> Self {
        self.links = links;
        self
    }

    /// Gives a new file these permissions, within the process's umask, for content that is not secret.
    #[must_use]
    pub fn with_new_mode(mut self, mode: u32) -> Self {
        self.new_mode = mode;
        self
    }

    /// Keeps at most these permissions of the file that is replaced.
    #[must_use]
    pub fn with_widest_mode(mut self, widest: u32) -> Self {
        self.widest = widest;
        self
    }
}

/// The real path of a file that exists or not: absolute, without links.
///
/// # Errors
/// [`FileError::Link`] for a link that is refused, [`FileError::Missing`] for a link that leads nowhere or a directory
/// that does not exist.
pub fn resolve(path: &Path, links: Links) -> Result<PathBuf, FileError> {
    match path.symlink_metadata() {
        Ok(found) if found.is_symlink() && links == Links::Refuse => {
            Err(FileError::Link { path: path.into() })
        }
        Ok(_) => fs::canonicalize(path).map_err(FileError::io("find", path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let name = path.file_name().ok_or_else(|| FileError::Missing { path: path.into() })?;
            let directory = directory(path);
            let directory = fs::canonicalize(directory).map_err(FileError::io("find", directory))?;
            Ok(directory.join(name))
        }
        Err(error) => Err(FileError::io("inspect", path)(error)),
    }
}

/// Temporary files that killed processes left next to a file.
///
/// A process that replaces the file at this moment has one of them too.
///
/// # Errors
/// [`FileError::Io`] if the directory cannot be listed.
pub fn leftovers(path: &Path) -> Result<Vec<PathBuf>, FileError> {
    let real = resolve(path, Links::Follow)?;
    let (directory, prefix) = (directory(&real), prefix(&real));
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(FileError::io("list", directory))? {
        let entry = entry.map_err(FileError::io("list", directory))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(&prefix) && name.ends_with(SUFFIX) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// The directory that holds a file.
pub(crate) fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The beginning of a temporary file's name. Hidden, so that a program that loads every file of a directory
/// skips it.
pub(crate) fn prefix(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name: String = name.chars().filter(|c| *c != char::REPLACEMENT_CHARACTER).take(NAME_CHARS).collect();
    format!(".{name}.")
}

/// The metadata of a regular file, or none if there is no file.
pub(crate) fn regular(path: &Path) -> Result<Option<Metadata>, FileError> {
    match path.symlink_metadata() {
        Ok(found) => refuse_irregular(path, found.file_type()).map(|()| Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::io("inspect", path)(error)),
    }
}

/// Refuses what would be destroyed by a replacement, or waited for by a read.
pub(crate) fn refuse_irregular(path: &Path, found: FileType) -> Result<(), FileError> {
    match found.is_file() {
        true => Ok(()),
        false => Err(FileError::NotRegular { path: path.into(), kind: kind(found) }),
    }
}

fn kind(found: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt as _;
        if found.is_fifo() {
            return "a pipe";
        }
        if found.is_socket() {
            return "a socket";
        }
        if found.is_block_device() || found.is_char_device() {
            return "a device";
        }
    }
    match (found.is_dir(), found.is_symlink()) {
        (true, _) => "a directory",
        (_, true) => "a symbolic link",
        _ => "a special file",
    }
}
