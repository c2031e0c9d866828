//! The cache: one call for many, nothing remembered that should not be, nothing kept longer than promised.

use std::sync::{Arc, Weak};
use std::time::Duration;

use envelope_core::{DataKey, ErrorClass, KeyProvider};
use kms_provider::{CacheOptions, Caching, Counting, Memory};
use test_support::faults::{Fault, FaultyProvider};

use crate::support::{claimed, class, row, shared, within, within_async, wrapped};

type Faulty = Arc<FaultyProvider<Memory>>;

/// A cache over a key service that can be broken.
fn breakable() -> (Faulty, Arc<Caching>) {
    let faulty = Arc::new(FaultyProvider::new(Memory::new()));
    let cache = Caching::with_options(faulty.clone(), CacheOptions::default().with_remember_generated(false));
    (faulty, Arc::new(cache))
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_concurrent_cold_reads_make_one_call() {
    let (faulty, cache) = breakable();
    let wrapped = wrapped(&*cache, &row(1)).await;
    faulty.faults().always_for("unwrap", Fault::Hold);
    let read = || {
        let (cache, wrapped) = (cache.clone(), wrapped.clone());
        tokio::spawn(async move { cache.unwrap(&wrapped, &row(1)).await })
    };
    let readers: Vec<_> = (0..1_000).map(|_| read()).collect();
    within_async(seconds(30), "every caller waits", || cache.counts().misses == 1_000).await;
    faulty.faults().heal();
    let mut keys = Vec::new();
    for reader in readers {
        keys.push(reader.await.unwrap().unwrap());
    }
    assert!(keys.iter().all(|key| Arc::ptr_eq(key, &keys[0])));
    assert_eq!(faulty.faults().calls("unwrap"), 1);
    assert_eq!(cache.counts().loads, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_leader_strands_no_caller_and_costs_no_second_call() {
    let (faulty, cache) = breakable();
    let wrapped = wrapped(&*cache, &row(1)).await;
    faulty.faults().always_for("unwrap", Fault::Hold);
    let read = || {
        let (cache, wrapped) = (cache.clone(), wrapped.clone());
        tokio::spawn(async move { cache.unwrap(&wrapped, &row(1)).await })
    };
    let leader = read();
    faulty.faults().wait_for_calls("unwrap", 1).await;
    let followers: Vec<_> = (0..500).map(|_| read()).collect();
    within_async(seconds(30), "every caller waits", || cache.counts().misses == 501).await;
    leader.abort();
    assert!(leader.await.is_err_and(|error| error.is_cancelled()));
    // The caller that drives the call next is cancelled too, and so are most of the others.
    let (gone, staying) = followers.split_at(499);
    for follower in gone {
        follower.abort();
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    faulty.faults().heal();
    assert_eq!(staying.len(), 1);
    within_async(seconds(30), "the last one has an answer", || staying[0].is_finished()).await;
    for follower in followers {
        assert!(!matches!(follower.await, Ok(Err(_))));
    }
    assert_eq!(faulty.faults().calls("unwrap"), 1);
}

#[tokio::test]
async fn a_call_without_waiting_callers_is_dropped_and_the_next_caller_starts_another() {
    let (faulty, cache) = breakable();
    let wrapped = wrapped(&*cache, &row(1)).await;
    faulty.faults().next_for("unwrap", 1, Fault::Hang);
    let context = row(1);
    let waiting = tokio::time::timeout(Duration::from_millis(20), cache.unwrap(&wrapped, &context));
    assert!(waiting.await.is_err());
    assert!(cache.unwrap(&wrapped, &row(1)).await.is_ok());
    assert_eq!(faulty.faults().calls("unwrap"), 2);
}

#[tokio::test]
async fn a_failure_is_not_remembered_and_every_waiting_caller_gets_it() {
    let (faulty, cache) = breakable();
    let wrapped = wrapped(&*cache, &row(1)).await;
    for failure in ErrorClass::ALL {
        faulty.faults().reset_calls();
        faulty.faults().next_for("unwrap", 1, Fault::Fail(failure));
        let context = row(1);
        let both = (cache.unwrap(&wrapped, &context), cache.unwrap(&wrapped, &context));
        let (one, two) = futures_util::future::join(both.0, both.1).await;
        assert_eq!(class(one), failure);
        // The fault returns at once, so the second may have come too late to share it.
        assert!(two.is_ok() || class(two) == failure);
        assert!(cache.unwrap(&wrapped, &row(1)).await.is_ok(), "{failure} is remembered");
        cache.invalidate_all();
    }
}

#[tokio::test]
async fn a_hit_never_skips_the_check_of_context_claim_or_bytes() {
    let memory = Arc::new(Counting::new(shared(Memory::new())));
    let cache = Caching::new(memory.clone());
    let made = cache.generate(&row(1)).await.unwrap();
    assert!(cache.unwrap(&made.wrapped, &row(1)).await.is_ok());
    assert_eq!(memory.counts().unwrap, 0, "generated keys are kept");
    for _ in 0..2 {
        assert_eq!(class(cache.unwrap(&made.wrapped, &row(2)).await), ErrorClass::ContextMismatchOrCorrupt);
        let foreign = claimed(&made.wrapped, Some("memory:2"));
        assert_eq!(class(cache.unwrap(&foreign, &row(1)).await), ErrorClass::WrongKey);
        assert!(cache.unwrap_cached(&made.wrapped, &row(2)).is_none());
        assert!(cache.unwrap_cached(&foreign, &row(1)).is_none());
    }
    assert_eq!(memory.counts().unwrap, 4, "refusals are not remembered");
    assert!(cache.unwrap_cached(&made.wrapped, &row(1)).is_some());
}

#[test]
fn an_expired_key_is_dropped_within_seconds_without_being_asked_even_after_its_runtime_ended() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cache = Caching::with_options(
        shared(Memory::new()),
        CacheOptions::default().with_ttl(Duration::from_millis(300)),
    );
    let (generated, unwrapped) = runtime.block_on(async {
        let generated = cache.generate(&row(1)).await.unwrap();
        // Unwrapped again through the cache, not put there by `generate`.
        cache.invalidate_all();
        let unwrapped = cache.unwrap(&generated.wrapped, &row(1)).await.unwrap();
        (weak(&generated.key.0), weak(&unwrapped))
    });
    drop(runtime);
    assert!(unwrapped.upgrade().is_some(), "the cache keeps it");
    within(seconds(5), "the expired keys are dropped", || {
        generated.strong_count() == 0 && unwrapped.strong_count() == 0
    });
    assert!(cache.counts().evictions >= 1);
}

#[tokio::test]
async fn many_expired_keys_are_all_dropped_within_seconds() {
    let cache = Caching::with_options(
        shared(Memory::new()),
        CacheOptions::default().with_ttl(Duration::from_millis(500)),
    );
    let mut keys = Vec::new();
    for number in 0..3_000 {
        keys.push(weak(&cache.generate(&row(number)).await.unwrap().key.0));
    }
    within_async(seconds(8), "all of them are dropped", || keys.iter().all(|key| key.strong_count() == 0))
        .await;
    assert!(cache.is_empty());
}

#[tokio::test]
async fn invalidation_forgets_at_once_and_wipes_within_seconds() {
    let memory = Arc::new(Counting::new(shared(Memory::new())));
    let cache = Caching::new(memory.clone());
    let made = cache.generate(&row(1)).await.unwrap();
    let key = weak(&made.key.0);
    let wrapped = made.wrapped.clone();
    drop(made);
    assert!(key.upgrade().is_some());
    cache.invalidate_all();
    assert!(cache.unwrap_cached(&wrapped, &row(1)).is_none());
    within_async(seconds(5), "the key is dropped", || key.strong_count() == 0).await;
    cache.unwrap(&wrapped, &row(1)).await.unwrap();
    assert_eq!(memory.counts().unwrap, 1);
}

#[tokio::test]
async fn a_dropped_cache_drops_its_keys() {
    let cache = Caching::new(shared(Memory::new()));
    let key = weak(&cache.generate(&row(1)).await.unwrap().key.0);
    assert!(key.upgrade().is_some());
    drop(cache);
    within_async(seconds(5), "the key is dropped", || key.strong_count() == 0).await;
}

#[tokio::test]
async fn the_number_of_keys_is_bounded() {
    let options = CacheOptions::default().with_max_entries(100);
    let cache = Caching::with_options(shared(Memory::new()), options);
    for number in 0..2_000 {
        cache.generate(&row(number)).await.unwrap();
    }
    within_async(seconds(5), "the rest is dropped", || cache.len() <= 100).await;
    assert!(cache.len() > 90, "{}", cache.len());
    assert!(cache.counts().evictions >= 1_900);
}

#[tokio::test]
async fn a_generated_key_is_found_with_and_without_its_key_id() {
    let memory = Arc::new(Memory::new());
    let cache = Caching::new(memory.clone());
    let made = cache.generate(&row(1)).await.unwrap();
    for key_id in [made.wrapped.key_id(), None] {
        assert!(cache.unwrap_cached(&claimed(&made.wrapped, key_id), &row(1)).is_some());
    }
    let without = Caching::with_options(memory, CacheOptions::default().with_remember_generated(false));
    let made = without.generate(&row(1)).await.unwrap();
    assert!(without.unwrap_cached(&made.wrapped, &row(1)).is_none());
}

#[tokio::test]
async fn nine_in_ten_reads_of_a_realistic_mix_are_hits() {
    let memory = Arc::new(Counting::new(shared(Memory::new())));
    let cache = Caching::with_options(memory.clone(), CacheOptions::default().with_max_entries(1_000));
    let mut rows = Vec::new();
    for number in 0..2_000 {
        rows.push(wrapped(&*memory, &row(number)).await);
    }
    // Four reads in five are of a tenth of the rows; the steps are coprime to the lengths, so all rows come up.
    for read in 0..40_000_usize {
        let number = if read % 5 == 0 { (read * 7) % 2_000 } else { (read * 11) % 200 };
        cache.unwrap(&rows[number], &row(number)).await.unwrap();
    }
    let counts = cache.counts();
    assert!(counts.hits * 10 > (counts.hits + counts.misses) * 9, "{counts:?}");
    assert_eq!(counts.loads, memory.counts().unwrap);
}

#[tokio::test]
async fn values_that_the_key_service_opened_are_never_kept() {
    let memory = Arc::new(Memory::new());
    let cache = Caching::new(memory.clone());
    let sealed = memory.encrypt_direct(b"token", &row(1));
    for _ in 0..2 {
        cache.decrypt(&sealed, Some("memory:1"), &row(1)).await.unwrap();
    }
    assert_eq!(memory.counts().decrypt, 2);
}

fn weak(key: &Arc<DataKey>) -> Weak<DataKey> {
    Arc::downgrade(key)
}
