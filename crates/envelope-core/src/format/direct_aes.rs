//! Direct AES, version 1: `base64(nonce[12] || ciphertext || tag[16])` under one configured key, no associated data.
//!
//! This is what vod-tender stored before it had a key service. The nonces are random, so one key may seal at most
//! 2^32 values (NIST SP 800-38D, section 8.3).

use secrecy::SecretString;

use crate::aead;
use crate::error::OpenError;
use crate::key::DataKey;
use crate::text::{decode_base64, encode_base64};

/// The `encryption_key_id` of a row with a value of this format.
pub const KEY_ID: &str = "default";

/// Seals a value. The empty string stays the empty string.
#[must_use]
pub fn seal(key: &DataKey, plaintext: &str) -> String {
    if plaintext.is_empty() {
        return String::new();
    }
    encode_base64(&aead::seal(key.aes256gcm(), &[], plaintext.as_bytes()))
}

/// Opens a value.
///
/// # Errors
/// [`OpenError::Malformed`] for a text that is not of this format, [`OpenError::NotAuthentic`] where key and text
/// do not belong together, [`OpenError::NotText`] where the opened bytes are not UTF-8.
pub fn open(key: &DataKey, text: &str) -> Result<SecretString, OpenError> {
    if text.is_empty() {
        return Ok(SecretString::default());
    }
    aead::into_secret_string(aead::open(key.aes256gcm(), &[], &decode_base64(text)?)?)
}
