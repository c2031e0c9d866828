//! Prometheus metrics of a key service, registered into a registry that the caller owns.

mod collector;
pub mod emf;
mod latencies;
mod metered;
mod names;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use envelope_core::provider::ErrorClass;
use envelope_core::{KeyError, OpenError};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use self::collector::{Snapshots, Watched};
use self::emf::EmfSample;
use self::latencies::Latencies;
use crate::caching::Caching;
use crate::resilience::Resilience;

pub use self::metered::Metered;
pub use self::names::{BUCKETS, METRICS, MetricInfo, MetricKind, names};

/// The metrics of one key service and the decorators around it.
///
/// [`Metered`] measures the calls; caches and circuits are read at each scrape, once they are
/// [watched](Self::watch_cache). All names are in [`METRICS`].
pub struct KmsMetrics {
    encrypt: Operation,
    decrypt: Operation,
    rewrap_errors: Errors,
    describe_errors: Errors,
    requests: Family<OperationLabel, Counter>,
    watched: Arc<Watched>,
}

/// The two things that are timed.
struct Operation {
    duration: Histogram,
    errors: Errors,
    latencies: Latencies,
}

type Errors = Family<ClassLabel, Counter>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabel {
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabel {
    operation: &'static str,
}

impl KmsMetrics {
    /// Registers all metrics under `prefix`, which is put before each name with a `_` in between.
    ///
    /// Every counter exists from the start, at 0 for each class and operation, so that the first error is seen as an
    /// increase.
    pub fn register(registry: &mut Registry, prefix: &str) -> Arc<Self> {
        let requests = Family::default();
        for operation in metered::OPERATIONS {
            drop(requests.get_or_create(&OperationLabel { operation }));
        }
        add(registry, prefix, &names::REQUESTS, &requests);
        let watched = Arc::<Watched>::default();
        registry
            .register_collector(Box::new(Snapshots { watched: watched.clone(), prefix: prefix.to_owned() }));
        Arc::new(Self {
            encrypt: Operation::register(registry, prefix, &names::ENCRYPT_DURATION, &names::ENCRYPT_ERRORS),
            decrypt: {
                let operation =
                    Operation::register(registry, prefix, &names::DECRYPT_DURATION, &names::DECRYPT_ERRORS);
                for class in OpenError::OWN_CLASSES {
                    drop(operation.errors.get_or_create(&ClassLabel { class }));
                }
                operation
            },
            rewrap_errors: errors(registry, prefix, &names::REWRAP_ERRORS),
            describe_errors: errors(registry, prefix, &names::DESCRIBE_ERRORS),
            requests,
            watched,
        })
    }

    /// Shows a cache's size and counters from now on. Several are added up.
    pub fn watch_cache(&self, cache: &Arc<Caching>) {
        self.watched.watch_cache(cache);
    }

    /// Shows a circuit's state and counters from now on. Several are added up, and their state is the worst one.
    pub fn watch_resilience(&self, resilience: &Arc<Resilience>) {
        self.watched.watch_circuit(resilience);
    }

    /// Counts a stored value of any format that did not open, by its class. A refusal of the key service is
    /// not counted again: [`Metered`] has counted the call.
    pub fn count_failed_open(&self, error: &OpenError) {
        if error.key_error().is_none() {
            self.decrypt.errors.get_or_create(&ClassLabel { class: error.class() }).inc();
        }
    }

    /// The data of one line of the CloudWatch embedded metric format. Each latency is reported once.
    #[must_use]
    pub fn emf_sample(&self) -> EmfSample {
        let (cache, _) = self.watched.cache();
        EmfSample {
            encrypt_errors: self.encrypt.failed(),
            decrypt_errors: self.decrypt.failed(),
            encrypt_latencies: self.encrypt.latencies.take(),
            decrypt_latencies: self.decrypt.latencies.take(),
            cache_hits: cache.hits,
            cache_misses: cache.misses,
            ..EmfSample::default()
        }
    }
}

impl Operation {
    fn register(registry: &mut Registry, prefix: &str, duration: &MetricInfo, failed: &MetricInfo) -> Self {
        let histogram = Histogram::new(BUCKETS);
        add(registry, prefix, duration, &histogram);
        Self {
            duration: histogram,
            errors: errors(registry, prefix, failed),
            latencies: Latencies::default(),
        }
    }

    fn observe(&self, took: Duration, error: Option<&KeyError>) {
        self.duration.observe(took.as_secs_f64());
        self.latencies.add(took);
        if let Some(error) = error {
            count(&self.errors, error);
        }
    }

    fn failed(&self) -> u64 {
        let classes = ErrorClass::ALL.map(ErrorClass::label).into_iter().chain(OpenError::OWN_CLASSES);
        classes.map(|class| self.errors.get_or_create(&ClassLabel { class }).get()).sum()
    }
}

impl fmt::Debug for KmsMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KmsMetrics").finish_non_exhaustive()
    }
}

fn errors(registry: &mut Registry, prefix: &str, metric: &MetricInfo) -> Errors {
    let errors = Errors::default();
    for class in ErrorClass::ALL {
        drop(errors.get_or_create(&class_label(class)));
    }
    add(registry, prefix, metric, &errors);
    errors
}

fn count(errors: &Errors, error: &KeyError) {
    errors.get_or_create(&class_label(error.class())).inc();
}

fn class_label(class: ErrorClass) -> ClassLabel {
    ClassLabel { class: class.label() }
}

fn add(registry: &mut Registry, prefix: &str, metric: &MetricInfo, value: &(impl Metric + Clone)) {
    // The registry ends every help text with a full stop of its own.
    registry.register(metric.registered(prefix), metric.help, value.clone());
}
