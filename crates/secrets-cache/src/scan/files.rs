//! Which files a scan reads, and their text.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use durable_file::{Content, FileError, Links};
use ignore::WalkBuilder;

use super::kind::Kind;
use super::shown;

/// Longest file that is read, in bytes.
pub(super) const MAX_LEN: u64 = 64 << 20;
/// Bytes that are read to distinguish text from other content.
const SAMPLE: usize = 8 << 10;
/// The byte order mark of UTF-8.
const UTF8_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];
/// Directories of tools, which hold copies of other files.
const PASSED_OVER: [&str; 6] = [".git", ".hg", ".svn", "node_modules", ".venv", "__pycache__"];
/// Files in them that hold credentials of their own.
const READ_ANYWAY: [&str; 2] = [".git/config", ".hg/hgrc"];

/// A file that was not read, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unread {
    /// The path. A token in it is replaced by `***`.
    pub path: PathBuf,
    /// The reason.
    pub reason: Reason,
    /// Whether the caller named this path; otherwise it was found in a directory.
    pub named: bool,
}

impl Unread {
    /// A path that was not read.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, reason: Reason, named: bool) -> Self {
        Self { path: shown::path(&path.into()), reason, named }
    }
}

/// Why a file was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// There is no such file.
    Missing,
    /// It is a device, a pipe or a socket.
    NotRegular,
    /// It is a symbolic link, and those in directories are not followed.
    Link,
    /// It is not text.
    Binary,
    /// It is too long.
    TooLong,
    /// The operating system refused.
    Io(io::ErrorKind),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("does not exist"),
            Self::NotRegular => f.write_str("not a regular file"),
            Self::Link => f.write_str("a symbolic link"),
            Self::Binary => f.write_str("not text"),
            Self::TooLong => write!(f, "longer than {} MiB", MAX_LEN >> 20),
            Self::Io(kind) => write!(f, "{kind}"),
        }
    }
}

impl From<FileError> for Reason {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Missing { .. } => Self::Missing,
            FileError::NotRegular { .. } => Self::NotRegular,
            FileError::Link { .. } => Self::Link,
            FileError::TooLong { .. } => Self::TooLong,
            FileError::Io { cause, .. } => Self::Io(cause.kind()),
            _ => Self::Io(io::ErrorKind::Other),
        }
    }
}

/// The files below a path.
#[derive(Default)]
pub(super) struct Listing {
    pub(super) files: Vec<PathBuf>,
    pub(super) unread: Vec<Unread>,
    pub(super) ignored: u64,
}

/// The file itself, or the files below a directory, in a stable order.
pub(super) fn list(path: &Path, use_ignore_files: bool) -> Listing {
    let mut listing = Listing::default();
    match path.metadata() {
        Ok(found) if found.is_dir() => {}
        Ok(_) => {
            listing.files.push(path.to_owned());
            return listing;
        }
        Err(error) => {
            let reason = if error.kind() == io::ErrorKind::NotFound {
                Reason::Missing
            } else {
                Reason::Io(error.kind())
            };
            listing.unread.push(Unread::new(path, reason, true));
            return listing;
        }
    }
    let kept = use_ignore_files.then(|| walk(path, true, &mut Vec::new()));
    for file in walk(path, false, &mut listing.unread) {
        let is_kept = kept.as_ref().is_none_or(|kept| kept.binary_search(&file).is_ok());
        if is_kept || is_always_read(&file) {
            listing.files.push(file);
        } else {
            listing.ignored += 1;
        }
    }
    for name in READ_ANYWAY {
        listing.files.extend(Some(path.join(name)).filter(|file| file.is_file()));
    }
    listing
}

/// Every file below a directory, sorted. Entries that are no files, or cannot be listed, go to `unread`.
fn walk(path: &Path, use_ignore_files: bool, unread: &mut Vec<Unread>) -> Vec<PathBuf> {
    let mut walk = WalkBuilder::new(path);
    walk.standard_filters(false).follow_links(false).require_git(false);
    walk.git_ignore(use_ignore_files).git_exclude(use_ignore_files).parents(use_ignore_files);
    walk.filter_entry(|entry| entry.depth() == 0 || !is_passed_over(entry.path()));
    let mut files = Vec::new();
    for entry in walk.build() {
        match entry {
            Ok(entry) => match entry.file_type() {
                Some(kind) if kind.is_file() => files.push(entry.into_path()),
                Some(kind) if kind.is_dir() => {}
                Some(kind) if kind.is_symlink() => {
                    unread.push(Unread::new(entry.into_path(), Reason::Link, false))
                }
                _ => unread.push(Unread::new(entry.into_path(), Reason::NotRegular, false)),
            },
            Err(error) => {
                let kind = error.io_error().map_or(io::ErrorKind::Other, io::Error::kind);
                let at = path_of(&error).unwrap_or_else(|| path.to_owned());
                unread.push(Unread::new(at, Reason::Io(kind), false));
            }
        }
    }
    files.sort();
    files
}

fn path_of(error: &ignore::Error) -> Option<PathBuf> {
    match error {
        ignore::Error::WithPath { path, .. } => Some(path.clone()),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => path_of(err),
        _ => None,
    }
}

fn is_passed_over(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    // Build directories of Cargo and others mark themselves.
    path.is_dir() && (PASSED_OVER.iter().any(|passed| name == *passed) || path.join("CACHEDIR.TAG").is_file())
}

/// A `.env` is usually ignored by git, but it is the main target of a scan.
fn is_always_read(path: &Path) -> bool {
    path.file_name().unwrap_or_default().to_string_lossy().starts_with(".env")
}

/// The text of a file. A named file, and one that holds an environment by its name, is read even if it is not all text.
pub(super) fn read(path: &Path, named: bool) -> Result<String, Reason> {
    let links = if named { Links::Follow } else { Links::Refuse };
    let content = Content::read(path, links, MAX_LEN)?;
    text(content.bytes(), named || Kind::of(path) == Kind::Env).ok_or(Reason::Binary)
}

/// UTF-8 and UTF-16 with or without their marks, UTF-32 with its mark, or text of an older encoding, whose other characters
/// are replaced. There is always a text if it is forced.
pub(super) fn text(bytes: &[u8], is_forced: bool) -> Option<String> {
    let bytes = bytes.strip_prefix(&UTF8_MARK).unwrap_or(bytes);
    let sample = &bytes[..bytes.len().min(SAMPLE)];
    match bytes {
        [0xff, 0xfe, 0, 0, rest @ ..] => return Some(utf32(rest, u32::from_le_bytes)),
        [0, 0, 0xfe, 0xff, rest @ ..] => return Some(utf32(rest, u32::from_be_bytes)),
        [0xff, 0xfe, rest @ ..] => return Some(utf16(rest, u16::from_le_bytes)),
        [0xfe, 0xff, rest @ ..] => return Some(utf16(rest, u16::from_be_bytes)),
        _ => {}
    }
    let zeros = |parity: usize| sample.iter().skip(parity).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    let most = sample.len() / 2 * 3 / 4;
    if even + odd == 0 || is_forced && even.max(odd) <= most {
        return Some(String::from_utf8_lossy(bytes).into_owned());
    }
    // In UTF-16, Latin letters have a zero byte each, always on the same side.
    match (even <= most, odd <= most) {
        (true, false) => Some(utf16(bytes, u16::from_le_bytes)),
        (false, true) => Some(utf16(bytes, u16::from_be_bytes)),
        _ => is_forced.then(|| String::from_utf8_lossy(bytes).into_owned()),
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
    char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

fn utf32(bytes: &[u8], unit: fn([u8; 4]) -> u32) -> String {
    let units = bytes.chunks_exact(4).map(|four| unit([four[0], four[1], four[2], four[3]]));
    units.map(|unit| char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_mark_is_taken_off_and_a_file_of_marks_ends() {
        assert_eq!(text(b"\xef\xbb\xbfA=1", false).as_deref(), Some("A=1"));
        let many = UTF8_MARK.repeat(1 << 20);
        assert_eq!(text(&many, false).map(|text| text.len()), Some(many.len() - UTF8_MARK.len()));
    }
}
