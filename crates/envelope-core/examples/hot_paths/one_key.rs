//! A key service with one key at hand, and a cache that has it: what remains is the work of this crate.

use std::sync::Arc;

use async_trait::async_trait;
use envelope_core::provider::{GeneratedDataKey, KeyDescription};
use envelope_core::{DataKey, EncryptionContext, KeyError, KeyProvider, WrappedDataKey};

/// Returns one data key for every context, wrapped in as many bytes as AWS KMS wraps one.
///
/// Its own share of the counts: for opening, a copy of the pointer to the key; for sealing, the future, in version 3 another
/// one around it, and the copies of the wrapped bytes and their key id.
pub(crate) struct OneKey {
    key: Arc<DataKey>,
    wrapped: WrappedDataKey,
}

impl OneKey {
    pub(crate) fn new() -> Self {
        let wrapped =
            WrappedDataKey::new(vec![7; 184], Some("arn:aws:kms:key")).expect("its length is allowed");
        Self { key: Arc::new(DataKey::generate()), wrapped }
    }
}

#[async_trait]
impl KeyProvider for OneKey {
    async fn generate(&self, _: &EncryptionContext) -> Result<GeneratedDataKey, KeyError> {
        Ok(GeneratedDataKey::new(self.key.clone(), self.wrapped.clone()))
    }

    async fn unwrap(&self, _: &WrappedDataKey, _: &EncryptionContext) -> Result<Arc<DataKey>, KeyError> {
        Ok(self.key.clone())
    }

    async fn rewrap(
        &self,
        wrapped: &WrappedDataKey,
        _: &EncryptionContext,
    ) -> Result<WrappedDataKey, KeyError> {
        Ok(wrapped.clone())
    }

    async fn describe(&self) -> Result<KeyDescription, KeyError> {
        Ok(KeyDescription::new("one", "memory"))
    }

    fn unwrap_cached(&self, _: &WrappedDataKey, _: &EncryptionContext) -> Option<Arc<DataKey>> {
        Some(self.key.clone())
    }
}
