//! How long everything about a refresh takes at most.

use std::time::Duration;

/// The times of a refresh.
///
/// The deadline of the request to the provider is two thirds of the lease, which is renewed while the request is in
/// flight: a holder that is merely slow does not lose its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshPolicy {
    lease: Duration,
    grace: Duration,
    wait: Duration,
    lifetime: Duration,
    pauses: (Duration, Duration),
}

impl Default for RefreshPolicy {
    /// A lease of 30 s, a grace of 10 s, callers that wait for 60 s, access tokens that live for an hour where the provider
    /// does not say it, and pauses from 1 s to 5 min after failures.
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            grace: Duration::from_secs(10),
            wait: Duration::from_secs(60),
            lifetime: Duration::from_secs(3600),
            pauses: (Duration::from_secs(1), Duration::from_secs(300)),
        }
    }
}

impl RefreshPolicy {
    /// How long a holder that does not renew its lease keeps it, from 300 ms to an hour.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease.clamp(Duration::from_millis(300), Duration::from_secs(3600));
        self
    }

    /// How long the successor of a holder that vanished during its request waits for a late answer to be written, before
    /// it spends the same refresh token; an hour at most.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace.min(Duration::from_secs(3600));
        self
    }

    /// How long a caller waits for others.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait.min(Duration::from_secs(3600));
        self
    }

    /// How long an access token lives whose provider does not say it.
    #[must_use]
    pub fn assumed_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// The pause after the first failed attempt, which doubles with each further one, and the longest.
    #[must_use]
    pub fn pauses(mut self, first: Duration, longest: Duration) -> Self {
        self.pauses = (first, longest.max(first));
        self
    }

    /// The deadline of the request to the provider.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.lease * 2 / 3
    }

    pub(super) fn lease_time(&self) -> Duration {
        self.lease
    }

    pub(super) fn grace_time(&self) -> Duration {
        self.grace
    }

    pub(super) fn wait_time(&self) -> Duration {
        self.wait
    }

    pub(super) fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// The pause after this number of failed attempts.
    pub(super) fn pause_after(&self, attempts: u32) -> Duration {
        let (first, longest) = self.pauses;
        first.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(longest)
    }
}

/// Whole milliseconds, as the database takes them.
pub(super) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let policy = RefreshPolicy::default().pauses(Duration::from_secs(1), Duration::from_secs(10));
        let pauses = [1, 2, 3, 4, 5, 60].map(|attempts| policy.pause_after(attempts).as_secs());
        assert_eq!(pauses, [1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn a_request_ends_before_its_lease() {
        for lease in [0, 300, 30_000, u64::MAX] {
            let policy = RefreshPolicy::default().lease(Duration::from_millis(lease));
            assert!(policy.deadline() < policy.lease_time() && !policy.deadline().is_zero());
        }
    }
}
