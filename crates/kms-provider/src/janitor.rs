//! A thread that drops expired keys even without any read.

use std::sync::OnceLock;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// How often expired keys are searched for. A cached key is dropped two or three rounds after it expired.
const ROUND: Duration = Duration::from_secs(1);

/// Starts the thread with the first key, and ends it with the owner of the keys.
///
/// Nothing is dropped while idle, so an expired key would stay in memory until the next read. It is a
/// thread and not a task so that it needs no async runtime, survives the one it was started in, and is never held
/// up by it; it sleeps between rounds.
#[derive(Default)]
pub(crate) struct Janitor {
    // Dropping it wakes the thread up for its end.
    running: OnceLock<Sender<()>>,
}

impl Janitor {
    /// Starts the thread unless it runs; `sweep` returns the work of every round. Where the system refuses a
    /// thread, the next key starts it again.
    pub(crate) fn ensure<S>(&self, sweep: impl FnOnce() -> S)
    where
        S: FnMut() + Send + 'static,
    {
        if self.running.get().is_some() {
            return;
        }
        let (alive, ended) = channel();
        let mut sweep = sweep();
        let thread = thread::Builder::new().name("data-key-janitor".into()).spawn(move || {
            while ended.recv_timeout(ROUND) == Err(RecvTimeoutError::Timeout) {
                sweep();
            }
        });
        if thread.is_ok() {
            // If two callers started one each, the second ends at once.
            let _ = self.running.set(alive);
        }
    }
}
