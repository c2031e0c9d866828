//! How many calls a command makes to the key service, and how patient it is with them.

/// The calls that a command makes to the key service.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    /// For a value or a few: somebody waits for the answer.
    Few,
    /// For every row, at most so many a second.
    EveryRow { rate: Option<f64> },
}

impl Load {
    pub(super) fn rate(self) -> Option<f64> {
        match self {
            Self::Few => None,
            Self::EveryRow { rate } => rate,
        }
    }
}

#[cfg(feature = "aws")]
mod patience {
    use std::time::Duration;

    use kms_provider::{ResilienceOptions, aws};

    use super::Load;

    /// How long a key service that throttles everything is waited for. Three attempts without an answer end a run long
    /// before that.
    const THROTTLED_FOR: Duration = Duration::from_secs(300);
    /// The pauses before the second attempt and the later ones, at most.
    const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(2));
    /// The calls a second to which throttling lowers a run at most: less than a fiftieth of the smallest quota that a
    /// Region has (5,500 a second). Further down, the pauses alone spread the calls.
    const LEAST_RATE: f64 = 100.0;

    impl Load {
        /// For a key service in one Region; none where the retries of the AWS SDK are enough.
        pub(crate) fn in_one_region(self) -> Option<ResilienceOptions> {
            match self {
                Self::Few => None,
                // Without a circuit: the first failure ends the run, and is the one that is told.
                Self::EveryRow { .. } => Some(outwaiting().with_circuit(0, Duration::ZERO)),
            }
        }

        /// For each of several Regions.
        pub(crate) fn in_each_region(self) -> ResilienceOptions {
            match self {
                Self::Few => ResilienceOptions::default(),
                Self::EveryRow { .. } => outwaiting(),
            }
        }
    }

    fn outwaiting() -> ResilienceOptions {
        ResilienceOptions::default()
            .with_outwait_throttling(true)
            .with_deadline(THROTTLED_FOR)
            // The SDK gives up an attempt before that, and says which operation did not answer.
            .with_attempt_timeout(aws::OPERATION_TIMEOUT)
            .with_backoff(PAUSES.0, PAUSES.1)
            .with_min_rate(LEAST_RATE)
            // The run itself bounds its calls.
            .with_concurrency(usize::MAX, 0)
    }
}
