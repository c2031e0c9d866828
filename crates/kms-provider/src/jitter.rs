//! Random numbers that spread things in time, and are never used for keys.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foldhash::quality::RandomState;

/// A keyed hash of a count: cheap, different in every process, and in need of no lock.
#[derive(Default)]
pub(crate) struct Jitter {
    seed: RandomState,
    drawn: AtomicU64,
}

impl Jitter {
    /// Any number.
    pub(crate) fn draw(&self) -> u64 {
        self.seed.hash_one(self.drawn.fetch_add(1, Ordering::Relaxed))
    }

    /// A duration from zero up to `most`, in steps of a 65,536th.
    pub(crate) fn up_to(&self, most: Duration) -> Duration {
        let share = u32::try_from(self.draw() & 0xffff).unwrap_or_default();
        (most / 0x1_0000).saturating_mul(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_spread_below_their_bound() {
        let jitter = Jitter::default();
        let most = Duration::from_secs(8);
        let drawn: Vec<_> = (0..1_000).map(|_| jitter.up_to(most)).collect();
        assert!(drawn.iter().all(|drawn| *drawn < most));
        for quarter in 0..4 {
            let (from, to) = (most / 4 * quarter, most / 4 * (quarter + 1));
            let inside = drawn.iter().filter(|drawn| (from..to).contains(*drawn)).count();
            assert!((150..350).contains(&inside), "{inside} in quarter {quarter}");
        }
    }
}
