//! The service's routes.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde::Serialize;
use tokenseal::envelope_core::ErrorClass;
use tokenseal::secrets_cache::typed::ReadError;
use tokenseal::token_store::refresh::FreshError;
use tokenseal::token_store::{StoreError, TokenKey};

use crate::Service;
use crate::oauth::OAuthError;
use crate::refresh::refresh;

/// The routes of a service.
pub fn router(service: Service) -> Router {
    let telemetry = service.tokenseal.telemetry().routes();
    Router::new()
        .route("/tokens/{provider}/{channel}", get(show))
        .route("/tokens/{provider}/{channel}/refresh", post(refresh_one))
        .with_state(service)
        .merge(telemetry)
}

/// The description of a token for a caller: never the token.
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
    let token =
        service.store().get(&TokenKey::new(&provider, &channel)).await.map_err(anyhow::Error::from)?;
    Ok(Json(Shown { provider, channel, encryption_version: token.encryption_version().unwrap_or(0) }))
}

async fn refresh_one(
    State(service): State<Service>,
    Path((provider, channel)): Path<(String, String)>,
) -> Result<Json<Shown>, Failure> {
    let token = refresh(&service, &TokenKey::new(&provider, &channel), None).await?;
    Ok(Json(Shown { provider, channel, encryption_version: token.encryption_version().unwrap_or(0) }))
}

/// A failed request: the log names the row's problem, the answer a way for the caller to continue.
struct Failure(anyhow::Error);

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = status(&self.0);
        tracing::warn!(%status, error = format!("{:#}", self.0), "request failed");
        let mut text = status.canonical_reason().unwrap_or_default().to_owned();
        if let Some(id) = self.0.downcast_ref::<StoreError>().and_then(StoreError::correlation_id) {
            // The reader of the log finds the line by it.
            text += &format!(" (correlation id {id})");
        }
        (status, text + "\n").into_response()
    }
}

fn status(error: &anyhow::Error) -> StatusCode {
    if let Some(error) = error.downcast_ref::<FreshError<OAuthError>>() {
        return StatusCode::from_u16(error.kind().http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    }
    match error.downcast_ref::<StoreError>() {
        Some(StoreError::NotFound { .. }) => StatusCode::NOT_FOUND,
        Some(StoreError::Contended { .. }) => StatusCode::CONFLICT,
        Some(StoreError::Database(error)) if error.unreachable => StatusCode::SERVICE_UNAVAILABLE,
        _ if comes_back(error) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Whether the key service or the source of secrets is merely not answering.
fn comes_back(error: &anyhow::Error) -> bool {
    if let Some(ReadError::Source(error)) = error.downcast_ref() {
        return error.is_outage();
    }
    let class = error.downcast_ref().map(StoreError::class);
    ErrorClass::ALL.iter().any(|known| known.is_retryable() && Some(known.label()) == class)
}
