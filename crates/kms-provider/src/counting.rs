//! A decorator that counts the calls made to a key service.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use envelope_core::provider::{GeneratedDataKey, KeyDescription};
use envelope_core::{DataKey, EncryptionContext, KeyError, KeyProvider, WrappedDataKey};
use secrecy::SecretSlice;

/// Passes every call on and counts it, whether it succeeds or not.
///
/// Put it right around the backend, under [`Caching`](crate::Caching), and it counts the calls that are
/// billed.
pub struct Counting {
    inner: Arc<dyn KeyProvider>,
    counters: Counters,
}

impl Counting {
    /// Counts the calls that reach `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn KeyProvider>) -> Self {
        Self { inner, counters: Counters::default() }
    }

    /// The calls made so far.
    #[must_use]
    pub fn counts(&self) -> CallCounts {
        self.counters.snapshot()
    }
}

impl std::fmt::Debug for Counting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counting").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

#[async_trait]
impl KeyProvider for Counting {
    async fn generate(&self, context: &EncryptionContext) -> Result<GeneratedDataKey, KeyError> {
        Counters::add(&self.counters.generate);
        self.inner.generate(context).await
    }

    async fn generate_shared(
        &self,
        context: &EncryptionContext,
        message_len: usize,
    ) -> Result<GeneratedDataKey, KeyError> {
        Counters::add(&self.counters.generate);
        self.inner.generate_shared(context, message_len).await
    }

    async fn unwrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<Arc<DataKey>, KeyError> {
        Counters::add(&self.counters.unwrap);
        self.inner.unwrap(wrapped, context).await
    }

    async fn rewrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<WrappedDataKey, KeyError> {
        Counters::add(&self.counters.rewrap);
        self.inner.rewrap(wrapped, context).await
    }

    fn can_rewrap(&self, wrapped: &WrappedDataKey) -> bool {
        self.inner.can_rewrap(wrapped)
    }

    async fn describe(&self) -> Result<KeyDescription, KeyError> {
        Counters::add(&self.counters.describe);
        self.inner.describe().await
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
        Counters::add(&self.counters.decrypt);
        self.inner.decrypt(ciphertext, key_id, context).await
    }
}

/// How many calls of each kind a key service has had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallCounts {
    /// Data keys asked for.
    pub generate: u64,
    /// Data keys unwrapped.
    pub unwrap: u64,
    /// Data keys re-wrapped.
    pub rewrap: u64,
    /// Questions about the current key.
    pub describe: u64,
    /// Values opened by the key service itself.
    pub decrypt: u64,
}

impl CallCounts {
    /// All calls together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.generate + self.unwrap + self.rewrap + self.describe + self.decrypt
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) generate: AtomicU64,
    pub(crate) unwrap: AtomicU64,
    pub(crate) rewrap: AtomicU64,
    pub(crate) describe: AtomicU64,
    pub(crate) decrypt: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> CallCounts {
        CallCounts {
            generate: self.generate.load(Ordering::Relaxed),
            unwrap: self.unwrap.load(Ordering::Relaxed),
            rewrap: self.rewrap.load(Ordering::Relaxed),
            describe: self.describe.load(Ordering::Relaxed),
            decrypt: self.decrypt.load(Ordering::Relaxed),
        }
    }
}
