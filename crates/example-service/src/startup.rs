//! What the program does first and last: logs, no core dumps, and the signals that end it.

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The crates whose log lines follow `LOG_LEVEL`. Dependencies stay at warnings: at `trace`, network libraries write
/// out what they send and receive, and that holds plaintext data keys.
const OURS: [&str; 6] =
    ["envelope_core", "kms_provider", "secrets_cache", "token_store", "example_service", "audit"];

/// Starts logging to standard error, in the service's own words and those of the crates that it is made of.
pub fn logging(level: LevelFilter) {
    let levels = Targets::new()
        .with_default(LevelFilter::WARN.min(level))
        .with_targets(OURS.map(|name| (name, level)))
        // Looking for a Region on an instance that is none warns in many lines of what our own error says in one.
        .with_target("aws_config", LevelFilter::ERROR.min(level));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    // There is nothing to do about a second start in one process, and nothing is lost by it.
    let _ = tracing_subscriber::registry().with(lines).with(levels).try_init();
}

/// Forbids core dumps, in which plaintext keys would lie on disk.
pub fn forbid_core_dumps() {
    if let Err(error) = rlimit::setrlimit(rlimit::Resource::CORE, 0, 0) {
        tracing::warn!(%error, "core dumps could not be forbidden");
    }
}

/// Ends with SIGINT or SIGTERM, which are caught from the moment of this call.
///
/// # Errors
/// If the runtime cannot catch signals.
pub fn shutdown() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    let (mut interrupted, mut terminated) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! { _ = interrupted.recv() => {}, _ = terminated.recv() => {} }
    })
}
