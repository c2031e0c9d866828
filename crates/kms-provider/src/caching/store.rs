//! The keys that a cache keeps: how they are found, their size in memory, and when they expire.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant as SystemInstant};

use envelope_core::{DataKey, EncryptionContext, WrappedDataKey};
use foldhash::quality::RandomState;
use moka::sync::Cache;
use tokio::time::Instant;

use super::Counters;
use super::options::CacheOptions;
use crate::jitter::Jitter;

/// Estimated bytes of an entry, without the texts that it holds: the data key, its AES key schedule,
/// the cache's own tables.
const OVERHEAD: u64 = 1_024;

/// The most that an entry weighs with contexts and wrapped keys at their limits.
const HEAVIEST: u64 = 16 << 10;

/// How soon a refresh that did not succeed may be tried again.
const REFRESH_AGAIN: Duration = Duration::from_secs(1);

/// The longest time that any setting is taken for: what never ends cannot be added to a clock.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

pub(super) struct Store {
    entries: Cache<Entry, Arc<Kept>, RandomState>,
    ttl: Duration,
    stale_for: Duration,
    refresh_ahead: Duration,
    jitter: Jitter,
    // How often anything was invalidated: a fetch that began before leaves no key.
    generation: AtomicU64,
}

/// The name of an unwrapped key in the cache.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub(super) wrapped: WrappedDataKey,
    pub(super) context: EncryptionContext,
}

/// The same, borrowed, so that a look-up copies nothing. Its fields hash like those of [`Entry`].
#[derive(Hash)]
pub(super) struct Wanted<'a> {
    pub(super) wrapped: &'a WrappedDataKey,
    pub(super) context: &'a EncryptionContext,
}

/// An unwrapped key and its times, by the clock of the async runtime, which a test can stop. The cache below has a
/// clock of its own, which only decides when the memory is freed.
pub(super) struct Kept {
    pub(super) key: Arc<DataKey>,
    /// The key service's key that wrapped it, where that is known.
    pub(super) key_id: Option<Box<str>>,
    pub(super) loaded: Instant,
    fresh_until: Instant,
    stale_until: Instant,
    lifetime: Duration,
    // Nanoseconds after `loaded` from which on the next read fetches it again.
    refresh_after: AtomicU64,
}

impl Store {
    pub(super) fn new(options: &CacheOptions, counters: Arc<Counters>) -> Self {
        let bytes = options.max_bytes.min(options.max_entries.saturating_mul(HEAVIEST));
        // An entry weighs at least its share, so that one bound of the cache below keeps both of ours.
        let share = bytes / options.max_entries.max(1);
        let entries = Cache::builder()
            .max_capacity(bytes)
            .weigher(move |entry: &Entry, kept: &Arc<Kept>| {
                u32::try_from(weight(entry, kept).max(share)).unwrap_or(u32::MAX)
            })
            .expire_after(ByLifetime)
            .eviction_listener(move |_, _, cause| {
                if cause.was_evicted() {
                    Counters::add(&counters.evictions);
                }
            })
            .build_with_hasher(RandomState::default());
        let ttl = options.ttl.min(LONGEST);
        Self {
            entries,
            ttl,
            stale_for: options.stale_for.min(LONGEST),
            refresh_ahead: options.refresh_ahead.min(ttl / 2),
            jitter: Jitter::default(),
            generation: AtomicU64::new(0),
        }
    }

    /// The entry, fresh or not.
    pub(super) fn find(&self, wanted: &Wanted<'_>) -> Option<Arc<Kept>> {
        self.entries.get(wanted)
    }

    pub(super) fn contains(&self, wanted: &Wanted<'_>) -> bool {
        self.entries.contains_key(wanted)
    }

    /// Must be read before a key is fetched, and passed to [`keep`](Self::keep) with it.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Keeps a key, unless anything was invalidated since it was asked for.
    pub(super) fn keep(&self, entry: Entry, key: Arc<DataKey>, key_id: Option<&str>, generation: u64) {
        if self.generation() != generation {
            return;
        }
        let kept = Arc::new(self.kept(key, key_id));
        self.entries.insert(entry.clone(), kept);
        // Invalidated in between: then it may have been missed.
        if self.generation() != generation {
            self.entries.invalidate(&entry);
        }
    }

    pub(super) fn remove(&self, entry: &Entry) {
        self.entries.invalidate(entry);
    }

    pub(super) fn invalidate_all(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.entries.invalidate_all();
    }

    /// Forgets the keys that this key of the service wrapped, and those whose key is not known.
    pub(super) fn invalidate_key(&self, key_id: &str) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        for (entry, kept) in &self.entries {
            if kept.key_id.as_deref().is_none_or(|id| id == key_id) {
                self.entries.invalidate(&*entry);
            }
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.entries.entry_count()
    }

    /// Drops expired keys even without any read.
    pub(super) fn sweep(&self) -> impl FnMut() + Send + 'static {
        let entries = self.entries.clone();
        move || entries.run_pending_tasks()
    }

    fn kept(&self, key: Arc<DataKey>, key_id: Option<&str>) -> Kept {
        let loaded = Instant::now();
        let fresh_for = self.ttl - self.jitter.up_to(self.ttl / 10);
        let lifetime = fresh_for + self.stale_for;
        let refresh_after =
            if self.refresh_ahead.is_zero() { u64::MAX } else { nanoseconds(fresh_for - self.refresh_ahead) };
        Kept {
            key,
            key_id: key_id.map(Into::into),
            loaded,
            fresh_until: loaded + fresh_for,
            stale_until: loaded + lifetime,
            lifetime,
            refresh_after: AtomicU64::new(refresh_after),
        }
    }
}

impl Kept {
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        now < self.fresh_until
    }

    /// Whether it may still serve while the key service does not answer.
    pub(super) fn is_usable(&self, now: Instant) -> bool {
        now < self.stale_until
    }

    /// Whether it is old enough to be fetched again.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        nanoseconds(now - self.loaded) >= self.refresh_after.load(Ordering::Relaxed)
    }

    /// Whether this caller fetches it again: one caller does, and for a second no other.
    pub(super) fn claim_refresh(&self, now: Instant) -> bool {
        let age = nanoseconds(now - self.loaded);
        let due = self.refresh_after.load(Ordering::Relaxed);
        let next = age.saturating_add(nanoseconds(REFRESH_AGAIN));
        age >= due
            && self.refresh_after.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl Entry {
    pub(super) fn wanted(&self) -> Wanted<'_> {
        Wanted { wrapped: &self.wrapped, context: &self.context }
    }
}

impl Wanted<'_> {
    pub(super) fn to_entry(&self) -> Entry {
        Entry { wrapped: self.wrapped.clone(), context: self.context.clone() }
    }
}

impl moka::Equivalent<Entry> for Wanted<'_> {
    fn equivalent(&self, entry: &Entry) -> bool {
        *self.wrapped == entry.wrapped && *self.context == entry.context
    }
}

struct ByLifetime;

impl moka::Expiry<Entry, Arc<Kept>> for ByLifetime {
    fn expire_after_create(&self, _: &Entry, kept: &Arc<Kept>, _: SystemInstant) -> Option<Duration> {
        Some(kept.lifetime)
    }

    fn expire_after_update(
        &self,
        _: &Entry,
        kept: &Arc<Kept>,
        _: SystemInstant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(kept.lifetime)
    }
}

fn weight(entry: &Entry, kept: &Kept) -> u64 {
    let texts = [
        entry.wrapped.bytes().len(),
        entry.wrapped.key_id().map_or(0, str::len),
        entry.context.canonical().len(),
        kept.key_id.as_deref().map_or(0, str::len),
    ];
    OVERHEAD + u64::try_from(texts.iter().sum::<usize>()).unwrap_or(u64::MAX / 2)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
