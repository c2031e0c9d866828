//! The metrics around a key service, in builds that have any.

use std::sync::Arc;

use envelope_core::KeyProvider;
use kms_provider::Caching;
#[cfg(feature = "aws")]
use kms_provider::{Aws, Resilience, ResilienceOptions};
#[cfg(feature = "metrics")]
use kms_provider::{KmsMetrics, Metered};

use crate::settings::Settings;
use crate::telemetry::Telemetry;

/// Registered once, and then shown what there is to look at.
pub(super) struct Watch {
    #[cfg(feature = "metrics")]
    metrics: Arc<KmsMetrics>,
}

#[cfg(feature = "aws")]
impl Watch {
    /// AWS KMS under a Resilience that is looked at.
    pub(super) fn resilient(&self, aws: Aws, options: ResilienceOptions) -> Arc<dyn KeyProvider> {
        let resilience = Arc::new(Resilience::with_options(Arc::new(aws), options));
        self.resilience(&resilience);
        resilience
    }
}

#[cfg(feature = "metrics")]
impl Watch {
    pub(super) fn register(settings: &Settings, telemetry: &Telemetry) -> Self {
        let prefix = &settings.profile.metrics_prefix;
        let metrics = telemetry.register(|registry| KmsMetrics::register(registry, prefix));
        let sampled = metrics.clone();
        telemetry.print_emf(settings, move || sampled.emf_sample());
        Self { metrics }
    }

    pub(super) fn metered(&self, inner: Arc<dyn KeyProvider>) -> Arc<dyn KeyProvider> {
        Arc::new(Metered::new(inner, self.metrics.clone()))
    }

    pub(super) fn cache(&self, cache: &Arc<Caching>) {
        self.metrics.watch_cache(cache);
    }

    #[cfg(feature = "aws")]
    fn resilience(&self, resilience: &Arc<Resilience>) {
        self.metrics.watch_resilience(resilience);
    }
}

#[cfg(not(feature = "metrics"))]
impl Watch {
    pub(super) fn register(_settings: &Settings, _telemetry: &Telemetry) -> Self {
        Self {}
    }

    pub(super) fn metered(&self, inner: Arc<dyn KeyProvider>) -> Arc<dyn KeyProvider> {
        inner
    }

    pub(super) fn cache(&self, _cache: &Arc<Caching>) {}

    #[cfg(feature = "aws")]
    fn resilience(&self, _resilience: &Arc<Resilience>) {}
}
