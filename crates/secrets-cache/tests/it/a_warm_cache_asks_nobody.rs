//! Reads within the time to live cost no call, however many there are, and values leave memory when they should.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use secrets_cache::source::memory::MemorySource;
use secrets_cache::source::{ListPage, ListRequest, Stored};
use secrets_cache::{NewSecret, Secret, SecretName, SecretSource, SecretsCache, SourceError, Stage};
use tokio::sync::Notify;

use crate::support::{Flaky, new, outage, text};

#[tokio::test]
async fn any_number_of_reads_costs_one_call_and_a_forced_one_costs_one_more() {
    let source = Flaky::with(&[("a", "1")]).await;
    let cache = SecretsCache::new(source.clone());
    for _ in 0..1_000 {
        assert_eq!(text(&cache.get("a").await.unwrap()), "1");
    }
    assert_eq!(source.gets(), 1);
    source.put(&new("a", "2")).await.unwrap();
    assert_eq!(text(&cache.get_fresh("a").await.unwrap()), "2");
    assert_eq!(text(&cache.get("a").await.unwrap()), "2");
    assert_eq!(source.gets(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_cold_reads_cost_one_call_even_if_the_first_gives_up() {
    let source = Flaky::with(&[("a", "1")]).await;
    source.dawdle(Duration::from_millis(100));
    let cache = SecretsCache::new(source.clone());
    let leader = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get("a").await.map(drop) }
    });
    tokio::time::sleep(Duration::from_millis(30)).await;
    let readers: Vec<_> =
        (0..1_000).map(|_| cache.clone()).map(|c| tokio::spawn(async move { c.get("a").await })).collect();
    tokio::time::sleep(Duration::from_millis(20)).await;
    leader.abort();
    for reader in readers {
        assert_eq!(text(&reader.await.unwrap().unwrap()), "1");
    }
    assert_eq!(source.gets(), 2, "the abandoned call and the one that served all callers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_forced_reads_at_once_cost_two_calls_at_most() {
    let source = Flaky::with(&[("a", "1")]).await;
    source.dawdle(Duration::from_millis(50));
    let cache = SecretsCache::new(source.clone());
    let readers: Vec<_> = (0..1_000)
        .map(|_| cache.clone())
        .map(|c| tokio::spawn(async move { c.get_fresh("a").await }))
        .collect();
    for reader in readers {
        reader.await.unwrap().unwrap();
    }
    assert!(source.gets() <= 2 + 1, "{}", source.gets());
}

#[tokio::test]
async fn names_are_fetched_together_and_only_those_that_are_missing() {
    let source = Flaky::with(&[("a", "1"), ("b", "2"), ("c", "3")]).await;
    let cache = SecretsCache::new(source.clone());
    cache.get("a").await.unwrap();
    let answers = cache.get_many(&["c", "nobody", "a", "b", "c", "x#y"]).await;
    assert_eq!(text(answers[0].as_ref().unwrap()), "3");
    assert!(matches!(answers[1], Err(SourceError::NotFound { .. })));
    assert_eq!(text(answers[2].as_ref().unwrap()), "1");
    assert_eq!(text(answers[4].as_ref().unwrap()), "3");
    assert!(matches!(answers[5], Err(SourceError::Name(_))));
    assert_eq!((source.gets(), source.batches()), (1, 1));
    cache.get_many(&["a", "b", "c", "nobody"]).await;
    assert_eq!((source.gets(), source.batches()), (1, 1));
}

#[tokio::test]
async fn only_that_there_is_no_such_secret_is_remembered_of_failures() {
    let source = Flaky::with(&[]).await;
    let cache = SecretsCache::builder(source.clone())
        .negative_ttl(Duration::from_millis(150))
        .retry(1, Duration::ZERO, Duration::from_secs(1))
        .build();
    for _ in 0..10 {
        assert!(matches!(cache.get("a").await, Err(SourceError::NotFound { .. })));
    }
    assert_eq!(source.gets(), 1);
    source.put(&new("a", "1")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    source.fail(outage());
    for _ in 0..3 {
        cache.get("a").await.unwrap_err();
    }
    assert_eq!(source.gets(), 4);
    source.heal();
    assert_eq!(text(&cache.get("a").await.unwrap()), "1");
}

#[tokio::test]
async fn a_default_stands_in_for_a_missing_secret_and_for_nothing_else() {
    let source = Flaky::with(&[]).await;
    let cache = SecretsCache::builder(source.clone()).negative_ttl(Duration::ZERO).build();
    assert_eq!(text(&cache.get_or("a", "fallback").await.unwrap()), "fallback");
    source.fail(crate::support::denied());
    cache.get_or("b", "fallback").await.unwrap_err();
}

#[tokio::test]
async fn the_last_tenth_of_a_life_is_refreshed_behind_the_readers_back() {
    let source = Flaky::with(&[("a", "1")]).await;
    let cache = SecretsCache::builder(source.clone())
        .ttl(Duration::from_millis(600))
        .jitter(0.0)
        .early_refresh(0.5)
        .build();
    cache.get("a").await.unwrap();
    source.put(&new("a", "2")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(350)).await;
    for _ in 0..10 {
        assert_eq!(text(&cache.get("a").await.unwrap()), "1", "answered at once, with the cached value");
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(text(&cache.get("a").await.unwrap()), "2");
    assert_eq!(source.gets(), 2);
}

#[tokio::test]
async fn an_expired_value_leaves_memory_although_nobody_asks() {
    let source = Flaky::with(&[("a", "1")]).await;
    let cache =
        SecretsCache::builder(source).ttl(Duration::from_millis(100)).max_stale(Duration::ZERO).build();
    // The last holder wipes the value; from outside, only its absence can be seen.
    let seen = Arc::downgrade(&cache.get("a").await.unwrap());
    assert!(seen.upgrade().is_some());
    // The cache's timers have a resolution of about a second.
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    assert!(seen.upgrade().is_none());
}

#[tokio::test]
async fn memory_is_bounded_by_number_and_by_bytes() {
    let long = "x".repeat(10_000);
    let names: Vec<String> = (0..200).map(|n| format!("secret-{n}")).collect();
    let secrets: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), long.as_str())).collect();
    let source = Flaky::with(&secrets).await;
    for (entries, bytes, bound) in [(50, 1 << 30, 50), (1_000_000, 200_000, 20)] {
        let cache = SecretsCache::builder(source.clone()).bounds(entries, bytes).build();
        let mut seen = Vec::new();
        for name in &names {
            seen.push(Arc::downgrade(&cache.get(name).await.unwrap()));
        }
        let kept = || seen.iter().filter(|secret| secret.strong_count() > 0).count();
        // One round of evictions ends after a tenth of a second, however much is left to do.
        for _ in 0..100 {
            cache.run_pending_tasks().await;
            if kept() <= bound {
                break;
            }
        }
        assert!((1..=bound).contains(&kept()), "{} are kept, {bound} are allowed", kept());
    }
}

/// Reads at once, and answers when it is let.
#[derive(Default)]
struct Held {
    memory: MemorySource,
    asked: Notify,
    answers: Notify,
    holds: AtomicBool,
}

#[async_trait]
impl SecretSource for Held {
    fn id(&self) -> Arc<str> {
        "held".into()
    }

    async fn get(&self, name: &SecretName, stage: &Stage) -> Result<Secret, SourceError> {
        let answer = self.memory.get(name, stage).await;
        if self.holds.load(Ordering::SeqCst) {
            self.asked.notify_one();
            self.answers.notified().await;
        }
        answer
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, SourceError> {
        self.memory.list(request).await
    }

    async fn put(&self, secret: &NewSecret) -> Result<Stored, SourceError> {
        self.memory.put(secret).await
    }
}

#[tokio::test]
async fn a_fetch_that_is_under_way_does_not_bring_back_what_was_forgotten_or_replaced() {
    for way in ["replaced", "forgotten", "cleared"] {
        let source = Arc::new(Held::default());
        source.memory.put(&new("a", "old")).await.unwrap();
        source.holds.store(true, Ordering::SeqCst);
        let cache = SecretsCache::new(source.clone());
        let reading = {
            let cache = cache.clone();
            tokio::spawn(async move { text(&cache.get("a").await.unwrap()).to_owned() })
        };
        source.asked.notified().await;
        source.holds.store(false, Ordering::SeqCst);
        match way {
            "replaced" => cache.put(&new("a", "new")).await.unwrap(),
            way => {
                source.memory.put(&new("a", "new")).await.unwrap();
                if way == "cleared" { cache.clear().await } else { cache.forget("a").await }
            }
        }
        source.answers.notify_one();
        assert_eq!(reading.await.unwrap(), "old", "it was asked for before");
        assert_eq!(text(&cache.get("a").await.unwrap()), "new", "{way}");
    }
}

#[tokio::test]
async fn a_cleared_cache_asks_for_everything_again_and_serves_nothing_old_in_an_outage() {
    let source = Flaky::with(&[("a", "1"), ("b", "2")]).await;
    let cache = SecretsCache::new(source.clone());
    for name in ["a", "b", "a"] {
        cache.get(name).await.unwrap();
    }
    assert_eq!(source.gets(), 2);
    cache.clear().await;
    source.fail(outage());
    assert!(cache.get("a").await.unwrap_err().is_outage());
    source.heal();
    assert_eq!(text(&cache.get("b").await.unwrap()), "2");
}
