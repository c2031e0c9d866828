//! The metrics around a key service, in builds that have any.

use std::sync::Arc;

use envelope_core::KeyProvider;
use kms_provider::{Caching, Resilience, ResilienceOptions};
#[cfg(feature = "metrics")]
use kms_provider::{KmsMetrics, Metered};

use super::Load;
use crate::settings::Settings;
use crate::telemetry::Telemetry;

/// Registered once; the parts around the key service are shown to it as they are made.
pub(super) struct Watch {
    #[cfg(feature = "metrics")]
    metrics: Arc<KmsMetrics>,
}

impl Watch {
    /// A key service with deadline, retries and circuit, whose state is a metric.
    pub(super) fn resilient(
        &self,
        backend: Arc<dyn KeyProvider>,
        options: ResilienceOptions,
    ) -> Arc<dyn KeyProvider> {
        let resilience = Arc::new(Resilience::with_options(backend, options));
        self.resilience(&resilience);
        resilience
    }

    /// The same for a key service that is no remote one: only a service needs it.
    pub(super) fn guarded_in_service(
        &self,
        backend: Arc<dyn KeyProvider>,
        load: Load,
    ) -> Arc<dyn KeyProvider> {
        match load {
            Load::Service => self.resilient(backend, ResilienceOptions::default()),
            Load::Few | Load::EveryRow { .. } => backend,
        }
    }
}

#[cfg(feature = "metrics")]
impl Watch {
    pub(super) fn register(settings: &Settings, telemetry: &Telemetry) -> Self {
        Self { metrics: telemetry.key_service_metrics(&settings.profile.metrics_prefix) }
    }

    pub(super) fn metered(&self, inner: Arc<dyn KeyProvider>) -> Arc<dyn KeyProvider> {
        Arc::new(Metered::new(inner, self.metrics.clone()))
    }

    pub(super) fn cache(&self, cache: &Arc<Caching>) {
        self.metrics.watch_cache(cache);
    }

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

    fn resilience(&self, _resilience: &Arc<Resilience>) {}
}
