//! Customers whose e-mail addresses are sealed, and the accounts that they have linked.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokenseal::envelope_core::KeyError;
use tokenseal::kms_provider::Aws;
use tokenseal::secrecy::ExposeSecret as _;
use tokenseal::token_store::{Database, ErrorKind, NewToken, StoreError, TokenKey, TokenStore};
use tokenseal::{ConnectError, Settings, Tokenseal};

/// The service's pool, and the store that works on it.
#[derive(Clone)]
pub struct Service {
    store: TokenStore,
    pool: PgPool,
}

/// A customer as a list shows it.
#[derive(Debug, Deserialize, Serialize)]
pub struct Customer {
    /// The customer's number.
    pub id: String,
    /// The e-mail address; none where it does not open.
    pub email: Option<String>,
}

/// A new customer.
#[derive(Deserialize)]
pub struct NewCustomer {
    name: String,
    email: String,
}

/// What the provider gave when a customer linked an account.
#[derive(Deserialize)]
pub struct Grant {
    access_token: String,
    refresh_token: String,
    provider: String,
}

/// Connects the store to the service's own pool.
///
/// # Errors
/// What is missing or wrong in the settings, or does not answer.
pub async fn connect(settings: Settings, pool: &PgPool) -> Result<Tokenseal, ConnectError> {
    let database = Database::from_pool(pool.clone());
    Tokenseal::builder(settings).actor("customers").database(database).without_secrets().connect().await
}

/// The same with a key that the program names itself, instead of `KMS_KEY_ID`.
///
/// # Errors
/// As [`connect`].
pub async fn connect_to_aws(settings: Settings, pool: &PgPool, key: &str) -> Result<Tokenseal, ConnectError> {
    let database = Database::from_pool(pool.clone());
    let key = Arc::new(aws(key, &[]).await?);
    Tokenseal::builder(settings).database(database).key_service(key).without_secrets().connect().await
}

async fn aws(key: &str, also: &[String]) -> Result<Aws, KeyError> {
    Aws::connect(key, also).await
}

/// The routes of the service, with those of the metrics.
pub fn routes(tokenseal: &Tokenseal, pool: PgPool) -> Router {
    let service = Service { store: tokenseal.store().clone(), pool };
    Router::new()
        .route("/customers", get(list).post(add))
        .route("/customers/{id}/account", post(link))
        .with_state(service)
        .merge(tokenseal.telemetry().routes())
}

/// Every customer: rows are opened while others are read.
async fn list(State(service): State<Service>) -> Result<Json<Vec<Customer>>, Failed> {
    let mut rows = std::pin::pin!(service.store.rows(Some("customers"), &["email"])?);
    let mut customers = Vec::new();
    while let Some(row) = rows.next().await {
        let row = row?;
        // A damaged address hides no other customer.
        let email = row.token("email").ok().flatten().map(|email| email.expose_secret().to_owned());
        customers.push(Customer { id: row.key().concat(), email });
    }
    Ok(Json(customers))
}

/// The database makes the customer's number, and the address is sealed for it.
async fn add(
    State(service): State<Service>,
    Json(customer): Json<NewCustomer>,
) -> Result<Json<String>, Failed> {
    let row = NewToken::new().column("email", Some(customer.email.into())).plain("name", customer.name);
    let (key, _) = service.store.insert(Some("customers"), row).await?;
    Ok(Json(key.values().concat()))
}

/// Links an account: the tokens and the service's own table change together or not at all.
async fn link(
    State(service): State<Service>,
    Path(customer): Path<String>,
    Json(grant): Json<Grant>,
) -> Result<StatusCode, Failed> {
    let key = TokenKey::from_values([customer.as_str()]).in_table("accounts");
    // The key service is called before the transaction is begun: no lock waits for it.
    let prepared = service.store.prepare(&key).await?;
    let mut transaction = service.pool.begin().await?;
    let tokens = NewToken::new().access_token(grant.access_token).refresh_token(grant.refresh_token);
    service.store.put_in(&mut transaction, prepared, tokens).await?;
    // A provider that is not known makes this fail, and the tokens are not kept either.
    sqlx::query("INSERT INTO links (customer, provider) VALUES ($1::bigint, $2)")
        .bind(customer)
        .bind(grant.provider)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What the caller learns of a failure: its status. The log and the audit trail have the rest.
pub struct Failed(StatusCode);

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        tracing::warn!(error = tokenseal::error::chain(&error), "request failed");
        Self(StatusCode::from_u16(error.kind().http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
    }
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        let kind = match error {
            sqlx::Error::Database(_) => ErrorKind::Invalid,
            _ => ErrorKind::Unavailable,
        };
        tracing::warn!(?kind, "the service's own statement failed");
        Self(StatusCode::from_u16(kind.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}
