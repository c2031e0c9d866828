//! A cache's key service for callers who unwrap each key once: counted by the cache, and not kept.

use std::sync::Arc;

use async_trait::async_trait;
use envelope_core::provider::{GeneratedDataKey, KeyDescription};
use envelope_core::{DataKey, EncryptionContext, KeyError, KeyProvider, WrappedDataKey};
use secrecy::SecretSlice;

use super::Shared;
use super::counts::Counters;
use super::store::Wanted;

pub(super) struct Uncached {
    pub(super) shared: Arc<Shared>,
}

#[async_trait]
impl KeyProvider for Uncached {
    async fn generate(&self, context: &EncryptionContext) -> Result<GeneratedDataKey, KeyError> {
        self.shared.inner.generate(context).await
    }

    async fn generate_shared(
        &self,
        context: &EncryptionContext,
        message_len: usize,
    ) -> Result<GeneratedDataKey, KeyError> {
        self.shared.inner.generate_shared(context, message_len).await
    }

    async fn unwrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<Arc<DataKey>, KeyError> {
        let wanted = Wanted { wrapped, context };
        let counters = &self.shared.counters;
        if let Some(refusal) = self.shared.refusals.answer(&wanted) {
            Counters::add(&counters.refused_again);
            return Err(refusal);
        }
        Counters::add(&counters.misses);
        Counters::add(&counters.loads);
        let unwrapped = self.shared.inner.unwrap(wrapped, context).await;
        if let Err(error) = &unwrapped {
            Counters::add(&counters.load_failures);
            // The shared cache gets the refusal as well.
            self.shared.refused(&wanted.to_entry(), error);
        }
        unwrapped
    }

    async fn rewrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<WrappedDataKey, KeyError> {
        self.shared.inner.rewrap(wrapped, context).await
    }

    fn can_rewrap(&self, wrapped: &WrappedDataKey) -> bool {
        self.shared.inner.can_rewrap(wrapped)
    }

    async fn describe(&self) -> Result<KeyDescription, KeyError> {
        self.shared.inner.describe().await
    }

    fn unwrap_cached(&self, wrapped: &WrappedDataKey, context: &EncryptionContext) -> Option<Arc<DataKey>> {
        self.shared.inner.unwrap_cached(wrapped, context)
    }

    async fn decrypt(
        &self,
        ciphertext: &[u8],
        key_id: Option<&str>,
        context: &EncryptionContext,
    ) -> Result<SecretSlice<u8>, KeyError> {
        self.shared.inner.decrypt(ciphertext, key_id, context).await
    }
}
