//! A decorator that keeps unwrapped data keys for a while.

mod janitor;

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use envelope_core::provider::{GeneratedDataKey, KeyDescription};
use envelope_core::{DataKey, EncryptionContext, KeyError, KeyProvider, WrappedDataKey};
use foldhash::quality::RandomState;
use moka::sync::Cache;
use secrecy::SecretSlice;

use self::janitor::Janitor;
use crate::flight::SingleFlight;

/// Keeps unwrapped data keys in memory, bounded by time and number, so that reading a value again costs no call.
///
/// - A hit needs the same wrapped bytes, the same claimed key id and the same context, byte for byte: no hash stands
///   in for them, so a hit can never skip a check that the key service would have made.
/// - Callers who want the same key at the same time share one call. A caller who goes away strands nobody.
/// - Failures are given to those who waited and are not remembered.
/// - An expired key is dropped, and so wiped, within seconds, even when nobody asks for anything.
///
/// One cache belongs to one provider: entries do not say who unwrapped them.
pub struct Caching {
    inner: Arc<dyn KeyProvider>,
    entries: Entries,
    flights: SingleFlight<Entry, Arc<DataKey>>,
    counters: Arc<Counters>,
    remember_generated: bool,
    janitor: Janitor,
}

/// What is kept, for how long, and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheOptions {
    /// How long an unwrapped key is kept: five minutes. Up to a tenth is taken off at random, so that keys that
    /// came together do not all go together.
    pub ttl: Duration,
    /// Most keys kept: 10,000. An entry takes about half a KiB, and never more than 15 KiB. A generated key
    /// takes two, see [`remember_generated`](Self::remember_generated).
    pub max_entries: u64,
    /// Whether freshly generated keys are kept too, which is the default: what was just written is read soon.
    /// They are found with and without the key id beside the value, because not every table has a column for it.
    /// Switch it off for bulk writes.
    pub remember_generated: bool,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(300),
            max_entries: 10_000,
            remember_generated: true,
        }
    }
}

impl CacheOptions {
    /// Changes how long a key is kept.
    #[must_use]
    pub fn with_ttl(self, ttl: Duration) -> Self {
        Self { ttl, ..self }
    }

    /// Changes how many keys are kept at most.
    #[must_use]
    pub fn with_max_entries(self, max_entries: u64) -> Self {
        Self { max_entries, ..self }
    }

    /// Changes whether freshly generated keys are kept.
    #[must_use]
    pub fn with_remember_generated(self, remember_generated: bool) -> Self {
        Self {
            remember_generated,
            ..self
        }
    }
}

/// What a cache has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheCounts {
    /// Keys that were there.
    pub hits: u64,
    /// Keys that were not there when somebody waited for them.
    pub misses: u64,
    /// Calls made to fetch them; fewer than misses where callers shared one.
    pub loads: u64,
    /// Keys dropped because of their age or their number.
    pub evictions: u64,
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
        let evictions = counters.clone();
        let entries = Cache::builder()
            .max_capacity(options.max_entries)
            .expire_after(JitteredExpiry {
                ttl: options.ttl,
                seed: RandomState::default(),
            })
            .eviction_listener(move |_, _, cause| {
                if cause.was_evicted() {
                    Counters::add(&evictions.evictions);
                }
            })
            .build_with_hasher(RandomState::default());
        Self {
            inner,
            entries,
            flights: SingleFlight::new(),
            counters,
            remember_generated: options.remember_generated,
            janitor: Janitor::default(),
        }
    }

    /// What the cache has done so far.
    #[must_use]
    pub fn counts(&self) -> CacheCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheCounts {
            hits: read(&self.counters.hits),
            misses: read(&self.counters.misses),
            loads: read(&self.counters.loads),
            evictions: read(&self.counters.evictions),
        }
    }

    /// About how many keys are kept now.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.entries.entry_count()
    }

    /// Whether about no key is kept now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets every key, for example after the key service's key was disabled.
    ///
    /// No later call is answered from before; a fetch that is under way may still leave its key. The memory is
    /// wiped within seconds.
    pub fn invalidate_all(&self) {
        self.entries.invalidate_all();
    }

    fn get(&self, wrapped: &WrappedDataKey, context: &EncryptionContext) -> Option<Arc<DataKey>> {
        let key = self.entries.get(&Wanted { wrapped, context })?;
        Counters::add(&self.counters.hits);
        Some(key)
    }

    fn keep(&self, wrapped: WrappedDataKey, context: &EncryptionContext, key: &Arc<DataKey>) {
        self.janitor.ensure(&self.entries);
        self.entries.insert(
            Entry {
                wrapped,
                context: context.clone(),
            },
            key.clone(),
        );
    }
}

impl std::fmt::Debug for Caching {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caching")
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl KeyProvider for Caching {
    async fn generate(&self, context: &EncryptionContext) -> Result<GeneratedDataKey, KeyError> {
        let generated = self.inner.generate(context).await?;
        if self.remember_generated {
            let GeneratedDataKey { key, wrapped, .. } = &generated;
            if wrapped.key_id().is_some()
                && let Ok(unnamed) = WrappedDataKey::new(wrapped.bytes(), None)
            {
                self.keep(unnamed, context, &key.0);
            }
            self.keep(wrapped.clone(), context, &key.0);
        }
        Ok(generated)
    }

    async fn unwrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<Arc<DataKey>, KeyError> {
        if let Some(key) = self.get(wrapped, context) {
            return Ok(key);
        }
        Counters::add(&self.counters.misses);
        self.janitor.ensure(&self.entries);
        let entry = Entry {
            wrapped: wrapped.clone(),
            context: context.clone(),
        };
        let landed = || self.entries.get(&Wanted { wrapped, context });
        let call = || {
            load(
                self.inner.clone(),
                self.entries.clone(),
                self.counters.clone(),
                entry.clone(),
            )
        };
        self.flights.join(entry.clone(), landed, call).await
    }

    async fn rewrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<WrappedDataKey, KeyError> {
        self.inner.rewrap(wrapped, context).await
    }

    async fn describe(&self) -> Result<KeyDescription, KeyError> {
        self.inner.describe().await
    }

    fn unwrap_cached(&self, wrapped: &WrappedDataKey, context: &EncryptionContext) -> Option<Arc<DataKey>> {
        self.get(wrapped, context)
    }

    // Values that the key service itself encrypted are tokens, not keys: they are never kept.
    async fn decrypt(
        &self,
        ciphertext: &[u8],
        key_id: Option<&str>,
        context: &EncryptionContext,
    ) -> Result<SecretSlice<u8>, KeyError> {
        self.inner.decrypt(ciphertext, key_id, context).await
    }
}

type Entries = Cache<Entry, Arc<DataKey>, RandomState>;

/// What an unwrapped key is kept under.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Entry {
    wrapped: WrappedDataKey,
    context: EncryptionContext,
}

/// The same, borrowed, so that looking copies nothing. Its fields hash like those of [`Entry`].
#[derive(Hash)]
struct Wanted<'a> {
    wrapped: &'a WrappedDataKey,
    context: &'a EncryptionContext,
}

impl moka::Equivalent<Entry> for Wanted<'_> {
    fn equivalent(&self, entry: &Entry) -> bool {
        *self.wrapped == entry.wrapped && *self.context == entry.context
    }
}

struct JitteredExpiry {
    ttl: Duration,
    seed: RandomState,
}

impl moka::Expiry<Entry, Arc<DataKey>> for JitteredExpiry {
    fn expire_after_create(&self, entry: &Entry, _: &Arc<DataKey>, _: Instant) -> Option<Duration> {
        // Spreads entries, not attempts, so a keyed hash of the entry does; the low ten bits are enough.
        let share = u32::try_from(self.seed.hash_one(entry) % 1024).unwrap_or_default();
        Some(self.ttl - self.ttl / 10 * share / 1024)
    }
}

#[derive(Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    loads: AtomicU64,
    evictions: AtomicU64,
}

impl Counters {
    fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

async fn load(
    inner: Arc<dyn KeyProvider>,
    entries: Entries,
    counters: Arc<Counters>,
    entry: Entry,
) -> Result<Arc<DataKey>, KeyError> {
    Counters::add(&counters.loads);
    let key = inner.unwrap(&entry.wrapped, &entry.context).await?;
    entries.insert(entry, key.clone());
    Ok(key)
}
