//! A small service that keeps OAuth tokens fresh, composed from the crates as a platform team would.

use example_service::{Service, config::Config};
use tokenseal::{AuditTrail, startup};
use tracing_subscriber::filter::LevelFilter;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::from_environment().await?;
    let trail = AuditTrail::new("example-service");
    startup::logging(config.log_level, config.log_level, "example_service", &trail, LevelFilter::INFO);
    startup::forbid_core_dumps();
    let shutdown = startup::shutdown()?;
    let listener = tokio::net::TcpListener::bind(config.listen).await?;
    let service = Service::connect_with(config, |builder| builder.audit(&trail)).await?;
    let served = service.serve(listener, shutdown).await;
    trail.finish();
    served
}
