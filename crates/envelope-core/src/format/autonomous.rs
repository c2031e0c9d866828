//! The autonomous platform's format: base64 of `v1|<base64 wrapped key>|<base64 nonce[12]>|<base64(ciphertext || tag)>`.
//!
//! The data key comes from AWS KMS `GenerateDataKey` **without** an encryption context, and nothing is associated
//! with the ciphertext, so nothing binds a value to its row: a copied value opens in every row. Development
//! rows are base64 of `dev|<Fernet token>` and open only with a development key.

use std::sync::Arc;

use aes::Aes128;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, KeyIvInit};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::SecretString;
use sha2::Sha256;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::aead;
use crate::context::EncryptionContext;
use crate::error::OpenError;
use crate::format::{FormatError, MAX_PLAINTEXT_LEN};
use crate::key::{DataKey, KeyLengthError, KeyTextError, MAX_WRAPPED_LEN, WrappedDataKey};
use crate::provider::KeyProvider;
use crate::text::{decode_base64, decode_base64url_padded};

const DEV_MARK: &str = "dev|";

/// A parsed production envelope.
#[derive(Debug)]
pub struct Envelope {
    wrapped: WrappedDataKey,
    nonce: Vec<u8>,
    sealed: Vec<u8>,
}

impl Envelope {
    /// Parses a production value.
    ///
    /// # Errors
    /// [`FormatError`] for anything but the canonical text; a development value is another format.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let inner = String::from_utf8(decode_base64(text)?).map_err(|_| FormatError::Shape)?;
        let mut parts = inner.split('|');
        let mut next = || parts.next().ok_or(FormatError::Shape);
        let (version, wrapped, nonce, sealed) = (next()?, next()?, next()?, next()?);
        if parts.next().is_some() {
            return Err(FormatError::Shape);
        }
        if version != "v1" {
            return Err(FormatError::UnknownVersion);
        }
        Self::from_parts(decode_base64(wrapped)?, decode_base64(nonce)?, decode_base64(sealed)?)
    }

    /// The wrapped data key. The value does not say which key wrapped it.
    #[must_use]
    pub fn wrapped_data_key(&self) -> &WrappedDataKey {
        &self.wrapped
    }

    /// Opens the payload with the unwrapped data key.
    ///
    /// # Errors
    /// [`OpenError::NotAuthentic`] or [`OpenError::NotText`].
    pub fn open(&self, key: &DataKey) -> Result<SecretString, OpenError> {
        let (ciphertext, tag) = aead::split_tag(&self.sealed).ok_or(FormatError::TooShort)?;
        aead::into_secret_string(aead::open_detached(key.aes256gcm(), &self.nonce, &[], ciphertext, tag)?)
    }

    fn from_parts(wrapped: Vec<u8>, nonce: Vec<u8>, sealed: Vec<u8>) -> Result<Self, FormatError> {
        if wrapped.is_empty() || wrapped.len() > MAX_WRAPPED_LEN {
            return Err(FormatError::WrappedKeyLength);
        }
        if nonce.len() < aead::NONCE_LEN || sealed.len() < aead::TAG_LEN {
            return Err(FormatError::TooShort);
        }
        if nonce.len() > aead::NONCE_LEN || sealed.len() > MAX_PLAINTEXT_LEN + aead::TAG_LEN {
            return Err(FormatError::TooLong);
        }
        let wrapped = WrappedDataKey::new(wrapped, None).map_err(|_| FormatError::WrappedKeyLength)?;
        Ok(Self { wrapped, nonce, sealed })
    }
}

/// Opens a production value. A development value is [`OpenError::DevelopmentToken`] in every environment.
///
/// # Errors
/// [`OpenError`].
pub async fn open(provider: &dyn KeyProvider, text: &str) -> Result<SecretString, OpenError> {
    if text.is_empty() {
        return Ok(SecretString::default());
    }
    if is_dev(text) {
        return Err(OpenError::DevelopmentToken);
    }
    let envelope = Envelope::parse(text)?;
    let context = EncryptionContext::empty();
    let key: Arc<DataKey> = match provider.unwrap_cached(&envelope.wrapped, &context) {
        Some(key) => key,
        None => provider.unwrap(&envelope.wrapped, &context).await?,
    };
    envelope.open(&key)
}

/// Whether a text claims to be a development value, well-formed or not.
#[must_use]
pub fn is_dev(text: &str) -> bool {
    decode_base64(text).is_ok_and(|inner| inner.starts_with(DEV_MARK.as_bytes()))
}

/// A Fernet key, `DEV_ENCRYPTION_KEY`: base64url, with padding, of a signing and an encryption key of 16 bytes each.
///
/// Like every key here it can be neither printed, cloned, compared nor serialized.
pub struct DevKey(DataKey);

impl DevKey {
    /// Reads a key, surrounding white space ignored.
    ///
    /// # Errors
    /// [`KeyTextError`] unless it is base64url of exactly 32 bytes.
    pub fn from_variable(text: &str) -> Result<Self, KeyTextError> {
        let bytes =
            Zeroizing::new(decode_base64url_padded(text.trim()).map_err(|_| KeyTextError::Base64Url)?);
        DataKey::from_slice(&bytes).map(Self).map_err(|error: KeyLengthError| error.into())
    }
}

impl ZeroizeOnDrop for DevKey {}

/// A parsed development envelope.
#[derive(Debug)]
pub struct DevEnvelope {
    token: Vec<u8>,
}

impl DevEnvelope {
    /// Version byte of a Fernet token.
    const VERSION: u8 = 0x80;
    /// Version, time stamp, IV.
    const HEADER_LEN: usize = 1 + 8 + 16;
    const BLOCK_LEN: usize = 16;
    const MAC_LEN: usize = 32;

    /// Parses a development value.
    ///
    /// # Errors
    /// [`FormatError`] unless it is canonical base64 of `dev|` and a Fernet token.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let inner = String::from_utf8(decode_base64(text)?).map_err(|_| FormatError::Shape)?;
        Self::parse_token(inner.strip_prefix(DEV_MARK).ok_or(FormatError::Shape)?)
    }

    fn parse_token(token: &str) -> Result<Self, FormatError> {
        let token = decode_base64url_padded(token)?;
        if token.first() != Some(&Self::VERSION) {
            return Err(FormatError::UnknownVersion);
        }
        let blocks =
            token.len().checked_sub(Self::HEADER_LEN + Self::MAC_LEN).ok_or(FormatError::TooShort)?;
        if blocks == 0 || !blocks.is_multiple_of(Self::BLOCK_LEN) {
            return Err(FormatError::TooShort);
        }
        if blocks > MAX_PLAINTEXT_LEN + Self::BLOCK_LEN {
            return Err(FormatError::TooLong);
        }
        Ok(Self { token })
    }

    /// Opens the token: HMAC-SHA256 over all of it first, then AES-128-CBC (the Fernet specification).
    ///
    /// Its time stamp is authenticated but not enforced: a stored token does not expire.
    ///
    /// # Errors
    /// [`OpenError::NotAuthentic`] or [`OpenError::NotText`].
    pub fn open(&self, key: &DevKey) -> Result<SecretString, OpenError> {
        let (signing, encryption) = key.0.expose_secret().split_at(16);
        let (signed, mac) = self.token.split_at(self.token.len() - Self::MAC_LEN);
        let mut hmac = Hmac::<Sha256>::new_from_slice(signing).map_err(|_| OpenError::NotAuthentic)?;
        hmac.update(signed);
        hmac.verify_slice(mac).map_err(|_| OpenError::NotAuthentic)?;
        let (header, ciphertext) = signed.split_at(Self::HEADER_LEN);
        let cipher = cbc::Decryptor::<Aes128>::new_from_slices(encryption, &header[9..])
            .map_err(|_| OpenError::NotAuthentic)?;
        let mut buffer = Zeroizing::new(ciphertext.to_vec());
        let plaintext =
            cipher.decrypt_padded::<Pkcs7>(&mut buffer).map_err(|_| OpenError::NotAuthentic)?.to_vec();
        aead::into_secret_string(Zeroizing::new(plaintext))
    }
}

/// Opens a development value.
///
/// # Errors
/// [`OpenError`].
pub fn open_dev(key: &DevKey, text: &str) -> Result<SecretString, OpenError> {
    DevEnvelope::parse(text)?.open(key)
}
