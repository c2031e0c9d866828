//! A bounded number of calls at a time, and a bounded number of callers that wait for their turn.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

pub(super) struct Queue {
    slots: Semaphore,
    size: usize,
    waiting: AtomicUsize,
    longest: usize,
}

/// Why there is no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoSlot {
    /// As many callers wait as may.
    Full,
    /// It did not become free in time.
    Late,
}

impl Queue {
    pub(super) fn new(size: usize, longest: usize) -> Self {
        let size = size.clamp(1, Semaphore::MAX_PERMITS);
        Self { slots: Semaphore::new(size), size, waiting: AtomicUsize::new(0), longest }
    }

    /// Waits for a slot in the order of arrival. Dropping the answer frees it; so does dropping the wait.
    pub(super) async fn enter(&self, until: Instant) -> Result<SemaphorePermit<'_>, NoSlot> {
        if let Ok(slot) = self.slots.try_acquire() {
            return Ok(slot);
        }
        let _waiting = self.line_up().ok_or(NoSlot::Full)?;
        match timeout_at(until, self.slots.acquire()).await {
            Ok(Ok(slot)) => Ok(slot),
            // It is never closed.
            Ok(Err(_)) | Err(_) => Err(NoSlot::Late),
        }
    }

    pub(super) fn in_progress(&self) -> usize {
        self.size.saturating_sub(self.slots.available_permits())
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn line_up(&self) -> Option<Waiting<'_>> {
        let one_more = |waiting| (waiting < self.longest).then_some(waiting + 1);
        self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Waiting(&self.waiting))
    }
}

/// A place in the queue; dropping it frees the place, with or without a slot.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
