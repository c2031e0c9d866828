//! Liveness, readiness, metrics and the document: open to every caller, without anything secret.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use crate::agent::Agent;
use crate::reply::JSON;

/// The content type of the metrics.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether the process lives.
#[utoipa::path(get, path = "/healthz", responses((status = 200, body = String, content_type = "text/plain")))]
pub(crate) async fn healthz() -> &'static str {
    "alive\n"
}

/// Whether requests can be served, from a state that is at most some seconds old.
#[utoipa::path(
    get, path = "/readyz",
    responses(
        (status = 200, body = String, content_type = "text/plain"),
        (status = 503, description = "The database or the key service does not answer", body = String,
         content_type = "text/plain"),
    )
)]
pub(crate) async fn readyz(State(agent): State<Agent>) -> (StatusCode, String) {
    let (is_ready, message) = agent.readiness().now();
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, format!("{message}\n"))
}

/// Metrics, as OpenMetrics text.
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String, content_type = "application/openmetrics-text")))]
pub(crate) async fn metrics(State(agent): State<Agent>) -> Response {
    match agent.tokenseal().telemetry().encode() {
        Some(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", responses((status = 200, body = Object, content_type = "application/json")))]
pub(crate) async fn openapi(State(agent): State<Agent>) -> Response {
    ([(header::CONTENT_TYPE, JSON)], agent.openapi()).into_response()
}
