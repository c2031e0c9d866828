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

/// SIGXFSZ on Linux and macOS.
const FILE_TOO_LARGE: i32 = 25;

/// A flag that SIGINT, SIGTERM and SIGHUP set; a second signal ends the program at once.
///
/// They are caught from here on, and not only once a task has come to run: a signal in between would end the program
/// in the middle of a batch. SIGHUP stays ignored where `nohup` has said so. A write beyond the limit of a file's size is an
/// error from here on, and not the end of the program.
pub(crate) fn stop_on_signals() -> StopFlag {
    use tokio::signal::unix::{SignalKind, signal};
    let flag = StopFlag::default();
    let _ = signal(SignalKind::from_raw(FILE_TOO_LARGE));
    let (Ok(mut interrupted), Ok(mut terminated)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        tracing::warn!("signals cannot be caught: an interrupt ends the program at once");
        return flag;
    };
    let mut hung_up = (!ignores_hangup()).then(|| signal(SignalKind::hangup()).ok()).flatten();
    let handle = flag.clone();
    tokio::spawn(async move {
        loop {
            let hangup = async {
                match &mut hung_up {
                    Some(hung_up) => hung_up.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! { _ = interrupted.recv() => {}, _ = terminated.recv() => {}, _ = hangup => {} }
            if handle.is_set() {
                std::process::exit(Exit::Interrupted as i32);
            }
            tracing::warn!("finishing the current batch; press Ctrl-C again to stop immediately");
            handle.stop();
        }
    });
    flag
}

/// Whether the program was started with SIGHUP ignored, as `nohup` does.
fn ignores_hangup() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| is_first_signal_ignored(&status))
}

/// The mask of ignored signals is hexadecimal, and its lowest bit is signal 1.
fn is_first_signal_ignored(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hangup_that_nohup_ignores_is_told_from_one_that_it_does_not() {
        assert!(is_first_signal_ignored("Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0\n"));
        assert!(!is_first_signal_ignored("SigIgn:\t0000000000001000\nSigCgt:\t0000000000000001\n"));
        assert!(!is_first_signal_ignored("nothing of the kind"));
    }
}
