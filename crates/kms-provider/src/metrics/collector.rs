//! The metrics that are read from caches and circuits at each scrape.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::names::{self, MetricInfo};
use crate::caching::{CacheCounts, Caching};
use crate::resilience::{CircuitState, Resilience, ResilienceSnapshot};

/// The decorators whose metrics are read. Held weakly: a cache is dropped, and its keys wiped, when its user
/// drops it.
#[derive(Default)]
pub(super) struct Watched {
    caches: Mutex<Vec<Weak<Caching>>>,
    circuits: Mutex<Vec<Weak<Resilience>>>,
}

impl Watched {
    pub(super) fn watch_cache(&self, cache: &Arc<Caching>) {
        add(&self.caches, cache);
    }

    pub(super) fn watch_circuit(&self, circuit: &Arc<Resilience>) {
        add(&self.circuits, circuit);
    }

    /// The counts of all caches together, and the number of keys that they keep.
    pub(super) fn cache(&self) -> (CacheCounts, u64) {
        let (mut all, mut size) = (CacheCounts::default(), 0);
        for cache in present(&self.caches) {
            let counts = cache.counts();
            all.hits += counts.hits;
            all.misses += counts.misses;
            all.evictions += counts.evictions;
            all.stale_served += counts.stale_served;
            all.refreshes += counts.refreshes;
            size += cache.len();
        }
        (all, size)
    }

    /// The counts of all circuits together; their state is the worst one.
    fn circuit(&self) -> ResilienceSnapshot {
        let mut all = ResilienceSnapshot::default();
        for circuit in present(&self.circuits) {
            let snapshot = circuit.snapshot();
            if number(snapshot.circuit) > number(all.circuit) {
                all.circuit = snapshot.circuit;
            }
            all.retries += snapshot.retries;
            all.rate_limit_waits += snapshot.rate_limit_waits;
            all.rejected_by_circuit += snapshot.rejected_by_circuit;
            all.rejected_by_load += snapshot.rejected_by_load;
        }
        all
    }
}

/// Encodes the watched metrics, under a prefix.
pub(super) struct Snapshots {
    pub(super) watched: Arc<Watched>,
    pub(super) prefix: String,
}

impl fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshots").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Collector for Snapshots {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (cache, size) = self.watched.cache();
        let circuit = self.watched.circuit();
        let counters = [
            (names::CACHE_HITS, cache.hits),
            (names::CACHE_MISSES, cache.misses),
            (names::CACHE_EVICTIONS, cache.evictions),
            (names::CACHE_STALE_SERVED, cache.stale_served),
            (names::CACHE_REFRESHES, cache.refreshes),
            (names::CIRCUIT_REJECTIONS, circuit.rejected_by_circuit),
            (names::LOAD_REJECTIONS, circuit.rejected_by_load),
            (names::RETRIES, circuit.retries),
            (names::RATE_LIMIT_WAITS, circuit.rate_limit_waits),
        ];
        for (metric, value) in counters {
            self.one(&mut encoder, &metric, &ConstCounter::new(value))?;
        }
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        self.one(&mut encoder, &names::CACHE_HIT_RATE, &ConstGauge::new(hit_rate(&cache)))?;
        self.one(&mut encoder, &names::CACHE_SIZE, &ConstGauge::new(size))?;
        let state = ConstGauge::new(number(circuit.circuit));
        self.one(&mut encoder, &names::CIRCUIT_STATE, &state)
    }
}

impl Snapshots {
    fn one(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        metric: &MetricInfo,
        value: &impl EncodeMetric,
    ) -> fmt::Result {
        let name = metric.registered(&self.prefix);
        let encoder = encoder.encode_descriptor(&name, metric.help, None, value.metric_type())?;
        value.encode(encoder)
    }
}

/// From 0 to 1; 0 before the first read.
#[expect(clippy::cast_precision_loss, reason = "a rate needs no more than fifteen digits")]
fn hit_rate(counts: &CacheCounts) -> f64 {
    let reads = counts.hits + counts.misses;
    if reads == 0 {
        return 0.0;
    }
    counts.hits as f64 / reads as f64
}

fn number(state: CircuitState) -> i64 {
    match state {
        CircuitState::Closed => 0,
        CircuitState::HalfOpen => 1,
        CircuitState::Open => 2,
    }
}

fn add<T>(list: &Mutex<Vec<Weak<T>>>, one: &Arc<T>) {
    let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
    list.retain(|weak| weak.strong_count() > 0);
    list.push(Arc::downgrade(one));
}

fn present<T>(list: &Mutex<Vec<Weak<T>>>) -> Vec<Arc<T>> {
    let list = list.lock().unwrap_or_else(PoisonError::into_inner);
    list.iter().filter_map(Weak::upgrade).collect()
}
