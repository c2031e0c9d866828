//! The metrics by name, kind, labels and meaning, as they are registered and as the documentation is checked.

/// The kind of a metric in Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricKind {
    /// Only ever rises; its name ends in `_total`.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Samples in buckets, in seconds; scraped as `…_bucket`, `…_sum` and `…_count`.
    Histogram,
}

impl MetricKind {
    /// The word in the documentation.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetricInfo {
    /// The name as it is scraped, without the prefix.
    pub name: &'static str,
    /// Its kind in Prometheus.
    pub kind: MetricKind,
    /// The labels of its samples.
    pub labels: &'static [&'static str],
    /// Its meaning.
    pub help: &'static str,
}

impl MetricInfo {
    const fn new(
        name: &'static str,
        kind: MetricKind,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, kind, labels, help }
    }

    /// The name to register it under: the client library adds `_total` to counters by itself.
    pub(super) fn registered(&self, prefix: &str) -> String {
        full_name(prefix, self.name.strip_suffix("_total").unwrap_or(self.name))
    }
}

/// Upper bounds of the histograms' buckets, in seconds: a keyring answers within the first, AWS KMS in the middle, and the
/// last is the default deadline.
pub const BUCKETS: [f64; 14] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0, 2.5, 10.0];

use MetricKind::{Counter, Gauge, Histogram};

pub(super) const ENCRYPT_DURATION: MetricInfo = MetricInfo::new(
    "kms_encrypt_duration_seconds",
    Histogram,
    &[],
    "Time to get a new data key from the key service, retries and waiting included",
);
pub(super) const DECRYPT_DURATION: MetricInfo = MetricInfo::new(
    "kms_decrypt_duration_seconds",
    Histogram,
    &[],
    "Time to have a data key unwrapped or a value opened by the key service, retries and waiting included",
);
pub(super) const ENCRYPT_ERRORS: MetricInfo = MetricInfo::new(
    "kms_encrypt_errors_total",
    Counter,
    &["class"],
    "Failed requests for a new data key, by error class",
);
pub(super) const DECRYPT_ERRORS: MetricInfo = MetricInfo::new(
    "kms_decrypt_errors_total",
    Counter,
    &["class"],
    "Data keys not unwrapped and values not opened, by error class",
);
pub(super) const REWRAP_ERRORS: MetricInfo = MetricInfo::new(
    "kms_rewrap_errors_total",
    Counter,
    &["class"],
    "Data keys not re-wrapped, by error class",
);
pub(super) const DESCRIBE_ERRORS: MetricInfo = MetricInfo::new(
    "kms_describe_errors_total",
    Counter,
    &["class"],
    "Failed DescribeKey calls, for example from readiness checks, by error class",
);
pub(super) const REQUESTS: MetricInfo = MetricInfo::new(
    "kms_requests_total",
    Counter,
    &["operation"],
    "Calls to the key service, by operation; cache hits are not counted",
);
pub(super) const CACHE_HIT_RATE: MetricInfo = MetricInfo::new(
    "kms_cache_hit_rate",
    Gauge,
    &[],
    "Reads of data keys since the start that the cache answered, from 0 to 1",
);
pub(super) const CACHE_SIZE: MetricInfo =
    MetricInfo::new("kms_cache_size", Gauge, &[], "Data keys kept in the cache");
pub(super) const CACHE_HITS: MetricInfo =
    MetricInfo::new("kms_cache_hits_total", Counter, &[], "Reads of data keys that the cache answered");
pub(super) const CACHE_MISSES: MetricInfo = MetricInfo::new(
    "kms_cache_misses_total",
    Counter,
    &[],
    "Reads of data keys that the cache could not answer",
);
pub(super) const CACHE_EVICTIONS: MetricInfo = MetricInfo::new(
    "kms_cache_evictions_total",
    Counter,
    &[],
    "Data keys dropped because of their age, their number or their size",
);
pub(super) const CACHE_STALE_SERVED: MetricInfo = MetricInfo::new(
    "kms_cache_stale_served_total",
    Counter,
    &[],
    "Expired data keys served because the key service did not answer",
);
pub(super) const CACHE_REFRESHES: MetricInfo = MetricInfo::new(
    "kms_cache_refreshes_total",
    Counter,
    &[],
    "Data keys fetched again ahead of their expiry",
);
pub(super) const CIRCUIT_STATE: MetricInfo = MetricInfo::new(
    "kms_circuit_state",
    Gauge,
    &[],
    "State of the circuit to the key service: 0 closed, 1 half-open, 2 open; of several, the worst",
);
pub(super) const CIRCUIT_REJECTIONS: MetricInfo = MetricInfo::new(
    "kms_circuit_rejections_total",
    Counter,
    &[],
    "Calls that failed at once because the circuit was open",
);
pub(super) const LOAD_REJECTIONS: MetricInfo = MetricInfo::new(
    "kms_load_rejections_total",
    Counter,
    &[],
    "Calls refused by this process: too many in progress, waiting, or queued under the rate limit",
);
pub(super) const RETRIES: MetricInfo =
    MetricInfo::new("kms_retries_total", Counter, &[], "Retries of key service calls");
pub(super) const RATE_LIMIT_WAITS: MetricInfo = MetricInfo::new(
    "kms_rate_limit_waits_total",
    Counter,
    &[],
    "Attempts that waited because the key service had throttled earlier ones",
);

/// Every metric of this crate.
pub const METRICS: [MetricInfo; 19] = [
    ENCRYPT_DURATION,
    DECRYPT_DURATION,
    ENCRYPT_ERRORS,
    DECRYPT_ERRORS,
    REWRAP_ERRORS,
    DESCRIBE_ERRORS,
    REQUESTS,
    CACHE_HIT_RATE,
    CACHE_SIZE,
    CACHE_HITS,
    CACHE_MISSES,
    CACHE_EVICTIONS,
    CACHE_STALE_SERVED,
    CACHE_REFRESHES,
    CIRCUIT_STATE,
    CIRCUIT_REJECTIONS,
    LOAD_REJECTIONS,
    RETRIES,
    RATE_LIMIT_WAITS,
];

/// The names as they are scraped, under a prefix.
#[must_use]
pub fn names(prefix: &str) -> Vec<String> {
    METRICS.iter().map(|metric| full_name(prefix, metric.name)).collect()
}

fn full_name(prefix: &str, name: &str) -> String {
    match prefix.trim_end_matches('_') {
        "" => name.to_owned(),
        prefix => format!("{prefix}_{name}"),
    }
}
