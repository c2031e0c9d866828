//! What the service counts about itself: for `/metrics`, and in lines for CloudWatch.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kms_provider::KmsMetrics;
use kms_provider::metrics::emf::{EmfEmitter, EmfWriter};
use prometheus_client::registry::Registry;
use secrets_cache::Environment;
use secrets_cache::metrics::Metrics;

/// The service's metrics. Cheap to clone.
#[derive(Clone)]
pub struct Observed {
    /// What `/metrics` shows.
    pub registry: Arc<Mutex<Registry>>,
    /// Those of the key service.
    pub kms: Arc<KmsMetrics>,
    /// Those of the secrets.
    pub secrets: Arc<Metrics>,
}

impl Observed {
    /// Prints lines for CloudWatch to the standard output, where nothing else goes. `application` and `environment`
    /// are their dimensions.
    #[must_use]
    pub fn print_emf(&self, application: &str, environment: Environment, every: Duration) -> EmfEmitter {
        let (kms, secrets) = (self.kms.clone(), self.secrets.clone());
        let sample = move || kms.emf_sample().with_secret_reads(secrets.reads());
        let writer = EmfWriter::new(application, environment.name());
        EmfEmitter::start(writer, every, sample, std::io::stdout())
    }
}
