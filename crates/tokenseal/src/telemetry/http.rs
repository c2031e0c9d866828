//! `/metrics`, `/healthz` and `/readyz` over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Ready, Telemetry};

/// The content type of [`Telemetry::encode`].
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How long an answer of `/readyz` is kept: requests, however many, cost one call to the database and one to the key service
/// in this time.
const KEPT: Duration = Duration::from_secs(2);

/// The last known readiness. Requests during a check wait for its result.
#[derive(Clone)]
struct KeptReadiness {
    telemetry: Telemetry,
    last: Arc<Mutex<Option<(Instant, Ready)>>>,
}

impl KeptReadiness {
    async fn get(&self) -> Ready {
        let mut last = self.last.lock().await;
        match *last {
            Some((at, ready)) if at.elapsed() < KEPT => ready,
            _ => {
                let ready = self.telemetry.ready().await;
                // A process that starts is checked again at once.
                *last = (ready != Ready::Starting).then(|| (Instant::now(), ready));
                ready
            }
        }
    }
}

impl Telemetry {
    /// The routes `/metrics`, `/healthz` and `/readyz`, to be merged into a service's own.
    ///
    /// `/readyz` answers from a state that is at most 2 s old.
    pub fn routes(&self) -> Router {
        let kept = KeptReadiness { telemetry: self.clone(), last: Arc::default() };
        Router::new()
            .route("/metrics", get(metrics))
            .with_state(self.clone())
            .route("/healthz", get(|| async { "alive\n" }))
            .route("/readyz", get(ready))
            .with_state(kept)
    }

    /// Serves the three routes on an address of their own until the process ends.
    ///
    /// # Errors
    /// If nothing can listen on the address.
    pub async fn serve(&self, address: SocketAddr) -> std::io::Result<()> {
        let listener = tokio::net::TcpListener::bind(address).await?;
        let routes = self.routes();
        tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                tracing::warn!(%error, "metrics are no longer served");
            }
        });
        Ok(())
    }
}

async fn metrics(State(telemetry): State<Telemetry>) -> Response {
    match telemetry.encode() {
        Some(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn ready(State(kept): State<KeptReadiness>) -> (StatusCode, String) {
    let ready = kept.get().await;
    let status = if ready == Ready::Yes { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, format!("{}\n", ready.message()))
}
