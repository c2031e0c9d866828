//! Field encryption: single values of a record, such as an e-mail address, sealed for the cell that they stand in.

use std::time::{SystemTime, UNIX_EPOCH};

use secrecy::{SecretSlice, SecretString};

use crate::binding::Binding;
use crate::context::EncryptionContext;
use crate::error::{OpenError, SealError};
use crate::format::MAX_PLAINTEXT_LEN;
use crate::format::bound::{self, Suite};
use crate::format::node_json::{self, Accepted, DataKeyRing};
use crate::key::DataKey;
use crate::provider::KeyProvider;
use crate::purpose::Purpose;

/// A field without a purpose is read as well: the canonical binding that it is associated with begins with a zero byte,
/// which neither a secret's name nor a row's key has.
const FIELD: Accepted = Accepted::OrUnlabelled(Purpose::Field);

/// What seals fields, and so the format that they are stored in.
#[derive(Clone, Copy)]
pub enum FieldKeys<'a> {
    /// A key service: bound envelopes, `kms:v3:…`, whose data keys are wrapped under this context.
    Provider {
        /// The key service.
        provider: &'a dyn KeyProvider,
        /// The application's context: no pair of it says anything about a row.
        context: &'a EncryptionContext,
        /// The suite of new values; every suite is read.
        suite: Suite,
    },
    /// Data keys at hand: JSON envelopes, with the [canonical binding](Binding::canonical) as associated data.
    Ring(&'a dyn DataKeyRing),
}

/// Seals a text for a cell. The empty text stays the empty string.
///
/// # Errors
/// [`SealError`]. Nothing weaker is ever returned in its place.
pub async fn encrypt_field(
    keys: FieldKeys<'_>,
    binding: &Binding<'_>,
    value: &str,
) -> Result<String, SealError> {
    encrypt_field_bytes(keys, binding, value.as_bytes()).await
}

/// Seals bytes for a cell. No bytes at all become the empty string.
///
/// # Errors
/// [`SealError`]. Nothing weaker is ever returned in its place.
pub async fn encrypt_field_bytes(
    keys: FieldKeys<'_>,
    binding: &Binding<'_>,
    value: &[u8],
) -> Result<String, SealError> {
    if value.len() > MAX_PLAINTEXT_LEN {
        return Err(SealError::TooLong { actual: value.len(), limit: MAX_PLAINTEXT_LEN });
    }
    if value.is_empty() {
        return Ok(String::new());
    }
    match keys {
        FieldKeys::Provider { provider, context, suite } => {
            let generated = provider.generate(context).await?;
            bound::seal(suite, &generated.key.0, &generated.wrapped, binding, value)
        }
        FieldKeys::Ring(ring) => {
            let aad = binding.canonical()?;
            Ok(node_json::seal(ring, Purpose::Field, Some(&aad), value, milliseconds_since_1970()))
        }
    }
}

/// Opens a text that stands in this cell.
///
/// # Errors
/// [`OpenError`]; the same one for a damaged value and for one that was copied here from another cell.
pub async fn decrypt_field(
    keys: FieldKeys<'_>,
    binding: &Binding<'_>,
    stored: &str,
) -> Result<SecretString, OpenError> {
    if stored.is_empty() {
        return Ok(SecretString::default());
    }
    match keys {
        FieldKeys::Provider { provider, context, .. } => {
            let (envelope, key) = unwrap(provider, context, stored).await?;
            envelope.open(&key, binding)
        }
        FieldKeys::Ring(ring) => node_json::open_text(ring, FIELD, Some(&binding.canonical()?), stored),
    }
}

/// Opens bytes that stand in this cell.
///
/// # Errors
/// As for [`decrypt_field`], without [`OpenError::NotText`].
pub async fn decrypt_field_bytes(
    keys: FieldKeys<'_>,
    binding: &Binding<'_>,
    stored: &str,
) -> Result<SecretSlice<u8>, OpenError> {
    if stored.is_empty() {
        return Ok(SecretSlice::default());
    }
    match keys {
        FieldKeys::Provider { provider, context, .. } => {
            let (envelope, key) = unwrap(provider, context, stored).await?;
            envelope.open_bytes(&key, binding)
        }
        FieldKeys::Ring(ring) => node_json::open(ring, FIELD, Some(&binding.canonical()?), stored),
    }
}

async fn unwrap(
    provider: &dyn KeyProvider,
    context: &EncryptionContext,
    stored: &str,
) -> Result<(bound::Envelope, std::sync::Arc<DataKey>), OpenError> {
    let envelope = bound::Envelope::parse(stored)?;
    let wrapped = envelope.wrapped_data_key(None)?;
    let key = match provider.unwrap_cached(&wrapped, context) {
        Some(key) => key,
        None => provider.unwrap(&wrapped, context).await?,
    };
    Ok((envelope, key))
}

fn milliseconds_since_1970() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}
