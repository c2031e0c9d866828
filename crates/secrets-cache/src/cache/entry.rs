//! The cache's entry for a name, and its life.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use moka::Expiry;

use crate::error::SourceError;
use crate::secret::Secret;

/// Rough cost of an entry without its name and value, in bytes.
const OVERHEAD: usize = 512;

/// An answer of the source. Reads are answered with it while it is fresh; afterwards it is kept for an outage.
pub(super) struct Entry {
    pub(super) answer: Answer,
    /// When it was asked for: of two values, the one asked for later counts.
    pub(super) asked: Instant,
    fresh_until: Instant,
    end: Instant,
    refresh_at: Option<Instant>,
    refreshing: AtomicBool,
}

pub(super) enum Answer {
    Found(Arc<Secret>),
    /// The last value, in an outage.
    Stale(Arc<Secret>),
    /// That there is no such secret or version.
    Absent(SourceError),
}

impl Entry {
    /// An answer that is fresh for a time and kept for another, both from now on.
    pub(super) fn new(answer: Answer, asked: Instant, fresh: Duration, kept: Duration) -> Self {
        let now = Instant::now();
        Self {
            answer,
            asked,
            fresh_until: now + fresh,
            end: now + kept,
            refresh_at: None,
            refreshing: AtomicBool::new(false),
        }
    }

    /// Lets the first read after `age` fetch the value again in the background.
    pub(super) fn refreshed_after(mut self, age: Duration) -> Self {
        self.refresh_at = Some(Instant::now() + age);
        self
    }

    /// The same value as the answer in an outage, for a while but not beyond its end; none if that is over.
    pub(super) fn stale(&self, hold: Duration) -> Option<Self> {
        let secret = self.secret()?;
        let left = self.end.saturating_duration_since(Instant::now());
        let stale = || Self::new(Answer::Stale(Arc::clone(secret)), self.asked, hold.min(left), left);
        (!left.is_zero()).then(stale)
    }

    pub(super) fn secret(&self) -> Option<&Arc<Secret>> {
        match &self.answer {
            Answer::Found(secret) | Answer::Stale(secret) => Some(secret),
            Answer::Absent(_) => None,
        }
    }

    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        now < self.fresh_until
    }

    /// Whether the caller is the one to fetch the value early.
    pub(super) fn claim_refresh(&self, now: Instant) -> bool {
        self.refresh_at.is_some_and(|at| now >= at) && !self.refreshing.swap(true, Ordering::Relaxed)
    }

    pub(super) fn weight(&self, key: &str) -> usize {
        OVERHEAD + key.len() + self.secret().map_or(0, |secret| secret.value.len())
    }
}

/// Lets every entry leave the cache at its end.
pub(super) struct OwnEnd;

impl Expiry<Arc<str>, Arc<Entry>> for OwnEnd {
    fn expire_after_create(&self, _: &Arc<str>, entry: &Arc<Entry>, now: Instant) -> Option<Duration> {
        Some(entry.end.saturating_duration_since(now))
    }

    fn expire_after_update(
        &self,
        _: &Arc<str>,
        entry: &Arc<Entry>,
        now: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.end.saturating_duration_since(now))
    }
}
