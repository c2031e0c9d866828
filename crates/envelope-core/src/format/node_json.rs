//! Node KMSService's envelope: a JSON object that names its data key and carries IV, tag and ciphertext.
//!
//! `{"v":1,"alg":"aes-256-gcm","keyId":"…","iv":base64[12],"tag":base64[16],"ciphertext":base64,"aad":base64|null,"timestamp":ms}`.
//! Whatever the caller names as associated data binds a value; the `aad` inside it is a claim that must agree and is
//! never used. Nothing authenticates `timestamp`, and nothing depends on it. `keyId` only selects a key: another one
//! does not open the value.

use std::sync::Arc;

use secrecy::{SecretSlice, SecretString};
use serde::{Deserialize, Deserializer, Serialize};
use zeroize::Zeroizing;

use crate::aead;
use crate::error::OpenError;
use crate::format::{FormatError, MAX_PLAINTEXT_LEN};
use crate::key::DataKey;
use crate::text::{check_json_spelling, decode_base64, encode_base64};

const VERSION: u64 = 1;
const ALGORITHM: &str = "aes-256-gcm";
/// Longest data key id, in bytes.
const MAX_KEY_ID_LEN: usize = 256;

/// Data keys that are at hand by their ids, one of which seals new values.
pub trait DataKeyRing: Send + Sync {
    /// The data key of this id, if the ring has it.
    fn data_key(&self, id: &str) -> Option<Arc<DataKey>>;

    /// The key that new values are sealed under, and its id of 1 to 256 bytes.
    fn active(&self) -> (String, Arc<DataKey>);
}

/// A parsed envelope.
#[derive(Debug)]
pub struct Envelope {
    key_id: String,
    iv: Vec<u8>,
    tag: Vec<u8>,
    ciphertext: Vec<u8>,
    aad: Option<Vec<u8>>,
    timestamp: u64,
}

impl Envelope {
    /// Parses an envelope.
    ///
    /// # Errors
    /// [`FormatError`] for a missing, unknown or repeated field, and for a field that is not what it should be.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        check_json_spelling(text)?;
        let fields: Fields<String> = serde_json::from_str(text).map_err(|_| FormatError::Json)?;
        if fields.v != VERSION {
            return Err(FormatError::UnknownVersion);
        }
        if fields.alg != ALGORITHM {
            return Err(FormatError::UnknownSuite);
        }
        if fields.key_id.is_empty() || fields.key_id.len() > MAX_KEY_ID_LEN {
            return Err(FormatError::Json);
        }
        let (iv, tag) = (decode_base64(&fields.iv)?, decode_base64(&fields.tag)?);
        let ciphertext = decode_base64(&fields.ciphertext)?;
        if iv.len() < aead::NONCE_LEN || tag.len() < aead::TAG_LEN {
            return Err(FormatError::TooShort);
        }
        if iv.len() > aead::NONCE_LEN || tag.len() > aead::TAG_LEN || ciphertext.len() > MAX_PLAINTEXT_LEN {
            return Err(FormatError::TooLong);
        }
        let aad = fields.aad.as_deref().map(decode_base64).transpose()?;
        Ok(Self { key_id: fields.key_id, iv, tag, ciphertext, aad, timestamp: fields.timestamp })
    }

    /// The data key that the value names.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// When the value was made, in milliseconds since 1970, as it says itself: not authenticated.
    #[must_use]
    pub fn claimed_timestamp(&self) -> u64 {
        self.timestamp
    }

    fn open(&self, ring: &dyn DataKeyRing, aad: Option<&[u8]>) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        if self.aad.as_deref() != aad {
            return Err(OpenError::NotAuthentic);
        }
        let key = ring
            .data_key(&self.key_id)
            .ok_or_else(|| OpenError::UnknownDataKey { id: self.key_id.as_str().into() })?;
        let aad = aad.unwrap_or_default();
        aead::open_detached(key.aes256gcm(), &self.iv, aad, &self.ciphertext, &self.tag)
    }
}

/// Seals a value under the ring's active key, bound to `aad`. The empty value becomes the empty string.
///
/// The text is what the old program's `JSON.stringify` makes: no white space, fields in this order.
#[must_use]
pub fn seal(ring: &dyn DataKeyRing, aad: Option<&[u8]>, plaintext: &[u8], timestamp_ms: u64) -> String {
    if plaintext.is_empty() {
        return String::new();
    }
    let (key_id, key) = ring.active();
    let iv = aead::random_nonce::<aes_gcm::Aes256Gcm>();
    let mut buffer = plaintext.to_vec();
    let tag = aead::seal_in_place(key.aes256gcm(), &iv, aad.unwrap_or_default(), &mut buffer);
    let claim = aad.map(encode_base64);
    let fields = Fields {
        v: VERSION,
        alg: ALGORITHM,
        key_id: key_id.as_str(),
        iv: &encode_base64(&iv),
        tag: &encode_base64(&tag),
        ciphertext: &encode_base64(&buffer),
        aad: claim.as_deref(),
        timestamp: timestamp_ms,
    };
    #[expect(clippy::expect_used, reason = "a struct of strings and integers always serializes")]
    serde_json::to_string(&fields).expect("fields serialize")
}

/// Opens a value that must be bound to `aad`, whatever it says inside.
///
/// # Errors
/// [`OpenError::Malformed`], [`OpenError::NotAuthentic`], or [`OpenError::UnknownDataKey`].
pub fn open(ring: &dyn DataKeyRing, aad: Option<&[u8]>, text: &str) -> Result<SecretSlice<u8>, OpenError> {
    if text.is_empty() {
        return Ok(SecretSlice::default());
    }
    Ok(aead::into_secret_slice(Envelope::parse(text)?.open(ring, aad)?))
}

/// Opens a value as [`open`] does, and demands that it is UTF-8 text.
///
/// # Errors
/// As for [`open`], and [`OpenError::NotText`].
pub fn open_text(ring: &dyn DataKeyRing, aad: Option<&[u8]>, text: &str) -> Result<SecretString, OpenError> {
    if text.is_empty() {
        return Ok(SecretString::default());
    }
    aead::into_secret_string(Envelope::parse(text)?.open(ring, aad)?)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound(deserialize = "S: Deserialize<'de>"))]
struct Fields<S> {
    v: u64,
    alg: S,
    #[serde(rename = "keyId")]
    key_id: S,
    iv: S,
    tag: S,
    ciphertext: S,
    // Named explicitly, an absent field is an error; serde would read it as null otherwise.
    #[serde(deserialize_with = "null_or")]
    aad: Option<S>,
    timestamp: u64,
}

fn null_or<'de, S: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<S>, D::Error> {
    Option::deserialize(deserializer)
}
