//! A small service that keeps OAuth tokens fresh, composed from the crates as a platform team would.

use example_service::{Service, config::Config};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let levels = Targets::new().with_default(LevelFilter::INFO).with_target("aws_config", LevelFilter::ERROR);
    tracing_subscriber::registry().with(tracing_subscriber::fmt::layer()).with(levels).init();
    let config = Config::from_environment()?;
    let listener = tokio::net::TcpListener::bind(config.listen).await?;
    Service::connect(config).await?.serve(listener, shutdown()).await
}

/// Ends with SIGINT or SIGTERM.
async fn shutdown() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminated) = signal(SignalKind::terminate()) else { return };
    tokio::select! { _ = tokio::signal::ctrl_c() => {}, _ = terminated.recv() => {} }
}
