//! The cache over time: keys in use are fetched ahead, refusals drop cached keys, and outages are bridged for
//! a limited time.

use std::sync::Arc;
use std::time::Duration;

use envelope_core::{ErrorClass, KeyProvider, WrappedDataKey};
use kms_provider::{CacheOptions, Caching, Memory};
use test_support::faults::{Fault, FaultyProvider};
use tokio::time::{advance, sleep};

use crate::support::{claimed, class, context, row, within_async, wrapped};

type Faulty = Arc<FaultyProvider<Memory>>;

const OUTAGES: [ErrorClass; 3] = [ErrorClass::Unavailable, ErrorClass::Timeout, ErrorClass::Throttled];
const REFUSALS: [ErrorClass; 4] =
    [ErrorClass::Denied, ErrorClass::Disabled, ErrorClass::NotFound, ErrorClass::PendingDeletion];

fn options() -> CacheOptions {
    CacheOptions::default().with_remember_generated(false)
}

/// Keys live for 270 to 300 s; with this, each of them is due from the 240th second on, and fresh up to the 270th.
fn ahead() -> CacheOptions {
    options().with_refresh_ahead(seconds(60))
}

/// A cache over a key service that can be broken, and a data key that it has unwrapped.
async fn warm(options: CacheOptions) -> (Faulty, Arc<Caching>, WrappedDataKey) {
    let faulty = Arc::new(FaultyProvider::new(Memory::new()));
    let cache = Arc::new(Caching::with_options(faulty.clone(), options));
    let wrapped = wrapped(&*cache, &row(1)).await;
    cache.unwrap(&wrapped, &row(1)).await.unwrap();
    faulty.faults().reset_calls();
    (faulty, cache, wrapped)
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

/// Lets what runs in the background run.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_in_steady_use_is_fetched_ahead_so_that_no_read_waits_for_it() {
    let (faulty, cache, wrapped) = warm(options()).await;
    for _ in 0..3_600 {
        sleep(seconds(1)).await;
        assert!(cache.unwrap_cached(&wrapped, &row(1)).is_some());
    }
    let counts = cache.counts();
    assert_eq!(counts.misses, 1, "{counts:?}");
    assert_eq!(counts.refreshes, faulty.faults().calls("unwrap"));
    // Every 240 to 270 s, and up to a second later.
    assert!((13..=15).contains(&counts.refreshes), "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_not_read_near_its_end_is_not_fetched_ahead() {
    let (faulty, cache, wrapped) = warm(options()).await;
    sleep(seconds(200)).await;
    assert!(cache.unwrap_cached(&wrapped, &row(1)).is_some());
    sleep(seconds(400)).await;
    assert!(cache.unwrap_cached(&wrapped, &row(1)).is_none());
    assert_eq!(faulty.faults().calls("unwrap"), 0);
    let (faulty, cache, wrapped) = warm(options().with_refresh_ahead(Duration::ZERO)).await;
    sleep(seconds(268)).await;
    assert!(cache.unwrap_cached(&wrapped, &row(1)).is_some());
    settle().await;
    assert_eq!(faulty.faults().calls("unwrap"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_reads_near_the_end_make_one_fetch_and_wait_for_nothing() {
    let (faulty, cache, wrapped) = warm(ahead()).await;
    faulty.faults().always_for("unwrap", Fault::Hang);
    sleep(seconds(241)).await;
    for _ in 0..1_000 {
        assert!(cache.unwrap_cached(&wrapped, &row(1)).is_some());
        assert!(cache.unwrap(&wrapped, &row(1)).await.is_ok());
    }
    settle().await;
    assert_eq!(faulty.faults().calls("unwrap"), 1);
    assert_eq!(cache.counts().refreshes, 1);
}

#[tokio::test(start_paused = true)]
async fn fetching_ahead_is_bounded_however_many_keys_are_due() {
    let faulty = Arc::new(FaultyProvider::new(Memory::new()));
    let cache = Caching::with_options(faulty.clone(), ahead().with_remember_generated(true));
    let mut keys = Vec::new();
    for number in 0..200 {
        keys.push(wrapped(&cache, &row(number)).await);
    }
    faulty.faults().always_for("unwrap", Fault::Hang);
    advance(seconds(241)).await;
    for (number, key) in keys.iter().enumerate() {
        assert!(cache.unwrap_cached(key, &row(number)).is_some());
    }
    settle().await;
    assert_eq!(faulty.faults().calls("unwrap"), 20);
    // Those that hang are given up, and their places are free again.
    sleep(seconds(21)).await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_failed_fetch_ahead_takes_nothing_away_in_an_outage_and_everything_after_a_refusal() {
    for outage in OUTAGES {
        let (faulty, cache, wrapped) = warm(ahead()).await;
        faulty.faults().always_for("unwrap", Fault::Fail(outage));
        sleep(seconds(241)).await;
        for _ in 0..4 {
            assert!(cache.unwrap_cached(&wrapped, &row(1)).is_some(), "its time lasts");
            sleep(seconds(1)).await;
        }
        assert!(cache.counts().load_failures >= 3, "{:?}", cache.counts());
        sleep(seconds(60)).await;
        assert_eq!(class(cache.unwrap(&wrapped, &row(1)).await), outage);
    }
    for refusal in REFUSALS {
        let (faulty, cache, wrapped) = warm(ahead()).await;
        faulty.faults().always_for("unwrap", Fault::Fail(refusal));
        sleep(seconds(241)).await;
        assert!(cache.unwrap_cached(&wrapped, &row(1)).is_some());
        settle().await;
        assert_eq!(class(cache.unwrap(&wrapped, &row(1)).await), refusal, "the newer word counts");
    }
}

#[tokio::test(start_paused = true)]
async fn expired_keys_serve_through_an_outage_if_asked_to_and_only_up_to_the_end() {
    for outage in OUTAGES {
        let (faulty, cache, wrapped) = warm(options().with_stale_for(seconds(600))).await;
        faulty.faults().always_for("unwrap", Fault::Fail(outage));
        sleep(seconds(310)).await;
        assert!(cache.unwrap_cached(&wrapped, &row(1)).is_none(), "asked first");
        for _ in 0..10 {
            assert!(cache.unwrap(&wrapped, &row(1)).await.is_ok());
            sleep(seconds(50)).await;
        }
        assert_eq!(cache.counts().stale_served, 10);
        // 300 s of life, a tenth of it off at most, and 600 s more: it always ends there.
        sleep(seconds(95)).await;
        assert_eq!(class(cache.unwrap(&wrapped, &row(1)).await), outage);
    }
    let (faulty, cache, wrapped) = warm(options()).await;
    faulty.faults().always(Fault::Fail(ErrorClass::Unavailable));
    sleep(seconds(310)).await;
    assert_eq!(class(cache.unwrap(&wrapped, &row(1)).await), ErrorClass::Unavailable, "off by default");
}

#[tokio::test(start_paused = true)]
async fn nothing_stale_is_served_after_a_refusal_not_even_in_an_outage_after_it() {
    for refusal in REFUSALS {
        let (faulty, cache, one) = warm(options().with_stale_for(seconds(6_000))).await;
        let other = wrapped(&*cache, &row(2)).await;
        cache.unwrap(&other, &row(2)).await.unwrap();
        let unnamed = claimed(&other, None);
        cache.unwrap(&unnamed, &row(2)).await.unwrap();
        sleep(seconds(310)).await;
        faulty.faults().next_for("unwrap", 1, Fault::Fail(refusal));
        assert_eq!(class(cache.unwrap(&one, &row(1)).await), refusal);
        // The refusal was about the key of them all.
        faulty.faults().always_for("unwrap", Fault::Fail(ErrorClass::Unavailable));
        assert_eq!(class(cache.unwrap(&one, &row(1)).await), ErrorClass::Unavailable);
        assert_eq!(class(cache.unwrap(&other, &row(2)).await), ErrorClass::Unavailable);
        assert_eq!(class(cache.unwrap(&unnamed, &row(2)).await), ErrorClass::Unavailable);
        assert_eq!(cache.counts().stale_served, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_found_disabled_when_sealing_serves_nothing_stale_either() {
    let (faulty, cache, wrapped) = warm(options().with_stale_for(seconds(6_000))).await;
    sleep(seconds(310)).await;
    faulty.faults().next(1, Fault::Fail(ErrorClass::Disabled));
    assert!(cache.generate(&row(1)).await.is_err());
    faulty.faults().always(Fault::Fail(ErrorClass::Unavailable));
    assert_eq!(class(cache.unwrap(&wrapped, &row(1)).await), ErrorClass::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn permanent_refusals_are_remembered_briefly_if_asked_to_and_nothing_else_is() {
    let permanent = [
        ErrorClass::NotFound,
        ErrorClass::Disabled,
        ErrorClass::PendingDeletion,
        ErrorClass::ContextMismatchOrCorrupt,
    ];
    for failure in ErrorClass::ALL {
        // An hour is configured, and the maximum is five seconds.
        let (faulty, cache, _) = warm(options().with_negative_ttl(seconds(3_600))).await;
        let wrapped = wrapped(&*cache, &row(2)).await;
        faulty.faults().always_for("unwrap", Fault::Fail(failure));
        for _ in 0..10 {
            assert_eq!(class(cache.unwrap(&wrapped, &row(2)).await), failure);
        }
        let calls = if permanent.contains(&failure) { 1 } else { 10 };
        assert_eq!(faulty.faults().calls("unwrap"), calls, "{failure}");
        faulty.faults().heal();
        sleep(seconds(5)).await;
        assert!(cache.unwrap(&wrapped, &row(2)).await.is_ok(), "{failure} has passed");
    }
}

#[tokio::test]
async fn a_remembered_refusal_is_of_this_value_in_this_context_alone_and_ends_with_invalidation() {
    let (faulty, cache, wrapped) = warm(options().with_negative_ttl(seconds(5))).await;
    let elsewhere = context(&[("row", "elsewhere")]);
    for _ in 0..2 {
        let refused = cache.unwrap(&wrapped, &elsewhere).await;
        assert_eq!(class(refused), ErrorClass::ContextMismatchOrCorrupt);
    }
    assert!(cache.unwrap(&wrapped, &row(1)).await.is_ok());
    assert_eq!((faulty.faults().calls("unwrap"), cache.counts().refused_again), (1, 1));
    cache.invalidate_all();
    assert!(cache.unwrap(&wrapped, &elsewhere).await.is_err());
    assert_eq!(faulty.faults().calls("unwrap"), 2);
}

#[tokio::test]
async fn one_key_of_the_service_can_be_invalidated_and_the_others_stay() {
    let memory = Arc::new(Memory::new());
    let cache = Caching::new(memory.clone());
    let old = cache.generate(&row(1)).await.unwrap().wrapped;
    let new_id = memory.rotate();
    let new = cache.generate(&row(2)).await.unwrap().wrapped;
    cache.invalidate_key(old.key_id().unwrap());
    for key_id in [old.key_id(), None] {
        assert!(cache.unwrap_cached(&claimed(&old, key_id), &row(1)).is_none());
    }
    assert_eq!(new.key_id(), Some(&*new_id));
    for key_id in [new.key_id(), None] {
        assert!(cache.unwrap_cached(&claimed(&new, key_id), &row(2)).is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_fetch_under_way_when_its_key_is_invalidated_leaves_nothing() {
    let (faulty, cache, _) = warm(options()).await;
    for invalidate in
        [(|cache: &Caching| cache.invalidate_all()) as fn(&Caching), |cache| cache.invalidate_key("memory:1")]
    {
        let wrapped = wrapped(&*cache, &row(2)).await;
        faulty.faults().reset_calls();
        faulty.faults().always_for("unwrap", Fault::Hold);
        let read = tokio::spawn({
            let (cache, wrapped) = (cache.clone(), wrapped.clone());
            async move { cache.unwrap(&wrapped, &row(2)).await.is_ok() }
        });
        faulty.faults().wait_for_calls("unwrap", 1).await;
        invalidate(&cache);
        let later = tokio::spawn({
            let (cache, wrapped) = (cache.clone(), wrapped.clone());
            async move { cache.unwrap(&wrapped, &row(2)).await.is_ok() }
        });
        faulty.faults().wait_for_calls("unwrap", 2).await;
        later.abort();
        settle().await;
        faulty.faults().heal();
        assert!(read.await.unwrap(), "the waiting callers have the answer");
        assert!(cache.unwrap_cached(&wrapped, &row(2)).is_none());
    }
}

#[tokio::test]
async fn memory_is_bounded_in_bytes_as_well_as_in_number() {
    let options = CacheOptions::default().with_max_bytes(1 << 20).with_max_entries(10_000);
    let faulty = Arc::new(FaultyProvider::new(Memory::new()));
    let cache = Caching::with_options(faulty, options);
    let long = "x".repeat(7_000);
    for number in 0..500 {
        let context = context(&[("long", &long), ("row", &number.to_string())]);
        cache.generate(&context).await.unwrap();
    }
    within_async(seconds(5), "no more is kept than fits", || cache.len() <= (1 << 20) / 8_000).await;
    assert!(cache.len() > 50, "{}", cache.len());
}

#[tokio::test]
async fn a_cache_for_nothing_and_one_for_ever_both_work() {
    for options in [
        options().with_max_entries(0),
        options().with_max_bytes(0),
        options().with_ttl(Duration::ZERO),
        options().with_ttl(Duration::MAX).with_stale_for(Duration::MAX).with_refresh_ahead(Duration::MAX),
        options().with_max_entries(u64::MAX).with_max_bytes(u64::MAX),
    ] {
        let (_, cache, wrapped) = warm(options).await;
        for _ in 0..3 {
            assert!(cache.unwrap(&wrapped, &row(1)).await.is_ok(), "{options:?}");
        }
    }
}
