//! The keys that a cache keeps: how they are found, their size in memory, and when they expire.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant as SystemInstant};

use envelope_core::{DataKey, EncryptionContext, WrappedDataKey};
use foldhash::quality::RandomState;
use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Lifecycle, OptionsBuilder, Weighter};
use tokio::time::Instant;

use super::counts::Counters;
use super::options::CacheOptions;
use crate::jitter::Jitter;

/// Estimated bytes of an entry, without the texts that it holds: the data key, its AES key schedule,
/// the cache's own tables.
const OVERHEAD: u64 = 1_024;

/// The most that an entry weighs with contexts and wrapped keys at their limits.
const HEAVIEST: u64 = 16 << 10;

/// Most entries that room is planned for at the start. More fit in, if the options say so.
const MOST_PLANNED: u64 = 1 << 20;

/// Fewest entries planned for a shard. Each shard has its own part of the room, and a fuller one evicts while others have
/// room left: with so many entries about 2 % of the room stays empty.
const LEAST_IN_SHARD: u64 = 512;

/// Most shards, whatever the number of entries and of processors.
const MOST_SHARDS: u64 = 64;

/// Up to this number of entries, one entry may be more than the 3 % of the room that the cache below keeps for new ones.
const FEW_ENTRIES: u64 = 100;

/// How soon a refresh that did not succeed may be tried again.
const REFRESH_AGAIN: Duration = Duration::from_secs(1);

/// The longest time that any setting is taken for: what never ends cannot be added to a clock.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

type Entries = Cache<Entry, Arc<Kept>, Weights, RandomState, Evictions>;

pub(super) struct Store {
    entries: Arc<Entries>,
    counters: Arc<Counters>,
    ttl: Duration,
    stale_for: Duration,
    refresh_ahead: Duration,
    jitter: Jitter,
    // How often anything was invalidated: a fetch that began before leaves no key.
    generation: AtomicU64,
}

/// The name of an unwrapped key in the cache.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) wrapped: WrappedDataKey,
    pub(super) context: EncryptionContext,
    /// Whether the key was made here: then it is found without its key id too.
    pub(super) generated: bool,
}

/// The same, borrowed, so that a look-up copies nothing.
pub(super) struct Wanted<'a> {
    pub(super) wrapped: &'a WrappedDataKey,
    pub(super) context: &'a EncryptionContext,
}

/// An unwrapped key and its times, by the clock of the async runtime, which a test can stop.
pub(super) struct Kept {
    pub(super) key: Arc<DataKey>,
    /// The key service's key that wrapped it, where that is known.
    pub(super) key_id: Option<Box<str>>,
    pub(super) loaded: Instant,
    fresh_until: Instant,
    stale_until: Instant,
    // Nanoseconds after `loaded` from which on the next read fetches it again.
    refresh_after: AtomicU64,
}

impl Store {
    pub(super) fn new(options: &CacheOptions, counters: Arc<Counters>) -> Self {
        let bytes = options.max_bytes.min(options.max_entries.saturating_mul(HEAVIEST));
        let share = bytes / options.max_entries.max(1);
        let planned = (bytes / share.max(OVERHEAD)).min(MOST_PLANNED);
        let mut room = OptionsBuilder::new();
        room.weight_capacity(bytes).estimated_items_capacity(usize::try_from(planned).unwrap_or(usize::MAX));
        room.shards(shards(planned));
        if options.max_entries < FEW_ENTRIES {
            room.hot_allocation(1.0);
        }
        #[expect(
            clippy::expect_used,
            reason = "both capacities were just set, and nothing else can be wrong"
        )]
        let room = room.build().expect("the room is described");
        let evictions = Evictions(counters.clone());
        let entries = Cache::with_options(room, Weights { share }, RandomState::default(), evictions);
        let ttl = options.ttl.min(LONGEST);
        Self {
            entries: Arc::new(entries),
            counters,
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

    /// Whether a key is kept that answers the next read.
    pub(super) fn contains_fresh(&self, wanted: &Wanted<'_>) -> bool {
        self.entries.peek(wanted).is_some_and(|kept| kept.is_fresh(Instant::now()))
    }

    /// Must be read before a key is fetched, and passed to [`keep`](Self::keep) with it.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Keeps a key that was unwrapped, unless anything was invalidated since it was asked for.
    pub(super) fn keep(&self, entry: Entry, key: Arc<DataKey>, key_id: Option<&str>, generation: u64) {
        if self.generation() == generation {
            // Also a generated key that is found by the same name: it would hide the newer one, which takes both of its
            // names instead.
            let entry = self.remove(&entry).unwrap_or(entry);
            let known = entry.wrapped.key_id().map(str::to_owned);
            self.insert(entry, key, key_id.or(known.as_deref()), generation);
        }
    }

    /// Keeps a key that was just made.
    pub(super) fn keep_generated(&self, made: &Wanted<'_>, key: Arc<DataKey>, generation: u64) {
        if self.generation() == generation {
            let entry = Entry { generated: true, ..made.to_entry() };
            // One that expired gives way first: replaced, it would count as evicted.
            self.remove(&entry);
            self.insert(entry, key, made.wrapped.key_id(), generation);
        }
    }

    fn insert(&self, entry: Entry, key: Arc<DataKey>, key_id: Option<&str>, generation: u64) {
        self.entries.insert(entry.clone(), Arc::new(self.kept(key, key_id)));
        // Invalidated in between: then it may have been missed.
        if self.generation() != generation {
            self.remove(&entry);
        }
    }

    /// Removes every key that goes by this name: a generated one, one that was unwrapped, or both. Returns the entry of the
    /// generated one.
    pub(super) fn remove(&self, entry: &Entry) -> Option<Entry> {
        let mut generated = None;
        // Not `remove`, which also drops the trace of an evicted entry: a key that is needed again stays longer for it.
        while let Some((removed, _)) = self.entries.remove_if(&entry.wanted(), |_| true) {
            generated = generated.or(removed.generated.then_some(removed));
        }
        generated
    }

    pub(super) fn invalidate_all(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.entries.clear();
    }

    /// Forgets the keys that this key of the service wrapped, and those whose key is not known.
    pub(super) fn invalidate_key(&self, key_id: &str) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.entries.retain(|_, kept| kept.key_id.as_deref().is_some_and(|id| id != key_id));
    }

    pub(super) fn len(&self) -> u64 {
        u64::try_from(self.entries.len()).unwrap_or(u64::MAX)
    }

    /// Drops expired keys even without any read.
    pub(super) fn sweep(&self) -> impl FnMut() + Send + 'static {
        let (entries, counters) = (Arc::downgrade(&self.entries), self.counters.clone());
        move || {
            if let Some(entries) = entries.upgrade() {
                drop_expired(&entries, &counters);
            }
        }
    }

    fn kept(&self, key: Arc<DataKey>, key_id: Option<&str>) -> Kept {
        let loaded = Instant::now();
        let fresh_for = self.ttl - self.jitter.up_to(self.ttl / 10);
        let refresh_after =
            if self.refresh_ahead.is_zero() { u64::MAX } else { nanoseconds(fresh_for - self.refresh_ahead) };
        Kept {
            key,
            key_id: key_id.map(Into::into),
            loaded,
            fresh_until: loaded + fresh_for,
            stale_until: loaded + fresh_for + self.stale_for,
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
        Entry { wrapped: self.wrapped.clone(), context: self.context.clone(), generated: false }
    }
}

// The wrapped bytes alone: a key that the service wrapped is wrapped once, so they hardly ever meet another name. All of the name
// is compared.
impl Hash for Wanted<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.wrapped.bytes());
    }
}

impl Hash for Entry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.wanted().hash(state);
    }
}

impl Equivalent<Entry> for Wanted<'_> {
    fn equivalent(&self, entry: &Entry) -> bool {
        let claim = self.wrapped.key_id();
        self.wrapped.bytes() == entry.wrapped.bytes()
            && *self.context == entry.context
            && (claim == entry.wrapped.key_id() || (claim.is_none() && entry.generated))
    }
}

/// An entry weighs at least its share, so that one bound of the cache below keeps both of ours.
#[derive(Clone)]
struct Weights {
    share: u64,
}

impl Weighter<Entry, Arc<Kept>> for Weights {
    fn weight(&self, entry: &Entry, kept: &Arc<Kept>) -> u64 {
        weight(entry, kept).max(self.share)
    }
}

/// Counts the entries that went to make room.
#[derive(Clone)]
struct Evictions(Arc<Counters>);

impl Lifecycle<Entry, Arc<Kept>> for Evictions {
    type RequestState = ();

    fn begin_request(&self) {}

    fn on_evict(&self, (): &mut (), _: Entry, _: Arc<Kept>) {
        Counters::add(&self.0.evictions);
    }
}

/// The shards for so many entries, as a power of two. Not by the number of processors: with many of them, small shards would
/// leave room unused.
fn shards(planned: u64) -> usize {
    1 << (planned / LEAST_IN_SHARD).clamp(1, MOST_SHARDS).ilog2()
}

fn drop_expired(entries: &Entries, counters: &Counters) {
    let now = SystemInstant::now();
    entries.retain(|_, kept| {
        let stays = now < kept.stale_until.into_std();
        if !stays {
            Counters::add(&counters.evictions);
        }
        stays
    });
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
