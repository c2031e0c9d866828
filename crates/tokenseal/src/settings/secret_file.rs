//! A secret variable's value from the file that `<NAME>_FILE` names.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use zeroize::Zeroizing;

/// The longest file that is read, in bytes. No setting is near it.
pub const MAX_SECRET_FILE_LEN: usize = 64 * 1024;

/// Why a file gives no value. Neither the path nor the content is repeated: either may hold a secret that was put there by mistake.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecretFileError {
    #[error("file cannot be read ({0})")]
    Unreadable(io::ErrorKind),
    #[error("is not a regular file")]
    NotAFile,
    #[error("file is longer than {MAX_SECRET_FILE_LEN} bytes")]
    TooLong,
    #[error("file is not UTF-8 text")]
    NotText,
    #[error("file is empty")]
    Empty,
}

/// Reads a regular file, without the one line break that editors put at the end. A symbolic link is followed, as
/// mounted secrets are links.
pub(super) fn read(path: &Path) -> Result<Zeroizing<String>, SecretFileError> {
    // Without waiting: to open a named pipe would otherwise wait for its writer.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(SecretFileError::NotAFile);
    }
    // A buffer that never grows leaves no copy of the secret in freed memory.
    let mut bytes = Zeroizing::new(vec![0; MAX_SECRET_FILE_LEN + 1]);
    let mut len = 0;
    while len < bytes.len() {
        match file.read(&mut bytes[len..]) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
    if len > MAX_SECRET_FILE_LEN {
        return Err(SecretFileError::TooLong);
    }
    let text = std::str::from_utf8(&bytes[..len]).map_err(|_| SecretFileError::NotText)?;
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    if text.trim().is_empty() {
        return Err(SecretFileError::Empty);
    }
    Ok(Zeroizing::new(text.to_owned()))
}

fn unreadable(error: io::Error) -> SecretFileError {
    SecretFileError::Unreadable(error.kind())
}
