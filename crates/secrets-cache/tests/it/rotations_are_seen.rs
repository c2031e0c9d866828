//! A rotated secret is seen within the time to live, by a watcher at its next poll, and both values are
//! available in between.

use std::time::Duration;

use secrets_cache::{SecretSource, SecretsCache, Stage};

use crate::support::{Flaky, name, new, text, value};

#[tokio::test]
async fn within_the_time_to_live() {
    let source = Flaky::with(&[("a", "1")]).await;
    let cache =
        SecretsCache::builder(source.clone()).ttl(Duration::from_millis(200)).early_refresh(0.0).build();
    cache.get("a").await.unwrap();
    source.rotate(&name("a"), &value("2")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(220)).await;
    assert_eq!(text(&cache.get("a").await.unwrap()), "2");
}

#[tokio::test]
async fn by_a_watcher_at_its_next_poll() {
    let source = Flaky::with(&[("a", "1")]).await;
    let cache = SecretsCache::new(source.clone());
    let mut watch = cache.watch("a", Duration::from_millis(50)).await.unwrap();
    assert_eq!(text(&watch.current()), "1");
    tokio::time::sleep(Duration::from_millis(120)).await;
    source.rotate(&name("a"), &value("2")).await.unwrap();
    let changed = tokio::time::timeout(Duration::from_secs(5), watch.changed()).await.unwrap().unwrap();
    assert_eq!(text(&changed), "2");
    assert_eq!(text(&cache.get("a").await.unwrap()), "2", "the cache has it as well");
    let quiet = tokio::time::timeout(Duration::from_millis(200), watch.changed()).await;
    assert!(quiet.is_err(), "only new values are reported");
    drop(watch);
    let gets = source.gets();
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(source.gets(), gets, "no task polls any more");
}

#[tokio::test]
async fn with_both_values_at_hand_for_the_grace_period() {
    let source = Flaky::with(&[("a", "1")]).await;
    let cache = SecretsCache::builder(source.clone())
        .grace(Duration::from_millis(300))
        .negative_ttl(Duration::ZERO)
        .build();
    assert!(cache.candidates("a").await.unwrap().previous.is_none());
    source.rotate(&name("a"), &value("2")).await.unwrap();
    cache.get_fresh("a").await.unwrap();
    let values: Vec<String> =
        cache.candidates("a").await.unwrap().iter().map(|secret| text(secret).to_owned()).collect();
    assert_eq!(values, ["2", "1"]);
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert!(cache.candidates("a").await.unwrap().previous.is_none());
}

#[tokio::test]
async fn with_the_right_previous_value_after_each_rotation() {
    let source = Flaky::with(&[("a", "1")]).await;
    let cache = SecretsCache::new(source.clone());
    assert!(cache.candidates("a").await.unwrap().previous.is_none(), "and this is remembered for a while");
    for (next, before) in [("2", "1"), ("3", "2")] {
        source.rotate(&name("a"), &value(next)).await.unwrap();
        cache.get_fresh("a").await.unwrap();
        assert_eq!(text(&cache.candidates("a").await.unwrap().previous.unwrap()), before);
    }
}

#[tokio::test]
async fn pending_values_are_tried_before_they_are_promoted() {
    let source = Flaky::with(&[("a", "1")]).await;
    source.put(&new("a", "2").at_stage(Stage::Pending)).await.unwrap();
    let cache = SecretsCache::new(source.clone());
    assert_eq!(text(&cache.get("a").await.unwrap()), "1");
    assert_eq!(text(&cache.get_stage("a", &Stage::Pending).await.unwrap()), "2");
    source.memory.promote(&name("a")).await.unwrap();
    assert_eq!(text(&cache.get_fresh("a").await.unwrap()), "2");
}

#[tokio::test]
async fn a_slow_old_answer_does_not_replace_a_newer_one() {
    let source = Flaky::with(&[("a", "1")]).await;
    let cache = SecretsCache::builder(source.clone()).build();
    source.dawdle(Duration::from_millis(150));
    let slow = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get("a").await.map(drop) }
    });
    tokio::time::sleep(Duration::from_millis(30)).await;
    // A request that was made later answers sooner.
    source.dawdle(Duration::ZERO);
    let newer = cache.get_fresh("a").await.unwrap();
    slow.await.unwrap().unwrap();
    assert!(std::sync::Arc::ptr_eq(&newer, &cache.get("a").await.unwrap()));
}
