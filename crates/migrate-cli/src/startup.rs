//! What both programs do first: logs to standard error, no core dumps, signals that end a run cleanly.

use std::io::IsTerminal as _;

use rustix::process::{self, Resource, Rlimit};
use token_store::migration::StopFlag;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::exit::Exit;

/// The crates whose log lines follow `--log-level`. Dependencies stay at warnings: at `trace`, network libraries
/// write out what they send and receive, and that holds plaintext data keys.
const OURS: [&str; 5] = ["envelope_core", "kms_provider", "secrets_cache", "token_store", "migrate_cli"];

/// Starts logging; a second call in one process changes nothing.
pub(crate) fn logging(level: LevelFilter) {
    let targets = Targets::new()
        .with_default(LevelFilter::WARN.min(level))
        .with_targets(OURS.map(|name| (name, level)));
    // What an audit event warns of stands in the log or in the program's answer as well: who wants the trail asks for it.
    let trail = if level < LevelFilter::INFO { LevelFilter::OFF } else { level };
    let targets = targets.with_target("audit", trail);
    // Looking for a Region on an instance that is none warns in many lines of what our own error says in one.
    let targets = targets.with_target("aws_config", LevelFilter::ERROR.min(level));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let _ = tracing_subscriber::registry().with(lines).with(targets).try_init();
}

/// Forbids core dumps, in which plaintext keys would lie on disk.
pub(crate) fn forbid_core_dumps() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = process::setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps could not be forbidden");
    }
    // The limit is not asked where the kernel pipes dumps to a program (core(5)). This also keeps other processes of the
    // same user from reading the memory, and ends when `exec` becomes another program.
    #[cfg(target_os = "linux")]
    if let Err(error) = process::set_dumpable_behavior(process::DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "other processes of this user may read the memory of this one");
    }
}

/// A flag that SIGINT and SIGTERM set; a second signal ends the program at once.
///
/// Both are caught from here on, and not only once a task has come to run: a signal in between would end the program
/// in the middle of a batch.
pub(crate) fn stop_on_signals() -> StopFlag {
    use tokio::signal::unix::{SignalKind, signal};
    let flag = StopFlag::default();
    let (Ok(mut interrupted), Ok(mut terminated)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        tracing::warn!("signals cannot be caught: an interrupt ends the program at once");
        return flag;
    };
    let handle = flag.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! { _ = interrupted.recv() => {}, _ = terminated.recv() => {} }
            if handle.is_set() {
                std::process::exit(Exit::Interrupted as i32);
            }
            tracing::warn!("stopping after the batch in hand; once more to stop at once");
            handle.stop();
        }
    });
    flag
}
