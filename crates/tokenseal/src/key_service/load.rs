//! How many calls a process makes to the key service, and how patient it is with them.

/// The calls that a process makes to the key service.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Load {
    /// For every request of a service, as long as it runs: each call has a deadline, retries and a circuit.
    #[default]
    Service,
    /// For a value or a few of a command: an operator waits for the answer.
    Few,
    /// For every row of a command.
    EveryRow {
        /// Calls per second at most.
        rate: Option<f64>,
    },
}

impl Load {
    pub(super) fn rate(self) -> Option<f64> {
        match self {
            Self::EveryRow { rate } => rate,
            Self::Service | Self::Few => None,
        }
    }

    /// Whether the process opens every value, and each of them once.
    pub(super) fn is_every_row(self) -> bool {
        matches!(self, Self::EveryRow { .. })
    }

    /// Whether the process reads its own writes: a command of one run does not.
    pub(super) fn reads_again(self) -> bool {
        self == Self::Service
    }
}

#[cfg(any(feature = "aws", feature = "vault"))]
mod patience {
    use std::time::Duration;

    use kms_provider::ResilienceOptions;

    use super::Load;

    /// How long one attempt may take: as long as the backends wait themselves, with some time to say so.
    const ATTEMPT: Duration = Duration::from_secs(10);
    /// How long a key service that throttles everything is waited for. Three attempts without an answer end a run long
    /// before that.
    const THROTTLED_FOR: Duration = Duration::from_secs(300);
    /// The pauses before the second attempt and the later ones, at most.
    const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(2));
    /// The calls per second to which throttling lowers a run at most: less than a fiftieth of the smallest quota that a
    /// Region has (5,500 per second). Further down, the pauses alone spread the calls.
    const LEAST_RATE: f64 = 100.0;

    impl Load {
        /// For a backend that makes one attempt and leaves the next to its caller.
        #[cfg(feature = "vault")]
        pub(crate) fn of_one_attempt(self) -> ResilienceOptions {
            match self {
                Self::Service => ResilienceOptions::default(),
                // Without a circuit: the failure itself is what a command reports.
                Self::Few => ResilienceOptions::default().with_circuit(0, Duration::ZERO),
                Self::EveryRow { .. } => outwaiting().with_circuit(0, Duration::ZERO),
            }
        }

        /// For a key service in one Region; `None` where the retries of the AWS SDK are enough.
        #[cfg(feature = "aws")]
        pub(crate) fn in_one_region(self) -> Option<ResilienceOptions> {
            match self {
                Self::Few => None,
                Self::Service => Some(ResilienceOptions::default()),
                // Without a circuit: the first failure ends the run, and is the one that is reported.
                Self::EveryRow { .. } => Some(outwaiting().with_circuit(0, Duration::ZERO)),
            }
        }

        /// For each of several Regions.
        #[cfg(feature = "aws")]
        pub(crate) fn in_each_region(self) -> ResilienceOptions {
            match self {
                Self::Few | Self::Service => ResilienceOptions::default(),
                Self::EveryRow { .. } => outwaiting(),
            }
        }
    }

    fn outwaiting() -> ResilienceOptions {
        ResilienceOptions::default()
            .with_outwait_throttling(true)
            .with_deadline(THROTTLED_FOR)
            // The SDK gives up an attempt before that, and says which operation did not answer.
            .with_attempt_timeout(ATTEMPT)
            .with_backoff(PAUSES.0, PAUSES.1)
            .with_min_rate(LEAST_RATE)
            // The run itself bounds its calls.
            .with_concurrency(usize::MAX, 0)
    }
}
