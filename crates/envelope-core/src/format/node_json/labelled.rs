//! Version 2: sealed for one purpose, under a key of its own that it commits to.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{KeyInit, Nonce};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Body, DataKeyRing, Envelope, check_key_id, exactly, null_or};
use crate::aead;
use crate::error::OpenError;
use crate::format::{FormatError, MAX_PLAINTEXT_LEN};
use crate::key::DataKey;
use crate::message_key::{COMMITMENT_LEN, ID_LEN, MessageKey};
use crate::purpose::Purpose;
use crate::random;
use crate::text::{decode_base64, encode_base64};

pub(super) const VERSION: u64 = 2;
/// How every value of this version begins: it has one spelling.
pub(super) const START: &str = "{\"v\":2,";
const ALGORITHM: &str = "aes-256-gcm-hkdf-sha512-commit";
/// Begins both derivations and the associated data.
const LABEL: &[u8] = b"tokenseal json envelope v2\0";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound(deserialize = "S: Deserialize<'de>"))]
struct Fields<S> {
    v: u64,
    alg: S,
    purpose: S,
    #[serde(rename = "keyId")]
    key_id: S,
    #[serde(rename = "messageId")]
    message_id: S,
    commitment: S,
    tag: S,
    ciphertext: S,
    #[serde(deserialize_with = "null_or")]
    aad: Option<S>,
    timestamp: u64,
}

impl<S: Serialize> Fields<S> {
    #[expect(clippy::expect_used, reason = "a struct of strings and integers always serializes")]
    fn text(&self) -> String {
        serde_json::to_string(self).expect("fields serialize")
    }
}

pub(super) fn parse(text: &str) -> Result<Envelope, FormatError> {
    let fields: Fields<String> = serde_json::from_str(text).map_err(|_| FormatError::Json)?;
    if fields.alg != ALGORITHM {
        return Err(FormatError::UnknownSuite);
    }
    // One spelling, so that no byte can be changed unnoticed.
    if fields.text() != text {
        return Err(FormatError::Json);
    }
    check_key_id(&fields.key_id)?;
    let purpose = Purpose::from_label(&fields.purpose).ok_or(FormatError::UnknownSuite)?;
    let (message_id, commitment) =
        (exactly(&fields.message_id, ID_LEN)?, exactly(&fields.commitment, COMMITMENT_LEN)?);
    let tag = exactly(&fields.tag, aead::TAG_LEN)?;
    let ciphertext = decode_base64(&fields.ciphertext)?;
    if ciphertext.len() > MAX_PLAINTEXT_LEN {
        return Err(FormatError::TooLong);
    }
    let aad = fields.aad.as_deref().map(decode_base64).transpose()?;
    let body = Body::Labelled { purpose, message_id, commitment };
    Ok(Envelope { key_id: fields.key_id, body, tag, ciphertext, aad, timestamp: fields.timestamp })
}

/// Seals a value for a purpose, under the ring's active key, bound to `aad`. The empty value becomes the empty string.
///
/// Every message has a content key of its own, so a ring key may seal any number of them.
#[must_use]
pub fn seal(
    ring: &dyn DataKeyRing,
    purpose: Purpose,
    aad: Option<&[u8]>,
    plaintext: &[u8],
    timestamp_ms: u64,
) -> String {
    if plaintext.is_empty() {
        return String::new();
    }
    let (key_id, key) = ring.active();
    seal_with_id(&key_id, &key, purpose, aad, plaintext, timestamp_ms, &random::bytes())
}

fn seal_with_id(
    key_id: &str,
    key: &DataKey,
    purpose: Purpose,
    aad: Option<&[u8]>,
    plaintext: &[u8],
    timestamp_ms: u64,
    message_id: &[u8; ID_LEN],
) -> String {
    let associated = associated_data(purpose, key_id, message_id, aad, timestamp_ms);
    let derived = derive(key, purpose, message_id, &associated);
    let mut buffer = plaintext.to_vec();
    let tag =
        aead::seal_in_place(&cipher(&derived), &Nonce::<Aes256Gcm>::default(), &associated, &mut buffer);
    let claim = aad.map(encode_base64);
    let fields = Fields {
        v: VERSION,
        alg: ALGORITHM,
        purpose: purpose.label(),
        key_id,
        message_id: &encode_base64(message_id),
        commitment: &encode_base64(&derived.commitment),
        tag: &encode_base64(&tag),
        ciphertext: &encode_base64(&buffer),
        aad: claim.as_deref(),
        timestamp: timestamp_ms,
    };
    fields.text()
}

pub(super) fn open(
    envelope: &Envelope,
    key: &DataKey,
    purpose: Purpose,
    message_id: &[u8],
    commitment: &[u8],
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let (aad, time) = (envelope.aad.as_deref(), envelope.timestamp);
    let associated = associated_data(purpose, &envelope.key_id, message_id, aad, time);
    let derived = derive(key, purpose, message_id, &associated);
    derived.check(commitment)?;
    let nonce = Nonce::<Aes256Gcm>::default();
    aead::open_detached(&cipher(&derived), &nonce, &associated, &envelope.ciphertext, &envelope.tag)
}

/// The purpose is in both derivations: a value of one purpose has neither the content key nor the commitment of another.
/// The commitment is one to the associated data as well: no text opens under two keys, nor for two contexts.
fn derive(key: &DataKey, purpose: Purpose, message_id: &[u8], associated: &[u8]) -> MessageKey {
    let label = purpose.label().as_bytes();
    MessageKey::derive(
        key,
        message_id,
        &[LABEL, label, b"\0content key"],
        &[LABEL, label, b"\0commitment\0", associated],
    )
}

fn cipher(derived: &MessageKey) -> Aes256Gcm {
    // The nonce is all zeros: a content key seals one message and no other.
    Aes256Gcm::new((&*derived.content_key).into())
}

/// Label, purpose and a zero byte, key id after its length, message id, time, and the caller's data after a byte that says
/// whether there are any.
fn associated_data(
    purpose: Purpose,
    key_id: &str,
    message_id: &[u8],
    aad: Option<&[u8]>,
    timestamp_ms: u64,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(LABEL.len() + 128 + key_id.len() + aad.map_or(0, <[u8]>::len));
    out.extend_from_slice(LABEL);
    out.extend_from_slice(purpose.label().as_bytes());
    out.push(0);
    crate::context::push_text(&mut out, key_id);
    out.extend_from_slice(message_id);
    out.extend_from_slice(&timestamp_ms.to_be_bytes());
    out.push(aad.is_some().into());
    out.extend_from_slice(aad.unwrap_or_default());
    out
}

#[cfg(test)]
mod tests;
