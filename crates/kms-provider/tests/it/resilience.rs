//! Resilience: every call is bounded in time and number, tried again only where that helps, and fails fast in an outage.

use std::sync::Arc;
use std::time::Duration;

use envelope_core::{ErrorClass, KeyProvider};
use kms_provider::resilience::CircuitState;
use kms_provider::{Memory, Resilience, ResilienceOptions};
use test_support::faults::{Fault, FaultyProvider};
use tokio::time::Instant;

use crate::support::{class, row, wrapped};

type Faulty = Arc<FaultyProvider<Memory>>;

fn protected(options: ResilienceOptions) -> (Faulty, Arc<Resilience>) {
    let faulty = Arc::new(FaultyProvider::new(Memory::new()));
    let resilience = Resilience::with_options(faulty.clone(), options);
    (faulty, Arc::new(resilience))
}

fn options() -> ResilienceOptions {
    ResilienceOptions::default()
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

#[tokio::test(start_paused = true)]
async fn only_passing_failures_are_retried() {
    for failure in ErrorClass::ALL {
        let (faulty, provider) = protected(options());
        faulty.faults().always(Fault::Fail(failure));
        assert_eq!(class(provider.generate(&row(1)).await), failure);
        let attempts = if failure.is_retryable() { 3 } else { 1 };
        assert_eq!(faulty.faults().calls("generate"), attempts, "{failure}");
        assert_eq!(provider.snapshot().retries, attempts - 1);
        faulty.faults().heal();
        assert!(provider.generate(&row(1)).await.is_ok(), "after {failure}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_passing_failure_is_not_noticed_whatever_was_asked_for() {
    let (faulty, provider) = protected(options());
    let made = wrapped(&*provider, &row(1)).await;
    for failure in [ErrorClass::Throttled, ErrorClass::Unavailable, ErrorClass::Timeout] {
        faulty.faults().next(2, Fault::Fail(failure));
        assert!(provider.generate(&row(1)).await.is_ok());
        faulty.faults().next(2, Fault::Fail(failure));
        assert!(provider.generate_shared(&row(1), 1).await.is_ok());
        faulty.faults().next(2, Fault::Fail(failure));
        assert!(provider.unwrap(&made, &row(1)).await.is_ok());
        faulty.faults().next(2, Fault::Fail(failure));
        assert!(provider.rewrap(&made, &row(1)).await.is_ok());
        faulty.faults().next(2, Fault::Fail(failure));
        assert!(provider.describe().await.is_ok());
    }
    assert_eq!(provider.snapshot().circuit, CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_service_never_holds_a_caller_beyond_the_deadline() {
    let (faulty, provider) = protected(options().with_circuit(0, seconds(1)).with_max_attempts(100));
    faulty.faults().always(Fault::Hang);
    let start = Instant::now();
    assert_eq!(class(provider.generate(&row(1)).await), ErrorClass::Timeout);
    let taken = start.elapsed();
    assert!((seconds(9)..=seconds(10)).contains(&taken), "{taken:?}");
    assert!(provider.snapshot().timeouts >= 3);
    let short = protected(options().with_deadline(Duration::from_millis(50)));
    short.0.faults().always(Fault::Hang);
    let start = Instant::now();
    assert_eq!(class(short.1.generate(&row(1)).await), ErrorClass::Timeout);
    assert!(start.elapsed() <= Duration::from_millis(52));
}

#[tokio::test(start_paused = true)]
async fn one_slow_attempt_is_given_up_for_another() {
    let (faulty, provider) = protected(options().with_attempt_timeout(seconds(1)));
    faulty.faults().next(1, Fault::Delay(seconds(60)));
    let start = Instant::now();
    assert!(provider.generate(&row(1)).await.is_ok());
    assert!(start.elapsed() < Duration::from_millis(1_200), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn two_seconds_are_slow_and_no_failure() {
    let (faulty, provider) = protected(options());
    faulty.faults().always(Fault::Delay(seconds(2)));
    for _ in 0..10 {
        assert!(provider.generate(&row(1)).await.is_ok());
    }
    assert_eq!(provider.snapshot().circuit, CircuitState::Closed);
    assert_eq!(provider.snapshot().retries, 0);
}

#[tokio::test(start_paused = true)]
async fn pauses_between_attempts_are_random_and_bounded() {
    let mut taken = Vec::new();
    for _ in 0..50 {
        let (faulty, provider) = protected(options().with_circuit(0, seconds(1)));
        faulty.faults().always(Fault::Fail(ErrorClass::Unavailable));
        let start = Instant::now();
        assert!(provider.generate(&row(1)).await.is_err());
        taken.push(start.elapsed());
    }
    // Up to 100 ms and up to 200 ms, and the timer's millisecond twice.
    assert!(taken.iter().all(|taken| *taken <= Duration::from_millis(302)), "{taken:?}");
    taken.sort_unstable();
    taken.dedup();
    assert!(taken.len() > 20, "they differ: {taken:?}");
}

#[tokio::test(start_paused = true)]
async fn the_circuit_opens_without_answers_and_says_when_it_is_probed() {
    for failure in [ErrorClass::Unavailable, ErrorClass::Timeout] {
        let (faulty, provider) = protected(options().with_max_attempts(1));
        faulty.faults().always(Fault::Fail(failure));
        for _ in 0..5 {
            assert_eq!(class(provider.generate(&row(1)).await), failure);
        }
        assert_eq!(provider.snapshot().circuit, CircuitState::Open);
        let start = Instant::now();
        for _ in 0..1_000 {
            let error = provider.generate(&row(1)).await.unwrap_err();
            assert_eq!(error.class(), ErrorClass::Unavailable);
            assert!(error.hint().unwrap().contains("automatically in 1.0 s"), "{:?}", error.hint());
            assert!(std::error::Error::source(&error).is_some(), "says what happened before");
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(faulty.faults().calls("generate"), 5, "no call is made");
        assert_eq!(provider.snapshot().rejected_by_circuit, 1_000);
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_never_open_the_circuit() {
    for refusal in ErrorClass::ALL {
        if matches!(refusal, ErrorClass::Unavailable | ErrorClass::Timeout) {
            continue;
        }
        let (faulty, provider) = protected(options().with_max_attempts(1));
        faulty.faults().always(Fault::Fail(refusal));
        for _ in 0..20 {
            assert_eq!(class(provider.describe().await), refusal);
        }
        assert_eq!(provider.snapshot().circuit, CircuitState::Closed, "{refusal}");
    }
}

/// A circuit that has just opened.
async fn opened() -> (Faulty, Arc<Resilience>) {
    let (faulty, provider) = protected(options().with_max_attempts(1));
    faulty.faults().next(5, Fault::Fail(ErrorClass::Unavailable));
    for _ in 0..5 {
        assert!(provider.generate(&row(1)).await.is_err());
    }
    assert_eq!(provider.snapshot().circuit, CircuitState::Open);
    faulty.faults().reset_calls();
    (faulty, provider)
}

#[tokio::test(start_paused = true)]
async fn one_probe_at_a_time_goes_through_and_its_answer_closes_the_circuit() {
    let (faulty, provider) = opened().await;
    tokio::time::advance(seconds(1)).await;
    faulty.faults().always(Fault::Hold);
    let probe = tokio::spawn({
        let provider = provider.clone();
        async move { provider.generate(&row(1)).await }
    });
    faulty.faults().wait_for_calls("generate", 1).await;
    assert_eq!(provider.snapshot().circuit, CircuitState::HalfOpen);
    for _ in 0..10 {
        let error = provider.generate(&row(1)).await.unwrap_err();
        assert!(error.hint().unwrap().contains("one call is testing it"), "{:?}", error.hint());
    }
    assert_eq!(faulty.faults().calls("generate"), 1);
    faulty.faults().heal();
    assert!(probe.await.unwrap().is_ok());
    assert_eq!(provider.snapshot().circuit, CircuitState::Closed);
    assert!(provider.generate(&row(1)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_fails_opens_it_again_and_a_refusal_closes_it() {
    let (faulty, provider) = opened().await;
    for _ in 0..3 {
        tokio::time::advance(seconds(1)).await;
        faulty.faults().next(1, Fault::Fail(ErrorClass::Timeout));
        assert_eq!(class(provider.describe().await), ErrorClass::Timeout);
        assert_eq!(class(provider.describe().await), ErrorClass::Unavailable);
    }
    assert_eq!(faulty.faults().calls("describe"), 3);
    tokio::time::advance(seconds(1)).await;
    faulty.faults().next(1, Fault::Fail(ErrorClass::Denied));
    assert_eq!(class(provider.describe().await), ErrorClass::Denied);
    assert_eq!(provider.snapshot().circuit, CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_goes_away_or_never_reached_the_service_is_made_again_at_once() {
    let (faulty, provider) = opened().await;
    tokio::time::advance(seconds(1)).await;
    faulty.faults().next(1, Fault::Hang);
    let gone = tokio::time::timeout(Duration::from_millis(10), provider.describe());
    assert!(gone.await.is_err());
    // Refused by this process: it does not show whether the service is back.
    faulty.faults().next(1, Fault::Fail(ErrorClass::WrongKey));
    assert_eq!(class(provider.describe().await), ErrorClass::WrongKey);
    assert_eq!(provider.snapshot().circuit, CircuitState::Open);
    assert!(provider.describe().await.is_ok());
    assert_eq!(provider.snapshot().circuit, CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn calls_and_waiting_callers_are_bounded_and_the_surplus_is_refused_at_once() {
    let (faulty, provider) = protected(options().with_concurrency(4, 6));
    faulty.faults().always(Fault::Hold);
    let call = || {
        let provider = provider.clone();
        tokio::spawn(async move { provider.generate(&row(1)).await })
    };
    let calls: Vec<_> = (0..10).map(|_| call()).collect();
    faulty.faults().wait_for_calls("generate", 4).await;
    let snapshot = provider.snapshot();
    assert_eq!((snapshot.in_progress, snapshot.waiting), (4, 6));
    let start = Instant::now();
    for _ in 0..100 {
        let error = provider.generate(&row(1)).await.unwrap_err();
        // Not an outage: measures against outages must not start because this process is in a hurry.
        assert_eq!(error.class(), ErrorClass::Throttled);
        assert!(error.to_string().contains("4 calls"), "{error}");
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(provider.snapshot().rejected_by_load, 100);
    // A caller that leaves the queue makes room in it.
    calls[9].abort();
    tokio::task::yield_now().await;
    assert_eq!(provider.snapshot().waiting, 5);
    faulty.faults().heal();
    for (number, call) in calls.into_iter().enumerate() {
        assert!(number == 9 || call.await.unwrap().is_ok());
    }
    let snapshot = provider.snapshot();
    assert_eq!((snapshot.in_progress, snapshot.waiting), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn waiting_in_the_queue_counts_towards_the_deadline() {
    let options = options().with_concurrency(1, 10).with_circuit(0, seconds(1));
    let (faulty, provider) = protected(options.with_attempt_timeout(seconds(100)));
    faulty.faults().always(Fault::Delay(seconds(8)));
    let start = Instant::now();
    let context = row(1);
    let first = provider.generate(&context);
    let second = provider.generate(&context);
    let third = provider.generate(&context);
    let (_, second, third) = futures_util::future::join3(first, second, third).await;
    assert_eq!(class(second), ErrorClass::Timeout);
    assert_eq!(class(third), ErrorClass::Timeout);
    assert!(start.elapsed() <= Duration::from_millis(10_002), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn throttling_slows_this_process_down_until_it_fits_and_then_lets_go() {
    let (faulty, provider) = protected(options());
    // The service accepts 50 calls per second.
    let quota = tokio::spawn({
        let faulty = faulty.clone();
        async move {
            let mut seen = 0;
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let calls = faulty.faults().calls("generate");
                faulty.faults().heal();
                if calls - seen > 5 {
                    faulty.faults().next(calls - seen - 5, Fault::Fail(ErrorClass::Throttled));
                }
                seen = calls;
            }
        }
    });
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let provider = provider.clone();
            tokio::spawn(async move {
                let mut failed = 0;
                for _ in 0..250 {
                    failed += usize::from(provider.generate(&row(1)).await.is_err());
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                failed
            })
        })
        .collect();
    let mut failed = 0;
    for caller in callers {
        failed += caller.await.unwrap();
    }
    quota.abort();
    assert!(failed < 100, "{failed} of 2,000 failed");
    let snapshot = provider.snapshot();
    assert!(snapshot.rate_limit_waits > 100, "{snapshot:?}");
    assert_eq!(snapshot.circuit, CircuitState::Closed);
    faulty.faults().heal();
    tokio::time::advance(seconds(60)).await;
    assert_eq!(provider.snapshot().rate_limit, None, "lifted");
}

#[tokio::test(start_paused = true)]
async fn a_turn_beyond_the_deadline_is_refused_at_once() {
    let (faulty, provider) = protected(options().with_max_attempts(1).with_deadline(seconds(1)));
    faulty.faults().next(1, Fault::Fail(ErrorClass::Throttled));
    assert!(provider.generate(&row(1)).await.is_err());
    // One call a second: the second of these would have to wait for two.
    let start = Instant::now();
    let context = row(1);
    let calls = (0..10).map(|_| provider.generate(&context));
    let outcomes = futures_util::future::join_all(calls).await;
    let refused = outcomes.into_iter().filter_map(Result::err);
    let refused: Vec<_> = refused.map(|error| error.class()).collect();
    assert!(refused.len() >= 7, "{refused:?}");
    assert!(refused.iter().all(|class| *class == ErrorClass::Throttled));
    assert!(start.elapsed() <= Duration::from_millis(1_002));
}

/// For a run over many rows: throttling makes it slower, and nothing else is waited for longer.
fn outwaiting() -> ResilienceOptions {
    options().with_outwait_throttling(true).with_deadline(seconds(60)).with_circuit(0, seconds(1))
}

#[tokio::test(start_paused = true)]
async fn throttling_is_outwaited_where_asked_for_and_no_other_failure_is() {
    for failure in ErrorClass::ALL {
        let (faulty, provider) = protected(outwaiting());
        faulty.faults().next(10, Fault::Fail(ErrorClass::Throttled));
        assert!(provider.generate(&row(1)).await.is_ok());
        faulty.faults().reset_calls();
        faulty.faults().next(10, Fault::Fail(ErrorClass::Throttled));
        faulty.faults().always(Fault::Fail(failure));
        let start = Instant::now();
        assert_eq!(class(provider.generate(&row(1)).await), failure);
        let attempts = faulty.faults().calls("generate");
        match failure {
            // To the deadline, with pauses of 2 s at most.
            ErrorClass::Throttled => assert!(attempts > 30 && start.elapsed() > seconds(55), "{attempts}"),
            failure if failure.is_retryable() => assert_eq!(attempts, 13, "{failure}"),
            failure => assert_eq!(attempts, 11, "{failure}"),
        }
        assert!(start.elapsed() <= seconds(60), "{:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_crowd_outwaits_throttling_though_its_turns_look_too_far_off() {
    let (faulty, provider) = protected(outwaiting().with_concurrency(1_000, 0));
    faulty.faults().always(Fault::Fail(ErrorClass::Throttled));
    let call = || {
        let provider = provider.clone();
        tokio::spawn(async move { provider.generate(&row(1)).await.is_ok() })
    };
    let callers: Vec<_> = (0..1_000).map(|_| call()).collect();
    tokio::time::sleep(seconds(10)).await;
    faulty.faults().heal();
    for caller in callers {
        assert!(caller.await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn every_setting_can_be_turned_to_its_ends() {
    for options in [
        options().with_deadline(Duration::MAX).with_attempt_timeout(Duration::MAX),
        options().with_backoff(Duration::MAX, Duration::MAX),
        options().with_circuit(u32::MAX, Duration::MAX),
        options().with_circuit(1, Duration::MAX),
        options().with_concurrency(usize::MAX, usize::MAX),
        options().with_concurrency(0, 0),
        options().with_min_rate(f64::NAN),
        options().with_min_rate(f64::INFINITY),
        options().with_max_attempts(0),
        options().with_max_attempts(0).with_outwait_throttling(true),
        options().with_adaptive_rate(false),
    ] {
        let (faulty, provider) = protected(options);
        assert!(provider.generate(&row(1)).await.is_ok(), "{options:?}");
        faulty.faults().next(1, Fault::Fail(ErrorClass::Throttled));
        let _ = provider.generate(&row(1)).await;
        assert!(provider.generate(&row(1)).await.is_ok(), "{options:?}");
        faulty.faults().next(1, Fault::Fail(ErrorClass::Unavailable));
        let _ = tokio::time::timeout(seconds(5), provider.generate(&row(1))).await;
    }
}
