//! In the local store's file, a value opens under its own name only, and nothing shows its content.

use envelope_core::DataKey;
use secrets_cache::local::LocalStore;
use secrets_cache::{NewSecret, SecretSource, SecretValue, SourceError, Stage};
use sqlx::{Connection, SqliteConnection};

use crate::support::{Ring, name, new, text, value};

async fn raw(path: &std::path::Path, statement: &'static str) {
    let mut connection = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn store() -> (tempfile::TempDir, std::path::PathBuf, LocalStore) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let store = LocalStore::open_or_create(&path, Ring::of(1)).await.unwrap();
    (directory, path, store)
}

#[tokio::test]
async fn a_value_moved_to_another_name_does_not_open() {
    let (_directory, path, store) = store().await;
    store.put(&new("mine", "1")).await.unwrap();
    store.put(&new("yours", "2")).await.unwrap();
    let swap = "UPDATE envelopes SET envelope = (SELECT envelope FROM envelopes WHERE version = 1) WHERE version = 2";
    raw(&path, swap).await;
    assert_eq!(text(&store.get(&name("mine"), &Stage::Current).await.unwrap()), "1");
    assert!(matches!(store.get(&name("yours"), &Stage::Current).await, Err(SourceError::Sealed { .. })));
}

#[tokio::test]
async fn a_renamed_an_emptied_and_a_changed_value_do_not_open() {
    let (_directory, path, store) = store().await;
    for secret in ["renamed", "emptied", "changed"] {
        store.put(&new(secret, "1")).await.unwrap();
    }
    raw(&path, "UPDATE secrets SET name = 'moved' WHERE id = 1").await;
    raw(&path, "UPDATE envelopes SET envelope = '' WHERE version = 2").await;
    let claim =
        "UPDATE envelopes SET envelope = replace(envelope, '\"v\":2', '\"v\":2,\"x\":1') WHERE version = 3";
    raw(&path, claim).await;
    for secret in ["moved", "emptied", "changed"] {
        let answer = store.get(&name(secret), &Stage::Current).await;
        assert!(matches!(answer, Err(SourceError::Sealed { .. })), "{secret}: {answer:?}");
    }
}

#[tokio::test]
async fn another_ring_does_not_open_it_and_says_which_key_is_missing() {
    let (_directory, path, store) = store().await;
    store.put(&new("a", "1")).await.unwrap();
    let other = Ring::of(1);
    other.add("key-1", DataKey::generate(), true);
    let wrong = LocalStore::open(&path, other).await.unwrap();
    assert!(matches!(wrong.get(&name("a"), &Stage::Current).await, Err(SourceError::Sealed { .. })));
}

#[tokio::test]
async fn bytes_long_values_and_any_text_survive() {
    let (_directory, _, store) = store().await;
    let bytes: Vec<u8> = (0..=255).collect();
    store.put(&NewSecret::new(name("bytes"), SecretValue::binary(bytes.clone()))).await.unwrap();
    let long = "ü".repeat(400_000);
    store.put(&new("long ünï name", &long)).await.unwrap();
    assert_eq!(store.get(&name("bytes"), &Stage::Current).await.unwrap().value.expose_bytes(), bytes);
    assert_eq!(text(&store.get(&name("long ünï name"), &Stage::Current).await.unwrap()), long);
    assert!(matches!(store.put(&new("empty", "")).await, Err(SourceError::Invalid { .. })));
    assert!(matches!(store.put(&new("x", &"x".repeat(2 << 20))).await, Err(SourceError::Invalid { .. })));
    assert!(matches!(store.rotate(&name("nobody"), &value("1")).await, Err(SourceError::NotFound { .. })));
}

#[tokio::test]
async fn another_file_is_not_taken_for_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let missing = LocalStore::open(directory.path().join("missing.db"), Ring::of(1)).await;
    assert!(matches!(missing, Err(SourceError::Storage { .. })));
    assert!(!directory.path().join("missing.db").exists());
    let foreign = directory.path().join("foreign.db");
    std::fs::write(&foreign, []).unwrap();
    raw(&foreign, "CREATE TABLE secrets (id INTEGER)").await;
    assert!(matches!(LocalStore::open(&foreign, Ring::of(1)).await, Err(SourceError::Storage { .. })));
    let text = directory.path().join("text");
    std::fs::write(&text, "DATABASE_URL=postgres://db and more than enough text to be no header").unwrap();
    assert!(matches!(LocalStore::open(&text, Ring::of(1)).await, Err(SourceError::Storage { .. })));
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_is_its_owners() {
    use std::os::unix::fs::PermissionsExt;
    let (_directory, path, store) = store().await;
    store.put(&new("a", "1")).await.unwrap();
    for file in [path.clone(), path.with_extension("db-wal")] {
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o077, 0);
    }
}
