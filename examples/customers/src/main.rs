//! `DATABASE_URL=postgres://… KMS_KEY_ID=alias/customers TOKEN_PROFILE=customers.toml cargo run -- 127.0.0.1:8080`

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
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    let routes = customers::routes(&tokenseal, pool);
    // Requests that have begun are answered after SIGTERM or Ctrl-C, and no others are taken.
    axum::serve(listener, routes).with_graceful_shutdown(shutdown).await?;
    tokenseal.store().database().close().await;
    tokenseal.telemetry().finish();
    Ok(())
}
