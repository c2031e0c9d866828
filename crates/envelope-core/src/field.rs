//! Field encryption: single values of a record, such as an e-mail address, sealed for the cell that they are stored in.

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
use crate::sealer::Sealer;

/// A field without a purpose is read as well: the canonical binding that it is associated with begins with a zero byte,
/// which neither a secret's name nor a row's key has.
const FIELD: Accepted = Accepted::OrUnlabelled(Purpose::Field);

/// The sealer of fields, which decides the format that they are stored in.
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
    /// The same of a sealer: its key service, its application's context and its suite. A value that does not open is reported to its
    /// [observer](Sealer::with_failure_observer).
    Sealer(&'a Sealer),
    /// Data keys in memory: JSON envelopes, with the [canonical binding](Binding::canonical) as associated
    /// data.
    Ring(&'a dyn DataKeyRing),
}

/// The source of data keys for fields: a key service, with the sealer that it was taken from, or a ring.
enum Source<'a> {
    Service {
        provider: &'a dyn KeyProvider,
        context: &'a EncryptionContext,
        suite: Suite,
        sealer: Option<&'a Sealer>,
    },
    Ring(&'a dyn DataKeyRing),
}

impl<'a> From<FieldKeys<'a>> for Source<'a> {
    fn from(keys: FieldKeys<'a>) -> Self {
        match keys {
            FieldKeys::Provider { provider, context, suite } => {
                Self::Service { provider, context, suite, sealer: None }
            }
            FieldKeys::Sealer(sealer) => {
                let (context, suite) = (&sealer.base_context, sealer.suite);
                let provider = sealer.provider().as_ref();
                Self::Service { provider, context, suite, sealer: Some(sealer) }
            }
            FieldKeys::Ring(ring) => Self::Ring(ring),
        }
    }
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
    match Source::from(keys) {
        Source::Service { provider, context, suite, .. } => {
            let generated = provider.generate_shared(context, value.len()).await?;
            bound::seal(suite, &generated.key.0, &generated.wrapped, binding, value)
        }
        Source::Ring(ring) => {
            let aad = binding.canonical()?;
            Ok(node_json::seal(ring, Purpose::Field, Some(&aad), value, milliseconds_since_1970()))
        }
    }
}

/// Opens a text that is stored in this cell.
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
    match Source::from(keys) {
        Source::Service { provider, context, sealer, .. } => {
            let opened = unwrap(provider, context, stored).await;
            observed(sealer, opened.and_then(|(envelope, key)| envelope.open(&key, binding)))
        }
        Source::Ring(ring) => node_json::open_text(ring, FIELD, Some(&binding.canonical()?), stored),
    }
}

/// Opens bytes that are stored in this cell.
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
    match Source::from(keys) {
        Source::Service { provider, context, sealer, .. } => {
            let opened = unwrap(provider, context, stored).await;
            observed(sealer, opened.and_then(|(envelope, key)| envelope.open_bytes(&key, binding)))
        }
        Source::Ring(ring) => node_json::open(ring, FIELD, Some(&binding.canonical()?), stored),
    }
}

fn observed<T>(sealer: Option<&Sealer>, outcome: Result<T, OpenError>) -> Result<T, OpenError> {
    match sealer {
        Some(sealer) => sealer.observed(outcome),
        None => outcome,
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
