//! `/metrics`, `/healthz` and `/readyz` over HTTP.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use super::{Ready, Telemetry};

/// The content type of [`Telemetry::encode`].
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Telemetry {
    /// The routes `/metrics`, `/healthz` and `/readyz`, to be merged into a service's own.
    pub fn routes(&self) -> Router {
        Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(|| async { "alive\n" }))
            .route("/readyz", get(ready))
            .with_state(self.clone())
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

async fn ready(State(telemetry): State<Telemetry>) -> (StatusCode, String) {
    let ready = telemetry.ready().await;
    let status = if ready == Ready::Yes { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, format!("{}\n", ready.message()))
}
