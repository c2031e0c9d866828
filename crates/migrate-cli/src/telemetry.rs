//! What a running program tells the outside: metrics, liveness and readiness over HTTP.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[cfg(feature = "metrics")]
use envelope_core::ErrorClass;
use envelope_core::KeyProvider;
#[cfg(feature = "metrics")]
use kms_provider::metrics::emf::{EmfEmitter, EmfSample, EmfWriter};
use prometheus_client::registry::Registry;
use token_store::Database;

use crate::exit::CliError;
#[cfg(feature = "metrics")]
use crate::settings::Settings;

/// How long `/readyz` waits for the database and the key service.
#[cfg(feature = "metrics")]
const READY_WITHIN: std::time::Duration = std::time::Duration::from_secs(3);

/// The registry of this process, and what readiness depends on. Clones share both.
#[derive(Clone, Default)]
pub(crate) struct Telemetry {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    registry: Registry,
    ready: Option<Readiness>,
    #[cfg(feature = "metrics")]
    emf: Option<EmfEmitter>,
}

/// What must answer for the program to be ready.
#[derive(Clone)]
#[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "nobody asks where nothing is served"))]
pub(crate) struct Readiness {
    pub(crate) database: Option<Database>,
    pub(crate) provider: Option<Arc<dyn KeyProvider>>,
}

impl Telemetry {
    /// Adds metrics.
    pub(crate) fn register<T>(&self, add: impl FnOnce(&mut Registry) -> T) -> T {
        add(&mut self.shared().registry)
    }

    /// Says what readiness depends on; until then the program is not ready.
    pub(crate) fn set_ready(&self, readiness: Readiness) {
        self.shared().ready = Some(readiness);
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(not(feature = "metrics"))]
impl Telemetry {
    /// Prints nothing: in this build, the settings refuse to ask for it.
    pub(crate) fn finish(&self) {}

    /// Serves nothing: this build has no HTTP server.
    pub(crate) async fn serve(&self, _address: SocketAddr) -> Result<(), CliError> {
        Err(CliError::usage("--metrics-listen: build with the feature `metrics`"))
    }
}

#[cfg(feature = "metrics")]
impl Telemetry {
    /// Prints lines for CloudWatch to standard error, where the settings ask for it.
    pub(crate) fn print_emf(
        &self,
        settings: &Settings,
        sample: impl Fn() -> EmfSample + Send + Sync + 'static,
    ) {
        let Some(every) = settings.emf_every else { return };
        let application = settings.profile.context.get("Application").map_or("unnamed", String::as_str);
        let writer = EmfWriter::new(application, settings.environment.name());
        self.shared().emf = Some(EmfEmitter::start(writer, every, sample, std::io::stderr()));
    }

    /// Prints the last of them.
    pub(crate) fn finish(&self) {
        let emf = self.shared().emf.take();
        if let Some(emf) = emf {
            emf.finish();
        }
    }

    /// Serves `/metrics`, `/healthz` and `/readyz` until the program ends.
    pub(crate) async fn serve(&self, address: SocketAddr) -> Result<(), CliError> {
        use axum::routing::get;

        let router = axum::Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(|| async { "alive\n" }))
            .route("/readyz", get(ready))
            .with_state(self.clone());
        let listener = tokio::net::TcpListener::bind(address)
            .await
            .map_err(|error| CliError::usage(format!("--metrics-listen {address}: {error}")))?;
        tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::warn!(%error, "metrics are no longer served");
            }
        });
        Ok(())
    }
}

#[cfg(feature = "metrics")]
async fn metrics(telemetry: axum::extract::State<Telemetry>) -> axum::response::Response {
    use axum::response::IntoResponse as _;

    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &telemetry.shared().registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(axum::http::header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(feature = "metrics")]
async fn ready(telemetry: axum::extract::State<Telemetry>) -> (axum::http::StatusCode, &'static str) {
    use axum::http::StatusCode;

    let Some(readiness) = telemetry.shared().ready.clone() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "starting\n");
    };
    match tokio::join!(in_time(database_answers(&readiness)), in_time(key_service_answers(&readiness))) {
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "database does not answer\n"),
        (_, false) => (StatusCode::SERVICE_UNAVAILABLE, "key service does not answer\n"),
        (true, true) => (StatusCode::OK, "ready\n"),
    }
}

#[cfg(feature = "metrics")]
async fn in_time(answers: impl Future<Output = bool>) -> bool {
    tokio::time::timeout(READY_WITHIN, answers).await.unwrap_or(false)
}

#[cfg(feature = "metrics")]
async fn database_answers(readiness: &Readiness) -> bool {
    let Some(database) = &readiness.database else { return true };
    database.ping().await.is_ok()
}

/// An identity that may not describe the key may well use it.
#[cfg(feature = "metrics")]
async fn key_service_answers(readiness: &Readiness) -> bool {
    let Some(provider) = &readiness.provider else { return true };
    provider.describe().await.map_or_else(|error| error.class() == ErrorClass::Denied, |_| true)
}
