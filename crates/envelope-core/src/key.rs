//! Data keys: the 32 secret bytes that seal a value, and the same bytes wrapped by a key service.

use std::fmt;
use std::sync::OnceLock;

use aes_gcm::{Aes256Gcm, KeyInit};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::aead::NONCE_LEN;

/// Length of every data key: 256 bits.
pub const DATA_KEY_LEN: usize = 32;

/// Longest wrapped data key that is accepted: AWS KMS answers at most 6,144 bytes
/// (`CiphertextBlob` of the `GenerateDataKey` reference).
pub const MAX_WRAPPED_LEN: usize = 6_144;

/// A plaintext data key: wiped when dropped, and impossible to print, clone, compare or serialize.
///
/// The AES key schedule is prepared at the first use and kept with the bytes, so that opening a second
/// value under a cached key costs no key set-up. It is wiped together with the bytes.
pub struct DataKey {
    // Boxed so that moving a `DataKey` never leaves a copy of the bytes.
    bytes: Box<[u8; DATA_KEY_LEN]>,
    aes: OnceLock<Box<Aes256Gcm>>,
}

impl DataKey {
    /// Makes a random key, from the [operating system](crate::random).
    #[must_use]
    pub fn generate() -> Self {
        Self::from_fn(|bytes| crate::random::fill(bytes))
    }

    /// Makes a random key and a nonce of 96 bits to wrap it with, in one draw from the [operating system](crate::random).
    ///
    /// The nonce is for the key that wraps, at once: kept for later, it could be used in two copies of the process.
    #[must_use]
    pub fn generate_with_nonce() -> (Self, [u8; NONCE_LEN]) {
        let mut drawn = Zeroizing::new([0; DATA_KEY_LEN + NONCE_LEN]);
        crate::random::fill(drawn.as_mut_slice());
        let (key, rest) = drawn.split_at(DATA_KEY_LEN);
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(rest);
        (Self::from_fn(|bytes| bytes.copy_from_slice(key)), nonce)
    }

    /// Takes over key bytes from a key service or a key file. The caller wipes its own copy.
    ///
    /// # Errors
    /// [`KeyLengthError`] unless there are exactly 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, KeyLengthError> {
        if bytes.len() != DATA_KEY_LEN {
            return Err(KeyLengthError { actual: bytes.len() });
        }
        Ok(Self::from_fn(|key| key.copy_from_slice(bytes)))
    }

    /// The secret bytes, for a backend that wraps them or a derivation that starts from them.
    #[must_use]
    pub fn expose_secret(&self) -> &[u8; DATA_KEY_LEN] {
        &self.bytes
    }

    pub(crate) fn aes256gcm(&self) -> &Aes256Gcm {
        self.aes.get_or_init(|| Box::new(Aes256Gcm::new(self.bytes.as_ref().into())))
    }

    /// Makes a key where it will stay, so that no copy of it is left.
    pub(crate) fn from_fn(fill: impl FnOnce(&mut [u8; DATA_KEY_LEN])) -> Self {
        let mut bytes = Box::new([0; DATA_KEY_LEN]);
        fill(&mut bytes);
        Self::from_box(bytes)
    }

    /// A cipher for the one value that a fresh key seals: its key schedule is not worth keeping.
    pub(crate) fn aes256gcm_once(&self) -> Aes256Gcm {
        Aes256Gcm::new(self.bytes.as_ref().into())
    }

    fn from_box(bytes: Box<[u8; DATA_KEY_LEN]>) -> Self {
        Self { bytes, aes: OnceLock::new() }
    }
}

impl Drop for DataKey {
    fn drop(&mut self) {
        self.bytes.zeroize();
        // `Aes256Gcm` wipes its own schedule (feature `zeroize` of the crate).
    }
}

impl ZeroizeOnDrop for DataKey {}

/// A key was not 32 bytes long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key is {actual} bytes long, not {DATA_KEY_LEN}")]
pub struct KeyLengthError {
    /// The length that was found, in bytes.
    pub actual: usize,
}

/// Why a key given as base64 text (an environment variable, a file) was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyTextError {
    /// The text is not standard base64 with padding.
    #[error("not standard base64 with padding")]
    Base64,
    /// The text is not base64url with padding.
    #[error("not base64url with padding")]
    Base64Url,
    /// The text decodes to another length than 32 bytes.
    #[error(transparent)]
    Length(#[from] KeyLengthError),
}

impl std::str::FromStr for DataKey {
    type Err = KeyTextError;

    /// Reads a key from standard base64 of exactly 32 bytes, surrounding white space ignored.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes =
            Zeroizing::new(crate::text::decode_base64(text.trim()).map_err(|_| KeyTextError::Base64)?);
        Ok(Self::from_slice(&bytes)?)
    }
}

/// A data key as the key service wrapped it: opaque bytes and, where it is known, the key that wrapped them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct WrappedDataKey {
    // A `Vec`, because boxing what was just decoded from text would copy it once more.
    bytes: Vec<u8>,
    key_id: Option<Box<str>>,
}

impl WrappedDataKey {
    /// Takes wrapped bytes as they were stored.
    ///
    /// `key_id` is the key id that is stored next to the value (a key ARN, `keyring:<id>`); a provider refuses one that its
    /// configuration does not allow, before it makes any call.
    ///
    /// # Errors
    /// [`WrappedLengthError`] if empty or longer than [`MAX_WRAPPED_LEN`].
    pub fn new(bytes: impl Into<Vec<u8>>, key_id: Option<&str>) -> Result<Self, WrappedLengthError> {
        let bytes = bytes.into();
        if bytes.is_empty() || bytes.len() > MAX_WRAPPED_LEN {
            return Err(WrappedLengthError { actual: bytes.len() });
        }
        Ok(Self { bytes, key_id: key_id.filter(|id| !id.is_empty()).map(Into::into) })
    }

    /// The wrapped bytes: opaque, never parsed outside the provider that made them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The key that is said to have wrapped it: a claim until the provider has checked it.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// Lets go of the bytes and keeps the key id.
    pub(crate) fn into_key_id(self) -> Option<String> {
        self.key_id.map(String::from)
    }
}

impl fmt::Debug for WrappedDataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrappedDataKey({} bytes, key {:?})", self.bytes.len(), self.key_id)
    }
}

/// A wrapped data key was empty or over its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("wrapped data key is {actual} bytes long, not 1 to {MAX_WRAPPED_LEN}")]
pub struct WrappedLengthError {
    /// The length that was found, in bytes.
    pub actual: usize,
}
