//! Reuse of data keys: bounded by messages, bytes and age, exactly and under any concurrency.

use std::sync::Arc;
use std::time::Duration;

use envelope_core::conformance::same_key;
use envelope_core::{Binding, EnvelopeFormat, ErrorClass, KeyProvider, Sealer};
use kms_provider::{Counting, Memory, Reuse, ReuseLimits};
use test_support::faults::{Fault, FaultyProvider};

use crate::support::{class, row, shared, within_async};

type Faulty = Arc<FaultyProvider<Memory>>;

fn reusing(limits: &str) -> (Faulty, Arc<Reuse>) {
    let faulty = Arc::new(FaultyProvider::new(Memory::new()));
    let reuse = Reuse::new(faulty.clone(), limits.parse().unwrap());
    (faulty, Arc::new(reuse))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn m_seals_make_exactly_the_calls_that_n_messages_a_key_need() {
    for (seals, messages) in [(1_000_u64, 7_u64), (1_000, 1_000), (1_001, 1_000), (500, 1), (64, 2)] {
        let (faulty, reuse) = reusing(&format!("messages={messages}"));
        faulty.faults().always_for("generate", Fault::Delay(Duration::from_millis(2)));
        let seal = |number: u64| {
            let reuse = reuse.clone();
            let len = usize::try_from(number % 100).unwrap();
            tokio::spawn(async move { reuse.generate_shared(&row(1), len).await.unwrap().wrapped })
        };
        let mut served = std::collections::HashMap::<_, u64>::new();
        for seal in (0..seals).map(seal).collect::<Vec<_>>() {
            *served.entry(seal.await.unwrap().bytes().to_vec()).or_default() += 1;
        }
        assert_eq!(faulty.faults().calls("generate"), seals.div_ceil(messages), "{seals} by {messages}");
        assert!(served.values().all(|count| *count <= messages));
    }
}

#[tokio::test]
async fn the_sealer_reuses_for_version_3_and_never_for_version_2() {
    let base = vec![("Application".to_owned(), "test".to_owned())];
    for (format, calls) in [(EnvelopeFormat::V3, 3), (EnvelopeFormat::V2, 30)] {
        let counting = Arc::new(Counting::new(shared(Memory::new())));
        let reuse = Reuse::new(counting.clone(), "messages=10".parse().unwrap());
        let sealer = Sealer::new(Arc::new(reuse), base.clone()).unwrap();
        let sealer = sealer.with_writing(format);
        for number in 0..30 {
            let binding = Binding::new("tokens", "access_token").key("id", number.to_string());
            let sealed = sealer.seal("token", &binding).await.unwrap();
            let opened = sealer.open(&sealed.text, sealed.key_id.as_deref(), &binding).await;
            assert!(opened.unwrap().bound);
        }
        assert_eq!(counting.counts().generate, calls, "{format:?}");
    }
}

#[tokio::test]
async fn generate_is_never_shared_and_off_is_off() {
    let (faulty, reuse) = reusing("messages=1000");
    let (off, without) = reusing("off");
    for _ in 0..10 {
        reuse.generate(&row(1)).await.unwrap();
        without.generate_shared(&row(1), 1).await.unwrap();
    }
    assert_eq!(faulty.faults().calls("generate"), 10);
    assert_eq!(off.faults().calls("generate"), 10);
    assert_eq!(Reuse::new(shared(Memory::new()), ReuseLimits::default()).limits(), ReuseLimits::OFF);
}

#[tokio::test]
async fn each_context_has_its_own_key() {
    let (_, reuse) = reusing("messages=1000");
    let one = reuse.generate_shared(&row(1), 1).await.unwrap();
    let same = reuse.generate_shared(&row(1), 1).await.unwrap();
    let other = reuse.generate_shared(&row(2), 1).await.unwrap();
    assert!(same_key(&one.key.0, &same.key.0));
    assert!(!same_key(&one.key.0, &other.key.0));
    assert!(reuse.unwrap(&same.wrapped, &row(1)).await.is_ok());
    assert_eq!(class(reuse.unwrap(&same.wrapped, &row(2)).await), ErrorClass::ContextMismatchOrCorrupt);
}

#[tokio::test]
async fn bytes_are_a_bound_too_and_a_message_over_it_has_a_key_of_its_own() {
    let (faulty, reuse) = reusing("messages=1000,bytes=1KiB");
    for _ in 0..8 {
        reuse.generate_shared(&row(1), 256).await.unwrap();
    }
    assert_eq!(faulty.faults().calls("generate"), 2);
    reuse.generate_shared(&row(1), 512).await.unwrap();
    let large = reuse.generate_shared(&row(1), 1_025).await.unwrap();
    let small = reuse.generate_shared(&row(1), 512).await.unwrap();
    assert!(!same_key(&large.key.0, &small.key.0));
    assert_eq!(faulty.faults().calls("generate"), 4);
}

#[tokio::test(start_paused = true)]
async fn at_its_age_the_next_key_is_fetched() {
    let (faulty, reuse) = reusing("messages=1000,age=5m");
    reuse.generate_shared(&row(1), 1).await.unwrap();
    tokio::time::advance(Duration::from_secs(299)).await;
    reuse.generate_shared(&row(1), 1).await.unwrap();
    assert_eq!(faulty.faults().calls("generate"), 1);
    tokio::time::advance(Duration::from_secs(1)).await;
    reuse.generate_shared(&row(1), 1).await.unwrap();
    assert_eq!(faulty.faults().calls("generate"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_caller_strands_no_other_and_costs_no_second_call() {
    let (faulty, reuse) = reusing("messages=1000");
    faulty.faults().always_for("generate", Fault::Hold);
    let seal = || {
        let reuse = reuse.clone();
        tokio::spawn(async move { reuse.generate_shared(&row(1), 1).await })
    };
    let leader = seal();
    faulty.faults().wait_for_calls("generate", 1).await;
    let followers: Vec<_> = (0..100).map(|_| seal()).collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    leader.abort();
    assert!(leader.await.is_err_and(|error| error.is_cancelled()));
    faulty.faults().heal();
    for follower in followers {
        assert!(follower.await.unwrap().is_ok());
    }
    assert_eq!(faulty.faults().calls("generate"), 1);
}

#[tokio::test]
async fn a_failure_goes_to_every_waiting_caller_and_is_not_remembered() {
    let (faulty, reuse) = reusing("messages=1000");
    for failure in ErrorClass::ALL {
        faulty.faults().next(1, Fault::Fail(failure));
        assert_eq!(class(reuse.generate_shared(&row(1), 1).await), failure);
    }
    assert!(reuse.generate_shared(&row(1), 1).await.is_ok());
    faulty.faults().always(Fault::Fail(ErrorClass::Unavailable));
    assert!(reuse.generate_shared(&row(1), 1).await.is_ok(), "a held key needs no call");
}

#[tokio::test]
async fn a_forgotten_or_used_up_key_is_wiped_and_an_old_one_within_seconds_without_being_asked() {
    let (faulty, reuse) = reusing("messages=2,age=1s");
    let weak = |made: envelope_core::provider::GeneratedDataKey| Arc::downgrade(&made.key.0);
    let used_up = weak(reuse.generate_shared(&row(1), 1).await.unwrap());
    assert_eq!(used_up.strong_count(), 1);
    drop(reuse.generate_shared(&row(1), 1).await.unwrap());
    assert_eq!(used_up.strong_count(), 0);
    let forgotten = weak(reuse.generate_shared(&row(1), 1).await.unwrap());
    reuse.forget();
    assert_eq!(forgotten.strong_count(), 0);
    let old = weak(reuse.generate_shared(&row(1), 1).await.unwrap());
    within_async(Duration::from_secs(5), "the old key is dropped", || old.strong_count() == 0).await;
    assert_eq!(faulty.faults().calls("generate"), 3);
}

#[tokio::test]
async fn a_fetch_that_was_under_way_when_everything_was_forgotten_leaves_no_key() {
    let (faulty, reuse) = reusing("messages=1000");
    faulty.faults().next(1, Fault::Hold);
    let seal = tokio::spawn({
        let reuse = reuse.clone();
        async move { reuse.generate_shared(&row(1), 1).await }
    });
    faulty.faults().wait_for_calls("generate", 1).await;
    reuse.forget();
    faulty.faults().heal();
    assert!(seal.await.unwrap().is_ok());
    assert_eq!(faulty.faults().calls("generate"), 2);
}

#[tokio::test]
async fn the_number_of_contexts_is_bounded() {
    let (_, reuse) = reusing("messages=1000");
    let first = Arc::downgrade(&reuse.generate_shared(&row(0), 1).await.unwrap().key.0);
    for number in 1..1_500 {
        reuse.generate_shared(&row(number), 1).await.unwrap();
    }
    assert_eq!(first.strong_count(), 0, "the oldest goes first");
}
