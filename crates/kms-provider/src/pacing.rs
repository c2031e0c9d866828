//! A decorator that spreads calls over time, so that a bulk run leaves room for other callers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use envelope_core::provider::{GeneratedDataKey, KeyDescription};
use envelope_core::{DataKey, EncryptionContext, KeyError, KeyProvider, WrappedDataKey};
use secrecy::SecretSlice;
use tokio::time::{Instant, sleep_until};

/// Limits the rate of calls per second: they wait, evenly spread, in the order in which they came.
///
/// Put it under [`Caching`](crate::Caching), because answers from memory should not wait, and over
/// [`Resilience`](crate::Resilience), whose deadline would count the wait.
pub struct Pacing {
    inner: Arc<dyn KeyProvider>,
    interval: Duration,
    // When the next call may be made.
    next: Mutex<Instant>,
}

impl Pacing {
    /// Allows `per_second` calls per second; any value except a positive number means no limit.
    #[must_use]
    pub fn new(inner: Arc<dyn KeyProvider>, per_second: f64) -> Self {
        let interval = Duration::try_from_secs_f64(per_second.recip()).unwrap_or(Duration::ZERO);
        Self { inner, interval, next: Mutex::new(Instant::now()) }
    }

    async fn turn(&self) {
        let turn = {
            // An instant is never half-written: a panic elsewhere does not make it wrong.
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = (*next).max(Instant::now());
            // A rate of one call in a thousand years is still a rate.
            *next = turn.checked_add(self.interval).unwrap_or(turn);
            turn
        };
        if self.interval > Duration::ZERO {
            sleep_until(turn).await;
        }
    }
}

impl std::fmt::Debug for Pacing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pacing").field("interval", &self.interval).finish_non_exhaustive()
    }
}

#[async_trait]
impl KeyProvider for Pacing {
    async fn generate(&self, context: &EncryptionContext) -> Result<GeneratedDataKey, KeyError> {
        self.turn().await;
        self.inner.generate(context).await
    }

    async fn generate_shared(
        &self,
        context: &EncryptionContext,
        message_len: usize,
    ) -> Result<GeneratedDataKey, KeyError> {
        self.turn().await;
        self.inner.generate_shared(context, message_len).await
    }

    async fn unwrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<Arc<DataKey>, KeyError> {
        self.turn().await;
        self.inner.unwrap(wrapped, context).await
    }

    async fn rewrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<WrappedDataKey, KeyError> {
        self.turn().await;
        self.inner.rewrap(wrapped, context).await
    }

    fn can_rewrap(&self, wrapped: &WrappedDataKey) -> bool {
        self.inner.can_rewrap(wrapped)
    }

    async fn describe(&self) -> Result<KeyDescription, KeyError> {
        self.turn().await;
        self.inner.describe().await
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
        self.turn().await;
        self.inner.decrypt(ciphertext, key_id, context).await
    }
}
