//! `DATABASE_URL=postgres://… KMS_KEY_ID=alias/customers TOKEN_PROFILE=customers.toml cargo run`

use tokenseal::secrecy::ExposeSecret as _;
use tokenseal::{Settings, startup};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    startup::forbid_core_dumps();
    let shutdown = startup::shutdown()?;
    let settings = Settings::from_environment()?;
    let url = settings.database_url.as_ref().ok_or("DATABASE_URL is not set")?;
    let pool = sqlx::PgPool::connect(url.expose_secret()).await?;
    let tokenseal = customers::connect(settings, &pool).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    let routes = customers::routes(&tokenseal, pool);
    axum::serve(listener, routes).with_graceful_shutdown(shutdown).await?;
    tokenseal.telemetry().finish();
    Ok(())
}
