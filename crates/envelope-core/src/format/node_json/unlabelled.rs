//! Version 1: Node KMSService's own, sealed under the data key itself and without a purpose.

use serde::{Deserialize, Serialize};

use super::{Body, DataKeyRing, Envelope, check_key_id, exactly, null_or};
use crate::aead;
use crate::format::{FormatError, MAX_PLAINTEXT_LEN};
use crate::text::{decode_base64, encode_base64};

pub(super) const VERSION: u64 = 1;
const ALGORITHM: &str = "aes-256-gcm";

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

pub(super) fn parse(text: &str) -> Result<Envelope, FormatError> {
    let fields: Fields<String> = serde_json::from_str(text).map_err(|_| FormatError::Json)?;
    if fields.alg != ALGORITHM {
        return Err(FormatError::UnknownSuite);
    }
    check_key_id(&fields.key_id)?;
    let (iv, tag) = (exactly(&fields.iv, aead::NONCE_LEN)?, exactly(&fields.tag, aead::TAG_LEN)?);
    let ciphertext = decode_base64(&fields.ciphertext)?;
    if ciphertext.len() > MAX_PLAINTEXT_LEN {
        return Err(FormatError::TooLong);
    }
    let aad = fields.aad.as_deref().map(decode_base64).transpose()?;
    let body = Body::Unlabelled { iv };
    Ok(Envelope { key_id: fields.key_id, body, tag, ciphertext, aad, timestamp: fields.timestamp })
}

/// Seals a value for Node KMSService to read, under the ring's active key, bound to `aad`. The empty value becomes the
/// empty string.
///
/// The value carries no purpose and does not commit to its key: use [`seal`](super::seal) for everything that the old
/// program does not have to read. The text is what its `JSON.stringify` makes: no white space, fields in this order.
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
