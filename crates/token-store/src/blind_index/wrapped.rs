//! The stored form of an index key: its wrapped bytes in base64, or an envelope of version 2.
//!
//! The key service that makes a key wraps it. No service wraps a data key that another one made; so a key that has moved to
//! another service is the value of an envelope, whose data key that service made and wrapped under the context of the index key.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use envelope_core::format::{FormatError, kms_envelope};
use envelope_core::{DataKey, EncryptionContext, KeyError, KeyProvider, OpenError, WrappedDataKey};
use secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

use crate::database::index::StoredIndexKey;

/// An index key as it is stored.
pub(super) struct WrappedIndexKey<'a> {
    text: &'a str,
    wrapped: WrappedDataKey,
    /// The index key, sealed under the data key; none where it is the data key.
    sealed: Option<kms_envelope::Envelope>,
}

/// The new stored form of an index key.
pub(super) struct Rewrapped {
    pub(super) text: String,
    pub(super) key_id: Option<String>,
}

impl<'a> WrappedIndexKey<'a> {
    /// Parses a stored key.
    ///
    /// # Errors
    /// [`OpenError::Malformed`].
    pub(super) fn parse(key: &'a StoredIndexKey) -> Result<Self, OpenError> {
        let (text, key_id) = (key.wrapped.as_str(), key.key_id.as_deref());
        // No base64 has a colon.
        if text.contains(':') {
            let mut envelope = kms_envelope::Envelope::parse(text)?;
            let wrapped = envelope.wrapped_data_key(key_id)?;
            return Ok(Self { text, wrapped, sealed: Some(envelope) });
        }
        let bytes = STANDARD.decode(text).map_err(|_| FormatError::Base64)?;
        Ok(Self { text, wrapped: WrappedDataKey::new(bytes, key_id)?, sealed: None })
    }

    /// Whether the key service can bring it under its current key without opening it.
    pub(super) fn can_be_rewrapped(&self, provider: &dyn KeyProvider) -> bool {
        provider.can_rewrap(&self.wrapped)
    }

    /// Opens the index key.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(super) async fn unwrap(
        &self,
        provider: &dyn KeyProvider,
        context: &EncryptionContext,
    ) -> Result<Arc<DataKey>, OpenError> {
        let data_key = match provider.unwrap_cached(&self.wrapped, context) {
            Some(data_key) => data_key,
            None => provider.unwrap(&self.wrapped, context).await?,
        };
        let Some(sealed) = &self.sealed else { return Ok(data_key) };
        let opened = sealed.open(&data_key)?;
        let index_key = opened.expose_secret().parse().map_err(|_| FormatError::Shape)?;
        Ok(Arc::new(index_key))
    }

    /// Brings the data key under the current key of the key service.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(super) async fn rewrap(
        &self,
        provider: &dyn KeyProvider,
        context: &EncryptionContext,
    ) -> Result<Rewrapped, OpenError> {
        let new = provider.rewrap(&self.wrapped, context).await?;
        let text = match self.sealed {
            Some(_) if new.bytes() == self.wrapped.bytes() => self.text.to_owned(),
            Some(_) => kms_envelope::replace_wrapped(self.text, &new)?,
            None => STANDARD.encode(new.bytes()),
        };
        Ok(Rewrapped { text, key_id: new.key_id().map(ToOwned::to_owned) })
    }
}

/// Seals an index key under a new data key of the key service.
///
/// # Errors
/// [`KeyError`].
pub(super) async fn seal(
    index_key: &DataKey,
    provider: &dyn KeyProvider,
    context: &EncryptionContext,
) -> Result<Rewrapped, KeyError> {
    let made = provider.generate(context).await?;
    let plaintext = Zeroizing::new(STANDARD.encode(index_key.expose_secret()));
    let text = kms_envelope::seal(&made.key.0, &made.wrapped, &plaintext);
    Ok(Rewrapped { text, key_id: made.wrapped.key_id().map(ToOwned::to_owned) })
}
