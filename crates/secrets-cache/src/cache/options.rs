//! How a cache behaves.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use moka::future::Cache;
use tokio::sync::Mutex;

use super::entry::{Entry, OwnEnd};
use super::{Inner, SecretsCache};
use crate::metrics::Metrics;
use crate::secret::RotationPolicy;
use crate::source::SecretSource;
use crate::source::audited::Audited;

#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) ttl: Duration,
    pub(super) jitter: f64,
    pub(super) early_refresh: f64,
    pub(super) max_stale: Duration,
    pub(super) stale_retry: Duration,
    pub(super) negative_ttl: Duration,
    pub(super) grace: Duration,
    pub(super) attempts: u32,
    pub(super) backoff: Duration,
    pub(super) deadline: Duration,
}

/// Builds a [`SecretsCache`].
pub struct Builder {
    source: Arc<dyn SecretSource>,
    actor: Arc<str>,
    metrics: Option<Arc<Metrics>>,
    max_entries: u64,
    max_bytes: u64,
    options: Options,
}

impl Builder {
    pub(super) fn new(source: Arc<dyn SecretSource>) -> Self {
        Self {
            source,
            actor: "unnamed".into(),
            metrics: None,
            max_entries: 10_000,
            max_bytes: 64 << 20,
            options: Options {
                ttl: Duration::from_secs(300),
                jitter: 0.1,
                early_refresh: 0.1,
                max_stale: Duration::from_secs(900),
                stale_retry: Duration::from_secs(5),
                negative_ttl: Duration::from_secs(10),
                grace: RotationPolicy::DEFAULT_GRACE,
                attempts: 3,
                backoff: Duration::from_millis(100),
                deadline: Duration::from_secs(10),
            },
        }
    }

    /// Who asks, for the audit events: the name of the service.
    #[must_use]
    pub fn actor(mut self, actor: impl Into<Arc<str>>) -> Self {
        self.actor = actor.into();
        self
    }

    /// Counts hits, misses and accesses.
    #[must_use]
    pub fn metrics(mut self, metrics: Arc<Metrics>) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// How long a value is served without asking again: 5 minutes by default. A change is seen within it.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.options.ttl = ttl;
        self
    }

    /// By which fraction, at most and at random, a time to live is shortened, so that values that were fetched together are
    /// not fetched again together: 0.1 by default.
    #[must_use]
    pub fn jitter(mut self, fraction: f64) -> Self {
        self.options.jitter = fraction.clamp(0.0, 1.0);
        self
    }

    /// In which last fraction of the time to live a read fetches the value again in the background, while it is
    /// answered at once: 0.1 by default, 0 for never.
    #[must_use]
    pub fn early_refresh(mut self, fraction: f64) -> Self {
        self.options.early_refresh = fraction.clamp(0.0, 1.0);
        self
    }

    /// How long beyond its time to live a value may be served while the source is not answering: 15 minutes by
    /// default, zero for never. The end does not move, however often the source fails.
    #[must_use]
    pub fn max_stale(mut self, time: Duration) -> Self {
        self.options.max_stale = time;
        self
    }

    /// How long a stale value is served before the source is asked again: 5 seconds by default.
    #[must_use]
    pub fn stale_retry(mut self, time: Duration) -> Self {
        self.options.stale_retry = time;
        self
    }

    /// How long it is remembered that there is no such secret: 10 seconds by default.
    #[must_use]
    pub fn negative_ttl(mut self, time: Duration) -> Self {
        self.options.negative_ttl = time;
        self
    }

    /// How young a current version must be for the previous one to be offered with it: a day by default.
    #[must_use]
    pub fn grace(mut self, time: Duration) -> Self {
        self.options.grace = time;
        self
    }

    /// How often a request is made while the source is not answering, the pause before the second time, which
    /// doubles, and the time after which no caller waits any more: 3 times, 100 ms and 10 seconds by default.
    #[must_use]
    pub fn retry(mut self, attempts: u32, backoff: Duration, deadline: Duration) -> Self {
        self.options.attempts = attempts.max(1);
        self.options.backoff = backoff;
        self.options.deadline = deadline;
        self
    }

    /// How many secrets are kept, and how much memory they may take: 10,000 and 64 MiB by default.
    #[must_use]
    pub fn bounds(mut self, entries: u64, bytes: u64) -> Self {
        self.max_entries = entries.max(1);
        self.max_bytes = bytes;
        self
    }

    /// Makes the cache.
    #[must_use]
    pub fn build(self) -> SecretsCache {
        let source_id = self.source.id();
        let source = Audited::new(self.source, self.actor);
        let source = match &self.metrics {
            Some(metrics) => source.with_metrics(Arc::clone(metrics)),
            None => source,
        };
        // One bound for both: a small entry weighs as much as its share of the memory.
        let (capacity, share) = (self.max_bytes, self.max_bytes.div_ceil(self.max_entries));
        let weight = move |bytes: usize| u32::try_from(share.max(bytes as u64)).unwrap_or(u32::MAX);
        let kept = Cache::builder()
            .max_capacity(capacity)
            .weigher(move |key: &Arc<str>, entry: &Arc<Entry>| weight(entry.weight(key)))
            .expire_after(OwnEnd)
            .build();
        let flights = Cache::builder().max_capacity(10_000).time_to_idle(Duration::from_secs(60)).build();
        // Longer than any fetch that may be under way.
        let forgotten =
            Cache::builder().time_to_live(self.options.deadline + Duration::from_secs(60)).build();
        SecretsCache {
            inner: Arc::new(Inner {
                source,
                source_id,
                metrics: self.metrics,
                options: self.options,
                kept,
                flights,
                forgotten,
                together: Mutex::new(()),
                janitor: OnceLock::new(),
            }),
        }
    }
}
