//! Secrets from standard input.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;

use envelope_core::format::MAX_PLAINTEXT_LEN;
use zeroize::Zeroizing;

use crate::exit::CliError;

/// Reads to the end, or to the first byte too many for any secret.
pub(crate) async fn read_secret() -> Result<Zeroizing<Vec<u8>>, CliError> {
    let read = tokio::task::spawn_blocking(|| read_up_to(MAX_PLAINTEXT_LEN + "\r\n".len() + 1)).await;
    let read = read.unwrap_or_else(|error| Err(io::Error::other(error)));
    read.map_err(CliError::io("standard input cannot be read"))
}

/// A text without the line break that `echo` and editors put at its end.
pub(crate) fn without_line_break(text: &str) -> &str {
    text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text))
}

/// Past the buffers of the standard library and of the runtime, which are not wiped; and into one that never grows, which
/// would leave its content.
fn read_up_to(limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut bytes = Zeroizing::new(vec![0; limit]);
    let mut len = 0;
    while len < limit {
        match input.read(&mut bytes[len..]) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(len);
    Ok(bytes)
}
