//! A bounded sample of how long calls took, for a sink that wants values and not buckets.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::jitter::Jitter;

/// Most values of a metric in one line of the CloudWatch embedded metric format ("Specification: embedded metric
/// format", `MetricDefinition`).
pub(super) const MAX_VALUES: usize = 100;

/// The calls since the last reading: all of them if they were few, an even choice if they were many.
#[derive(Default)]
pub(super) struct Latencies {
    sample: Mutex<Sample>,
    jitter: Jitter,
}

#[derive(Default)]
struct Sample {
    values: Vec<Duration>,
    seen: u64,
}

impl Latencies {
    pub(super) fn add(&self, value: Duration) {
        let mut sample = self.sample.lock().unwrap_or_else(PoisonError::into_inner);
        sample.seen += 1;
        if sample.values.len() < MAX_VALUES {
            sample.values.push(value);
            return;
        }
        // Reservoir sampling: each of the calls seen is in the sample with the same probability.
        let place = self.jitter.draw() % sample.seen;
        if let Some(place) = usize::try_from(place).ok().and_then(|place| sample.values.get_mut(place)) {
            *place = value;
        }
    }

    pub(super) fn take(&self) -> Vec<Duration> {
        let mut sample = self.sample.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *sample).values
    }
}
