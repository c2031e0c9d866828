//! A circuit breaker: a key service that does not answer gets no calls, except for one probe at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use envelope_core::KeyError;
use envelope_core::provider::ErrorClass;
use tokio::time::Instant;

/// Whether calls are let through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CircuitState {
    /// They are.
    #[default]
    Closed,
    /// One is, and what becomes of it decides.
    HalfOpen,
    /// None is, until the next probe.
    Open,
}

impl CircuitState {
    /// The label used in logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

pub(super) struct Circuit {
    threshold: u32,
    probe_interval: Duration,
    state: Mutex<State>,
}

enum State {
    Closed {
        /// Attempts without an answer since the last one with.
        silent: u32,
    },
    Open {
        probe_at: Instant,
        last: KeyError,
    },
    HalfOpen {
        last: KeyError,
    },
}

/// The result of an attempt for the key service as a whole.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict<'a> {
    /// It answered, be it with a refusal.
    Answered,
    /// It did not.
    Silent(&'a KeyError),
    /// It may not have been asked at all.
    Unknown,
}

impl<'a> Verdict<'a> {
    pub(super) fn of(error: &'a KeyError) -> Self {
        match error.class() {
            ErrorClass::Unavailable | ErrorClass::Timeout => Self::Silent(error),
            // Made on this side, or possibly so: a claim that the configuration does not allow, credentials that are
            // missing, a request that could not be built.
            ErrorClass::WrongKey | ErrorClass::Misconfigured | ErrorClass::InvalidRequest => Self::Unknown,
            _ => Self::Answered,
        }
    }
}

impl Circuit {
    /// Opens after `threshold` silent attempts in a row; 0 never opens.
    pub(super) fn new(threshold: u32, probe_interval: Duration) -> Self {
        Self { threshold, probe_interval, state: Mutex::new(State::Closed { silent: 0 }) }
    }

    pub(super) fn state(&self) -> CircuitState {
        match *self.lock() {
            State::Closed { .. } => CircuitState::Closed,
            State::Open { .. } => CircuitState::Open,
            State::HalfOpen { .. } => CircuitState::HalfOpen,
        }
    }

    /// Refuses if a call would be refused now, without being that call.
    pub(super) fn check(&self) -> Result<(), KeyError> {
        self.refusal(&self.lock(), Instant::now()).map_or(Ok(()), Err)
    }

    /// Lets a call through or refuses it; on an open circuit whose time has come, this call is the probe.
    pub(super) fn admit(&self) -> Result<Pass<'_>, KeyError> {
        let mut state = self.lock();
        if let Some(refusal) = self.refusal(&state, Instant::now()) {
            return Err(refusal);
        }
        let mut probe = false;
        if let State::Open { last, .. } = &*state {
            probe = true;
            *state = State::HalfOpen { last: last.clone() };
        }
        Ok(Pass { circuit: self, probe, settled: false })
    }

    fn refusal(&self, state: &State, now: Instant) -> Option<KeyError> {
        let (when, last) = match state {
            State::Open { probe_at, last } if *probe_at > now => {
                let seconds = (*probe_at - now).as_secs_f64();
                (format!("it will be retried automatically in {seconds:.1} s"), last)
            }
            State::HalfOpen { last } => ("one call is testing it now".to_owned(), last),
            State::Open { .. } | State::Closed { .. } => return None,
        };
        let hint = match last.hint_pattern() {
            Some(hint) => format!("{when}; {hint}"),
            None => when,
        };
        let what = "the key service is not responding; calls are paused";
        let error = KeyError::new(ErrorClass::Unavailable, what);
        Some(error.with_hint(hint).with_source(last.clone()))
    }

    fn settle(&self, verdict: Verdict<'_>, probe: bool) {
        let mut state = self.lock();
        let now = Instant::now();
        let next = match (verdict, &*state) {
            (Verdict::Answered, _) => State::Closed { silent: 0 },
            (Verdict::Silent(error), State::Closed { silent }) => {
                let silent = silent.saturating_add(1);
                if self.threshold == 0 || silent < self.threshold {
                    State::Closed { silent }
                } else {
                    self.open(now, error)
                }
            }
            (Verdict::Silent(error), State::HalfOpen { .. }) if probe => self.open(now, error),
            // The probe had no result, so the next call is a probe.
            (Verdict::Unknown, State::HalfOpen { last }) if probe => {
                State::Open { probe_at: now, last: last.clone() }
            }
            // The late news of a call from before says nothing that is not known.
            _ => return,
        };
        report(&state, &next);
        *state = next;
    }

    fn open(&self, now: Instant, error: &KeyError) -> State {
        State::Open { probe_at: now + self.probe_interval, last: error.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is a whole one: a panic elsewhere does not make the state wrong.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One line when an outage begins, one when it ends, and none for the calls in between.
fn report(from: &State, to: &State) {
    match (from, to) {
        (State::Closed { .. }, State::Open { last, .. }) => {
            tracing::warn!(
                circuit = CircuitState::Open.label(),
                class = last.class().label(),
                error = %last,
                hint = last.hint(),
                "the key service is not responding: calls fail at once until a probe succeeds"
            );
        }
        (State::Open { .. } | State::HalfOpen { .. }, State::Closed { .. }) => {
            tracing::info!(circuit = CircuitState::Closed.label(), "the key service responds again");
        }
        _ => {}
    }
}

/// A call that was let through. Dropped without a verdict, it was cancelled and says nothing about the service.
pub(super) struct Pass<'a> {
    circuit: &'a Circuit,
    probe: bool,
    settled: bool,
}

impl Pass<'_> {
    pub(super) fn settle(mut self, verdict: Verdict<'_>) {
        self.settled = true;
        self.circuit.settle(verdict, self.probe);
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.circuit.settle(Verdict::Unknown, self.probe);
        }
    }
}
