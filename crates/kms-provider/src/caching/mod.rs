//! A decorator that keeps unwrapped data keys for a while.

mod counts;
mod options;
mod refusals;
mod store;
mod uncached;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use envelope_core::provider::{GeneratedDataKey, KeyDescription};
use envelope_core::{DataKey, EncryptionContext, KeyError, KeyProvider, WrappedDataKey};
use secrecy::SecretSlice;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use self::counts::Counters;
use self::refusals::{Refusals, is_refusal, is_state_of_key};
use self::store::{Entry, Kept, Store, Wanted};
use self::uncached::Uncached;
use crate::flight::SingleFlight;
use crate::janitor::Janitor;

pub use self::counts::CacheCounts;
pub use self::options::{CacheOptions, MAX_NEGATIVE_TTL};

/// Most keys that are fetched again in the background at a time, so that waiting callers are not delayed.
const MAX_REFRESHES: usize = 20;

/// How long fetching a key again may take before it is abandoned.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(20);

/// Keeps unwrapped data keys in memory, bounded by time, number and bytes, so that reading a value again costs no call.
///
/// - A hit needs the same wrapped bytes, the same claimed key id and the same context, byte for byte: no hash takes
///   their place, so a hit can never skip a check that the key service would have made.
/// - Callers who want the same key at the same time share one call. A cancelled caller does not affect the
///   others.
/// - A key that is still read when its time is nearly over is fetched again in the background, once for all callers, so that
///   no caller waits for a key in steady use. It needs a Tokio runtime; without one, nothing is fetched ahead.
/// - Failures are returned to all waiting callers and are not remembered, unless [`negative_ttl`] says so,
///   and then only permanent ones and briefly.
/// - An expired key is never used, unless [`stale_for`] says so, and then only in an outage and up to its end.
/// - A key that the key service refuses is forgotten at once: a later outage does not bring it back.
/// - An expired key is dropped, and so wiped, within seconds, even without any read.
///
/// One cache belongs to one provider: entries do not say who unwrapped them.
///
/// [`negative_ttl`]: CacheOptions::negative_ttl
/// [`stale_for`]: CacheOptions::stale_for
pub struct Caching {
    shared: Arc<Shared>,
}

/// The parts that background fetches and [`Caching::uncached`] need too.
struct Shared {
    inner: Arc<dyn KeyProvider>,
    options: CacheOptions,
    store: Store,
    refusals: Refusals,
    // By generation too: a caller after an invalidation does not share a fetch from before it.
    flights: SingleFlight<(u64, Entry), Arc<DataKey>>,
    refreshes: Arc<Semaphore>,
    counters: Arc<Counters>,
    janitor: Janitor,
}

impl Caching {
    /// Keeps the keys that `inner` unwraps, with the default options.
    #[must_use]
    pub fn new(inner: Arc<dyn KeyProvider>) -> Self {
        Self::with_options(inner, CacheOptions::default())
    }

    /// Keeps the keys that `inner` unwraps.
    #[must_use]
    pub fn with_options(inner: Arc<dyn KeyProvider>, options: CacheOptions) -> Self {
        let counters = Arc::new(Counters::default());
        Self {
            shared: Arc::new(Shared {
                inner,
                options,
                store: Store::new(&options, counters.clone()),
                refusals: Refusals::new(options.negative_ttl),
                flights: SingleFlight::new(),
                refreshes: Arc::new(Semaphore::new(MAX_REFRESHES)),
                counters,
                janitor: Janitor::default(),
            }),
        }
    }

    /// The same key service for callers who unwrap each key once, such as a run over every row of a table:
    /// its keys are not looked up and not kept, and count as misses and loads of this cache.
    #[must_use]
    pub fn uncached(&self) -> Arc<dyn KeyProvider> {
        Arc::new(Uncached { shared: self.shared.clone() })
    }

    /// The cache's counts so far.
    #[must_use]
    pub fn counts(&self) -> CacheCounts {
        self.shared.counters.snapshot()
    }

    /// About how many keys are kept now.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.shared.store.len()
    }

    /// Whether about no key is kept now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets every key, for example after the key service's key was disabled.
    ///
    /// No later call is answered from before, and a fetch that is under way leaves no key. The memory is wiped within
    /// seconds.
    pub fn invalidate_all(&self) {
        self.shared.store.invalidate_all();
        self.shared.refusals.forget();
    }

    /// Forgets the keys that one key of the key service wrapped, by the key id that is stored with values; and those
    /// whose key is not known.
    ///
    /// The same as [`invalidate_all`](Self::invalidate_all) otherwise. It looks at every entry.
    pub fn invalidate_key(&self, key_id: &str) {
        self.shared.store.invalidate_key(key_id);
        self.shared.refusals.forget();
    }

    fn keep_generated(&self, generated: &GeneratedDataKey, context: &EncryptionContext, generation: u64) {
        let GeneratedDataKey { key, wrapped, .. } = generated;
        let wanted = Wanted { wrapped, context };
        // A reused key is used again with every message.
        if !self.shared.options.remember_generated || self.shared.store.contains_fresh(&wanted) {
            return;
        }
        self.shared.ensure_janitor();
        self.shared.store.keep_generated(&wanted, key.0.clone(), generation);
    }
}

impl Shared {
    fn get(self: &Arc<Self>, wanted: &Wanted<'_>) -> Option<Arc<DataKey>> {
        let kept = self.store.find(wanted)?;
        let now = Instant::now();
        if !kept.is_fresh(now) {
            return None;
        }
        Counters::add(&self.counters.hits);
        if kept.is_due(now) {
            self.refresh(wanted, &kept, now);
        }
        Some(kept.key.clone())
    }

    /// Fetches a key again in the background, unless that is under way or enough others are.
    #[cold]
    fn refresh(self: &Arc<Self>, wanted: &Wanted<'_>, kept: &Kept, now: Instant) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let Ok(place) = self.refreshes.clone().try_acquire_owned() else {
            return;
        };
        if !kept.claim_refresh(now) {
            return;
        }
        Counters::add(&self.counters.refreshes);
        let (shared, entry, loaded) = (self.clone(), wanted.to_entry(), kept.loaded);
        runtime.spawn(async move {
            let _place = place;
            let is_new = |kept: Arc<Kept>| (kept.loaded > loaded).then(|| kept.key.clone());
            let landed = || shared.store.find(&entry.wanted()).and_then(is_new);
            let load = || shared.clone().load(entry.clone());
            // Waiting callers get the error from their own read; here the failure is only counted.
            let flight = (shared.store.generation(), entry.clone());
            let _ = timeout(REFRESH_TIMEOUT, shared.flights.join(flight, landed, load)).await;
        });
    }

    /// Waits for a key that is not there.
    async fn fetch(self: &Arc<Self>, wanted: &Wanted<'_>) -> Result<Arc<DataKey>, KeyError> {
        let entry = wanted.to_entry();
        let is_fresh = |kept: Arc<Kept>| kept.is_fresh(Instant::now()).then(|| kept.key.clone());
        let landed = || self.store.find(wanted).and_then(is_fresh);
        let load = || self.clone().load(entry.clone());
        let flight = (self.store.generation(), entry.clone());
        match self.flights.join(flight, landed, load).await {
            Err(error) if error.class().is_retryable() => self.stale(wanted).ok_or(error),
            outcome => outcome,
        }
    }

    /// An expired key that may serve because the key service does not answer.
    fn stale(&self, wanted: &Wanted<'_>) -> Option<Arc<DataKey>> {
        if self.options.stale_for.is_zero() {
            return None;
        }
        let kept = self.store.find(wanted)?;
        if !kept.is_usable(Instant::now()) || self.refusals.since(&kept) {
            return None;
        }
        Counters::add(&self.counters.stale_served);
        Some(kept.key.clone())
    }

    async fn load(self: Arc<Self>, entry: Entry) -> Result<Arc<DataKey>, KeyError> {
        Counters::add(&self.counters.loads);
        let generation = self.store.generation();
        match self.inner.unwrap(&entry.wrapped, &entry.context).await {
            Ok(key) => {
                let key_id = entry.wrapped.key_id().map(str::to_owned);
                self.store.keep(entry, key.clone(), key_id.as_deref(), generation);
                Ok(key)
            }
            Err(error) => {
                Counters::add(&self.counters.load_failures);
                self.refused(&entry, &error);
                Err(error)
            }
        }
    }

    /// Draws the consequences of a failed fetch, if it is a refusal.
    fn refused(&self, entry: &Entry, error: &KeyError) {
        if !is_refusal(error.class()) {
            return;
        }
        let kept = self.store.find(&entry.wanted());
        self.store.remove(entry);
        if self.refusals.remember(entry, error) {
            self.ensure_janitor();
        }
        if is_about_the_key(error) {
            let known = kept.as_ref().and_then(|kept| kept.key_id.as_deref());
            self.refusals.note(entry.wrapped.key_id().or(known));
        }
    }

    fn ensure_janitor(&self) {
        self.janitor.ensure(|| {
            let (mut keys, mut answers) = (self.store.sweep(), self.refusals.sweep());
            move || {
                keys();
                answers();
            }
        });
    }
}

/// Whether other keys under the same key of the service would be refused alike.
fn is_about_the_key(error: &KeyError) -> bool {
    error.class() == envelope_core::ErrorClass::Denied || is_state_of_key(error.class())
}

impl std::fmt::Debug for Caching {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caching")
            .field("options", &self.shared.options)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl KeyProvider for Caching {
    async fn generate(&self, context: &EncryptionContext) -> Result<GeneratedDataKey, KeyError> {
        let generation = self.shared.store.generation();
        let generated = self.shared.inner.generate(context).await;
        self.generated(generated, context, generation)
    }

    async fn generate_shared(
        &self,
        context: &EncryptionContext,
        message_len: usize,
    ) -> Result<GeneratedDataKey, KeyError> {
        let generation = self.shared.store.generation();
        let generated = self.shared.inner.generate_shared(context, message_len).await;
        self.generated(generated, context, generation)
    }

    async fn unwrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<Arc<DataKey>, KeyError> {
        let wanted = Wanted { wrapped, context };
        if let Some(key) = self.shared.get(&wanted) {
            return Ok(key);
        }
        if let Some(refusal) = self.shared.refusals.answer(&wanted) {
            Counters::add(&self.shared.counters.refused_again);
            return Err(refusal);
        }
        Counters::add(&self.shared.counters.misses);
        self.shared.ensure_janitor();
        self.shared.fetch(&wanted).await
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
        self.shared.get(&Wanted { wrapped, context })
    }

    // Values that the key service itself encrypted are tokens, not keys: they are never kept.
    async fn decrypt(
        &self,
        ciphertext: &[u8],
        key_id: Option<&str>,
        context: &EncryptionContext,
    ) -> Result<SecretSlice<u8>, KeyError> {
        self.shared.inner.decrypt(ciphertext, key_id, context).await
    }
}

impl Caching {
    fn generated(
        &self,
        outcome: Result<GeneratedDataKey, KeyError>,
        context: &EncryptionContext,
        generation: u64,
    ) -> Result<GeneratedDataKey, KeyError> {
        match &outcome {
            Ok(generated) => self.keep_generated(generated, context, generation),
            // The state of a key counts for opening too; who may make keys says nothing about who may open.
            Err(error) if is_state_of_key(error.class()) => self.shared.refusals.note(None),
            Err(_) => {}
        }
        outcome
    }
}
