//! The service's routes.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use envelope_core::OpenError;
use serde::Serialize;
use token_store::{StoreError, TokenKey};

use crate::Service;
use crate::refresh::refresh;

/// The routes of a service.
pub fn router(service: Service) -> Router {
    Router::new()
        .route("/tokens/{provider}/{channel}", get(show))
        .route("/tokens/{provider}/{channel}/refresh", post(refresh_one))
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .with_state(service)
}

/// What a caller learns of a token: never the token.
#[derive(Serialize)]
struct Shown {
    provider: String,
    channel: String,
    encryption_version: i64,
}

async fn show(
    State(service): State<Service>,
    Path((provider, channel)): Path<(String, String)>,
) -> Result<Json<Shown>, Failure> {
    let token = service.store.get(&TokenKey::new(&provider, &channel)).await.map_err(anyhow::Error::from)?;
    Ok(Json(Shown { provider, channel, encryption_version: token.encryption_version().unwrap_or(0) }))
}

async fn refresh_one(
    State(service): State<Service>,
    Path((provider, channel)): Path<(String, String)>,
) -> Result<Json<Shown>, Failure> {
    let written = refresh(&service, &TokenKey::new(&provider, &channel)).await?;
    Ok(Json(Shown { provider, channel, encryption_version: i64::from(written.encryption_version) }))
}

async fn metrics(State(service): State<Service>) -> Response {
    let mut text = String::new();
    let registry = service.registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn ready(State(service): State<Service>) -> (StatusCode, &'static str) {
    if service.store.database().ping().await.is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, "database does not answer\n");
    }
    if let Some(keys) = &service.keys
        && keys.describe().await.is_err()
    {
        return (StatusCode::SERVICE_UNAVAILABLE, "key service does not answer\n");
    }
    (StatusCode::OK, "ready\n")
}

/// A failed request: the row's trouble is told in the log, the caller learns what to do.
struct Failure(anyhow::Error);

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match self.0.downcast_ref::<StoreError>() {
            Some(StoreError::NotFound { .. }) => StatusCode::NOT_FOUND,
            Some(StoreError::Open { source: OpenError::Key(error), .. }) if error.class().is_retryable() => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Some(StoreError::Contended { .. }) => StatusCode::CONFLICT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        tracing::warn!(%status, error = format!("{:#}", self.0), "request failed");
        (status, status.canonical_reason().unwrap_or_default()).into_response()
    }
}
