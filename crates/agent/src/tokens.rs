//! The file of callers' tokens: lines `name:token`, compared in constant time, read again on SIGHUP.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use sha2::{Digest as _, Sha256};
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};
use zeroize::Zeroizing;

/// The longest file that is read, in bytes: some hundreds of tokens.
const MAX_FILE_LEN: u64 = 64 * 1024;
/// The shortest token, in characters: 32 random bytes as base64 without padding.
const MIN_TOKEN_LEN: usize = 43;
/// The longest token, in characters. The clients send none that is longer.
const MAX_TOKEN_LEN: usize = 4096;

/// Tokens by their holders' names. Of a token, its digest alone is kept.
pub struct Tokens {
    path: PathBuf,
    held: RwLock<Vec<Held>>,
}

struct Held {
    name: Arc<str>,
    digest: [u8; 32],
}

/// Why a file of tokens is refused. It repeats nothing of the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokensError {
    /// It cannot be read.
    #[error("file cannot be read ({0})")]
    Unreadable(io::ErrorKind),
    /// It is a directory, a pipe or a device.
    #[error("is not a regular file")]
    NotAFile,
    /// Others than its owner can read or write it.
    #[error("file can be used by group or others (mode {mode:04o})")]
    Open {
        /// Its permissions.
        mode: u32,
    },
    /// It is over 64 KiB.
    #[error("file is longer than {MAX_FILE_LEN} bytes")]
    TooLong,
    /// It is not text.
    #[error("file is not UTF-8 text")]
    NotText,
    /// A line is not of the form `name:token`.
    #[error("line {line} is not name:token, with a name of letters, digits, `-`, `_` and `.`")]
    Line {
        /// The line, from 1.
        line: usize,
    },
    /// A token is too short to be 32 random bytes, or cannot be sent in a header.
    #[error("token in line {line} is not {MIN_TOKEN_LEN} to {MAX_TOKEN_LEN} printable ASCII characters")]
    Token {
        /// The line, from 1.
        line: usize,
    },
    /// A name or a token is there twice.
    #[error("name or token in line {line} is given twice")]
    Twice {
        /// The line, from 1.
        line: usize,
    },
    /// The file has no token.
    #[error("file has no token")]
    Empty,
}

impl Tokens {
    /// Reads a file.
    ///
    /// # Errors
    /// `TokensError`.
    pub fn read(path: &Path) -> Result<Self, TokensError> {
        let held = RwLock::new(parse(&content(path)?)?);
        Ok(Self { path: path.to_owned(), held })
    }

    /// Reads the file again. If it is refused, the tokens stay as they were.
    ///
    /// # Errors
    /// `TokensError`.
    pub(crate) fn reload(&self) -> Result<usize, TokensError> {
        let new = parse(&content(&self.path)?)?;
        let count = new.len();
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(count)
    }

    /// The holder of a token. The time that it takes depends on the number of tokens only.
    pub(crate) fn holder(&self, token: &[u8]) -> Option<Arc<str>> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = u32::MAX;
        for (index, one) in (0u32..).zip(held.iter()) {
            found.conditional_assign(&index, one.digest.ct_eq(&digest));
        }
        held.get(usize::try_from(found).ok()?).map(|one| one.name.clone())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.iter().any(|one| &*one.name == name)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Opened once, so that the file that is read is the one that was checked; without waiting for the writer of
/// a named pipe.
fn content(path: &Path) -> Result<Zeroizing<Vec<u8>>, TokensError> {
    let unreadable = |error: io::Error| TokensError::Unreadable(error.kind());
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path).map_err(unreadable)?;
    let found = file.metadata().map_err(unreadable)?;
    if !found.is_file() {
        return Err(TokensError::NotAFile);
    }
    if found.mode() & 0o077 != 0 {
        return Err(TokensError::Open { mode: found.mode() & 0o7777 });
    }
    // A buffer that never grows leaves no copy of a token in freed memory.
    let room = usize::try_from(MAX_FILE_LEN + 1).unwrap_or(usize::MAX);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(MAX_FILE_LEN + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() == room { Err(TokensError::TooLong) } else { Ok(bytes) }
}

/// Empty lines and lines that begin with `#` are skipped.
fn parse(bytes: &[u8]) -> Result<Vec<Held>, TokensError> {
    let text = std::str::from_utf8(bytes).map_err(|_| TokensError::NotText)?;
    let mut all: Vec<Held> = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        if text.trim().is_empty() || text.starts_with('#') {
            continue;
        }
        let (name, token) = text.split_once(':').ok_or(TokensError::Line { line })?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 64 || !name.chars().all(is_name) {
            return Err(TokensError::Line { line });
        }
        let fits = (MIN_TOKEN_LEN..=MAX_TOKEN_LEN).contains(&token.len());
        if !fits || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokensError::Token { line });
        }
        let digest: [u8; 32] = Sha256::digest(token).into();
        if all.iter().any(|one| &*one.name == name || one.digest == digest) {
            return Err(TokensError::Twice { line });
        }
        all.push(Held { name: name.into(), digest });
    }
    if all.is_empty() { Err(TokensError::Empty) } else { Ok(all) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "c2l4dHktZm91ciBieXRlcyBvZiByYW5kb21uZXNzIGlzIG1vcmU";

    #[test]
    fn each_token_names_its_holder_and_nothing_else_does() {
        let other = TOKEN.replace('c', "d");
        let text = format!("# callers\n\nbilling:{TOKEN}\ncrm.2:{other}\n");
        let tokens =
            Tokens { path: PathBuf::new(), held: RwLock::new(parse(text.as_bytes()).unwrap_or_default()) };
        assert_eq!(tokens.holder(TOKEN.as_bytes()).as_deref(), Some("billing"));
        assert_eq!(tokens.holder(other.as_bytes()).as_deref(), Some("crm.2"));
        for wrong in ["", &TOKEN[1..], &format!("{TOKEN} ")] {
            assert_eq!(tokens.holder(wrong.as_bytes()), None);
        }
        assert!(tokens.has("billing") && !tokens.has("sales"));
    }

    #[test]
    fn lines_that_hold_no_name_and_token_are_refused() {
        let refused = |text: &str| parse(text.as_bytes()).err().map(|error| error.to_string());
        for text in ["", "# none\n", "billing", ":token", "bill ing:token", "billing:short"] {
            assert!(refused(text).is_some(), "{text:?}");
        }
        let spaced = format!("billing:{} {}", &TOKEN[..20], &TOKEN[20..]);
        let said = refused(&spaced).unwrap_or_default();
        assert!(said.starts_with("token in line 1") && !said.contains(&TOKEN[..20]), "{said}");
        assert!(refused(&format!("a:{TOKEN}\na:{}", TOKEN.replace('c', "d"))).is_some());
        assert!(refused(&format!("a:{TOKEN}\nb:{TOKEN}")).is_some());
    }
}
