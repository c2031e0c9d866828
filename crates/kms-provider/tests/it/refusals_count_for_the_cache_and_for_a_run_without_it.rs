//! Refusals that a run without the cache meets count for the cache, and those that are remembered spare the run a call.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use envelope_core::provider::{GeneratedDataKey, KeyDescription};
use envelope_core::{DataKey, EncryptionContext, ErrorClass, KeyError, KeyProvider, WrappedDataKey};
use kms_provider::{CacheOptions, Caching, Memory};
use test_support::faults::{Fault, FaultyProvider};

use crate::support::{class, row, within_async, wrapped};

const FIVE_SECONDS: Duration = Duration::from_secs(5);

/// A cache over a key service that can be broken.
fn breakable(options: CacheOptions) -> (Arc<FaultyProvider<Memory>>, Caching) {
    let faulty = Arc::new(FaultyProvider::new(Memory::new()));
    (faulty.clone(), Caching::with_options(faulty, options))
}

#[tokio::test]
async fn a_key_that_is_refused_without_the_cache_is_dropped_from_it() {
    let (faulty, cache) = breakable(CacheOptions::default());
    let wrapped = wrapped(&cache, &row(1)).await;
    assert!(cache.unwrap_cached(&wrapped, &row(1)).is_some());
    faulty.faults().next_for("unwrap", 1, Fault::Fail(ErrorClass::Throttled));
    assert_eq!(class(cache.uncached().unwrap(&wrapped, &row(1)).await), ErrorClass::Throttled);
    assert!(cache.unwrap_cached(&wrapped, &row(1)).is_some(), "no refusal");
    faulty.faults().next_for("unwrap", 1, Fault::Fail(ErrorClass::Denied));
    assert_eq!(class(cache.uncached().unwrap(&wrapped, &row(1)).await), ErrorClass::Denied);
    assert!(cache.unwrap_cached(&wrapped, &row(1)).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_key_of_the_service_that_is_refused_without_the_cache_serves_nothing_stale() {
    let (faulty, cache) = breakable(CacheOptions::default().with_stale_for(Duration::from_secs(6_000)));
    let (one, other) = (wrapped(&cache, &row(1)).await, wrapped(&cache, &row(2)).await);
    tokio::time::sleep(Duration::from_secs(310)).await;
    faulty.faults().always_for("unwrap", Fault::Fail(ErrorClass::Unavailable));
    assert!(cache.unwrap(&other, &row(2)).await.is_ok(), "stale");
    faulty.faults().heal();
    faulty.faults().next_for("unwrap", 1, Fault::Fail(ErrorClass::Disabled));
    assert_eq!(class(cache.uncached().unwrap(&one, &row(1)).await), ErrorClass::Disabled);
    faulty.faults().always_for("unwrap", Fault::Fail(ErrorClass::Unavailable));
    assert_eq!(class(cache.unwrap(&other, &row(2)).await), ErrorClass::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_remembered_refusal_answers_with_and_without_the_cache() {
    let (faulty, cache) = breakable(CacheOptions::default().with_negative_ttl(FIVE_SECONDS));
    let (one, other) = (wrapped(&cache, &row(1)).await, wrapped(&cache, &row(2)).await);
    cache.invalidate_all();
    faulty.faults().always_for("unwrap", Fault::Fail(ErrorClass::Disabled));
    // The first of either side calls, and the other side has its answer.
    assert_eq!(class(cache.uncached().unwrap(&one, &row(1)).await), ErrorClass::Disabled);
    assert_eq!(class(cache.unwrap(&one, &row(1)).await), ErrorClass::Disabled);
    assert_eq!(class(cache.unwrap(&other, &row(2)).await), ErrorClass::Disabled);
    assert_eq!(class(cache.uncached().unwrap(&other, &row(2)).await), ErrorClass::Disabled);
    let counts = cache.counts();
    assert_eq!((faulty.faults().calls("unwrap"), counts.refused_again), (2, 2));
    assert_eq!((counts.misses, counts.loads, counts.load_failures), (2, 2, 2));
}

/// Refuses every data key with an error that holds something.
struct Refusing(std::sync::Mutex<Weak<Held>>);

#[derive(Debug, thiserror::Error)]
#[error("held")]
struct Held;

#[async_trait]
impl KeyProvider for Refusing {
    async fn generate(&self, _: &EncryptionContext) -> Result<GeneratedDataKey, KeyError> {
        unreachable!("nothing is sealed")
    }

    async fn unwrap(&self, _: &WrappedDataKey, _: &EncryptionContext) -> Result<Arc<DataKey>, KeyError> {
        let held = Arc::new(Held);
        *self.0.lock().unwrap() = Arc::downgrade(&held);
        Err(KeyError::new(ErrorClass::Disabled, "disabled").with_source(held))
    }

    async fn rewrap(&self, _: &WrappedDataKey, _: &EncryptionContext) -> Result<WrappedDataKey, KeyError> {
        unreachable!("nothing is re-wrapped")
    }

    async fn describe(&self) -> Result<KeyDescription, KeyError> {
        unreachable!("nothing is described")
    }
}

#[tokio::test]
async fn a_remembered_refusal_is_dropped_within_seconds_without_any_read() {
    for uncached in [false, true] {
        let refusing = Arc::new(Refusing(Default::default()));
        let options = CacheOptions::default().with_negative_ttl(Duration::from_millis(500));
        let cache = Caching::with_options(refusing.clone(), options);
        let wrapped = wrapped(&Memory::new(), &row(1)).await;
        let refused = match uncached {
            true => cache.uncached().unwrap(&wrapped, &row(1)).await,
            false => cache.unwrap(&wrapped, &row(1)).await,
        };
        assert_eq!(class(refused), ErrorClass::Disabled);
        let held = refusing.0.lock().unwrap().clone();
        assert!(held.upgrade().is_some(), "it is remembered");
        within_async(FIVE_SECONDS, "it is dropped", || held.strong_count() == 0).await;
    }
}
