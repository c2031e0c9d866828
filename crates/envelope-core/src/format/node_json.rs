//! Node KMSService's envelope: a JSON object that names its data key and carries tag and ciphertext.
//!
//! Version 1 is what Node KMSService writes:
//! `{"v":1,"alg":"aes-256-gcm","keyId":"…","iv":base64[12],"tag":base64[16],"ciphertext":base64,"aad":base64|null,"timestamp":ms}`.
//! It is sealed under the data key itself and says nothing about its purpose. Nothing authenticates `timestamp`.
//!
//! Version 2 is this project's own:
//! `{"v":2,"alg":"aes-256-gcm-hkdf-sha512-commit","purpose":"secret","keyId":"…","messageId":base64[32],"commitment":base64[32],"tag":base64[16],"ciphertext":base64,"aad":base64|null,"timestamp":ms}`.
//! Its content key is derived from the data key for this purpose and this message, it commits to its data key and to all
//! that it is associated with, and all of its fields are authenticated. It has one spelling: fields in this order, without white space.
//!
//! In both, the caller names the associated data; the `aad` inside is a claim that must agree and is never used.
//! `keyId` only selects a key: another one does not open the value.

mod labelled;
mod unlabelled;

use std::sync::Arc;

use secrecy::{SecretSlice, SecretString};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use crate::aead;
use crate::error::OpenError;
use crate::format::FormatError;
use crate::key::DataKey;
use crate::ledger::Ledger;
use crate::purpose::Purpose;
use crate::text::{check_json_spelling, decode_base64};

pub use labelled::seal;
pub use unlabelled::seal as seal_unlabelled;

/// Longest data key id, in bytes.
const MAX_KEY_ID_LEN: usize = 256;

/// Data keys in memory by their ids, one of which seals new values.
pub trait DataKeyRing: Send + Sync {
    /// The data key of this id, if the ring has it.
    fn data_key(&self, id: &str) -> Option<Arc<DataKey>>;

    /// The key that new values are sealed under, and its id of 1 to 256 bytes.
    fn active(&self) -> (String, Arc<DataKey>);

    /// The ring's memory of the stores under its keys, if it has one.
    fn ledger(&self) -> Option<&dyn Ledger> {
        None
    }
}

/// Which values a reader opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// Those that were sealed for this purpose.
    Only(Purpose),
    /// Those as well that carry no purpose, because they were written before there were any.
    OrUnlabelled(Purpose),
}

/// A parsed envelope.
#[derive(Debug)]
pub struct Envelope {
    key_id: String,
    body: Body,
    tag: Vec<u8>,
    ciphertext: Vec<u8>,
    aad: Option<Vec<u8>>,
    timestamp: u64,
}

#[derive(Debug)]
enum Body {
    Unlabelled { iv: Vec<u8> },
    Labelled { purpose: Purpose, message_id: Vec<u8>, commitment: Vec<u8> },
}

impl Envelope {
    /// Parses an envelope.
    ///
    /// # Errors
    /// [`FormatError`] for a missing, unknown or repeated field, and for an invalid field.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        #[derive(Deserialize)]
        struct Head {
            v: u64,
        }
        check_json_spelling(text)?;
        let head: Head = serde_json::from_str(text).map_err(|_| FormatError::Json)?;
        match head.v {
            unlabelled::VERSION => unlabelled::parse(text),
            labelled::VERSION => labelled::parse(text),
            _ => Err(FormatError::UnknownVersion),
        }
    }

    /// The data key that the value names.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The purpose that the value was sealed for, as it says itself; none in version 1.
    #[must_use]
    pub fn claimed_purpose(&self) -> Option<Purpose> {
        match self.body {
            Body::Unlabelled { .. } => None,
            Body::Labelled { purpose, .. } => Some(purpose),
        }
    }

    /// When the value was made, in milliseconds since 1970, as it says itself.
    #[must_use]
    pub fn claimed_timestamp(&self) -> u64 {
        self.timestamp
    }

    fn open(
        &self,
        ring: &dyn DataKeyRing,
        accepted: Accepted,
        aad: Option<&[u8]>,
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let (Accepted::Only(purpose) | Accepted::OrUnlabelled(purpose)) = accepted;
        match self.claimed_purpose() {
            None if matches!(accepted, Accepted::Only(_)) => return Err(OpenError::UnlabelledRefused),
            Some(claimed) if claimed != purpose => return Err(OpenError::NotAuthentic),
            _ => {}
        }
        if self.aad.as_deref() != aad {
            return Err(OpenError::NotAuthentic);
        }
        let key = ring
            .data_key(&self.key_id)
            .ok_or_else(|| OpenError::UnknownDataKey { id: self.key_id.as_str().into() })?;
        match &self.body {
            Body::Unlabelled { iv } => {
                aead::open_detached(key.aes256gcm(), iv, aad.unwrap_or_default(), &self.ciphertext, &self.tag)
            }
            Body::Labelled { message_id, commitment, .. } => {
                labelled::open(self, &key, purpose, message_id, commitment)
            }
        }
    }
}

/// Opens a value that must be bound to `aad`; the value's own claim is ignored.
///
/// # Errors
/// [`OpenError::Malformed`], [`OpenError::NotAuthentic`], also for a value of another purpose,
/// [`OpenError::UnlabelledRefused`] or [`OpenError::UnknownDataKey`].
pub fn open(
    ring: &dyn DataKeyRing,
    accepted: Accepted,
    aad: Option<&[u8]>,
    text: &str,
) -> Result<SecretSlice<u8>, OpenError> {
    if text.is_empty() {
        return Ok(SecretSlice::default());
    }
    Ok(aead::into_secret_slice(Envelope::parse(text)?.open(ring, accepted, aad)?))
}

/// Opens a value as [`open`] does, and demands that it is UTF-8 text.
///
/// # Errors
/// As for [`open`], and [`OpenError::NotText`].
pub fn open_text(
    ring: &dyn DataKeyRing,
    accepted: Accepted,
    aad: Option<&[u8]>,
    text: &str,
) -> Result<SecretString, OpenError> {
    if text.is_empty() {
        return Ok(SecretString::default());
    }
    aead::into_secret_string(Envelope::parse(text)?.open(ring, accepted, aad)?)
}

/// Whether a text is of the version that carries its purpose, well-formed or not.
#[must_use]
pub fn is_labelled(text: &str) -> bool {
    text.starts_with(labelled::START)
}

/// Decodes a field of exactly `length` bytes.
fn exactly(text: &str, length: usize) -> Result<Vec<u8>, FormatError> {
    let bytes = decode_base64(text)?;
    match bytes.len() {
        actual if actual < length => Err(FormatError::TooShort),
        actual if actual > length => Err(FormatError::TooLong),
        _ => Ok(bytes),
    }
}

fn check_key_id(key_id: &str) -> Result<(), FormatError> {
    if key_id.is_empty() || key_id.len() > MAX_KEY_ID_LEN { Err(FormatError::Json) } else { Ok(()) }
}

fn null_or<'de, S: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<S>, D::Error> {
    Option::deserialize(deserializer)
}
