//! Refreshes of tokens, counted by outcome and timed.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Counter: refreshes by `outcome`, one of [`OUTCOMES`].
pub const REFRESHES: &str = "token_refreshes";
/// Histogram: time of a refresh in seconds, from the read of the old token to the write of the new one.
pub const REFRESH_DURATION: &str = "token_refresh_duration_seconds";
/// Counter: refreshes that spent a refresh token which a holder that vanished may have spent before.
pub const UNCERTAIN: &str = "token_refreshes_uncertain";
/// Counter: refresh tokens that the provider refuses, so that only the user can help.
pub const NEEDS_CONSENT: &str = "token_refreshes_needing_consent";
/// The values of the label `outcome`.
pub const OUTCOMES: [&str; 2] = [OK, FAILED];

const OK: &str = "ok";
const FAILED: &str = "failed";

/// Upper bounds of the buckets in seconds: token endpoints answer within seconds, and clients give up after half a minute.
const BUCKETS: [f64; 11] = [0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The metrics of the refreshes of one profile's tokens.
pub struct RefreshMetrics {
    outcomes: Family<Outcome, Counter>,
    duration: Histogram,
    uncertain: Counter,
    needs_consent: Counter,
}

impl Default for RefreshMetrics {
    /// Metrics that are not registered yet. Both outcomes exist from the start, at 0.
    fn default() -> Self {
        let outcomes = Family::<Outcome, Counter>::default();
        for outcome in OUTCOMES {
            drop(outcomes.get_or_create(&Outcome { outcome }));
        }
        let (uncertain, needs_consent) = (Counter::default(), Counter::default());
        Self { outcomes, duration: Histogram::new(BUCKETS), uncertain, needs_consent }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

impl RefreshMetrics {
    /// Registers new metrics under the profile's prefix, for refreshes that do not go through
    /// [`TokenStore::fresh`](crate::TokenStore::fresh): those are counted by the store itself.
    pub fn register(registry: &mut Registry, prefix: &str) -> Arc<Self> {
        let metrics = Self::default();
        metrics.register_in(registry, prefix);
        Arc::new(metrics)
    }

    pub(crate) fn register_in(&self, registry: &mut Registry, prefix: &str) {
        let Self { outcomes, duration, uncertain, needs_consent } = self;
        registry.register(
            format!("{prefix}_{REFRESHES}"),
            "Refreshes of tokens, by outcome",
            outcomes.clone(),
        );
        registry.register(
            format!("{prefix}_{REFRESH_DURATION}"),
            "Time of a refresh, the calls to the provider, the key service and the database included",
            duration.clone(),
        );
        registry.register(
            format!("{prefix}_{UNCERTAIN}"),
            "Refresh tokens spent that a holder which vanished may have spent before",
            uncertain.clone(),
        );
        registry.register(
            format!("{prefix}_{NEEDS_CONSENT}"),
            "Refresh tokens that the provider refuses, so that the user must sign in again",
            needs_consent.clone(),
        );
    }

    pub(crate) fn uncertain(&self) {
        self.uncertain.inc();
    }

    pub(crate) fn needs_consent(&self) {
        self.needs_consent.inc();
    }

    /// Runs a refresh, and counts how it ended. One that its caller drops is not counted.
    ///
    /// # Errors
    /// Those of the refresh.
    pub async fn measure<T, E>(&self, refresh: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let start = Instant::now();
        let result = refresh.await;
        self.duration.observe(start.elapsed().as_secs_f64());
        let outcome = if result.is_ok() { OK } else { FAILED };
        self.outcomes.get_or_create(&Outcome { outcome }).inc();
        result
    }

    /// How many refreshes succeeded, and how many failed.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let count = |outcome| self.outcomes.get_or_create(&Outcome { outcome }).get();
        (count(OK), count(FAILED))
    }
}

impl fmt::Debug for RefreshMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshMetrics").field("counts", &self.counts()).finish_non_exhaustive()
    }
}
