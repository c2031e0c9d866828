//! Sealing and opening whole files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use envelope_core::DataKey;

use super::{StreamError, StreamReader, StreamWriter};

/// Seals a file into another, which appears only when it is whole. An existing file is replaced.
///
/// # Errors
/// [`StreamError`].
pub fn seal_file(key: &DataKey, label: &str, from: &Path, to: &Path) -> Result<(), StreamError> {
    let mut from = BufReader::new(File::open(from)?);
    let target = Unfinished::create(to)?;
    let mut writer = StreamWriter::new(BufWriter::new(target.file()?), key, label)?;
    io::copy(&mut from, &mut writer)?;
    writer.finish()?;
    target.finish()
}

/// Opens a sealed file into another, which appears only when all of it has proved whole.
///
/// # Errors
/// [`StreamError`]; then there is no new file, and an existing one is as it was.
pub fn open_file(key: &DataKey, from: &Path, to: &Path) -> Result<(), StreamError> {
    let mut reader = StreamReader::new(BufReader::new(File::open(from)?), key)?;
    let target = Unfinished::create(to)?;
    let mut writer = BufWriter::new(target.file()?);
    while let Some(chunk) = reader.next_chunk()? {
        writer.write_all(chunk)?;
    }
    writer.flush()?;
    drop(writer);
    target.finish()
}

/// A file under another name, readable by its owner only, which becomes the real one or nothing.
pub(crate) struct Unfinished {
    file: File,
    path: PathBuf,
    target: PathBuf,
}

impl Unfinished {
    pub(crate) fn create(target: &Path) -> Result<Self, StreamError> {
        // A device or a pipe would not be written to, but be gone.
        if target.metadata().is_ok_and(|there| !there.is_file()) {
            let problem = format!("{} is there and is no regular file", target.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem).into());
        }
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{:016x}.part", rand::random::<u64>()));
        let path = target.with_file_name(name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Ok(Self { file: options.open(&path)?, path, target: target.to_owned() })
    }

    pub(crate) fn file(&self) -> Result<File, StreamError> {
        Ok(self.file.try_clone()?)
    }

    pub(crate) fn finish(self) -> Result<(), StreamError> {
        self.file.sync_all()?;
        fs::rename(&self.path, &self.target)?;
        // The new name is in the directory, which is written on its own account.
        #[cfg(unix)]
        if let Some(directory) = self.target.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After a rename there is nothing of this name any more.
        let _ = fs::remove_file(&self.path);
    }
}
