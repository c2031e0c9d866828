//! A decorator that keeps a failing key service from taking its callers down with it.

mod circuit;
mod options;
mod queue;
mod rate;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use async_trait::async_trait;
use envelope_core::provider::{ErrorClass, GeneratedDataKey, KeyDescription};
use envelope_core::{DataKey, EncryptionContext, KeyError, KeyProvider, WrappedDataKey};
use secrecy::SecretSlice;
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, sleep, timeout};

use self::circuit::{Circuit, Verdict};
use self::queue::{NoSlot, Queue};
use self::rate::RateLimit;
use crate::jitter::Jitter;

pub use self::circuit::CircuitState;
pub use self::options::ResilienceOptions;

/// Bounds every call in time and number, tries again where that can help, and stops asking a service that is down.
///
/// The steps of a call, in this order:
/// 1. **Circuit.** After some attempts in a row without an answer ([`Unavailable`] or [`Timeout`], nothing else) calls
///    fail at once with [`Unavailable`] and a hint that says when the service is tried again. Then one call is let
///    through as a probe: an answer, be it a refusal, closes the circuit.
/// 2. **Queue.** The calls in progress and the callers that wait for one to end are limited. Beyond that a
///    call fails at once with [`Throttled`], because this process makes too many calls: the service may
///    be well.
/// 3. **Rate.** After the service has throttled, calls are spread over time at a rate that falls with each throttled
///    answer and rises again without. A call whose turn would come after its deadline fails at once with [`Throttled`].
/// 4. **Attempts.** Each has its own time limit. A class that [`ErrorClass::is_retryable`] is tried again after a random
///    pause, unless the pause would outlast the deadline; the last error is the one that the caller gets. With
///    [`outwait_throttling`](ResilienceOptions::outwait_throttling) a throttled attempt counts as none, and the first
///    one is logged as a warning.
///
/// The deadline covers all of it. A cancelled call frees its resources; a probe that went away is made again
/// by the next caller.
///
/// # Retries of the AWS SDK
///
/// The SDK tries again by itself, which would multiply with the attempts made here. Put this around an
/// `Aws` made by `Aws::from_config_without_retries` or `Aws::connect_without_retries`; around one with the SDK's
/// retries, set [`max_attempts`](ResilienceOptions::max_attempts) to 1.
///
/// [`Unavailable`]: ErrorClass::Unavailable
/// [`Timeout`]: ErrorClass::Timeout
/// [`Throttled`]: ErrorClass::Throttled
pub struct Resilience {
    inner: Arc<dyn KeyProvider>,
    options: ResilienceOptions,
    circuit: Circuit,
    queue: Queue,
    rate: RateLimit,
    jitter: Jitter,
    told_slow: Once,
    counters: Counters,
}

/// The longest time that any setting is taken for: what never ends cannot be added to a clock.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The counts so far, and the present state.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ResilienceSnapshot {
    /// Whether calls are let through.
    pub circuit: CircuitState,
    /// Attempts made after a failed one.
    pub retries: u64,
    /// Attempts that waited for their turn under the rate limit.
    pub rate_limit_waits: u64,
    /// Calls refused by the open circuit.
    pub rejected_by_circuit: u64,
    /// Calls refused because too many were in progress, waiting, or ahead of them under the rate limit.
    pub rejected_by_load: u64,
    /// Attempts given up after their time limit.
    pub timeouts: u64,
    /// Calls in progress.
    pub in_progress: usize,
    /// Callers that wait for a call to end.
    pub waiting: usize,
    /// The rate limit in calls per second, while there is one.
    pub rate_limit: Option<f64>,
}

/// A failed attempt.
enum Failed {
    /// Made, or tried; its class says whether to try again.
    Attempt(KeyError),
    /// Not made, and no use in trying again.
    Refused(KeyError),
}

impl Resilience {
    /// Protects the callers of `inner` with the default options.
    #[must_use]
    pub fn new(inner: Arc<dyn KeyProvider>) -> Self {
        Self::with_options(inner, ResilienceOptions::default())
    }

    /// Protects the callers of `inner`.
    #[must_use]
    pub fn with_options(inner: Arc<dyn KeyProvider>, options: ResilienceOptions) -> Self {
        let options = ResilienceOptions {
            deadline: options.deadline.min(LONGEST),
            max_backoff: options.max_backoff.min(LONGEST),
            probe_interval: options.probe_interval.min(LONGEST),
            ..options
        };
        Self {
            inner,
            options,
            circuit: Circuit::new(options.failure_threshold, options.probe_interval),
            queue: Queue::new(options.max_concurrency, options.max_queue),
            rate: RateLimit::new(options.adaptive_rate, options.min_rate).patient(options.outwait_throttling),
            jitter: Jitter::default(),
            told_slow: Once::new(),
            counters: Counters::default(),
        }
    }

    /// The settings.
    #[must_use]
    pub fn options(&self) -> &ResilienceOptions {
        &self.options
    }

    /// The counts so far, and the present state.
    #[must_use]
    pub fn snapshot(&self) -> ResilienceSnapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ResilienceSnapshot {
            circuit: self.circuit.state(),
            retries: read(&self.counters.retries),
            rate_limit_waits: read(&self.counters.rate_limit_waits),
            rejected_by_circuit: read(&self.counters.rejected_by_circuit),
            rejected_by_load: read(&self.counters.rejected_by_load),
            timeouts: read(&self.counters.timeouts),
            in_progress: self.queue.in_progress(),
            waiting: self.queue.waiting(),
            rate_limit: self.rate.limit(Instant::now()),
        }
    }

    async fn call<T, F>(
        &self,
        operation: &'static str,
        attempt: impl Fn() -> F + Send + Sync,
    ) -> Result<T, KeyError>
    where
        F: Future<Output = Result<T, KeyError>> + Send,
    {
        let deadline = Instant::now() + self.options.deadline;
        // Before the queue, so that no caller waits for a service that is known to be down.
        self.circuit.check().map_err(|error| self.open(error))?;
        let _slot = self.slot(deadline).await?;
        let (mut failed, mut counted) = (0, 0);
        loop {
            let error = match self.attempt(operation, deadline, attempt()).await {
                Ok(value) => return Ok(value),
                Err(Failed::Refused(error)) => return Err(error),
                Err(Failed::Attempt(error)) => error,
            };
            failed += 1;
            let outwaited = self.outwaits(&error);
            counted += u32::from(!outwaited);
            let pause = self.jitter.up_to(self.options.backoff(failed));
            let too_late = Instant::now() + pause >= deadline;
            let over = !outwaited && counted >= self.options.max_attempts;
            if !error.class().is_retryable() || over || too_late {
                return Err(error);
            }
            Counters::add(&self.counters.retries);
            let class = error.class().label();
            tracing::debug!(operation, class, failed, ?pause, "the key service is tried again");
            sleep(pause).await;
        }
    }

    /// Whether this failure is one that the deadline alone ends.
    fn outwaits(&self, error: &KeyError) -> bool {
        let outwaits = self.options.outwait_throttling && error.class() == ErrorClass::Throttled;
        if outwaits {
            let tell =
                || tracing::warn!(hint = error.hint(), "the key service throttles: calls are slowed down");
            self.told_slow.call_once(tell);
        }
        outwaits
    }

    async fn attempt<T>(
        &self,
        operation: &'static str,
        deadline: Instant,
        call: impl Future<Output = Result<T, KeyError>> + Send,
    ) -> Result<T, Failed> {
        self.turn(deadline).await.map_err(Failed::Refused)?;
        let pass = self.circuit.admit();
        let pass = pass.map_err(|error| Failed::Refused(self.open(error)))?;
        let start = Instant::now();
        let whole = self.options.attempt_timeout.min(self.options.deadline);
        let limit = whole.min(deadline.saturating_duration_since(start));
        match timeout(limit, call).await {
            Ok(Ok(value)) => {
                self.rate.answered(start);
                pass.settle(Verdict::Answered);
                Ok(value)
            }
            Ok(Err(error)) => {
                if error.class() == ErrorClass::Throttled {
                    self.rate.throttled(start, Instant::now());
                }
                pass.settle(Verdict::of(&error));
                Err(Failed::Attempt(error))
            }
            Err(_) => {
                Counters::add(&self.counters.timeouts);
                let error = no_answer(operation, limit);
                // An attempt that the deadline cut short has not waited long enough to call the service down.
                let waited = limit >= whole / 2;
                pass.settle(if waited { Verdict::Silent(&error) } else { Verdict::Unknown });
                Err(Failed::Attempt(error))
            }
        }
    }

    async fn slot(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, KeyError> {
        let no_slot = match self.queue.enter(deadline).await {
            Ok(slot) => return Ok(slot),
            Err(no_slot) => no_slot,
        };
        Counters::add(&self.counters.rejected_by_load);
        let (calls, callers) = (self.options.max_concurrency, self.options.max_queue);
        let error = match no_slot {
            NoSlot::Full => KeyError::new(
                ErrorClass::Throttled,
                format!(
                    "{calls} calls to the key service are in progress here, and {callers} callers wait for them"
                ),
            ),
            NoSlot::Late => KeyError::new(
                ErrorClass::Timeout,
                format!("none of the {calls} key service calls ahead in the queue ended in time"),
            ),
        };
        Err(error.with_hint(
            "this process asks the key service for more than it answers: cache data keys, or allow more calls at a time",
        ))
    }

    /// Waits until the rate limit lets the caller through.
    async fn turn(&self, deadline: Instant) -> Result<(), KeyError> {
        match self.rate.turn(deadline).await {
            Ok(waited) => {
                if waited {
                    Counters::add(&self.counters.rate_limit_waits);
                }
                Ok(())
            }
            Err(wait) => {
                Counters::add(&self.counters.rejected_by_load);
                let seconds = wait.as_secs_f64();
                Err(KeyError::new(
                    ErrorClass::Throttled,
                    format!("calls are slowed down after throttling: the next one is allowed in {seconds:.1} s, past the deadline"),
                )
                .with_hint(
                    "lower the rate of calls, cache data keys, or raise the key service's request quota",
                ))
            }
        }
    }

    fn open(&self, error: KeyError) -> KeyError {
        Counters::add(&self.counters.rejected_by_circuit);
        error
    }
}

fn no_answer(operation: &'static str, limit: Duration) -> KeyError {
    let seconds = limit.as_secs_f64();
    KeyError::new(
        ErrorClass::Timeout,
        format!("the key service did not answer {operation} within {seconds:.1} s"),
    )
    .with_hint("check the network path to the key service (name resolution, VPC endpoint, NAT, proxy) and its health")
}

impl std::fmt::Debug for Resilience {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resilience")
            .field("options", &self.options)
            .field("snapshot", &self.snapshot())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl KeyProvider for Resilience {
    async fn generate(&self, context: &EncryptionContext) -> Result<GeneratedDataKey, KeyError> {
        self.call("generate", || self.inner.generate(context)).await
    }

    async fn generate_shared(
        &self,
        context: &EncryptionContext,
        message_len: usize,
    ) -> Result<GeneratedDataKey, KeyError> {
        let attempt = || self.inner.generate_shared(context, message_len);
        self.call("generate", attempt).await
    }

    async fn unwrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<Arc<DataKey>, KeyError> {
        self.call("unwrap", || self.inner.unwrap(wrapped, context)).await
    }

    async fn rewrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<WrappedDataKey, KeyError> {
        self.call("rewrap", || self.inner.rewrap(wrapped, context)).await
    }

    fn can_rewrap(&self, wrapped: &WrappedDataKey) -> bool {
        self.inner.can_rewrap(wrapped)
    }

    async fn describe(&self) -> Result<KeyDescription, KeyError> {
        self.call("describe", || self.inner.describe()).await
    }

    // Answered from memory, so nothing that could fail.
    fn unwrap_cached(&self, wrapped: &WrappedDataKey, context: &EncryptionContext) -> Option<Arc<DataKey>> {
        self.inner.unwrap_cached(wrapped, context)
    }

    async fn decrypt(
        &self,
        ciphertext: &[u8],
        key_id: Option<&str>,
        context: &EncryptionContext,
    ) -> Result<SecretSlice<u8>, KeyError> {
        let attempt = || self.inner.decrypt(ciphertext, key_id, context);
        self.call("decrypt", attempt).await
    }
}

#[derive(Default)]
struct Counters {
    retries: AtomicU64,
    rate_limit_waits: AtomicU64,
    rejected_by_circuit: AtomicU64,
    rejected_by_load: AtomicU64,
    timeouts: AtomicU64,
}

impl Counters {
    fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
