//! Logs, and the signals that end a run cleanly.

use token_store::migration::StopFlag;
use tokenseal::AuditTrail;
use tracing_subscriber::filter::LevelFilter;

use crate::exit::Exit;

/// Starts logging.
pub(crate) fn logging(level: LevelFilter, trail: &AuditTrail) {
    // An audit event's warning is also in the log or in the program's answer: the trail is printed from `info` on.
    let shown = if level < LevelFilter::INFO { LevelFilter::OFF } else { level };
    tokenseal::startup::logging(level, shown, "migrate_cli", trail, LevelFilter::DEBUG);
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
            tracing::warn!("finishing the current batch; press Ctrl-C again to stop immediately");
            handle.stop();
        }
    });
    flag
}
