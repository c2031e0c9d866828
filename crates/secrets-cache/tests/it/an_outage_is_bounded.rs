//! While the source is not answering the last value is served, for a time that ends, and never after a denial.

use std::time::Duration;

use secrets_cache::cache::Builder;
use secrets_cache::{SecretSource, SecretsCache, SourceError};

use crate::support::{Flaky, denied, new, outage, text};

const TTL: Duration = Duration::from_millis(100);

fn builder(source: &std::sync::Arc<Flaky>) -> Builder {
    SecretsCache::builder(source.clone())
        .ttl(TTL)
        .jitter(0.0)
        .early_refresh(0.0)
        .stale_retry(Duration::from_millis(50))
        .max_stale(Duration::from_millis(500))
        .retry(1, Duration::ZERO, Duration::from_secs(2))
}

#[tokio::test]
async fn stale_values_have_an_absolute_end() {
    let source = Flaky::with(&[("a", "1")]).await;
    let cache = builder(&source).build();
    let begin = std::time::Instant::now();
    cache.get("a").await.unwrap();
    source.fail(outage());
    let mut served = 0;
    let end = loop {
        match cache.get("a").await {
            Ok(_) => served += 1,
            Err(_) => break begin.elapsed(),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert!(served > 5);
    assert!((550..900).contains(&end.as_millis()), "stale values were served for {end:?}");
    assert!(source.gets() < 20, "a failing source is asked now and then: {} times", source.gets());
    source.heal();
    assert_eq!(text(&cache.get("a").await.unwrap()), "1");
}

#[tokio::test]
async fn nothing_is_served_after_a_denial() {
    let source = Flaky::with(&[("a", "1")]).await;
    let cache = builder(&source).build();
    cache.get("a").await.unwrap();
    tokio::time::sleep(TTL * 2).await;
    source.fail(denied());
    assert!(matches!(cache.get("a").await, Err(SourceError::Denied { .. })));
    source.fail(outage());
    assert!(matches!(cache.get("a").await, Err(SourceError::Unavailable { .. })));
}

#[tokio::test]
async fn a_denied_forced_read_ends_a_value_within_its_time_too() {
    let source = Flaky::with(&[("a", "1")]).await;
    let cache = builder(&source).ttl(Duration::from_secs(60)).build();
    cache.get("a").await.unwrap();
    source.fail(outage());
    cache.get_fresh("a").await.unwrap_err();
    assert_eq!(text(&cache.get("a").await.unwrap()), "1", "an outage says nothing about the value");
    source.fail(denied());
    cache.get_fresh("a").await.unwrap_err();
    assert!(matches!(cache.get("a").await, Err(SourceError::Denied { .. })));
}

#[tokio::test]
async fn an_expired_secret_is_not_served_for_longer_by_the_cache() {
    let source = Flaky::with(&[]).await;
    let expires = time::OffsetDateTime::now_utc() + Duration::from_millis(300);
    source.put(&new("a", "1").with_expiry(expires)).await.unwrap();
    let cache = builder(&source).ttl(Duration::from_secs(60)).build();
    cache.get("a").await.unwrap();
    source.fail(outage());
    tokio::time::sleep(Duration::from_millis(400)).await;
    cache.get("a").await.unwrap_err();
    source.heal();
    assert!(matches!(cache.get("a").await, Err(SourceError::Expired { .. })));
}

#[tokio::test]
async fn requests_are_repeated_only_where_that_helps_and_only_so_long() {
    let source = Flaky::with(&[]).await;
    let cache = builder(&source).retry(4, Duration::from_millis(10), Duration::from_secs(5)).build();
    source.fail(outage());
    cache.get("a").await.unwrap_err();
    assert_eq!(source.gets(), 4);
    source.fail(denied());
    cache.get("a").await.unwrap_err();
    assert_eq!(source.gets(), 5);
    source.dawdle(Duration::from_secs(60));
    let cache = builder(&source).retry(4, Duration::from_millis(10), Duration::from_millis(200)).build();
    let begin = std::time::Instant::now();
    assert!(matches!(cache.get("a").await, Err(SourceError::Timeout { .. })));
    assert!(begin.elapsed() < Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_readers_come_through_an_outage_and_back() {
    let source = Flaky::with(&[("a", "1"), ("b", "2")]).await;
    let cache = builder(&source).max_stale(Duration::from_secs(30)).build();
    cache.get_many(&["a", "b"]).await;
    source.fail(outage());
    source.dawdle(Duration::from_millis(20));
    let readers: Vec<_> = (0..100)
        .map(|n| {
            let cache = cache.clone();
            tokio::spawn(async move {
                for _ in 0..50 {
                    cache.get(["a", "b"][n % 2]).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            })
        })
        .collect();
    for reader in readers {
        reader.await.unwrap();
    }
    source.heal();
    source.put(&new("a", "3")).await.unwrap();
    tokio::time::sleep(TTL * 2).await;
    assert_eq!(text(&cache.get("a").await.unwrap()), "3");
}
