//! A limit on this process's own calls, which exists only after the key service has throttled it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::LONGEST;

/// The part of the rate that throttling leaves.
const DECREASE: f64 = 0.7;
/// How long the rate takes to double while it is far from the rate at which throttling was met: below, because a key
/// service that refused everything has said nothing about how much it takes; above, because it takes more than that.
const DOUBLING: Duration = Duration::from_millis(500);
/// How long the rate takes from what a decrease leaves up to the rate at which throttling was met.
const APPROACH: Duration = Duration::from_secs(2);
/// The limit is lifted at this multiple of the rate at which throttling was met: after some 3 s without throttling, and
/// 2 s more where everything was refused.
const LIFTED: f64 = 2.0;
/// How late a caller may be and still catch up: timers are no finer than a millisecond.
const TOLERANCE: Duration = Duration::from_millis(10);
/// How long the next caller in line sleeps before it looks whether the rate has risen.
const LOOK: Duration = Duration::from_millis(50);
/// Over how long the rate of calls is measured.
const WINDOW: Duration = Duration::from_secs(1);

/// Multiplicative decrease with every answer that throttles, and increase with time.
pub(super) struct RateLimit {
    enabled: bool,
    min_rate: f64,
    patient: bool,
    state: Mutex<State>,
    // Held by the next caller; the others wait for it in the order of arrival.
    line: tokio::sync::Mutex<()>,
    waiting: AtomicUsize,
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
    // The rate at which the key service last throttled some calls and not all.
    met: f64,
    // Whether a call made since the last decrease was let through.
    answered: bool,
    // The last turn, as it was scheduled.
    last: Instant,
}

impl RateLimit {
    pub(super) fn new(enabled: bool, min_rate: f64) -> Self {
        let measured = Measured { since: Instant::now(), calls: 0.0, rate: 0.0 };
        Self {
            enabled,
            min_rate: if min_rate > 0.0 { min_rate } else { 1.0 },
            patient: false,
            state: Mutex::new(State { measured, limit: None }),
            line: tokio::sync::Mutex::new(()),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Lets callers wait until their deadline for a turn that seems to be later than that: the rate rises meanwhile.
    pub(super) fn patient(self, patient: bool) -> Self {
        Self { patient, ..self }
    }

    /// Waits until the caller may call, and returns whether it had to.
    ///
    /// # Errors
    /// How long it would have to wait at the present rate, if that is past the deadline.
    pub(super) async fn turn(&self, deadline: Instant) -> Result<bool, Duration> {
        let place = self.line_up();
        let now = Instant::now();
        let Some(wait) = self.lock().wait(now, place.ahead) else {
            return Ok(false);
        };
        if !self.patient && now + wait > deadline {
            return Err(wait);
        }
        let _next = timeout_at(deadline, self.line.lock()).await.map_err(|_| wait)?;
        loop {
            let now = Instant::now();
            let Some(rest) = self.lock().wait(now, 0) else {
                return Ok(true);
            };
            if now >= deadline {
                return Err(rest);
            }
            sleep_until((now + rest.min(LOOK)).min(deadline)).await;
        }
    }

    /// Lowers the rate, unless the throttled call was made before the last time that it was lowered: calls
    /// that were in progress together count as one.
    pub(super) fn throttled(&self, called: Instant, now: Instant) {
        if !self.enabled {
            return;
        }
        let mut state = self.lock();
        let measured = state.measured.now(now).max(self.min_rate);
        let (rate, met, last) = match state.current(now) {
            Some((_, limit)) if called < limit.decreased => return,
            Some((rate, limit)) => {
                let rate = rate.min(measured);
                (rate, if limit.answered { rate } else { limit.met }, limit.last)
            }
            // Its first turn is at once.
            None => (measured, measured, now.checked_sub(WINDOW).unwrap_or(now)),
        };
        let rate = (rate * DECREASE).max(self.min_rate);
        let met = met.max(self.min_rate);
        state.limit = Some(Limit { rate, decreased: now, met, answered: false, last });
    }

    /// Notes that the service has let a call through that was made at this time.
    pub(super) fn answered(&self, called: Instant) {
        if let Some(limit) = &mut self.lock().limit {
            limit.answered |= called >= limit.decreased;
        }
    }

    /// The current limit in calls per second, if there is one.
    pub(super) fn limit(&self, now: Instant) -> Option<f64> {
        self.lock().current(now).map(|(rate, _)| rate)
    }

    fn line_up(&self) -> Place<'_> {
        Place { ahead: self.waiting.fetch_add(1, Ordering::Relaxed), waiting: &self.waiting }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is a whole one: a panic elsewhere does not make the state wrong.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the queue; dropping it frees the place, with or without a turn.
struct Place<'a> {
    ahead: usize,
    waiting: &'a AtomicUsize,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl State {
    /// How long a caller waits at the current rate, by the number of callers ahead of it; takes no turn.
    fn wait(&mut self, now: Instant, ahead: usize) -> Option<Duration> {
        if let Some((rate, limit)) = self.current(now) {
            let interval = seconds(rate.recip());
            let due = limit.last + interval;
            if due > now || ahead > 0 {
                let others = seconds(ahead as f64 / rate);
                return Some(due.saturating_duration_since(now) + others);
            }
            limit.last = due.max(now.checked_sub(TOLERANCE).unwrap_or(now));
        }
        self.measured.count(now);
        None
    }

    /// The limit and its present rate; lifts the limit once it has risen far enough.
    fn current(&mut self, now: Instant) -> Option<(f64, &mut Limit)> {
        let rate = self.limit.as_ref()?.rate(now);
        if self.limit.as_ref()?.met * LIFTED <= rate {
            self.limit = None;
        }
        self.limit.as_mut().map(|limit| (rate, limit))
    }
}

impl Limit {
    /// Doubling up to where a decrease at the rate `met` would have left it, in a straight line up to that rate, and
    /// doubling from there.
    fn rate(&self, now: Instant) -> f64 {
        let doublings = |from: Duration| (from.as_secs_f64() / DOUBLING.as_secs_f64()).exp2();
        let since = now.saturating_duration_since(self.decreased);
        let near = self.met * DECREASE;
        let far = DOUBLING.mul_f64((near / self.rate).log2().max(0.0));
        if since < far {
            return self.rate * doublings(since);
        }
        let since = since - far;
        let near = near.max(self.rate);
        if since < APPROACH {
            return near + (self.met - near).max(0.0) * since.as_secs_f64() / APPROACH.as_secs_f64();
        }
        self.met.max(near) * doublings(since - APPROACH)
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST).min(LONGEST)
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
    use tokio::time::{advance, sleep};

    use super::*;

    fn after(start: Instant, seconds: f64) -> Instant {
        start + Duration::from_secs_f64(seconds)
    }

    /// A limit that was met at 100 calls per second.
    async fn met_at_100() -> (RateLimit, Instant) {
        let limit = RateLimit::new(true, 1.0);
        for _ in 0..100 {
            assert_eq!(limit.turn(Instant::now()).await, Ok(false), "nothing is limited yet");
            advance(Duration::from_millis(10)).await;
        }
        let now = Instant::now();
        limit.throttled(now, now);
        (limit, now)
    }

    #[tokio::test(start_paused = true)]
    async fn throttling_lowers_the_rate_and_seconds_give_it_back() {
        let (limit, start) = met_at_100().await;
        let at = |seconds| limit.limit(after(start, seconds)).map(f64::round);
        assert_eq!(at(0.0), Some(70.0));
        assert_eq!(at(2.0), Some(100.0), "where it was met");
        assert_eq!(at(2.6), None, "lifted");
    }

    #[tokio::test(start_paused = true)]
    async fn answers_to_calls_made_before_the_decrease_are_no_news() {
        let (limit, start) = met_at_100().await;
        for _ in 0..50 {
            limit.throttled(start - Duration::from_millis(100), after(start, 0.1));
        }
        assert!(limit.limit(start).unwrap() > 69.0);
        limit.throttled(after(start, 0.05), after(start, 0.1));
        assert!(limit.limit(after(start, 0.1)).unwrap() < 52.0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_refuses_everything_is_asked_little_and_has_its_rate_back_within_seconds() {
        let (limit, mut now) = met_at_100().await;
        let (end, mut calls) = (after(now, 30.0), 0);
        while now < end {
            assert!(limit.turn(after(now, 10.0)).await.is_ok());
            now = Instant::now();
            limit.throttled(now, now);
            calls += 1;
        }
        assert!(calls < 200, "{calls}");
        assert!(limit.limit(after(now, 2.5)).unwrap() >= 70.0);
        assert_eq!(limit.limit(after(now, 5.0)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_lets_some_through_is_kept_to_what_it_takes() {
        let (limit, start) = met_at_100().await;
        let mut now = start;
        for _ in 0..3 {
            limit.answered(now);
            now = after(now, 0.1);
            limit.throttled(now, now);
        }
        assert!(limit.limit(after(now, 2.0)).unwrap() < 60.0, "met where it was throttled last");
    }

    #[tokio::test(start_paused = true)]
    async fn turns_are_spread_by_the_rate_and_refused_beyond_the_deadline() {
        let (limit, start) = met_at_100().await;
        let deadline = after(start, 10.0);
        for _ in 0..70 {
            limit.turn(deadline).await.unwrap();
        }
        // The rate rises meanwhile.
        let took = start.elapsed().as_secs_f64();
        assert!((0.8..1.0).contains(&took), "{took}");
        assert!(limit.turn(Instant::now()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_callers_are_let_through_as_the_rate_rises() {
        let limit = std::sync::Arc::new(RateLimit::new(true, 1.0));
        let now = Instant::now();
        limit.throttled(now, now);
        limit.lock().limit.as_mut().unwrap().met = 100.0;
        let turn = || {
            let limit = limit.clone();
            tokio::spawn(async move { limit.turn(now + Duration::from_secs(60)).await.is_ok() })
        };
        let callers: Vec<_> = (0..50).map(|_| turn()).collect();
        for caller in callers {
            assert!(caller.await.unwrap());
        }
        assert!(now.elapsed() < Duration::from_secs(5), "{:?} and not 50 s", now.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_leaves_the_line_delays_no_other() {
        let (limit, start) = met_at_100().await;
        limit.turn(start).await.unwrap();
        {
            let mut gone: Vec<_> = (0..10).map(|_| Box::pin(limit.turn(after(start, 10.0)))).collect();
            for turn in &mut gone {
                assert!(futures_util::poll!(turn).is_pending());
            }
        }
        sleep(Duration::from_millis(20)).await;
        assert_eq!(limit.turn(Instant::now()).await, Ok(false), "no caller is in line");
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_never_lowered_below_its_floor_and_not_at_all_when_switched_off() {
        let (limit, start) = met_at_100().await;
        for round in 0..100 {
            let now = after(start, f64::from(round) / 100.0);
            limit.throttled(now, now);
        }
        assert!(limit.limit(after(start, 1.0)).unwrap() >= 1.0);
        let off = RateLimit::new(false, 1.0);
        off.throttled(start, start);
        assert_eq!(off.limit(start), None);
    }
}
