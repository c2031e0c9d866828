//! Readers that read tokens at random through an outage, and their results.

use std::sync::Arc;
use std::time::Duration;

use envelope_core::{KeyProvider, WrappedDataKey};
use kms_provider::Caching;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::support::row;

/// How soon a failure counts as one without a wait.
const AT_ONCE: Duration = Duration::from_millis(50);

pub(crate) struct Readers(Vec<JoinHandle<Seen>>);

/// Their results.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// Reads that were served, of tokens whose keys were in the cache when it began.
    pub(crate) cached: u64,
    /// Reads of others that were served.
    pub(crate) cold: u64,
    pub(crate) failed: u64,
    pub(crate) failed_at_once: u64,
    pub(crate) slowest: Duration,
}

impl Readers {
    /// Starts a number of readers, each to read one token every 50 ms. The keys of the first `cached` tokens
    /// are in the cache, and reading them never fails; others fail in a way that passes.
    pub(crate) fn send(
        count: u64,
        cache: &Arc<Caching>,
        tokens: &Arc<Vec<WrappedDataKey>>,
        cached: usize,
        until: Instant,
    ) -> Self {
        let reader = |seed: u64| {
            let (cache, tokens) = (cache.clone(), tokens.clone());
            tokio::spawn(async move {
                let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
                let mut seen = Seen::default();
                while Instant::now() < until {
                    let number = numbers.below(tokens.len());
                    seen.read(&cache, &tokens[number], number, number < cached).await;
                    sleep(Duration::from_millis(50)).await;
                }
                seen
            })
        };
        Self((0..count).map(reader).collect())
    }

    /// Waits for all of them.
    pub(crate) async fn back(self) -> Seen {
        let mut all = Seen::default();
        for reader in self.0 {
            all.add(&reader.await.unwrap());
        }
        all
    }
}

impl Seen {
    async fn read(&mut self, cache: &Caching, token: &WrappedDataKey, number: usize, is_cached: bool) {
        let start = Instant::now();
        let outcome = cache.unwrap(token, &row(number)).await;
        let took = start.elapsed();
        self.slowest = self.slowest.max(took);
        match outcome {
            Ok(_) if is_cached => self.cached += 1,
            Ok(_) => self.cold += 1,
            Err(error) => {
                assert!(!is_cached, "a cached token failed: {error}");
                assert!(error.class().is_retryable(), "{error}");
                self.failed += 1;
                self.failed_at_once += u64::from(took < AT_ONCE);
            }
        }
    }

    fn add(&mut self, other: &Self) {
        self.cached += other.cached;
        self.cold += other.cold;
        self.failed += other.failed;
        self.failed_at_once += other.failed_at_once;
        self.slowest = self.slowest.max(other.slowest);
    }
}

/// Pseudo-random numbers, the same in every run.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        // Xorshift64, Marsaglia 2003.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}
