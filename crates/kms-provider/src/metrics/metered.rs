//! A decorator that times the calls to a key service and counts their failures.

use std::sync::Arc;

use async_trait::async_trait;
use envelope_core::provider::{GeneratedDataKey, KeyDescription};
use envelope_core::{DataKey, EncryptionContext, KeyError, KeyProvider, WrappedDataKey};
use secrecy::SecretSlice;
use tokio::time::Instant;

use super::{Errors, KmsMetrics, Operation, OperationLabel, count};

/// The values of the label `operation`.
pub(super) const OPERATIONS: [&str; 5] = ["generate", "unwrap", "rewrap", "describe", "decrypt"];

/// Passes every call on, and reports to [`KmsMetrics`] how long it took and how it failed.
///
/// Put it right under [`Caching`](crate::Caching): then each call is one that the cache could not answer, and
/// its time is what its caller waited, the retries of [`Resilience`](crate::Resilience) included. A cancelled
/// caller is counted as a request, and neither timed nor counted as failed.
pub struct Metered {
    inner: Arc<dyn KeyProvider>,
    metrics: Arc<KmsMetrics>,
}

impl Metered {
    /// Measures the calls to `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn KeyProvider>, metrics: Arc<KmsMetrics>) -> Self {
        Self { inner, metrics }
    }

    fn requested(&self, operation: &'static str) {
        self.metrics.requests.get_or_create(&OperationLabel { operation }).inc();
    }

    async fn timed<T>(
        &self,
        name: &'static str,
        operation: &Operation,
        call: impl Future<Output = Result<T, KeyError>> + Send,
    ) -> Result<T, KeyError> {
        self.requested(name);
        let start = Instant::now();
        let outcome = call.await;
        operation.observe(start.elapsed(), outcome.as_ref().err());
        outcome
    }

    async fn counted<T>(
        &self,
        name: &'static str,
        errors: &Errors,
        call: impl Future<Output = Result<T, KeyError>> + Send,
    ) -> Result<T, KeyError> {
        self.requested(name);
        let outcome = call.await;
        if let Err(error) = &outcome {
            count(errors, error);
        }
        outcome
    }
}

impl std::fmt::Debug for Metered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metered").finish_non_exhaustive()
    }
}

#[async_trait]
impl KeyProvider for Metered {
    async fn generate(&self, context: &EncryptionContext) -> Result<GeneratedDataKey, KeyError> {
        let call = self.inner.generate(context);
        self.timed("generate", &self.metrics.encrypt, call).await
    }

    async fn generate_shared(
        &self,
        context: &EncryptionContext,
        message_len: usize,
    ) -> Result<GeneratedDataKey, KeyError> {
        let call = self.inner.generate_shared(context, message_len);
        self.timed("generate", &self.metrics.encrypt, call).await
    }

    async fn unwrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<Arc<DataKey>, KeyError> {
        let call = self.inner.unwrap(wrapped, context);
        self.timed("unwrap", &self.metrics.decrypt, call).await
    }

    async fn rewrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<WrappedDataKey, KeyError> {
        let call = self.inner.rewrap(wrapped, context);
        self.counted("rewrap", &self.metrics.rewrap_errors, call).await
    }

    fn can_rewrap(&self, wrapped: &WrappedDataKey) -> bool {
        self.inner.can_rewrap(wrapped)
    }

    async fn describe(&self) -> Result<KeyDescription, KeyError> {
        let call = self.inner.describe();
        self.counted("describe", &self.metrics.describe_errors, call).await
    }

    // Answered from memory, so not a call.
    fn unwrap_cached(&self, wrapped: &WrappedDataKey, context: &EncryptionContext) -> Option<Arc<DataKey>> {
        self.inner.unwrap_cached(wrapped, context)
    }

    async fn decrypt(
        &self,
        ciphertext: &[u8],
        key_id: Option<&str>,
        context: &EncryptionContext,
    ) -> Result<SecretSlice<u8>, KeyError> {
        let call = self.inner.decrypt(ciphertext, key_id, context);
        self.timed("decrypt", &self.metrics.decrypt, call).await
    }
}
