//! Prometheus metrics, registered into the caller's registry.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;
use time::OffsetDateTime;

use crate::error::SourceError;
use crate::inventory::Inventory;
use crate::name::SecretName;
use crate::secret::{Secret, SecretMetadata};

/// Most secrets whose age is exported: each is a time series of its own.
const MAX_TRACKED: usize = 10_000;

/// The operation that fetches a value.
pub(crate) const GET: &str = "get";
/// The outcome of what did not fail.
const OK: &str = "ok";

/// The metrics of this crate. All names begin with `secrets_`.
#[derive(Debug)]
pub struct Metrics {
    accesses: Family<AccessLabels, Counter>,
    reads: AtomicU64,
    failed_reads: AtomicU64,
    failures: Family<ClassLabels, Counter>,
    pub(crate) cache: CacheCounters,
    stored: Gauge,
    expired: Gauge,
    due: Gauge,
    ages: Arc<Ages>,
    rotations: Arc<Rotations>,
}

/// One counter for each outcome of a cached read, without a look-up.
#[derive(Debug)]
pub(crate) struct CacheCounters {
    pub(crate) hit: Counter,
    pub(crate) miss: Counter,
    pub(crate) stale: Counter,
    pub(crate) negative: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AccessLabels {
    source: String,
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabels {
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NameLabels {
    secret: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SecretLabels {
    secret: String,
    source: String,
}

impl Metrics {
    /// Registers the metrics. Every counter whose labels are known exists from the start, at 0, so that the first
    /// failure is seen as an increase.
    pub fn register(registry: &mut Registry) -> Arc<Self> {
        let registry = registry.sub_registry_with_prefix("secrets");
        let accesses = Family::default();
        registry.register(
            "accesses",
            "Requests to secret sources, by operation and outcome",
            accesses.clone(),
        );
        let failures = Family::<ClassLabels, Counter>::default();
        registry.register("failures", "Requests to secret sources that failed, by class", failures.clone());
        for class in SourceError::CLASSES {
            drop(failures.get_or_create(&ClassLabels { class }));
        }
        let reads = Family::<ResultLabels, Counter>::default();
        registry.register(
            "cache_reads",
            "Reads through the cache: hit, miss, stale, negative",
            reads.clone(),
        );
        let (stored, expired, due) = (Gauge::default(), Gauge::default(), Gauge::default());
        registry.register("stored", "Secrets found by the last inventory", stored.clone());
        registry.register("expired", "Expired secrets found by the last inventory", expired.clone());
        registry.register("due_for_rotation", "Secrets due for rotation, by the last inventory", due.clone());
        let ages = Arc::new(Ages::default());
        registry.register_collector(Box::new(Arc::clone(&ages)));
        let rotations = Arc::new(Rotations::default());
        registry.register_collector(Box::new(Arc::clone(&rotations)));
        let read = |result| reads.get_or_create_owned(&ResultLabels { result });
        let cache = CacheCounters {
            hit: read("hit"),
            miss: read("miss"),
            stale: read("stale"),
            negative: read("negative"),
        };
        Arc::new(Self {
            accesses,
            reads: AtomicU64::new(0),
            failed_reads: AtomicU64::new(0),
            failures,
            cache,
            stored,
            expired,
            due,
            ages,
            rotations,
        })
    }

    /// Shows what an inventory found.
    pub fn observe(&self, inventory: &Inventory) {
        let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.stored.set(count(inventory.secrets));
        self.expired.set(count(inventory.expired));
        self.due.set(count(inventory.due));
        self.rotations.replace(inventory);
    }

    /// Shows the age of a secret's current version.
    pub fn observe_secret(&self, secret: &SecretMetadata, source: &str) {
        let created = secret.version(&crate::Stage::Current).and_then(|version| version.created);
        self.ages.track(&secret.name, source, created.or(secret.changed));
    }

    /// How often a source was asked for the value of a secret. Cache hits are not in it.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// How many of these reads failed. A name or a stage that does not exist is an answer, and not counted.
    #[must_use]
    pub fn failed_reads(&self) -> u64 {
        self.failed_reads.load(Ordering::Relaxed)
    }

    /// Lets the counters of a source's reads exist before the first, for each outcome.
    pub(crate) fn begin(&self, source: &str) {
        for outcome in std::iter::once(OK).chain(SourceError::CLASSES) {
            let labels = AccessLabels { source: source.to_owned(), operation: GET, outcome };
            drop(self.accesses.get_or_create(&labels));
        }
    }

    pub(crate) fn access(&self, source: &str, operation: &'static str, error: Option<&SourceError>) {
        let outcome = error.map_or(OK, SourceError::class);
        if operation == GET {
            self.reads.fetch_add(1, Ordering::Relaxed);
            let failed = error.is_some_and(|error| !error.is_not_found());
            self.failed_reads.fetch_add(u64::from(failed), Ordering::Relaxed);
        }
        let labels = AccessLabels { source: source.to_owned(), operation, outcome };
        self.accesses.get_or_create(&labels).inc();
        if error.is_some() {
            self.failures.get_or_create(&ClassLabels { class: outcome }).inc();
        }
    }

    pub(crate) fn fetched(&self, secret: &Secret) {
        if secret.stages.contains(&crate::Stage::Current) {
            self.ages.track(&secret.name, &secret.source, secret.created);
        }
    }
}

/// The times at which the versions in use were made; their age is computed at each scrape.
#[derive(Default)]
struct Ages(Mutex<BTreeMap<SecretName, (String, OffsetDateTime)>>);

impl Ages {
    fn track(&self, name: &SecretName, source: &str, created: Option<OffsetDateTime>) {
        let Some(created) = created else {
            return;
        };
        let mut tracked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tracked.len() < MAX_TRACKED || tracked.contains_key(name) {
            tracked.insert(name.clone(), (source.to_owned(), created));
        }
    }
}

impl fmt::Debug for Ages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ages")
    }
}

impl Collector for Ages {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let now = OffsetDateTime::now_utc();
        let mut family = encoder.encode_descriptor(
            "version_age_seconds",
            "Age of the version in use of each secret",
            None,
            MetricType::Gauge,
        )?;
        for (name, (source, created)) in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let labels = SecretLabels { secret: name.to_string(), source: source.clone() };
            let age = ConstGauge::new((now - *created).as_seconds_f64().max(0.0));
            age.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// When secrets are due for rotation, as the last inventory found it.
#[derive(Default)]
struct Rotations(Mutex<Vec<(SecretName, OffsetDateTime)>>);

impl Rotations {
    fn replace(&self, inventory: &Inventory) {
        let found = inventory.rotate_by.iter().take(MAX_TRACKED).cloned().collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }
}

impl fmt::Debug for Rotations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rotations")
    }
}

impl Collector for Rotations {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let now = OffsetDateTime::now_utc();
        let mut family = encoder.encode_descriptor(
            "rotation_due_seconds",
            "Time until each secret with a schedule is due for rotation, negative once it is",
            None,
            MetricType::Gauge,
        )?;
        for (name, at) in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let left = ConstGauge::new((*at - now).as_seconds_f64());
            left.encode(family.encode_family(&NameLabels { secret: name.to_string() })?)?;
        }
        Ok(())
    }
}
