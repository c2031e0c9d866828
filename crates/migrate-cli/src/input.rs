//! Files that the operator names for reading.

use std::fmt::Display;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use zeroize::Zeroizing;

use crate::exit::CliError;

/// Opens a file for reading.
///
/// # Errors
/// [`CliError::Usage`] that names the path, also for a directory.
pub(crate) fn open(path: &Path) -> Result<File, CliError> {
    let opened = File::open(path).and_then(|file| match file.metadata()?.is_dir() {
        true => Err(std::io::ErrorKind::IsADirectory.into()),
        false => Ok(file),
    });
    opened.map_err(|error| unreadable(path, &error))
}

/// Reads a whole file; its bytes are wiped when they are dropped.
///
/// # Errors
/// As [`open`].
pub(crate) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let mut file = open(path)?;
    let expected = file.metadata().map_or(0, |metadata| metadata.len());
    // One allocation where the length is as announced: a buffer that grows leaves copies of its content.
    let expected = usize::try_from(expected).unwrap_or(usize::MAX).saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::new());
    bytes.try_reserve_exact(expected).map_err(|_| unreadable(path, &"it is too large"))?;
    file.read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    Ok(bytes)
}

/// Reads a whole file of UTF-8 text.
///
/// # Errors
/// As [`open`].
pub(crate) fn read_text(path: &Path) -> Result<Zeroizing<String>, CliError> {
    let bytes = read(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| unreadable(path, &"it is not UTF-8 text"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Refuses a file that cannot be read, before anything is opened or asked for its sake. A pipe is left alone: to open it
/// twice would end its writer.
///
/// # Errors
/// As [`open`].
#[cfg(feature = "secrets")]
pub(crate) fn check(path: &Path) -> Result<(), CliError> {
    match path.metadata() {
        Ok(found) if !found.is_file() && !found.is_dir() => Ok(()),
        _ => open(path).map(drop),
    }
}

/// The error about a file that cannot be read.
pub(crate) fn unreadable(path: &Path, reason: &dyn Display) -> CliError {
    CliError::usage_with_hint(
        format!("{} cannot be read: {reason}", path.display()),
        "check the path, and that this user may read the file",
    )
}
