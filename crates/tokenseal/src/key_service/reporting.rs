//! A key service whose failures are audit events.

use std::sync::Arc;

use async_trait::async_trait;
use envelope_core::provider::{GeneratedDataKey, KeyDescription};
use envelope_core::{DataKey, EncryptionContext, ErrorClass, KeyError, KeyProvider, WrappedDataKey};
use secrecy::SecretSlice;

use crate::audit::events;

/// Emits an event for each call that fails. A data key that does not open is not reported here: it is a
/// failure of a value.
pub(super) struct Reporting {
    inner: Arc<dyn KeyProvider>,
    /// The key as a log may show it.
    key: String,
}

impl Reporting {
    pub(super) fn new(inner: Arc<dyn KeyProvider>, key: String) -> Self {
        Self { inner, key }
    }

    fn seen<T>(&self, operation: &str, outcome: Result<T, KeyError>) -> Result<T, KeyError> {
        if let Err(error) = &outcome
            && error.class() != ErrorClass::ContextMismatchOrCorrupt
        {
            events::kms_error(operation, &self.key, error.class().label());
        }
        outcome
    }
}

#[async_trait]
impl KeyProvider for Reporting {
    async fn generate(&self, context: &EncryptionContext) -> Result<GeneratedDataKey, KeyError> {
        self.seen("generate", self.inner.generate(context).await)
    }

    async fn generate_shared(
        &self,
        context: &EncryptionContext,
        message_len: usize,
    ) -> Result<GeneratedDataKey, KeyError> {
        self.seen("generate", self.inner.generate_shared(context, message_len).await)
    }

    async fn unwrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<Arc<DataKey>, KeyError> {
        self.seen("unwrap", self.inner.unwrap(wrapped, context).await)
    }

    async fn rewrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<WrappedDataKey, KeyError> {
        self.seen("rewrap", self.inner.rewrap(wrapped, context).await)
    }

    fn can_rewrap(&self, wrapped: &WrappedDataKey) -> bool {
        self.inner.can_rewrap(wrapped)
    }

    async fn describe(&self) -> Result<KeyDescription, KeyError> {
        self.seen("describe", self.inner.describe().await)
    }

    fn unwrap_cached(&self, wrapped: &WrappedDataKey, context: &EncryptionContext) -> Option<Arc<DataKey>> {
        self.inner.unwrap_cached(wrapped, context)
    }

    async fn decrypt(
        &self,
        ciphertext: &[u8],
        key_id: Option<&str>,
        context: &EncryptionContext,
    ) -> Result<SecretSlice<u8>, KeyError> {
        self.seen("decrypt", self.inner.decrypt(ciphertext, key_id, context).await)
    }
}
