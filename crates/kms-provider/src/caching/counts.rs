//! What a cache counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// A cache's counts so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheCounts {
    /// Keys that were there.
    pub hits: u64,
    /// Keys that were missing when a caller needed them.
    pub misses: u64,
    /// Calls made to fetch them; fewer than misses where callers shared one, and those made ahead of time included.
    pub loads: u64,
    /// Those of the calls that failed.
    pub load_failures: u64,
    /// Keys dropped because of their age, their number or their size.
    pub evictions: u64,
    /// Keys fetched again ahead of their expiry, whether it succeeded or not.
    pub refreshes: u64,
    /// Misses answered with an expired key because the key service did not answer.
    pub stale_served: u64,
    /// Remembered refusals that were returned without a call. They are neither hits nor misses.
    pub refused_again: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
    pub(super) loads: AtomicU64,
    pub(super) load_failures: AtomicU64,
    pub(super) evictions: AtomicU64,
    pub(super) refreshes: AtomicU64,
    pub(super) stale_served: AtomicU64,
    pub(super) refused_again: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self) -> CacheCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheCounts {
            hits: read(&self.hits),
            misses: read(&self.misses),
            loads: read(&self.loads),
            load_failures: read(&self.load_failures),
            evictions: read(&self.evictions),
            refreshes: read(&self.refreshes),
            stale_served: read(&self.stale_served),
            refused_again: read(&self.refused_again),
        }
    }
}
