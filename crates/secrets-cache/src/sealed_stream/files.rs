//! Sealing and opening whole files.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Write};
use std::path::Path;

use durable_file::{Existing, Links, NewFile, Options};
use envelope_core::DataKey;

use super::{Header, Opens, StreamError, StreamKey, StreamKind, StreamReader, StreamWriter};

/// The widest mode of a file with plaintext.
const PRIVATE: u32 = 0o600;

/// Bytes between two looks at a signal.
const STEP: u64 = 1 << 20;

/// Asked between the steps of long work: true ends it with [`StreamError::Stopped`], and nothing half-written is left.
pub type IsStopped<'a> = &'a (dyn Fn() -> bool + Send + Sync);

/// Opens a regular file for reading: a pipe would be waited for.
///
/// # Errors
/// [`StreamError`].
pub fn regular(path: &Path) -> Result<File, StreamError> {
    Ok(durable_file::open(path, Links::Follow)?)
}

/// Seals a file into another of this kind, which appears only when it is whole.
///
/// # Errors
/// [`StreamError`]. A file that is there already is an error unless `existing` says to replace it, even if it appears in
/// the last moment.
pub fn seal_file(
    key: &StreamKey,
    kind: StreamKind,
    from: &Path,
    to: &Path,
    existing: Existing,
    is_stopped: IsStopped<'_>,
) -> Result<(), StreamError> {
    let mut from = BufReader::new(regular(from)?);
    let target = NewFile::begin(to, &options(existing))?;
    let mut writer = StreamWriter::new(BufWriter::new(target), key, kind)?;
    while io::copy(&mut from.by_ref().take(STEP), &mut writer)? > 0 {
        go_on(is_stopped)?;
    }
    commit(writer.finish()?)
}

/// Reads the header of a sealed file or a backup, to find its key. Opening the file shows whether the header
/// is true.
///
/// # Errors
/// [`StreamError`].
pub fn header(path: &Path) -> Result<Header, StreamError> {
    Header::read(&mut BufReader::new(regular(path)?))
}

/// Opens a stream of this kind into another file, which appears only when all of it has proved whole. Streams from before there
/// were kinds open as well.
///
/// # Errors
/// [`StreamError`]; then there is no new file, and an existing one is as it was. A file that is replaced loses the permissions
/// of its group and of others.
pub fn open_file(
    key: &DataKey,
    kind: StreamKind,
    from: &Path,
    to: &Path,
    existing: Existing,
    is_stopped: IsStopped<'_>,
) -> Result<(), StreamError> {
    let mut reader = StreamReader::new(BufReader::new(regular(from)?), key, Opens::OrUnlabelled(kind))?;
    // The content was sealed, so only the owner may read it.
    let private = options(existing).with_widest_mode(PRIVATE);
    let mut writer = BufWriter::new(NewFile::begin(to, &private)?);
    while let Some(chunk) = reader.next_chunk()? {
        writer.write_all(chunk)?;
        go_on(is_stopped)?;
    }
    commit(writer)
}

pub(crate) fn go_on(is_stopped: IsStopped<'_>) -> Result<(), StreamError> {
    if is_stopped() { Err(StreamError::Stopped) } else { Ok(()) }
}

pub(crate) fn options(existing: Existing) -> Options {
    match existing {
        Existing::Refuse => Options::create(),
        Existing::Replace => Options::replace(),
    }
}

pub(crate) fn commit(written: BufWriter<NewFile>) -> Result<(), StreamError> {
    let file = written.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(file.commit()?)
}
