//! Sealed streams: files of any size, encrypted and authenticated under one 32-byte key.
//!
//! This is the format of backups, and what `seal-file` writes. A stream is a header and chunks:
//!
//! | bytes | what |
//! | --- | --- |
//! | 8 | `TKSTREAM` |
//! | 1 | version: 2, or 3 with a wrapped key |
//! | 1 | suite: 1, AES-256-GCM and HKDF-SHA-512 |
//! | 1 | kind: 1, a backup of secrets; 2, a sealed file |
//! | 1 | length of the label |
//! | 0–255 | label, UTF-8: a word on which key to open it with, for people; in version 3 the key that wrapped the data key |
//! | 2 | version 3: length of the wrapped data key, big-endian, 1 to 6,144 |
//! | 1–6,144 | version 3: the data key of this stream, wrapped by a key service |
//! | 32 | salt, random |
//! | 32 | key commitment |
//! | … | chunks: each 65,536 bytes of plaintext, the last one 0 to 65,536, and a 16-byte tag after each |
//!
//! HKDF-SHA-512 (RFC 5869) with the key for the [purpose](envelope_core::Purpose) of its kind as its input, the salt, and
//! `tokenseal sealed stream` followed by the header up to and without the salt as its info, gives 71 bytes: the content key (32), the nonce prefix (7) and the
//! commitment (32). The commitment is compared before anything is decrypted, so that a wrong key is distinguished from
//! damage, and no file opens to two plaintexts under two keys. A chunk's nonce is the prefix, its number as a
//! big-endian `u32`, and a byte that is 1 for the last chunk and else 0: the STREAM construction of Hoang,
//! Reyhanitabar, Rogaway and Vizár (2015), so chunks cannot be moved, dropped or repeated. A stream is at most
//! 2^32 chunks, or 256 TiB.
//!
//! In version 3 the key is a data key of this stream alone. The key service wrapped it under the application's context with
//! `table` = `tokenseal files` and `column` = the label of the kind's purpose, so that no wrapped key of a token opens a stream.
//!
//! Version 1 has no kind, and the key itself as the input of the derivation, for backups and sealed files alike. It is
//! read where the reader accepts it, and not written any more.

mod files;
mod header;
mod key;
mod reader;
mod writer;

use aead_stream::{NewStream, StreamBE32};
use aes_gcm::{Aes256Gcm, KeyInit};
use durable_file::FileError;
use envelope_core::{DataKey, EncryptionContext, Purpose};
use hkdf::Hkdf;
use sha2::Sha512;
use zeroize::Zeroizing;

pub use durable_file::Existing;
pub use files::{IsStopped, header, open_file, regular, seal_file};
pub(crate) use files::{commit, go_on, options};
pub use header::Header;
pub use key::StreamKey;
pub use reader::StreamReader;
pub use writer::StreamWriter;

/// Plaintext bytes in every chunk but the last.
pub const CHUNK_LEN: usize = 65_536;
/// Longest label, in bytes.
pub const MAX_LABEL_LEN: usize = 255;

const TAG_LEN: usize = 16;
const SALT_LEN: usize = 32;
const COMMITMENT_LEN: usize = 32;
const KEY_LEN: usize = 32;
const NONCE_PREFIX_LEN: usize = 7;
const INFO: &[u8] = b"tokenseal sealed stream";
/// The table name in the context of a stream's wrapped key.
const CONTEXT_TABLE: &str = "tokenseal files";

type Stream = StreamBE32<Aes256Gcm>;

/// The kind of a stream. Each kind has a key of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamKind {
    /// A backup of secrets.
    Backup,
    /// Any file.
    File,
}

impl StreamKind {
    fn byte(self) -> u8 {
        match self {
            Self::Backup => 1,
            Self::File => 2,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Backup, Self::File].into_iter().find(|kind| kind.byte() == byte)
    }

    fn purpose(self) -> Purpose {
        match self {
            Self::Backup => Purpose::Backup,
            Self::File => Purpose::SealedFile,
        }
    }

    /// The context that a key service wraps the data key of such a stream under; none if the application's pairs make no
    /// context.
    #[must_use]
    pub fn context(self, base: &[(String, String)]) -> Option<EncryptionContext> {
        let base = base.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let own = [("table", CONTEXT_TABLE), ("column", self.purpose().label())];
        EncryptionContext::new(base.chain(own)).ok()
    }
}

/// Which streams a reader opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opens {
    /// Those of this kind.
    Only(StreamKind),
    /// Those as well that do not say their kind, because they were written before there were any.
    OrUnlabelled(StreamKind),
    /// Every stream.
    Any,
}

impl Opens {
    fn check(self, kind: Option<StreamKind>) -> Result<(), StreamError> {
        match (self, kind) {
            (Self::Any, _) | (Self::OrUnlabelled(_), None) => Ok(()),
            (Self::Only(_), None) => Err(StreamError::Unlabelled),
            (Self::Only(wanted) | Self::OrUnlabelled(wanted), Some(kind)) if wanted == kind => Ok(()),
            (Self::Only(_) | Self::OrUnlabelled(_), Some(_)) => Err(StreamError::OtherKind),
        }
    }
}

/// Why a stream was not sealed, or does not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// It is not a sealed stream.
    #[error("not a sealed stream")]
    NotSealed,
    /// It is of a version or suite that this program does not know.
    #[error("sealed stream of an unknown version")]
    UnknownVersion,
    /// It is a backup where a sealed file is expected, or the other way round.
    #[error("sealed stream of another kind")]
    OtherKind,
    /// It does not say what kind it is, and such streams are refused here.
    #[error("sealed stream does not say whether it is a backup, and such streams are refused here")]
    Unlabelled,
    /// It was sealed under another key, or its header was changed.
    #[error("sealed stream does not belong to this key, or its header is damaged")]
    WrongKey,
    /// A chunk was changed, moved, dropped or added.
    #[error("sealed stream is damaged")]
    Damaged,
    /// Its end is missing.
    #[error("sealed stream ends too early")]
    Truncated,
    /// The label is over [`MAX_LABEL_LEN`], or the plaintext over 256 TiB.
    #[error("too long for a sealed stream")]
    TooLong,
    /// The caller asked for the end of the work. Nothing half-written is left.
    #[error("stopped before it was complete; nothing was written")]
    Stopped,
    /// Reading or writing failed.
    #[error("cannot read or write a sealed stream")]
    Io(#[from] std::io::Error),
    /// The file was not written, or must not be.
    #[error(transparent)]
    File(#[from] FileError),
}

impl StreamError {
    /// The next step for the operator.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotSealed => "check the path: this file was not written by a backup or by seal-file",
            Self::OtherKind => {
                "`restore` reads what `backup` wrote; `open-file` opens other files, and a backup with --as-backup"
            }
            Self::Unlabelled => {
                "check that `backup` wrote it, then accept it with `restore --unlabelled`: it is of a version that did not say"
            }
            Self::File(error) => return Some(error.hint()),
            Self::UnknownVersion => "use the version of the program that wrote it, or a newer one",
            Self::WrongKey => "use the key that it was sealed with; the label in the file says which",
            Self::Damaged | Self::Truncated => "use another copy; nothing of this one was used",
            Self::Io(_) => "check the paths, their permissions and the free space",
            Self::Stopped => "run it again",
            Self::TooLong => return None,
        })
    }
}

/// The cipher of a stream, and the commitment that belongs in its header.
fn derive(
    key: &DataKey,
    header: &Header,
    salt: &[u8; SALT_LEN],
) -> Result<(Stream, [u8; COMMITMENT_LEN]), StreamError> {
    let mut okm = Zeroizing::new([0; KEY_LEN + NONCE_PREFIX_LEN + COMMITMENT_LEN]);
    let preamble = header.bytes()?;
    let of_kind = header.kind().map(|kind| kind.purpose().derive(key));
    let hkdf = Hkdf::<Sha512>::new(Some(salt), of_kind.as_ref().unwrap_or(key).expose_secret());
    hkdf.expand_multi_info(&[INFO, &preamble], okm.as_mut_slice()).map_err(|_| StreamError::TooLong)?;
    let (content_key, rest) = okm.split_at(KEY_LEN);
    let (nonce_prefix, rest) = rest.split_at(NONCE_PREFIX_LEN);
    let cipher = Aes256Gcm::new_from_slice(content_key).map_err(|_| StreamError::TooLong)?;
    let mut prefix = [0; NONCE_PREFIX_LEN];
    prefix.copy_from_slice(nonce_prefix);
    let mut commitment = [0; COMMITMENT_LEN];
    commitment.copy_from_slice(rest);
    Ok((Stream::from_aead(cipher, &prefix.into()), commitment))
}
