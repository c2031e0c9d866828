//! A small service that keeps OAuth tokens fresh, composed from the crates as a platform team would.

use example_service::{Service, config::Config};
use tokenseal::startup;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::from_environment().await?;
    startup::logging(config.log_level, config.log_level, "example_service");
    startup::forbid_core_dumps();
    let shutdown = startup::shutdown()?;
    let listener = tokio::net::TcpListener::bind(config.listen).await?;
    Service::connect(config).await?.serve(listener, shutdown).await
}
