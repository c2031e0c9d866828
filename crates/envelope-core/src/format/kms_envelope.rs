//! KMS envelope, version 2: `kms:v2:<base64 of the wrapped data key>:<base64(nonce[12] || ciphertext || tag[16])>`.
//!
//! One data key a value, no associated data: a value is bound to its row by the encryption context that its data
//! key is wrapped under. Some writers encoded the whole text in base64 once more; that spelling is read, not written.

use secrecy::SecretString;

use crate::aead;
use crate::error::OpenError;
use crate::format::FormatError;
use crate::key::{DataKey, WrappedDataKey};
use crate::text::{ascii, decode_base64, push_base64};

const MARK: &str = "kms:v2:";
/// How base64 of a text that begins with [`MARK`] begins.
const TWICE_MARK: &str = "a21zOnYyO";

/// A parsed envelope.
#[derive(Debug)]
pub struct Envelope {
    wrapped: Vec<u8>,
    sealed: Vec<u8>,
}

impl Envelope {
    /// Parses either spelling.
    ///
    /// # Errors
    /// [`FormatError`] for anything but the canonical text.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        if text.starts_with(TWICE_MARK) {
            let inner = String::from_utf8(decode_base64(text)?).map_err(|_| FormatError::Shape)?;
            return Self::parse_plain(&inner);
        }
        Self::parse_plain(text)
    }

    /// The wrapped data key, with the key that the row names.
    ///
    /// # Errors
    /// [`FormatError::WrappedKeyLength`] if it is empty or over the limit.
    pub fn wrapped_data_key(&mut self, key_id: Option<&str>) -> Result<WrappedDataKey, FormatError> {
        WrappedDataKey::new(std::mem::take(&mut self.wrapped), key_id)
            .map_err(|_| FormatError::WrappedKeyLength)
    }

    /// Opens the payload with the unwrapped data key.
    ///
    /// # Errors
    /// [`OpenError::NotAuthentic`] or [`OpenError::NotText`].
    pub fn open(&self, key: &DataKey) -> Result<SecretString, OpenError> {
        aead::into_secret_string(aead::open(key.aes256gcm(), &[], &self.sealed)?)
    }

    fn parse_plain(text: &str) -> Result<Self, FormatError> {
        let (wrapped, sealed) =
            text.strip_prefix(MARK).and_then(|rest| rest.split_once(':')).ok_or(FormatError::Shape)?;
        let (wrapped, sealed) = (decode_base64(wrapped)?, decode_base64(sealed)?);
        if wrapped.is_empty() || wrapped.len() > crate::key::MAX_WRAPPED_LEN {
            return Err(FormatError::WrappedKeyLength);
        }
        if sealed.len() < aead::NONCE_LEN + aead::TAG_LEN {
            return Err(FormatError::TooShort);
        }
        Ok(Self { wrapped, sealed })
    }
}

/// Whether a text claims to be of this format, well-formed or not.
#[must_use]
pub fn is_marked(text: &str) -> bool {
    text.starts_with(MARK) || text.starts_with(TWICE_MARK)
}

/// Whether a text is in the spelling that is read but no longer written.
#[must_use]
pub fn is_encoded_twice(text: &str) -> bool {
    text.starts_with(TWICE_MARK)
}

/// Seals a value under a data key that is used for nothing else.
#[must_use]
pub fn seal(key: &DataKey, wrapped: &WrappedDataKey, plaintext: &str) -> String {
    let sealed = aead::seal(&key.aes256gcm_once(), &[], plaintext.as_bytes());
    encode(wrapped.bytes(), &sealed)
}

/// Puts a re-wrapped data key in front of an untouched payload.
///
/// # Errors
/// [`FormatError`] if the text is not an envelope.
pub fn replace_wrapped(text: &str, wrapped: &WrappedDataKey) -> Result<String, FormatError> {
    let envelope = Envelope::parse(text)?;
    Ok(encode(wrapped.bytes(), &envelope.sealed))
}

fn encode(wrapped: &[u8], sealed: &[u8]) -> String {
    let length = MARK.len() + wrapped.len().div_ceil(3) * 4 + 1 + sealed.len().div_ceil(3) * 4;
    let mut text = Vec::with_capacity(length);
    text.extend_from_slice(MARK.as_bytes());
    push_base64(wrapped, &mut text);
    text.push(b':');
    push_base64(sealed, &mut text);
    ascii(text)
}
