//! An axum service with a PostgreSQL pool of its own: it lists its sealed rows, refreshes a token once it has
//! made sure that the answer can be kept, serves metrics, and ends gracefully.
//!
//! `DATABASE_URL=postgres://… KMS_KEY_ID=alias/tokens cargo run -p tokenseal --example service`

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::TryStreamExt as _;
use tokenseal::secrecy::ExposeSecret as _;
use tokenseal::token_store::{Database, ErrorKind, NewToken, StoreError, TokenKey, TokenStore};
use tokenseal::{AuditTrail, Settings, Tokenseal, startup};
use tracing_subscriber::filter::LevelFilter;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let trail = AuditTrail::new("crm");
    startup::logging(LevelFilter::INFO, LevelFilter::INFO, "service", &trail, LevelFilter::INFO);
    startup::forbid_core_dumps();
    let shutdown = startup::shutdown()?;

    let settings = Settings::from_environment()?;
    let url = settings.database_url.as_ref().ok_or("DATABASE_URL is not set")?;
    let pool = sqlx::PgPool::connect(url.expose_secret()).await?;
    let database = Database::from_pool(pool.clone());
    let tokenseal =
        Tokenseal::builder(settings).actor("crm").audit(&trail).database(database).connect().await?;

    let routes = Router::new()
        .route("/channels", get(list))
        .route("/channels/{channel}/refresh", post(refresh))
        .with_state(Service { store: tokenseal.store().clone(), pool })
        .merge(tokenseal.telemetry().routes());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    axum::serve(listener, routes).with_graceful_shutdown(shutdown).await?;
    tokenseal.telemetry().finish();
    trail.finish();
    Ok(())
}

#[derive(Clone)]
struct Service {
    store: TokenStore,
    pool: sqlx::PgPool,
}

/// Opens every row at the pace of the database. Of a token, only its presence is shown.
async fn list(State(service): State<Service>) -> Result<Json<Vec<(String, bool)>>, Failed> {
    let rows = service.store.rows(None, &["access_token"])?;
    let shown = rows.map_ok(|row| (row.name().to_owned(), matches!(row.token("access_token"), Ok(Some(_)))));
    Ok(Json(shown.try_collect().await?))
}

/// Makes the data keys first, then asks the provider, then writes the new tokens: no outage of the key
/// service loses them.
async fn refresh(State(service): State<Service>, Path(channel): Path<String>) -> Result<StatusCode, Failed> {
    let key = TokenKey::new("twitch", channel.as_str());
    let row = service.store.get_columns(&key, &["refresh_token"]).await?;
    let Ok(Some(refresh_token)) = row.token("refresh_token") else { return Ok(StatusCode::CONFLICT) };
    let prepared = service.store.prepare(&key).await?;
    let (access, refresh) = grant(refresh_token.expose_secret()).await;
    let granted = NewToken::new().access_token(access).refresh_token(refresh);
    service.store.put_prepared(prepared, granted).await?;
    // The service's own tables are its own business, in its own transactions.
    let mut transaction = service.pool.begin().await.map_err(|_| Failed(ErrorKind::Unavailable))?;
    let touched = sqlx::query("UPDATE channels SET refreshed_at = now() WHERE name = $1").bind(channel);
    touched.execute(&mut *transaction).await.map_err(|_| Failed(ErrorKind::Internal))?;
    transaction.commit().await.map_err(|_| Failed(ErrorKind::Unavailable))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes the place of the request to the provider's token endpoint.
async fn grant(refresh_token: &str) -> (String, String) {
    (format!("access for {}", refresh_token.len()), "the successor".to_owned())
}

/// A failure as the caller of the service sees it: only its kind. The log and the audit trail have the rest.
struct Failed(ErrorKind);

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        tracing::warn!(
            error = tokenseal::error::chain(&error),
            retryable = error.is_retryable(),
            "request failed"
        );
        Self(error.kind())
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        StatusCode::from_u16(self.0.http_status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            .into_response()
    }
}
