//! Metrics are there from the start, count what happens, and carry no value.

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use std::time::Duration;

use secrets_cache::inventory::Inventory;
use secrets_cache::metrics::Metrics;
use secrets_cache::{SecretSource, SecretsCache};
use time::OffsetDateTime;

use crate::support::{Flaky, denied};

fn shown(registry: &Registry) -> String {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    text
}

#[tokio::test]
async fn and_count() {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let text = shown(&registry);
    for line in
        [r#"secrets_failures_total{class="denied"} 0"#, r#"secrets_cache_reads_total{result="hit"} 0"#]
    {
        assert!(text.contains(line), "{text}");
    }
    let source = Flaky::with(&[("a", "canary"), ("b", "canary")]).await;
    let cache = SecretsCache::builder(source.clone()).metrics(metrics.clone()).build();
    for _ in 0..3 {
        cache.get("a").await.unwrap();
    }
    cache.get("nobody").await.unwrap_err();
    cache.get("nobody").await.unwrap_err();
    source.fail(denied());
    cache.get("b").await.unwrap_err();
    assert_eq!(metrics.reads(), 3, "cache hits are not counted as requests");
    let mut inventory = Inventory::take(&source.memory as &dyn SecretSource).await.unwrap();
    (inventory.expired, inventory.due) = (3, 5);
    let due = OffsetDateTime::now_utc() - Duration::from_secs(3_600);
    inventory.rotate_by = vec![("signing/key".parse().unwrap(), due)];
    metrics.observe(&inventory);
    let text = shown(&registry);
    for line in [
        r#"secrets_cache_reads_total{result="hit"} 2"#,
        r#"secrets_cache_reads_total{result="miss"} 3"#,
        r#"secrets_cache_reads_total{result="negative"} 1"#,
        r#"secrets_accesses_total{source="flaky",operation="get",outcome="ok"} 1"#,
        r#"secrets_failures_total{class="denied"} 1"#,
        r#"secrets_failures_total{class="not_found"} 1"#,
        "secrets_stored 2",
        "secrets_expired 3",
        "secrets_due_for_rotation 5",
        r#"secrets_rotation_due_seconds{secret="signing/key"} -36"#,
        r#"secrets_version_age_seconds{secret="a",source="memory"} 0"#,
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    assert!(!text.contains("canary"));
    // A secret that no longer exists has no series.
    metrics.observe(&Inventory::default());
    assert!(!shown(&registry).contains("signing/key"));
}
