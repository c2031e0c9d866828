//! The header of a stream, without salt and commitment: the part that the derivation authenticates.

use std::io::{self, Read};

use envelope_core::WrappedDataKey;

use super::{StreamError, StreamKey, StreamKind};

const MAGIC: [u8; 8] = *b"TKSTREAM";
/// The version without a kind.
const UNLABELLED: u8 = 1;
const LABELLED: u8 = 2;
/// The version with a wrapped data key.
const WRAPPED: u8 = 3;
const SUITE: u8 = 1;

/// The header of a stream. It is authentic once the stream has been opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    kind: Option<StreamKind>,
    label: String,
    wrapped: Option<WrappedDataKey>,
}

impl Header {
    /// The header of a new stream.
    pub(super) fn new(kind: StreamKind, key: &StreamKey) -> Self {
        Self { kind: Some(kind), label: key.label().to_owned(), wrapped: key.wrapped().cloned() }
    }

    /// The kind of the stream; `None` in the first version.
    #[must_use]
    pub fn kind(&self) -> Option<StreamKind> {
        self.kind
    }

    /// Which key opens the stream, in words.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The stream's data key, if a key service wrapped one.
    #[must_use]
    pub fn wrapped(&self) -> Option<&WrappedDataKey> {
        self.wrapped.as_ref()
    }

    /// Reads a header.
    pub(super) fn read(inner: &mut impl Read) -> Result<Self, StreamError> {
        let magic: [u8; MAGIC.len()] = take(inner).map_err(|error| match error {
            StreamError::Truncated => StreamError::NotSealed,
            error => error,
        })?;
        if magic != MAGIC {
            return Err(StreamError::NotSealed);
        }
        let [version, suite] = take(inner)?;
        if suite != SUITE || !(UNLABELLED..=WRAPPED).contains(&version) {
            return Err(StreamError::UnknownVersion);
        }
        let kind = match version {
            UNLABELLED => None,
            _ => Some(read_kind(inner)?),
        };
        let label = read_label(inner)?;
        let wrapped = match version {
            WRAPPED => Some(read_wrapped(inner, &label)?),
            _ => None,
        };
        Ok(Self { kind, label, wrapped })
    }

    /// The header as bytes.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, StreamError> {
        let length = u8::try_from(self.label.len()).map_err(|_| StreamError::TooLong)?;
        let mut bytes = MAGIC.to_vec();
        match (self.kind, &self.wrapped) {
            (Some(kind), None) => bytes.extend_from_slice(&[LABELLED, SUITE, kind.byte(), length]),
            (Some(kind), Some(_)) => bytes.extend_from_slice(&[WRAPPED, SUITE, kind.byte(), length]),
            (None, _) => bytes.extend_from_slice(&[UNLABELLED, SUITE, length]),
        }
        bytes.extend_from_slice(self.label.as_bytes());
        if let Some(wrapped) = &self.wrapped {
            let length = u16::try_from(wrapped.bytes().len()).map_err(|_| StreamError::TooLong)?;
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(wrapped.bytes());
        }
        Ok(bytes)
    }
}

fn read_kind(inner: &mut impl Read) -> Result<StreamKind, StreamError> {
    let [kind] = take(inner)?;
    StreamKind::from_byte(kind).ok_or(StreamError::UnknownVersion)
}

fn read_label(inner: &mut impl Read) -> Result<String, StreamError> {
    let [length] = take(inner)?;
    let mut label = vec![0; usize::from(length)];
    inner.read_exact(&mut label).map_err(truncated)?;
    // A label that is not text was changed, and the derivation would say so.
    String::from_utf8(label).map_err(|_| StreamError::WrongKey)
}

fn read_wrapped(inner: &mut impl Read, label: &str) -> Result<WrappedDataKey, StreamError> {
    let mut wrapped = vec![0; usize::from(u16::from_be_bytes(take(inner)?))];
    inner.read_exact(&mut wrapped).map_err(truncated)?;
    let key_id = Some(label).filter(|label| !label.is_empty());
    // A length that no wrapped key has was changed.
    WrappedDataKey::new(wrapped, key_id).map_err(|_| StreamError::WrongKey)
}

pub(super) fn take<const N: usize>(inner: &mut impl Read) -> Result<[u8; N], StreamError> {
    let mut bytes = [0; N];
    inner.read_exact(&mut bytes).map_err(truncated)?;
    Ok(bytes)
}

fn truncated(error: io::Error) -> StreamError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => StreamError::Truncated,
        _ => error.into(),
    }
}
