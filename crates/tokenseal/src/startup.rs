//! The first things that a process does: logs to standard error, no core dumps, signals.

use std::io::IsTerminal as _;

use rustix::process::{self, Resource, Rlimit};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::audit::AuditTrail;

/// The crates whose log lines follow the configured level. Dependencies stay at warnings: at `trace`, network
/// libraries log the bytes that they send and receive, which hold plaintext data keys.
const OURS: [&str; 5] = ["envelope_core", "kms_provider", "secrets_cache", "token_store", "tokenseal"];

/// Starts logging to standard error: our crates and `own` at `level`, audit events at `audit`, everything else at
/// warnings. The trail gets audit events up to `heard`, independent of the other levels. A second call in one
/// process changes nothing.
pub fn logging(
    level: LevelFilter,
    audit: LevelFilter,
    own: &'static str,
    trail: &AuditTrail,
    heard: LevelFilter,
) {
    let targets = Targets::new()
        .with_default(LevelFilter::WARN.min(level))
        .with_targets(OURS.map(|name| (name, level)))
        .with_target(own, level)
        .with_target("audit", audit)
        // Looking for a Region outside EC2 warns in many lines of what our own error says in one.
        .with_target("aws_config", LevelFilter::ERROR.min(level));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_filter(targets);
    let _ = tracing_subscriber::registry().with(lines).with(trail.layer(heard)).try_init();
}

/// Forbids core dumps, in which plaintext keys would be written to disk.
pub fn forbid_core_dumps() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = process::setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps could not be forbidden");
    }
    // The kernel ignores the limit where it pipes dumps to a program (core(5)). This also keeps other processes of the
    // same user from reading the memory, and ends when the process becomes another program.
    #[cfg(target_os = "linux")]
    if let Err(error) = process::set_dumpable_behavior(process::DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "other processes of this user may read the memory of this one");
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
