//! Metrics, liveness and readiness of a running process.

#[cfg(feature = "metrics")]
use std::sync::Weak;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use envelope_core::{ErrorClass, KeyProvider};
#[cfg(feature = "metrics")]
use kms_provider::KmsMetrics;
#[cfg(feature = "metrics")]
use kms_provider::metrics::emf::{EmfEmitter, EmfSample, EmfWriter};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
#[cfg(feature = "secrets")]
use secrets_cache::metrics::Metrics as SecretMetrics;
use token_store::{Database, FailureObserver, TokenStore};

use crate::settings::Settings;

#[cfg(feature = "metrics")]
mod http;

/// How long readiness waits for the database and the key service.
const READY_WITHIN: Duration = Duration::from_secs(3);

/// The registry of this process, and what readiness depends on. Clones share both.
#[derive(Clone, Default)]
pub struct Telemetry {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    registry: Registry,
    ready: Option<Readiness>,
    #[cfg(feature = "metrics")]
    kms: Option<Arc<KmsMetrics>>,
    #[cfg(feature = "secrets")]
    secrets: Option<Arc<SecretMetrics>>,
    #[cfg(feature = "metrics")]
    store: Option<TokenStore>,
    #[cfg(feature = "metrics")]
    emf: Option<EmfEmitter>,
}

impl Default for Shared {
    /// The time of the start lets alerts distinguish a new process, whose first counts are news, from one that is merely seen for the
    /// first time.
    fn default() -> Self {
        let mut registry = Registry::default();
        let start = Gauge::<i64>::default();
        start.set(started());
        registry.register("process_start_time_seconds", "Start of the process, in seconds since 1970", start);
        Self {
            registry,
            ready: None,
            #[cfg(feature = "metrics")]
            kms: None,
            #[cfg(feature = "secrets")]
            secrets: None,
            #[cfg(feature = "metrics")]
            store: None,
            #[cfg(feature = "metrics")]
            emf: None,
        }
    }
}

/// Now, in whole seconds since 1970; the telemetry begins with its process.
fn started() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The parts that must answer for the process to be ready.
#[derive(Clone, Default)]
pub struct Readiness {
    /// The database, if it is needed.
    pub database: Option<Database>,
    /// The key service, if it is needed.
    pub provider: Option<Arc<dyn KeyProvider>>,
}

/// Whether a process can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ready {
    /// It can.
    Yes,
    /// It is not connected yet.
    Starting,
    /// The database did not answer in time.
    NoDatabase,
    /// The key service did not answer in time, or refuses.
    NoKeyService,
}

impl Ready {
    /// One line for the body of a readiness probe.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::Yes => "ready",
            Self::Starting => "starting",
            Self::NoDatabase => "database does not answer",
            Self::NoKeyService => "key service does not answer",
        }
    }
}

impl Telemetry {
    /// Adds metrics.
    pub fn register<T>(&self, add: impl FnOnce(&mut Registry) -> T) -> T {
        add(&mut self.shared().registry)
    }

    /// Says what readiness depends on; until then the process is not ready.
    pub fn set_ready(&self, readiness: Readiness) {
        self.shared().ready = Some(readiness);
    }

    /// Asks the database and the key service for an answer, for 3 s at most.
    pub async fn ready(&self) -> Ready {
        let Some(readiness) = self.shared().ready.clone() else { return Ready::Starting };
        match tokio::join!(in_time(database_answers(&readiness)), in_time(key_service_answers(&readiness))) {
            (false, _) => Ready::NoDatabase,
            (_, false) => Ready::NoKeyService,
            (true, true) => Ready::Yes,
        }
    }

    /// Every metric in the text format of OpenMetrics; `None` if it cannot be encoded.
    #[must_use]
    pub fn encode(&self) -> Option<String> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.shared().registry).ok()?;
        Some(text)
    }

    #[cfg(feature = "metrics")]
    /// The metrics of the key service. Registered once: a family that is registered twice is scraped twice.
    pub(crate) fn key_service_metrics(&self, prefix: &str) -> Arc<KmsMetrics> {
        let shared = &mut *self.shared();
        let Shared { registry, kms, .. } = shared;
        kms.get_or_insert_with(|| KmsMetrics::register(registry, prefix)).clone()
    }

    #[cfg(feature = "secrets")]
    pub(crate) fn watch_secrets(&self, metrics: &Arc<SecretMetrics>) {
        self.shared().secrets = Some(metrics.clone());
    }

    /// Adds a store's metrics, and its refreshes to the lines for CloudWatch.
    pub(crate) fn watch_store(&self, store: &TokenStore) {
        self.register(|registry| token_store::metrics::register(registry, store));
        #[cfg(feature = "metrics")]
        {
            self.shared().store = Some(store.clone());
        }
    }

    /// Counts every value that does not open together with the errors of the key service.
    pub(crate) fn failure_observer(&self) -> Option<FailureObserver> {
        #[cfg(feature = "metrics")]
        if let Some(kms) = self.shared().kms.clone() {
            return Some(Arc::new(move |error| kms.count_failed_open(error)));
        }
        None
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

#[cfg(not(feature = "metrics"))]
impl Telemetry {
    /// Prints nothing: in this build, the settings refuse to ask for it.
    pub fn print_emf(&self, _settings: &Settings) {}

    /// Prints nothing: in this build, the settings refuse to ask for it.
    pub fn print_emf_to(&self, _settings: &Settings, _out: impl std::io::Write + Send + 'static) {}

    /// Prints nothing: in this build, the settings refuse to ask for it.
    pub fn finish(&self) {}

    /// Serves nothing: this build has no HTTP server.
    ///
    /// # Errors
    /// Always.
    pub async fn serve(&self, _address: std::net::SocketAddr) -> std::io::Result<()> {
        Err(std::io::Error::new(std::io::ErrorKind::Unsupported, "needs a build with the feature `metrics`"))
    }
}

#[cfg(feature = "metrics")]
impl Telemetry {
    /// Prints lines for CloudWatch to standard error, where the settings ask for it; once for a process.
    pub fn print_emf(&self, settings: &Settings) {
        self.print_emf_to(settings, std::io::stderr());
    }

    /// Prints lines for CloudWatch to `out`, where the settings ask for it; once for a process.
    pub fn print_emf_to(&self, settings: &Settings, out: impl std::io::Write + Send + 'static) {
        let mut shared = self.shared();
        let Some(every) = settings.emf_every.filter(|_| shared.emf.is_none()) else { return };
        let writer = emf_writer(settings);
        // Not the registry itself, which owns the emitter.
        let weak = Arc::downgrade(&self.shared);
        shared.emf = Some(EmfEmitter::start(writer, every, move || sample(&weak), out));
    }

    /// Prints the last of them.
    pub fn finish(&self) {
        let emf = self.shared().emf.take();
        if let Some(emf) = emf {
            emf.finish();
        }
    }
}

#[cfg(feature = "metrics")]
fn emf_writer(settings: &Settings) -> EmfWriter {
    if let Some(dimensions) = settings.emf_dimensions.clone() {
        return EmfWriter::with_dimensions(dimensions);
    }
    let application = settings.profile.context.get("Application").map_or("unnamed", String::as_str);
    EmfWriter::new(application, settings.environment.name())
}

#[cfg(feature = "metrics")]
fn sample(shared: &Weak<Mutex<Shared>>) -> EmfSample {
    let Some(shared) = shared.upgrade() else { return EmfSample::default() };
    let shared = lock(&shared);
    let sample = shared.kms.as_ref().map(|kms| kms.emf_sample()).unwrap_or_default();
    #[cfg(feature = "secrets")]
    let sample = match &shared.secrets {
        Some(secrets) => sample.with_secret_reads(secrets.reads(), secrets.failed_reads()),
        None => sample,
    };
    let (succeeded, failed) = shared.store.as_ref().map(TokenStore::refresh_counts).unwrap_or_default();
    sample.with_token_refreshes(succeeded.saturating_add(failed), failed)
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn in_time(answers: impl Future<Output = bool>) -> bool {
    tokio::time::timeout(READY_WITHIN, answers).await.unwrap_or(false)
}

async fn database_answers(readiness: &Readiness) -> bool {
    let Some(database) = &readiness.database else { return true };
    database.ping().await.is_ok()
}

/// An identity that may not describe the key may well use it.
async fn key_service_answers(readiness: &Readiness) -> bool {
    let Some(provider) = &readiness.provider else { return true };
    provider.describe().await.map_or_else(|error| error.class() == ErrorClass::Denied, |_| true)
}
