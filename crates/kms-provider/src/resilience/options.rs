//! How patient calls to a key service are, how many there may be, and when to stop asking.

use std::time::Duration;

/// The settings of [`Resilience`](super::Resilience). The defaults suit a service that answers people.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct ResilienceOptions {
    /// The whole time that a caller waits at most, queue, rate limit, attempts and pauses included: 10 s.
    pub deadline: Duration,
    /// How long one attempt may take: 3 s. Never longer than the rest of the deadline.
    pub attempt_timeout: Duration,
    /// How often a call is attempted at most: 3 times. 1 never tries again.
    pub max_attempts: u32,
    /// Whether a throttled attempt is repeated until the deadline and does not count towards `max_attempts`, which is for
    /// work that may take its time: off. No caller is then refused for a turn that looks too far off, either.
    pub outwait_throttling: bool,
    /// The longest pause before the second attempt, doubled with each further one: 100 ms. The pause itself is a
    /// random part of it ("full jitter"), so that callers who failed together do not come back together.
    pub initial_backoff: Duration,
    /// The longest pause of all: 2 s.
    pub max_backoff: Duration,
    /// Calls in progress at most: 64. One that pauses between attempts counts as in progress.
    pub max_concurrency: usize,
    /// Callers that wait for one of those to end at most: 1,024. Later callers are refused at once.
    pub max_queue: usize,
    /// The attempts without an answer, one after the other, that open the circuit: 5. 0 never opens it.
    pub failure_threshold: u32,
    /// How long an open circuit waits before it lets one call through to see whether the service is back: 1 s.
    pub probe_interval: Duration,
    /// Whether throttling lowers this process's own rate of calls, which is the default.
    pub adaptive_rate: bool,
    /// The rate, in calls a second, that throttling never lowers it below: 1. Anything but a positive number is taken
    /// for that.
    pub min_rate: f64,
}

impl Default for ResilienceOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            attempt_timeout: Duration::from_secs(3),
            max_attempts: 3,
            outwait_throttling: false,
            initial_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(2),
            max_concurrency: 64,
            max_queue: 1_024,
            failure_threshold: 5,
            probe_interval: Duration::from_secs(1),
            adaptive_rate: true,
            min_rate: 1.0,
        }
    }
}

impl ResilienceOptions {
    /// Changes how long a caller waits at most.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Changes how long one attempt may take.
    #[must_use]
    pub fn with_attempt_timeout(self, attempt_timeout: Duration) -> Self {
        Self { attempt_timeout, ..self }
    }

    /// Changes how often a call is attempted at most.
    #[must_use]
    pub fn with_max_attempts(self, max_attempts: u32) -> Self {
        Self { max_attempts, ..self }
    }

    /// Changes whether throttling is waited out until the deadline.
    #[must_use]
    pub fn with_outwait_throttling(self, outwait_throttling: bool) -> Self {
        Self { outwait_throttling, ..self }
    }

    /// Changes the longest pause before the second attempt, and the longest of all.
    #[must_use]
    pub fn with_backoff(self, initial_backoff: Duration, max_backoff: Duration) -> Self {
        Self { initial_backoff, max_backoff, ..self }
    }

    /// Changes how many calls may be in progress, and how many callers may wait for one to end.
    #[must_use]
    pub fn with_concurrency(self, max_concurrency: usize, max_queue: usize) -> Self {
        Self { max_concurrency, max_queue, ..self }
    }

    /// Changes when the circuit opens, and how often an open one is probed.
    #[must_use]
    pub fn with_circuit(self, failure_threshold: u32, probe_interval: Duration) -> Self {
        Self { failure_threshold, probe_interval, ..self }
    }

    /// Changes whether throttling lowers the rate of calls.
    #[must_use]
    pub fn with_adaptive_rate(self, adaptive_rate: bool) -> Self {
        Self { adaptive_rate, ..self }
    }

    /// Changes the rate, in calls a second, that throttling never lowers it below.
    #[must_use]
    pub fn with_min_rate(self, min_rate: f64) -> Self {
        Self { min_rate, ..self }
    }

    /// The longest pause after this many failed attempts.
    pub(super) fn backoff(&self, failed: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(failed.saturating_sub(1));
        self.initial_backoff.saturating_mul(doubled).min(self.max_backoff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_bound() {
        let options = ResilienceOptions::default();
        let pauses: Vec<_> =
            [1, 2, 3, 5, 6, 40, u32::MAX].map(|failed| options.backoff(failed).as_millis()).into();
        assert_eq!(pauses, [100, 200, 400, 1_600, 2_000, 2_000, 2_000]);
    }
}
