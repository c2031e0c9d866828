//! Values to envelopes and back, each bound to its secret's name.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use envelope_core::correlation::CorrelationId;
use envelope_core::format::{FormatError, MAX_PLAINTEXT_LEN, node_json};
use envelope_core::{OpenError, Purpose};
use node_json::{Accepted, DataKeyRing};
use secrecy::ExposeSecret;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::ID;
use crate::audit::{self, Record};
use crate::error::{SourceError, Unfit};
use crate::name::SecretName;
use crate::value::SecretValue;

/// Values of other systems carry no purpose.
const FOREIGN: Accepted = Accepted::OrUnlabelled(Purpose::Secret);

/// Opens values of this store and, unless every value carries its purpose, values without one.
pub(super) fn accepted(labelled: bool) -> Accepted {
    if labelled { Accepted::Only(Purpose::Secret) } else { Accepted::OrUnlabelled(Purpose::Secret) }
}

/// The store's data about a secret, or its value, is not as the last change left it.
pub(super) fn not_authentic(name: &SecretName, cause: OpenError) -> SourceError {
    Unopened::told(name, ID, cause).into_error(name)
}

/// A value as it is stored.
pub(super) struct Sealed {
    pub(super) envelope: String,
    pub(super) key_id: String,
    pub(super) is_binary: bool,
}

/// A stored value that did not open, and the id of this failure in the audit trail.
pub(super) struct Unopened {
    pub(super) correlation_id: CorrelationId,
    pub(super) cause: OpenError,
}

impl Unopened {
    pub(super) fn told(name: &SecretName, source: &'static str, cause: OpenError) -> Self {
        let correlation_id = audit::did_not_open(Record::of(name).source(source), &cause);
        Self { correlation_id, cause }
    }

    fn into_error(self, name: &SecretName) -> SourceError {
        let Self { correlation_id, cause } = self;
        SourceError::Sealed { name: name.clone(), correlation_id, cause }
    }
}

/// Seals a value under the active data key, with the secret's name as associated data.
pub(super) fn seal(
    ring: &dyn DataKeyRing,
    name: &SecretName,
    value: &SecretValue,
    operation: &'static str,
) -> Result<Sealed, SourceError> {
    if let Some(reason) = unfit(value) {
        return Err(SourceError::Invalid { operation, cause: Some(std::sync::Arc::new(reason)) });
    }
    // The format holds text: bytes are base64 inside it.
    let text = value.is_binary().then(|| Zeroizing::new(STANDARD.encode(value.expose_bytes())));
    let plaintext = text.as_ref().map_or(value.expose_bytes(), |text| text.as_bytes());
    let sealed = seal_bytes(ring, name, plaintext);
    Ok(Sealed { is_binary: value.is_binary(), ..sealed })
}

/// Whether the store can hold a value.
pub(super) fn check(name: &SecretName, value: &SecretValue) -> Result<(), SourceError> {
    match unfit(value) {
        Some(reason) => Err(SourceError::Unfit { name: name.clone(), reason }),
        None => Ok(()),
    }
}

fn unfit(value: &SecretValue) -> Option<Unfit> {
    // Bytes are stored as base64, which needs four characters for three.
    let actual = if value.is_binary() { value.len().div_ceil(3) * 4 } else { value.len() };
    match actual {
        // The format has no envelope for the empty value, so an empty one would be bound to nothing.
        0 => Some(Unfit::Empty),
        _ if actual > MAX_PLAINTEXT_LEN => Some(Unfit::TooLong { actual, limit: MAX_PLAINTEXT_LEN }),
        _ => None,
    }
}

/// Opens a stored value under its secret's name.
pub(super) fn open(
    ring: &dyn DataKeyRing,
    name: &SecretName,
    envelope: &str,
    is_binary: bool,
    accepted: Accepted,
) -> Result<SecretValue, SourceError> {
    let value = open_value(ring, name, envelope, is_binary, accepted);
    if value.is_ok() {
        audit::done(audit::DATA_DECRYPTED, Record::of(name).source(ID));
    }
    value.map_err(|cause| Unopened::told(name, ID, cause).into_error(name))
}

/// Re-seals a stored value under the active data key, without looking at it.
pub(super) fn reseal(
    ring: &dyn DataKeyRing,
    name: &SecretName,
    envelope: &str,
    accepted: Accepted,
) -> Result<Sealed, Unopened> {
    let aad = Some(name.as_str().as_bytes());
    let opened = not_empty(envelope).and_then(|envelope| node_json::open(ring, accepted, aad, envelope));
    let opened = opened.map_err(|cause| Unopened::told(name, ID, cause))?;
    Ok(seal_bytes(ring, name, opened.expose_secret()))
}

/// Opens an envelope that another system made, with that system's associated data.
pub(super) fn open_foreign(
    ring: &dyn DataKeyRing,
    name: &SecretName,
    aad: Option<&[u8]>,
    envelope: &str,
) -> Result<SecretValue, SourceError> {
    let opened = node_json::open_text(ring, FOREIGN, aad, envelope).map(SecretValue::from);
    opened.map_err(|cause| Unopened::told(name, "import", cause).into_error(name))
}

fn open_value(
    ring: &dyn DataKeyRing,
    name: &SecretName,
    envelope: &str,
    is_binary: bool,
    accepted: Accepted,
) -> Result<SecretValue, OpenError> {
    let aad = Some(name.as_str().as_bytes());
    let text = node_json::open_text(ring, accepted, aad, not_empty(envelope)?)?;
    if !is_binary {
        return Ok(SecretValue::from(text));
    }
    let bytes = STANDARD.decode(text.expose_secret()).map_err(|_| FormatError::Base64)?;
    Ok(SecretValue::binary(bytes))
}

/// To the format the empty text is the empty value; in this store it can only be a value that was taken away.
fn not_empty(envelope: &str) -> Result<&str, OpenError> {
    if envelope.is_empty() { Err(FormatError::TooShort.into()) } else { Ok(envelope) }
}

fn seal_bytes(ring: &dyn DataKeyRing, name: &SecretName, plaintext: &[u8]) -> Sealed {
    let now = OffsetDateTime::now_utc().unix_timestamp().unsigned_abs() * 1_000;
    let envelope = node_json::seal(ring, Purpose::Secret, Some(name.as_str().as_bytes()), plaintext, now);
    // Read back from the envelope: the ring may have got another active key a moment ago.
    let key_id = node_json::Envelope::parse(&envelope).map(|envelope| envelope.key_id().to_owned());
    let key_id = key_id.unwrap_or_default();
    audit::done(audit::DATA_ENCRYPTED, Record::of(name).source(ID).key(&key_id));
    Sealed { envelope, key_id, is_binary: false }
}
