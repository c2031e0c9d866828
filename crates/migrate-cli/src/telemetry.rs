//! What a running program tells the outside: metrics, liveness and readiness over HTTP.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use envelope_core::KeyProvider;
use prometheus_client::registry::Registry;
use token_store::Database;

use crate::exit::CliError;

/// The registry of this process, and what readiness depends on. Clones share both.
#[derive(Clone, Default)]
pub(crate) struct Telemetry {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    registry: Registry,
    ready: Option<Readiness>,
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
    pub(crate) fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.shared().registry);
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
    /// Serves nothing: this build has no HTTP server.
    pub(crate) async fn serve(&self, _address: SocketAddr) -> Result<(), CliError> {
        Err(CliError::usage("--metrics-listen: build with the feature `metrics`"))
    }
}

#[cfg(feature = "metrics")]
impl Telemetry {
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
    if let Some(database) = &readiness.database
        && database.ping().await.is_err()
    {
        return (StatusCode::SERVICE_UNAVAILABLE, "database does not answer\n");
    }
    if let Some(provider) = &readiness.provider
        && provider.describe().await.is_err()
    {
        return (StatusCode::SERVICE_UNAVAILABLE, "key service does not answer\n");
    }
    (StatusCode::OK, "ready\n")
}
