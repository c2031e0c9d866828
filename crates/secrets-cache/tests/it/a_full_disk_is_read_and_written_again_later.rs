//! A store on a full disk is read, its changes fail with the cause, and succeed once there is room again.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use secrets_cache::local::LocalStore;
use secrets_cache::{SecretSource as _, SourceError, Stage};

use crate::support::{Remembering, Ring, name, new, text, whole};

/// Names the store of the process that has no room.
const FULL: &str = "TOKENSEAL_TEST_STORE_ON_A_FULL_DISK";

/// Sets the length that files of this process may have: with 0, each write fails.
fn set_limit(limit: &str) {
    let process = std::process::id().to_string();
    let done =
        Command::new("prlimit").args(["--pid", &process, &format!("--fsize={limit}:unlimited")]).status();
    assert!(done.unwrap().success());
}

async fn read(store: &LocalStore) -> String {
    text(&store.get(&name("key"), &Stage::Current).await.unwrap()).to_owned()
}

#[tokio::test]
async fn a_store_that_was_opened_on_a_full_disk_is_written_as_soon_as_there_is_room() {
    if let Some(path) = std::env::var_os(FULL) {
        return with_no_room_at_first(path.as_ref()).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let store = LocalStore::open_or_create(&path, Ring::of(1)).await.unwrap();
    store.put(&new("key", "1")).await.unwrap();
    store.close().await;
    let test = "a_full_disk_is_read_and_written_again_later::a_store_that_was_opened_on_a_full_disk_is_written_as_soon_as_there_is_room";
    let mut program = Command::new("sh");
    // The signal of a write beyond the limit is ignored, so that the write fails.
    program.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
    let done = program.args([test, "--exact"]).env(FULL, &path).process_group(0).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    assert!(String::from_utf8_lossy(&done.stdout).contains("1 passed"));
    let store = LocalStore::open(&path, Ring::of(1)).await.unwrap();
    assert_eq!(read(&store).await, "3");
}

async fn with_no_room_at_first(path: &Path) {
    set_limit("0");
    let store = LocalStore::open(path, Remembering::new(Ring::of(1))).await.unwrap();
    let refused = store.put(&new("key", "2")).await.unwrap_err();
    let again = read(&store).await;
    set_limit("unlimited");
    assert_eq!(again, "1");
    assert!(matches!(refused, SourceError::Storage { .. }), "{refused:?}");
    assert!(!whole(&refused).contains("readonly"), "{}", whole(&refused));
    store.put(&new("key", "2")).await.unwrap();
    assert_eq!(read(&store).await, "2");
    // The same with a store that is open for writing.
    set_limit("0");
    let refused = store.put(&new("key", "3")).await;
    let still = read(&store).await;
    set_limit("unlimited");
    assert!(matches!(refused, Err(SourceError::Storage { .. })), "{refused:?}");
    assert_eq!(still, "2");
    store.put(&new("key", "3")).await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn a_file_that_does_not_open_for_another_reason_is_an_error_and_not_read_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let store = LocalStore::open_or_create(&path, Ring::of(1)).await.unwrap();
    store.put(&new("key", "1")).await.unwrap();
    store.close().await;
    let in_the_way = directory.path().join("store.db-shm");
    // SQLite follows no link there.
    std::os::unix::fs::symlink("/no/such/file", &in_the_way).unwrap();
    let opened = LocalStore::open(&path, Ring::of(1)).await.map(drop);
    assert!(matches!(opened, Err(SourceError::Storage { .. })), "{opened:?}");
    std::fs::remove_file(in_the_way).unwrap();
    assert_eq!(read(&LocalStore::open(&path, Ring::of(1)).await.unwrap()).await, "1");
}
