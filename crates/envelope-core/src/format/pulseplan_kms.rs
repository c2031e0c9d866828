//! PulsePlan's KMS format: a JSON object around what AWS KMS `Encrypt` made of the token, with or without `kms:` before it.
//!
//! `{"ciphertext": base64, "key_id": "<arn>", "encryption_context": {…}, "algorithm": "KMS", "encrypted_at": "<ISO 8601>"}`.
//! KMS itself binds the token to the encryption context (user, service, data type), not to a row or column. The
//! context inside the value is a claim and is never passed on: it must equal the one that the caller expects.
//! Nothing authenticates `encrypted_at`, and nothing depends on it.

use secrecy::{ExposeSecret, SecretString};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use zeroize::Zeroizing;

use crate::aead;
use crate::context::{ContextError, EncryptionContext};
use crate::error::OpenError;
use crate::format::FormatError;
use crate::provider::KeyProvider;
use crate::text::{check_json_spelling, decode_base64};

/// Longest ciphertext that AWS KMS makes or takes, in bytes (`CiphertextBlob` of the `Decrypt` reference).
pub const MAX_CIPHERTEXT_LEN: usize = 6_144;

/// A parsed envelope.
#[derive(Debug)]
pub struct Envelope {
    ciphertext: Vec<u8>,
    key_id: String,
    context: EncryptionContext,
}

impl Envelope {
    /// Parses the object, with or without `kms:` before it.
    ///
    /// # Errors
    /// [`FormatError`] for a missing, unknown or repeated field, and for an invalid field.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let json = text.strip_prefix("kms:").unwrap_or(text);
        check_json_spelling(json)?;
        let fields: Fields = serde_json::from_str(json).map_err(|_| FormatError::Json)?;
        if fields.algorithm != "KMS" {
            return Err(FormatError::UnknownSuite);
        }
        if fields.key_id.is_empty() || !looks_like_iso_8601(&fields.encrypted_at) {
            return Err(FormatError::Json);
        }
        let ciphertext = decode_base64(&fields.ciphertext)?;
        match ciphertext.len() {
            0 => return Err(FormatError::TooShort),
            1..=MAX_CIPHERTEXT_LEN => {}
            _ => return Err(FormatError::TooLong),
        }
        let pairs = fields.encryption_context.0.iter();
        let context = EncryptionContext::new(pairs.map(|(name, value)| (name.as_str(), value.as_str())))
            .map_err(|error| match error {
                ContextError::TooLong { .. } => FormatError::TooLong,
                _ => FormatError::Json,
            })?;
        Ok(Self { ciphertext, key_id: fields.key_id, context })
    }

    /// The key that the value names: a claim.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The context that the value names: a claim, useful for reports and for comparison with the expected
    /// context.
    #[must_use]
    pub fn claimed_context(&self) -> &EncryptionContext {
        &self.context
    }

    /// Opens the value through the key service, under the context that the caller expects for its row.
    ///
    /// # Errors
    /// As for [`open`].
    pub async fn open(
        &self,
        provider: &dyn KeyProvider,
        expected: &EncryptionContext,
    ) -> Result<SecretString, OpenError> {
        if self.context != *expected {
            return Err(OpenError::NotAuthentic);
        }
        let opened = provider.decrypt(&self.ciphertext, Some(&self.key_id), expected).await?;
        aead::into_secret_string(Zeroizing::new(opened.expose_secret().to_vec()))
    }
}

/// Opens a value for a row whose context is `expected`.
///
/// # Errors
/// [`OpenError::Malformed`]; [`OpenError::NotAuthentic`] where the value claims another context, without any call,
/// and where the key service refuses it; [`OpenError::Key`]; [`OpenError::NotText`].
pub async fn open(
    provider: &dyn KeyProvider,
    text: &str,
    expected: &EncryptionContext,
) -> Result<SecretString, OpenError> {
    if text.is_empty() {
        return Ok(SecretString::default());
    }
    Envelope::parse(text)?.open(provider, expected).await
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    ciphertext: String,
    key_id: String,
    encryption_context: Pairs,
    algorithm: String,
    encrypted_at: String,
}

/// The members of a JSON object of strings, in their order and with repetitions, which a map would swallow.
struct Pairs(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}

/// Whether a text is spelled `YYYY-MM-DDThh:mm:ss`, with an optional fraction and offset.
fn looks_like_iso_8601(text: &str) -> bool {
    let Some((stamp, rest)) = text.split_at_checked(19) else {
        return false;
    };
    let digits_in_place =
        stamp.bytes().zip("dddd-dd-ddTdd:dd:dd".bytes()).all(|(byte, wanted)| match wanted {
            b'd' => byte.is_ascii_digit(),
            _ => byte == wanted,
        });
    let rest = match rest.strip_prefix('.') {
        None => rest,
        Some(fraction) => match fraction.trim_start_matches(|c: char| c.is_ascii_digit()) {
            offset if offset.len() < fraction.len() => offset,
            _ => return false,
        },
    };
    digits_in_place && (rest.is_empty() || rest == "Z" || is_offset(rest))
}

fn is_offset(text: &str) -> bool {
    let Some(clock) = text.strip_prefix(['+', '-']) else {
        return false;
    };
    clock.len() == 5
        && clock.bytes().enumerate().all(|(at, byte)| match at {
            2 => byte == b':',
            _ => byte.is_ascii_digit(),
        })
}
