//! The bound envelope, version 3: `kms:v3:<base64url, without padding, of a binary envelope>`, bound to its cell.
//!
//! ```text
//! header   version u8 = 3 | suite u16 | flags u8 = 0 | message id [32] | commitment [32]
//! key      length u16 | wrapped data key
//! payload  length u32 | ciphertext | tag [16]
//! ```
//!
//! Integers are big-endian. Every message has a content key of its own, HKDF-SHA-512 of the data key salted with the
//! random message id, and a commitment to the data key derived alike, both as in the AWS Encryption SDK's committing
//! suites (`framework/algorithm-suites.md`), so that one data key may serve many messages. The nonce is all zeros: a
//! content key seals one message and no other, so a nonce has nothing to distinguish.
//!
//! Associated with the payload are a label, the whole header and the cell's [canonical binding](Binding::canonical).
//! The wrapped data key is not, so that it can be re-wrapped without opening the value; it is held by the
//! commitment instead: changed bytes do not unwrap, or unwrap to another data key, to which the value does not
//! commit. The lengths are held by there being one way only to divide the envelope.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut, KeyInit, Nonce};
use chacha20poly1305::ChaCha20Poly1305;
use secrecy::{SecretSlice, SecretString};
use zeroize::Zeroizing;

use crate::aead;
use crate::binding::Binding;
use crate::context::{ContextError, push_length};
use crate::error::{OpenError, SealError};
use crate::format::{FormatError, MAX_PLAINTEXT_LEN};
use crate::key::{DataKey, MAX_WRAPPED_LEN, WrappedDataKey};
use crate::message_key::{COMMITMENT_LEN, ID_LEN, MessageKey};
use crate::random;
use crate::text::{decode_base64url, push_base64url};

/// How every value of this format begins.
pub(crate) const MARK: &str = "kms:v3:";

/// Begins the associated data, so that no other use of a data key can be mistaken for this one.
const LABEL: &[u8] = b"tokenseal bound envelope v3\0";
const VERSION: u8 = 3;
const COMMITMENT_AT: usize = 4 + ID_LEN;
const HEADER_LEN: usize = COMMITMENT_AT + COMMITMENT_LEN;
const MAX_LEN: usize = HEADER_LEN + 2 + MAX_WRAPPED_LEN + 4 + MAX_PLAINTEXT_LEN + aead::TAG_LEN;

/// How a bound envelope derives its keys and seals its payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Suite {
    /// AES-256-GCM, `0x0478`: the AWS Encryption SDK's number for the same derivation and commitment.
    #[default]
    Aes256Gcm,
    /// ChaCha20-Poly1305 (RFC 8439), `0xf478`: derivation and commitment as in `0x0478`. The SDK has no such suite;
    /// its numbers and those of its sister libraries stay below `0x8000`, ours begin at `0xf000`.
    ChaCha20Poly1305,
}

impl Suite {
    /// The number in the header, and in the derivation of the content key.
    #[must_use]
    pub fn id(self) -> u16 {
        match self {
            Self::Aes256Gcm => 0x0478,
            Self::ChaCha20Poly1305 => 0xf478,
        }
    }

    fn from_id(id: u16) -> Option<Self> {
        [Self::Aes256Gcm, Self::ChaCha20Poly1305].into_iter().find(|suite| suite.id() == id)
    }
}

/// A parsed envelope.
#[derive(Debug)]
pub struct Envelope {
    bytes: Vec<u8>,
    suite: Suite,
    wrapped_len: usize,
}

impl Envelope {
    /// Parses a value.
    ///
    /// # Errors
    /// [`FormatError`] for an unknown version, suite or flag, missing or trailing bytes, fields over their limits,
    /// and base64url that is not canonical.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let encoded = text.strip_prefix(MARK).ok_or(FormatError::Shape)?;
        if encoded.len() > MAX_LEN.div_ceil(3) * 4 {
            return Err(FormatError::TooLong);
        }
        Self::from_bytes(decode_base64url(encoded)?)
    }

    /// The suite that it was sealed with.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The wrapped data key, with the key that the row names.
    ///
    /// # Errors
    /// [`FormatError::WrappedKeyLength`], which a parsed envelope never has.
    pub fn wrapped_data_key(&self, key_id: Option<&str>) -> Result<WrappedDataKey, FormatError> {
        WrappedDataKey::new(self.wrapped(), key_id).map_err(|_| FormatError::WrappedKeyLength)
    }

    /// Opens the payload with the unwrapped data key, for the cell that it is stored in.
    ///
    /// # Errors
    /// [`OpenError::NotAuthentic`], the same for a wrong commitment, another cell and a damaged payload;
    /// [`OpenError::NotText`]; [`OpenError::Context`] where the binding is unusable.
    pub fn open(&self, key: &DataKey, binding: &Binding<'_>) -> Result<SecretString, OpenError> {
        aead::into_secret_string(self.open_payload(key, binding)?)
    }

    /// Opens the payload as [`open`](Self::open) does, for values that are not text.
    ///
    /// # Errors
    /// As for [`open`](Self::open), without [`OpenError::NotText`].
    pub fn open_bytes(&self, key: &DataKey, binding: &Binding<'_>) -> Result<SecretSlice<u8>, OpenError> {
        Ok(aead::into_secret_slice(self.open_payload(key, binding)?))
    }

    fn from_bytes(bytes: Vec<u8>) -> Result<Self, FormatError> {
        // Checked first: the layout after the first byte of an unknown version is unknown as well.
        if *bytes.first().ok_or(FormatError::TooShort)? != VERSION {
            return Err(FormatError::UnknownVersion);
        }
        let (header, rest) = bytes.split_at_checked(HEADER_LEN).ok_or(FormatError::TooShort)?;
        let suite =
            Suite::from_id(u16::from_be_bytes([header[1], header[2]])).ok_or(FormatError::UnknownSuite)?;
        if header[3] != 0 {
            return Err(FormatError::UnknownSuite);
        }
        let (length, rest) = rest.split_first_chunk().ok_or(FormatError::TooShort)?;
        let wrapped_len = usize::from(u16::from_be_bytes(*length));
        if wrapped_len == 0 || wrapped_len > MAX_WRAPPED_LEN {
            return Err(FormatError::WrappedKeyLength);
        }
        let rest = rest.get(wrapped_len..).ok_or(FormatError::TooShort)?;
        let (length, payload) = rest.split_first_chunk().ok_or(FormatError::TooShort)?;
        check_payload_length(u32::from_be_bytes(*length) as usize, payload.len())?;
        Ok(Self { bytes, suite, wrapped_len })
    }

    fn header(&self) -> &[u8] {
        &self.bytes[..HEADER_LEN]
    }

    fn wrapped(&self) -> &[u8] {
        &self.bytes[HEADER_LEN + 2..][..self.wrapped_len]
    }

    /// The payload, prefixed with its length.
    fn payload(&self) -> &[u8] {
        &self.bytes[HEADER_LEN + 2 + self.wrapped_len + 4..]
    }

    fn open_payload(&self, key: &DataKey, binding: &Binding<'_>) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let header = self.header();
        let derived = derive(self.suite.id(), key, &header[4..COMMITMENT_AT]);
        derived.check(&header[COMMITMENT_AT..])?;
        let aad = associated_data(header, binding)?;
        let (ciphertext, tag) = aead::split_tag(self.payload()).ok_or(FormatError::TooShort)?;
        match self.suite {
            Suite::Aes256Gcm => open_with::<Aes256Gcm>(&derived, &aad, ciphertext, tag),
            Suite::ChaCha20Poly1305 => open_with::<ChaCha20Poly1305>(&derived, &aad, ciphertext, tag),
        }
    }
}

/// Seals a value for a cell under a data key that may serve other values too.
///
/// # Errors
/// [`SealError::TooLong`], or [`SealError::Context`] where the binding is unusable.
pub fn seal(
    suite: Suite,
    key: &DataKey,
    wrapped: &WrappedDataKey,
    binding: &Binding<'_>,
    plaintext: &[u8],
) -> Result<String, SealError> {
    seal_with_id(suite, key, wrapped, binding, plaintext, &random::bytes())
}

/// Joins a re-wrapped data key with an untouched payload.
///
/// # Errors
/// [`FormatError`] if the text is not an envelope.
pub fn replace_wrapped(text: &str, wrapped: &WrappedDataKey) -> Result<String, FormatError> {
    let envelope = Envelope::parse(text)?;
    let mut bytes = begin(envelope.header(), wrapped, envelope.payload().len());
    bytes.extend_from_slice(envelope.payload());
    Ok(encode(&bytes))
}

fn seal_with_id(
    suite: Suite,
    key: &DataKey,
    wrapped: &WrappedDataKey,
    binding: &Binding<'_>,
    plaintext: &[u8],
    message_id: &[u8; ID_LEN],
) -> Result<String, SealError> {
    if plaintext.len() > MAX_PLAINTEXT_LEN {
        return Err(SealError::TooLong { actual: plaintext.len(), limit: MAX_PLAINTEXT_LEN });
    }
    let derived = derive(suite.id(), key, message_id);
    let mut header = [0; HEADER_LEN];
    header[0] = VERSION;
    header[1..3].copy_from_slice(&suite.id().to_be_bytes());
    header[4..COMMITMENT_AT].copy_from_slice(message_id);
    header[COMMITMENT_AT..].copy_from_slice(&derived.commitment);
    let aad = associated_data(&header, binding)?;
    let mut bytes = begin(&header, wrapped, plaintext.len() + aead::TAG_LEN);
    match suite {
        Suite::Aes256Gcm => seal_after::<Aes256Gcm>(&mut bytes, &derived, &aad, plaintext),
        Suite::ChaCha20Poly1305 => seal_after::<ChaCha20Poly1305>(&mut bytes, &derived, &aad, plaintext),
    }
    Ok(encode(&bytes))
}

/// The keys that are derived from the data key for one message (AWS Encryption SDK, `framework/algorithm-suites.md`).
fn derive(suite_id: u16, key: &DataKey, message_id: &[u8]) -> MessageKey {
    MessageKey::derive(key, message_id, &[&suite_id.to_be_bytes(), b"DERIVEKEY"], &[b"COMMITKEY"])
}

/// Appends the sealed payload to what was begun, which has room for it: the plaintext is never copied elsewhere.
fn seal_after<C: AeadInOut + KeyInit>(
    bytes: &mut Vec<u8>,
    derived: &MessageKey,
    aad: &[u8],
    plaintext: &[u8],
) {
    let start = bytes.len();
    bytes.extend_from_slice(plaintext);
    let (cipher, nonce) = (content_cipher::<C>(derived), Nonce::<C>::default());
    let tag = aead::seal_in_place(&cipher, &nonce, aad, &mut bytes[start..]);
    bytes.extend_from_slice(&tag);
}

fn open_with<C: AeadInOut + KeyInit>(
    derived: &MessageKey,
    aad: &[u8],
    ciphertext: &[u8],
    tag: &[u8],
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    aead::open_detached(&content_cipher::<C>(derived), &Nonce::<C>::default(), aad, ciphertext, tag)
}

fn content_cipher<C: KeyInit>(derived: &MessageKey) -> C {
    #[expect(clippy::expect_used, reason = "both ciphers take keys of 32 bytes")]
    C::new_from_slice(derived.content_key.as_ref()).expect("content keys are 32 bytes")
}

fn associated_data(header: &[u8], binding: &Binding<'_>) -> Result<Vec<u8>, ContextError> {
    binding.canonical_after(&[LABEL, header])
}

/// An envelope up to its payload, with room for one of this length.
fn begin(header: &[u8], wrapped: &WrappedDataKey, payload_len: usize) -> Vec<u8> {
    let wrapped = wrapped.bytes();
    let mut bytes = Vec::with_capacity(header.len() + 2 + wrapped.len() + 4 + payload_len);
    bytes.extend_from_slice(header);
    push_length(&mut bytes, wrapped.len());
    bytes.extend_from_slice(wrapped);
    #[expect(clippy::expect_used, reason = "payloads are bounded at one MiB and a tag")]
    bytes.extend_from_slice(&u32::try_from(payload_len).expect("payload is bounded").to_be_bytes());
    bytes
}

fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(MARK.len() + bytes.len().div_ceil(3) * 4);
    text.push_str(MARK);
    push_base64url(bytes, &mut text);
    text
}

fn check_payload_length(claimed: usize, present: usize) -> Result<(), FormatError> {
    if present < claimed || claimed < aead::TAG_LEN {
        return Err(FormatError::TooShort);
    }
    if present > claimed || claimed > MAX_PLAINTEXT_LEN + aead::TAG_LEN {
        return Err(FormatError::TooLong);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
