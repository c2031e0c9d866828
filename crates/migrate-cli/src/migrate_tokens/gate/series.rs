//! The series that a gate reads, and their sums.

/// A sum over the series of one metric.
pub(super) struct Series {
    pub(super) metric: String,
    /// A label, and the values that count.
    pub(super) only: Option<(&'static str, &'static [&'static str])>,
}

/// Which sum it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Sum {
    Failed,
    Hits,
    Calls,
    Refreshed,
    NotRefreshed,
    SecretRequests,
    SecretFailures,
    Seconds,
    Opened,
}

impl Sum {
    pub(super) const ALL: [Self; 9] = [
        Self::Failed,
        Self::Hits,
        Self::Calls,
        Self::Refreshed,
        Self::NotRefreshed,
        Self::SecretRequests,
        Self::SecretFailures,
        Self::Seconds,
        Self::Opened,
    ];

    /// The series, under a profile's prefix. Secrets have none.
    pub(super) fn series(self, prefix: &str) -> Series {
        let of = |name: &str| Series { metric: format!("{prefix}_{name}"), only: None };
        let only = |name, label, values| Series { only: Some((label, values)), ..of(name) };
        match self {
            Self::Failed => of("kms_decrypt_errors_total"),
            Self::Hits => of("kms_cache_hits_total"),
            Self::Calls => only("kms_requests_total", "operation", &["unwrap", "decrypt"]),
            Self::Refreshed => only("token_refreshes_total", "outcome", &["ok"]),
            Self::NotRefreshed => only("token_refreshes_total", "outcome", &["failed"]),
            Self::SecretRequests => Series { metric: "secrets_accesses_total".into(), only: None },
            Self::SecretFailures => Series { metric: "secrets_failures_total".into(), only: None },
            Self::Seconds => of("kms_decrypt_duration_seconds_sum"),
            Self::Opened => of("kms_decrypt_duration_seconds_count"),
        }
    }
}

/// The sums of the series; `None` where there is no data.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Counts {
    failed: Option<f64>,
    reads: Option<f64>,
    refreshed: Option<f64>,
    not_refreshed: Option<f64>,
    secret_requests: Option<f64>,
    secret_failures: Option<f64>,
    /// The mean time to open a data key, in seconds.
    pub(super) latency: Option<f64>,
    /// The same for the time before, where the source has it.
    pub(super) latency_before: Option<f64>,
}

impl Counts {
    pub(super) fn of(sum: impl Fn(Sum) -> Option<f64>) -> Self {
        let both = |one: Sum, other: Sum| sum(one).zip(sum(other)).map(|(one, other)| one + other);
        Self {
            failed: sum(Sum::Failed),
            reads: both(Sum::Hits, Sum::Calls),
            refreshed: sum(Sum::Refreshed),
            not_refreshed: sum(Sum::NotRefreshed),
            secret_requests: sum(Sum::SecretRequests),
            secret_failures: sum(Sum::SecretFailures),
            latency: mean(sum(Sum::Seconds), sum(Sum::Opened)),
            latency_before: None,
        }
    }

    /// Values that do not open, of all that were read. A value that no key service was asked for is a read, too.
    pub(super) fn error_rate(&self) -> Option<f64> {
        let failed = self.failed?;
        mean(Some(failed), self.reads.map(|reads| reads.max(failed)))
    }

    pub(super) fn refresh_success(&self) -> Option<f64> {
        let ok = self.refreshed?;
        mean(Some(ok), self.not_refreshed.map(|failed| ok + failed))
    }

    pub(super) fn secret_failures(&self) -> Option<f64> {
        mean(self.secret_failures, self.secret_requests)
    }
}

/// The quotient of two sums; `None` where the divisor is missing or zero.
pub(super) fn mean(sum: Option<f64>, number: Option<f64>) -> Option<f64> {
    let (sum, number) = sum.zip(number)?;
    let mean = sum / number;
    (number > 0.0 && mean.is_finite() && mean >= 0.0).then_some(mean)
}

#[cfg(test)]
mod tests {
    use super::{Counts, Sum};

    #[test]
    fn nothing_counted_is_no_data() {
        for counts in [Counts::of(|_| None), Counts::of(|_| Some(0.0)), Counts::of(|_| Some(f64::NAN))] {
            assert_eq!(counts.error_rate(), None);
            assert_eq!(counts.refresh_success(), None);
            assert_eq!(counts.secret_failures(), None);
            assert_eq!(counts.latency, None);
        }
    }

    #[test]
    fn values_that_fail_before_the_key_service_is_asked_are_reads() {
        let counts = Counts::of(|sum| Some(if sum == Sum::Failed { 20.0 } else { 0.0 }));
        assert_eq!(counts.error_rate(), Some(1.0));
    }
}
