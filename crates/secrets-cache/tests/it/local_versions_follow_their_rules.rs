//! Versions, stages, expiry, tags and policies of the local store.

use std::time::Duration;

use futures_util::StreamExt;
use secrets_cache::local::LocalStore;
use secrets_cache::secret::RotationPolicy;
use secrets_cache::source::{ListRequest, list_all};
use secrets_cache::{SecretSource, SourceError, Stage};
use time::OffsetDateTime;

use crate::support::{Ring, name, new, text, value};

async fn store() -> (tempfile::TempDir, LocalStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::open_or_create(directory.path().join("store.db"), Ring::of(1)).await.unwrap();
    (directory, store)
}

fn soon(ms: u64) -> OffsetDateTime {
    OffsetDateTime::now_utc() + Duration::from_millis(ms)
}

#[tokio::test]
async fn a_rotated_value_stays_readable_for_the_grace_period() {
    let (_directory, store) = store().await;
    let policy = RotationPolicy { every: Duration::from_millis(1_000), grace: Duration::from_millis(1_200) };
    store.put(&new("a", "1").with_rotation(policy)).await.unwrap();
    store.rotate(&name("a"), &value("2")).await.unwrap();
    assert_eq!(text(&store.get(&name("a"), &Stage::Current).await.unwrap()), "2");
    assert_eq!(text(&store.get(&name("a"), &Stage::Previous).await.unwrap()), "1");
    assert_eq!(store.status().await.unwrap().inventory.due, 0);
    tokio::time::sleep(Duration::from_millis(1_400)).await;
    let previous = store.get(&name("a"), &Stage::Previous).await;
    assert!(matches!(previous, Err(SourceError::NoSuchStage { .. })));
    assert_eq!(store.status().await.unwrap().inventory.due, 1);
    assert!(store.describe(&name("a")).await.unwrap().is_due(OffsetDateTime::now_utc()));
    assert_eq!(store.clean_up(Duration::ZERO).await.unwrap().versions, 1);
    assert_eq!(text(&store.get(&name("a"), &Stage::Current).await.unwrap()), "2");
}

#[tokio::test]
async fn a_pending_value_changes_nothing_until_promoted() {
    let (_directory, store) = store().await;
    store.put(&new("a", "1")).await.unwrap();
    assert!(matches!(store.promote(&name("a")).await, Err(SourceError::NoSuchStage { .. })));
    store.put(&new("a", "2").at_stage(Stage::Pending)).await.unwrap();
    store.put(&new("a", "3").at_stage(Stage::Pending)).await.unwrap();
    assert_eq!(text(&store.get(&name("a"), &Stage::Current).await.unwrap()), "1");
    store.promote(&name("a")).await.unwrap();
    assert_eq!(text(&store.get(&name("a"), &Stage::Current).await.unwrap()), "3");
    assert_eq!(text(&store.get(&name("a"), &Stage::Previous).await.unwrap()), "1");
    let pending = store.get(&name("a"), &Stage::Pending).await;
    assert!(matches!(pending, Err(SourceError::NoSuchStage { .. })));
}

#[tokio::test]
async fn expired_secrets_are_counted_not_served_and_cleaned_up() {
    let (_directory, store) = store().await;
    store.put(&new("a", "1").with_expiry(soon(800))).await.unwrap();
    store.put(&new("b", "1")).await.unwrap();
    assert_eq!(text(&store.get(&name("a"), &Stage::Current).await.unwrap()), "1");
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert!(matches!(store.get(&name("a"), &Stage::Current).await, Err(SourceError::Expired { .. })));
    assert!(matches!(store.get_many(&[name("a")]).await.unwrap()[0], Err(SourceError::Expired { .. })));
    assert!(store.describe(&name("a")).await.unwrap().is_expired(OffsetDateTime::now_utc()));
    assert_eq!(store.status().await.unwrap().inventory.expired, 1);
    assert!(store.clean_up(Duration::from_secs(60)).await.unwrap().secrets.is_empty(), "kept for a while");
    let clean_up = store.clean_up_every(Duration::from_millis(20), Duration::ZERO);
    tokio::time::sleep(Duration::from_millis(500)).await;
    drop(clean_up);
    assert!(matches!(store.get(&name("a"), &Stage::Current).await, Err(SourceError::NotFound { .. })));
    let status = store.status().await.unwrap();
    assert_eq!((status.inventory.secrets, status.inventory.expired, status.cleaned_up), (1, 0, 1));
}

#[tokio::test]
async fn a_new_value_lives_as_long_as_the_one_before() {
    let (_directory, store) = store().await;
    store.put(&new("a", "1").with_expiry(soon(800))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(900)).await;
    store.rotate(&name("a"), &value("2")).await.unwrap();
    assert_eq!(text(&store.get(&name("a"), &Stage::Current).await.unwrap()), "2");
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert!(matches!(store.get(&name("a"), &Stage::Current).await, Err(SourceError::Expired { .. })));
}

#[tokio::test]
async fn lists_are_paged_filtered_and_without_values() {
    let (directory, store) = store().await;
    for n in 0..25 {
        let secret =
            new(&format!("app/{n:02}"), "1").with_tag("team", if n % 2 == 0 { "red" } else { "blue" });
        store.put(&secret).await.unwrap();
    }
    store.put(&new("app2", "1")).await.unwrap();
    let page = store.list(&ListRequest::default().with_prefix("app/").with_limit(10)).await.unwrap();
    assert_eq!((page.secrets.len(), page.next.as_deref()), (10, Some("app/09")));
    let all = list_all(&store, &ListRequest::default().with_prefix("app/").with_limit(10)).await.unwrap();
    assert_eq!(all.len(), 25);
    let red = list_all(&store, &ListRequest::default().with_tag("team", "red").with_limit(3)).await.unwrap();
    assert_eq!(red.len(), 13);
    assert_eq!(red[0].versions[0].stages, [Stage::Current]);
    // A ring without any of the keys lists as well: no value is opened.
    let blind = LocalStore::open(directory.path().join("store.db"), Ring::of(9)).await.unwrap();
    assert_eq!(list_all(&blind, &ListRequest::default()).await.unwrap().len(), 26);
}

#[tokio::test]
async fn deleted_is_deleted() {
    let (_directory, store) = store().await;
    store.put(&new("a", "1").with_tag("x", "y")).await.unwrap();
    store.delete(&name("a")).await.unwrap();
    assert!(matches!(store.delete(&name("a")).await, Err(SourceError::NotFound { .. })));
    assert_eq!(store.status().await.unwrap().inventory.versions, 0);
    store.put(&new("a", "2")).await.unwrap();
    assert!(store.describe(&name("a")).await.unwrap().tags.is_empty());
}

#[tokio::test]
async fn storing_many_is_all_or_nothing() {
    let (_directory, store) = store().await;
    let secrets = vec![Ok(new("a", "1")), Ok(new("b", "")), Ok(new("c", "3"))];
    store.put_all(futures_util::stream::iter(secrets).boxed()).await.unwrap_err();
    assert_eq!(store.status().await.unwrap().inventory.secrets, 0);
}

#[tokio::test]
async fn a_hundred_thousand_secrets_list_and_look_up() {
    const MANY: usize = 100_000;
    let (_directory, store) = store().await;
    let secrets = (0..MANY).map(|n| Ok(new(&format!("secret/{n:06}"), "some value of no great length")));
    store.put_all(futures_util::stream::iter(secrets).boxed()).await.unwrap();
    let begin = std::time::Instant::now();
    assert_eq!(list_all(&store, &ListRequest::default()).await.unwrap().len(), MANY);
    let listed = begin.elapsed();
    let begin = std::time::Instant::now();
    for n in (0..MANY).step_by(1_000) {
        store.get(&name(&format!("secret/{n:06}")), &Stage::Current).await.unwrap();
    }
    let looked_up = begin.elapsed() / 100;
    // Bounds for a busy machine: listing reads no value, and a look-up does not depend on the number.
    assert!(
        listed < Duration::from_secs(20) && looked_up < Duration::from_millis(20),
        "{listed:?} {looked_up:?}"
    );
}
