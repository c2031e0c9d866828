//! A limit on this process's own calls, which exists only after the key service has throttled it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What throttling leaves of the rate.
const DECREASE: f64 = 0.7;
/// What a second without throttling gives back, as a part of the rate at which throttling was met. A part and not a
/// number of calls, so that quotas of ten and of ten thousand are found again in the same time.
const INCREASE: f64 = 0.05;
/// The limit is lifted at this multiple of the rate at which throttling was met: after some 26 s without throttling.
const LIFTED: f64 = 2.0;
/// How far behind its schedule a caller may be and still catch up: timers are no finer than a millisecond.
const TOLERANCE: Duration = Duration::from_millis(10);
/// Over how long the rate of calls is measured.
const WINDOW: Duration = Duration::from_secs(1);

/// Additive increase with time, multiplicative decrease with every answer that throttles.
pub(super) struct RateLimit {
    enabled: bool,
    min_rate: f64,
    state: Mutex<State>,
}

struct State {
    measured: Measured,
    limit: Option<Limit>,
}

/// How many calls a second are made, limited or not.
struct Measured {
    since: Instant,
    calls: f64,
    rate: f64,
}

struct Limit {
    // The rate right after the last decrease, and when that was.
    rate: f64,
    decreased: Instant,
    // The rate at which the key service last throttled.
    met: f64,
    // When the next call may be made.
    next: Instant,
}

impl RateLimit {
    pub(super) fn new(enabled: bool, min_rate: f64) -> Self {
        let measured = Measured { since: Instant::now(), calls: 0.0, rate: 0.0 };
        Self {
            enabled,
            min_rate: if min_rate > 0.0 { min_rate } else { 1.0 },
            state: Mutex::new(State { measured, limit: None }),
        }
    }

    /// When the caller may call, if that is not after `latest`.
    ///
    /// # Errors
    /// How long it would have to wait.
    pub(super) fn turn(&self, now: Instant, latest: Instant) -> Result<Instant, Duration> {
        let mut state = self.lock();
        let turn = match state.current(now) {
            None => now,
            Some((rate, limit)) => {
                let turn = limit.next.max(now);
                if turn > latest {
                    return Err(turn - now);
                }
                let interval = Duration::try_from_secs_f64(rate.recip()).unwrap_or(WINDOW);
                let on_schedule = limit.next.max(now.checked_sub(TOLERANCE).unwrap_or(now));
                limit.next = on_schedule + interval;
                turn
            }
        };
        state.measured.count(now);
        Ok(turn)
    }

    /// Lowers the rate, unless the throttled call was made before the last time that it was lowered: calls that were on
    /// their way together are one piece of news.
    pub(super) fn throttled(&self, called: Instant, now: Instant) {
        if !self.enabled {
            return;
        }
        let mut state = self.lock();
        let measured = state.measured.now(now);
        let (limit, next) = match state.current(now) {
            Some((_, limit)) if called < limit.decreased => return,
            Some((rate, limit)) => (rate, limit.next),
            None => (f64::INFINITY, now),
        };
        let met = limit.min(measured).max(self.min_rate);
        state.limit = Some(Limit { rate: (met * DECREASE).max(self.min_rate), decreased: now, met, next });
    }

    /// The present limit in calls a second, if there is one.
    pub(super) fn limit(&self, now: Instant) -> Option<f64> {
        self.lock().current(now).map(|(rate, _)| rate)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is a whole one: a panic elsewhere does not make the state wrong.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The limit and its present rate; lifts the limit once it has risen far enough.
    fn current(&mut self, now: Instant) -> Option<(f64, &mut Limit)> {
        let limit = self.limit.as_ref()?;
        let rate = limit.rate + limit.met * INCREASE * (now - limit.decreased).as_secs_f64();
        if rate > limit.met * LIFTED {
            self.limit = None;
        }
        self.limit.as_mut().map(|limit| (rate, limit))
    }
}

impl Measured {
    fn count(&mut self, now: Instant) {
        let elapsed = now - self.since;
        if elapsed >= WINDOW {
            self.rate = self.calls / elapsed.as_secs_f64();
            (self.since, self.calls) = (now, 0.0);
        }
        self.calls += 1.0;
    }

    fn now(&self, now: Instant) -> f64 {
        let elapsed = (now - self.since).max(WINDOW).as_secs_f64();
        self.rate.max(self.calls / elapsed)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test reports by panicking")]
mod tests {
    use super::*;

    fn second(start: Instant, number: f64) -> Instant {
        start + Duration::from_secs_f64(number)
    }

    /// A limit that was met at 100 calls a second.
    fn met_at_100() -> (RateLimit, Instant) {
        let limit = RateLimit::new(true, 1.0);
        let start = Instant::now();
        for call in 0..100 {
            let now = second(start, f64::from(call) / 100.0);
            assert_eq!(limit.turn(now, now), Ok(now), "nothing is limited yet");
        }
        limit.throttled(second(start, 0.9), second(start, 1.0));
        (limit, second(start, 1.0))
    }

    #[test]
    fn throttling_lowers_the_rate_and_time_gives_it_back() {
        let (limit, start) = met_at_100();
        let at = |seconds| limit.limit(second(start, seconds)).map(f64::round);
        assert_eq!(at(0.0), Some(70.0));
        assert_eq!(at(10.0), Some(120.0));
        assert_eq!(at(27.0), None, "lifted");
    }

    #[test]
    fn answers_to_calls_made_before_the_decrease_are_no_news() {
        let (limit, start) = met_at_100();
        for _ in 0..50 {
            limit.throttled(start - Duration::from_millis(100), second(start, 0.1));
        }
        assert!(limit.limit(start).unwrap() > 69.0);
        limit.throttled(second(start, 0.05), second(start, 0.1));
        assert!(limit.limit(second(start, 0.1)).unwrap() < 50.0);
    }

    #[test]
    fn turns_are_spread_by_the_rate_and_refused_beyond_the_deadline() {
        let (limit, start) = met_at_100();
        let latest = second(start, 10.0);
        let turns: Vec<_> = (0..70).map(|_| limit.turn(start, latest).unwrap()).collect();
        let last = turns[69] - start;
        assert!((0.95..1.01).contains(&last.as_secs_f64()), "{last:?}");
        assert!(limit.turn(start, second(start, 0.5)).is_err());
    }

    #[test]
    fn the_rate_is_never_lowered_below_its_floor_and_not_at_all_when_switched_off() {
        let (limit, start) = met_at_100();
        for round in 0..100 {
            let now = second(start, f64::from(round) / 100.0);
            limit.throttled(now, now);
        }
        assert!(limit.limit(second(start, 1.0)).unwrap() >= 1.0);
        let off = RateLimit::new(false, 1.0);
        off.throttled(start, start);
        assert_eq!(off.limit(start), None);
    }
}
