//! The keyring as a key service: wrapping, unwrapping and rewrapping of data keys.

use std::sync::Arc;

use async_trait::async_trait;
use envelope_core::format::node_json::DataKeyRing;
use envelope_core::ledger::Ledger;
use envelope_core::provider::{ErrorClass, GeneratedDataKey, KeyDescription};
use envelope_core::{DataKey, EncryptionContext, KeyError, KeyProvider, WrappedDataKey};

use super::Keyring;
use super::ring::{PREFIX, RingKey};
use crate::redact::shown;
use crate::wrapping::{self, Parsed};

#[async_trait]
impl KeyProvider for Keyring {
    async fn generate(&self, context: &EncryptionContext) -> Result<GeneratedDataKey, KeyError> {
        let loaded = self.current()?;
        let active = loaded.ring.active();
        let (key, wrapped) = active.wrapping.generate(&active.id, context)?;
        Ok(GeneratedDataKey::new(Arc::new(key), named(wrapped, active)?))
    }

    async fn unwrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<Arc<DataKey>, KeyError> {
        let (_, key) = self.open_wrapped(wrapped, context)?;
        Ok(Arc::new(key))
    }

    async fn rewrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<WrappedDataKey, KeyError> {
        let (under, key) = self.open_wrapped(wrapped, context)?;
        let loaded = self.current()?;
        let active = loaded.ring.active();
        if under.id == active.id {
            return named(wrapped.bytes().into(), active);
        }
        wrap(active, &key, context)
    }

    fn can_rewrap(&self, wrapped: &WrappedDataKey) -> bool {
        let id = Parsed::parse(wrapped.bytes()).map(|parsed| parsed.id.to_owned());
        id.is_none_or(|id| self.find(&id).is_ok_and(|key| key.is_some()))
    }

    async fn describe(&self) -> Result<KeyDescription, KeyError> {
        let loaded = self.reloaded()?;
        Ok(KeyDescription::new(&*loaded.ring.active().key_id, "keyring"))
    }
}

impl Keyring {
    /// Unwraps a data key, and returns the key that it was under.
    fn open_wrapped(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<(Arc<RingKey>, DataKey), KeyError> {
        let parsed = Parsed::parse(wrapped.bytes());
        if let Some(claim) = wrapped.key_id() {
            let claimed = claim.strip_prefix(PREFIX);
            // Bytes that name no key contradict no claim on a keyring's key: they are damaged.
            if claimed.is_none() || parsed.as_ref().is_some_and(|parsed| claimed != Some(parsed.id)) {
                return Err(foreign(claim));
            }
        }
        let parsed = parsed.ok_or_else(wrapping::does_not_open)?;
        let key = self.find(parsed.id)?.ok_or_else(|| foreign(&format!("{PREFIX}{}", parsed.id)))?;
        let opened = parsed.unwrap(&key.wrapping, context)?;
        Ok((key, opened))
    }
}

fn wrap(under: &RingKey, key: &DataKey, context: &EncryptionContext) -> Result<WrappedDataKey, KeyError> {
    named(under.wrapping.wrap(&under.id, key, context)?, under)
}

fn named(bytes: Box<[u8]>, under: &RingKey) -> Result<WrappedDataKey, KeyError> {
    WrappedDataKey::new(bytes, Some(&under.key_id)).map_err(|error| {
        KeyError::new(ErrorClass::InvalidRequest, "wrapped data key has an impossible length")
            .with_source(error)
    })
}

fn foreign(claim: &str) -> KeyError {
    KeyError::new(
        ErrorClass::WrongKey,
        format!("wrapped under {}, which this keyring does not have", shown(claim)),
    )
    .with_hint(
        "set {key} to the key that wrapped it; {keyring list} shows the keys of this keyring, \
             {keyring import} adds some",
    )
}

impl DataKeyRing for Keyring {
    fn data_key(&self, id: &str) -> Option<Arc<DataKey>> {
        self.data_key(id)
    }

    fn active(&self) -> (String, Arc<DataKey>) {
        self.active_data_key()
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        Some(self)
    }
}
