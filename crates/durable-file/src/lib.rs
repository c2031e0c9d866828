//! Files that are replaced whole or not at all.
//!
#![doc = include_str!("../README.md")]

#[cfg(unix)]
mod attributes;
mod content;
mod error;
mod replacement;
mod target;

use std::io::Write as _;
use std::path::Path;

pub use content::{Content, open};
pub use error::FileError;
pub use replacement::NewFile;
pub use target::{Existing, Links, Options, leftovers, resolve};

/// Writes a file in one step: it has all of `bytes`, or is as it was before.
///
/// # Errors
/// [`FileError`], as for [`NewFile::begin`] and [`NewFile::commit`].
pub fn write(path: impl AsRef<Path>, options: &Options, bytes: &[u8]) -> Result<(), FileError> {
    let path = path.as_ref();
    let mut new = NewFile::begin(path, options)?;
    new.write_all(bytes).map_err(FileError::io("write", path))?;
    new.commit()
}
