//! Changes by any other program to the local store's file are detected: metadata, single secrets, and the
//! whole file put back to an older copy.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use envelope_core::DataKey;
use envelope_core::format::node_json;
use secrets_cache::error::Untrusted;
use secrets_cache::local::LocalStore;
use secrets_cache::source::{ListRequest, list_all};
use secrets_cache::{SecretSource, SourceError, Stage};
use sqlx::{Connection, SqliteConnection};
use time::OffsetDateTime;

use crate::support::{Remembering, Ring, name, new, text, value};

struct Fixture {
    directory: tempfile::TempDir,
    ring: Arc<Remembering>,
}

impl Fixture {
    fn new() -> Self {
        Self::with(Ring::of(1))
    }

    fn with(ring: Arc<Ring>) -> Self {
        Self { directory: tempfile::tempdir().unwrap(), ring: Remembering::new(ring) }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("store.db")
    }

    async fn open(&self) -> LocalStore {
        LocalStore::open_or_create(self.path(), self.ring.clone()).await.unwrap()
    }

    /// Closes the store, so that all of it is in its one file, and keeps a copy of that.
    async fn copy(&self, store: LocalStore, to: &str) -> PathBuf {
        store.close().await;
        let copy = self.directory.path().join(to);
        std::fs::copy(self.path(), &copy).unwrap();
        copy
    }

    fn put_back(&self, copy: &Path) {
        for side in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{side}", self.path().display()));
        }
        std::fs::copy(copy, self.path()).unwrap();
    }

    async fn raw(&self, statement: &str) {
        let mut connection = SqliteConnection::connect(self.path().to_str().unwrap()).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }
}

async fn get(store: &LocalStore, secret: &str) -> Result<String, SourceError> {
    store.get(&name(secret), &Stage::Current).await.map(|secret| text(&secret).to_owned())
}

fn is_refused<T>(answer: &Result<T, SourceError>) -> bool {
    matches!(answer, Err(SourceError::Sealed { .. } | SourceError::Untrusted(_)))
}

#[tokio::test]
async fn two_updates_do_not_serve_the_old_expired_value_again() {
    let fixture = Fixture::new();
    let store = fixture.open().await;
    let soon = OffsetDateTime::now_utc() + Duration::from_millis(50);
    store.put(&new("key", "old").with_expiry(soon)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(60)).await;
    store.rotate(&name("key"), &value("new")).await.unwrap();
    fixture
        .raw(
            "UPDATE secrets SET expires_ms = NULL; UPDATE versions SET stage = 'x' WHERE stage = 'AWSCURRENT'; \
             UPDATE versions SET stage = 'AWSCURRENT', until_ms = NULL WHERE stage = 'AWSPREVIOUS';",
        )
        .await;
    for stage in [Stage::Current, Stage::Previous] {
        let answer = store.get(&name("key"), &stage).await;
        assert!(is_refused(&answer), "{answer:?}");
    }
}

#[tokio::test]
async fn a_change_of_any_column_is_refused_and_of_no_other_secret() {
    let changes = [
        "UPDATE secrets SET expires_ms = 4102444800000 WHERE name = 'a'",
        "UPDATE secrets SET expires_ms = NULL WHERE name = 'a'",
        "UPDATE secrets SET created_ms = created_ms + 1 WHERE name = 'a'",
        "UPDATE secrets SET changed_ms = changed_ms + 1 WHERE name = 'a'",
        "UPDATE secrets SET every_ms = 1 WHERE name = 'a'",
        "UPDATE secrets SET grace_ms = 1 WHERE name = 'a'",
        "UPDATE secrets SET seal = NULL WHERE name = 'a'",
        "UPDATE secrets SET seal = zeroblob(32) WHERE name = 'a'",
        "UPDATE secrets SET seal = NULL, seal_key = NULL WHERE name = 'a'",
        "UPDATE secrets SET seal = (SELECT seal FROM secrets WHERE name = 'b') WHERE name = 'a'",
        "UPDATE versions SET version = 'v' || version WHERE secret = 1 AND stage = 'AWSCURRENT'",
        "UPDATE versions SET is_binary = 1 WHERE secret = 1",
        "UPDATE versions SET created_ms = 0 WHERE secret = 1",
        "UPDATE versions SET until_ms = 4102444800000 WHERE secret = 1 AND stage = 'AWSPREVIOUS'",
        "UPDATE versions SET key_id = 'key-2' WHERE secret = 1",
        "DELETE FROM versions WHERE secret = 1 AND stage = 'AWSPREVIOUS'",
        "UPDATE tags SET value = 'other' WHERE secret = 1",
        "DELETE FROM tags WHERE secret = 1",
        "INSERT INTO tags VALUES (1, 'more', 'x')",
        "UPDATE envelopes SET envelope = (SELECT envelope FROM envelopes e JOIN versions v ON v.id = e.version \
            WHERE v.secret = 1 AND v.stage = 'AWSPREVIOUS') WHERE version = (SELECT id FROM versions \
            WHERE secret = 1 AND stage = 'AWSCURRENT')",
        "UPDATE secrets SET bucket = (bucket + 1) % 256 WHERE name = 'a'",
    ];
    for change in changes {
        let fixture = Fixture::new();
        let store = fixture.open().await;
        let until = OffsetDateTime::now_utc() + Duration::from_secs(3_600);
        let first = new("a", "1").with_tag("team", "red").with_expiry(until);
        store.put(&first).await.unwrap();
        store.rotate(&name("a"), &value("2")).await.unwrap();
        store.put(&new("b", "3")).await.unwrap();
        fixture.raw(change).await;
        let answer = get(&store, "a").await;
        assert!(is_refused(&answer), "{change}: {answer:?}");
        assert_eq!(get(&store, "b").await.unwrap(), "3", "{change}");
        let written = store.put(&new("a", "4")).await;
        assert!(written.is_err(), "{change}: a write would seal the change as valid");
        assert!(store.describe(&name("a")).await.is_err(), "{change}");
    }
}

#[tokio::test]
async fn a_change_of_the_head_and_a_secret_taken_away_or_put_in_are_refused() {
    let changes = [
        "UPDATE store SET revision = revision + 1",
        "UPDATE store SET revision = 0",
        "UPDATE store SET labelled = 0",
        "UPDATE store SET id = 'other'",
        "UPDATE store SET seal = zeroblob(32)",
        "UPDATE digests SET digest = zeroblob(32)",
        "DELETE FROM digests",
        "DELETE FROM secrets WHERE name = 'a'",
        "DELETE FROM store",
        "DROP TABLE store",
    ];
    for change in changes {
        let fixture = Fixture::new();
        let store = fixture.open().await;
        store.put(&new("a", "1")).await.unwrap();
        fixture.raw(change).await;
        let answer = get(&store, "a").await;
        assert!(is_refused(&answer), "{change}: {answer:?}");
        assert!(list_all(&store, &ListRequest::default()).await.is_err(), "{change}");
        assert!(store.status().await.unwrap().untrusted.is_some(), "{change}");
        // A change of another bucket authenticates no changed bucket: the deletion is still detected.
        let elsewhere = change.starts_with("DELETE FROM secrets");
        assert_eq!(store.put(&new("new", "1")).await.is_ok(), elsewhere, "{change}");
        assert!(is_refused(&get(&store, "a").await), "{change}");
    }
}

#[tokio::test]
async fn an_older_copy_of_the_file_is_refused_until_it_is_accepted() {
    let fixture = Fixture::new();
    let store = fixture.open().await;
    store.put(&new("key", "old")).await.unwrap();
    let copy = fixture.copy(store, "copy").await;
    let store = fixture.open().await;
    for value in ["newer", "newest"] {
        store.put(&new("key", value)).await.unwrap();
    }
    store.close().await;

    fixture.put_back(&copy);
    let store = fixture.open().await;
    let answer = get(&store, "key").await;
    assert!(matches!(answer, Err(SourceError::Untrusted(Untrusted::RolledBack))), "{answer:?}");
    assert!(answer.unwrap_err().hint().unwrap().contains("accept-restore"));
    assert!(
        matches!(get(&store, "none").await, Err(SourceError::Untrusted(_))),
        "nor is the value reported as absent"
    );
    assert!(store.put(&new("key", "mine")).await.is_err());
    let status = store.status().await.unwrap();
    assert_eq!(status.untrusted, Some(Untrusted::RolledBack));

    store.accept_restore().await.unwrap();
    assert_eq!(get(&store, "key").await.unwrap(), "old");
    store.put(&new("key", "mine")).await.unwrap();
    assert_eq!(get(&store, "key").await.unwrap(), "mine");
    store.close().await;
    fixture.put_back(&copy);
    assert!(is_refused(&get(&fixture.open().await, "key").await), "the same copy once more");
}

#[tokio::test]
async fn an_older_state_of_one_secret_is_refused_and_the_rest_is_served() {
    let fixture = Fixture::new();
    let store = fixture.open().await;
    store.put(&new("key", "old")).await.unwrap();
    store.put(&new("other", "1")).await.unwrap();
    let copy = fixture.copy(store, "copy").await;
    let store = fixture.open().await;
    store.put(&new("key", "new")).await.unwrap();
    let statement = format!(
        "ATTACH '{}' AS old; DELETE FROM secrets WHERE name = 'key'; \
         INSERT INTO secrets SELECT * FROM old.secrets WHERE name = 'key'; \
         DELETE FROM versions WHERE secret = 1; \
         INSERT INTO versions SELECT * FROM old.versions WHERE secret = 1; \
         INSERT OR REPLACE INTO envelopes SELECT e.* FROM old.envelopes e JOIN old.versions v ON v.id = e.version WHERE v.secret = 1;",
        copy.display()
    );
    fixture.raw(&statement).await;
    let answer = get(&store, "key").await;
    assert!(is_refused(&answer), "{answer:?}");
    assert_eq!(get(&store, "other").await.unwrap(), "1");
    // Neither does the head of today make an older copy of everything else a new one.
    let head = format!(
        "ATTACH '{}' AS old; DELETE FROM secrets; INSERT INTO secrets SELECT * FROM old.secrets; DELETE FROM versions; \
         INSERT INTO versions SELECT * FROM old.versions;",
        copy.display()
    );
    fixture.raw(&head).await;
    assert!(is_refused(&get(&store, "key").await));
}

#[tokio::test]
async fn a_kill_between_the_ring_and_the_commit_is_no_older_copy() {
    let fixture = Fixture::new();
    let store = fixture.open().await;
    store.put(&new("key", "1")).await.unwrap();
    let revision = fixture.ring.record().revision;
    fixture.ring.stores.lock().unwrap()[0].revision += 1;
    assert_eq!(get(&store, "key").await.unwrap(), "1");
    store.put(&new("key", "2")).await.unwrap();
    assert_eq!(fixture.ring.record().revision, revision + 1, "the number that was raised is used");
    fixture.ring.stores.lock().unwrap()[0].revision += 2;
    assert!(is_refused(&get(&store, "key").await), "two revisions back is an older copy");
}

#[tokio::test]
async fn a_ring_that_is_read_only_is_said_to_notice_nothing() {
    let fixture = Fixture::new();
    fixture.ring.read_only.store(true, Ordering::SeqCst);
    let store = fixture.open().await;
    store.put(&new("key", "1")).await.unwrap();
    assert!(!store.status().await.unwrap().notices_older_copies);
    fixture.ring.read_only.store(false, Ordering::SeqCst);
    store.put(&new("key", "2")).await.unwrap();
    let status = store.status().await.unwrap();
    assert!(status.notices_older_copies && status.complete);
    fixture.ring.read_only.store(true, Ordering::SeqCst);
    store.put(&new("key", "3")).await.unwrap();
    assert!(!store.status().await.unwrap().notices_older_copies);
    assert_eq!(get(&store, "key").await.unwrap(), "3");
}

#[tokio::test]
async fn a_time_that_somebody_else_has_set_removes_no_secret() {
    let fixture = Fixture::new();
    let store = fixture.open().await;
    for secret in ["a", "b"] {
        store.put(&new(secret, "1")).await.unwrap();
    }
    let over = OffsetDateTime::now_utc() - Duration::from_secs(60);
    store.put(&new("over", "1").with_expiry(over)).await.unwrap();
    fixture.raw("UPDATE secrets SET expires_ms = 1 WHERE name = 'a'").await;
    let removed = store.clean_up(Duration::ZERO).await.unwrap();
    assert_eq!(removed.secrets, [name("over")]);
    assert_eq!(get(&store, "b").await.unwrap(), "1");
    let listed = list_all(&store, &ListRequest::default()).await.unwrap();
    let authentic: Vec<_> = listed.iter().map(|secret| (secret.name.as_str(), secret.is_authentic)).collect();
    assert_eq!(authentic, [("a", false), ("b", true)]);
    // The way out for the one: delete it and store it again.
    store.delete(&name("a")).await.unwrap();
    store.put(&new("a", "2")).await.unwrap();
    assert_eq!(get(&store, "a").await.unwrap(), "2");
}

#[tokio::test]
async fn times_beyond_every_use_are_refused() {
    let fixture = Fixture::new();
    let store = fixture.open().await;
    for policy in ["3000000d", "every=30d,grace=3000000d", "every=1000years"] {
        assert!(policy.parse::<secrets_cache::secret::RotationPolicy>().is_err(), "{policy}");
    }
    let mut policy: secrets_cache::secret::RotationPolicy = "30d".parse().unwrap();
    policy.every = Duration::MAX;
    let secret = new("a", "1").with_rotation(policy);
    assert!(matches!(store.put(&secret).await, Err(SourceError::Invalid { .. })));
    let far = OffsetDateTime::from_unix_timestamp(253_402_300_799).unwrap();
    let secret = new("a", "1").with_expiry(far);
    assert!(matches!(store.put(&secret).await, Err(SourceError::Invalid { .. })));
}

/// A store of the program before secrets had seals, and the ring key that it was written under.
const EARLIER: &str = include_str!("../vectors/store_v1.sql");
const EARLIER_KEY: (&str, &str) = ("dk-e70bd0e7c25bd6db", "j0WFUNsb+3CXO+cYJFsLv1NT8kFvTZoM5p2N693qRu8=");

async fn earlier() -> Fixture {
    let ring = Ring::of(1);
    ring.add(EARLIER_KEY.0, EARLIER_KEY.1.parse::<DataKey>().unwrap(), true);
    let fixture = Fixture::with(ring);
    std::fs::write(fixture.path(), []).unwrap();
    fixture.raw(&format!("PRAGMA foreign_keys = OFF; {EARLIER}")).await;
    fixture
}

#[tokio::test]
async fn a_store_of_the_first_version_is_read_without_a_change_and_sealed_by_its_first_one() {
    let fixture = earlier().await;
    let store = fixture.open().await;
    assert_eq!(get(&store, "DATABASE_URL").await.unwrap(), "postgres://app:pw@db/x");
    assert_eq!(get(&store, "api/key").await.unwrap(), "second");
    assert_eq!(list_all(&store, &ListRequest::default()).await.unwrap().len(), 2);
    let status = store.status().await.unwrap();
    assert_eq!((status.complete, status.notices_older_copies, status.untrusted), (false, false, None));
    assert!(fixture.ring.stores.lock().unwrap().is_empty(), "reading remembers nothing");

    store.put(&new("new", "1")).await.unwrap();
    assert!(!store.status().await.unwrap().complete, "the earlier values carry no purpose yet");
    assert_eq!(get(&store, "api/key").await.unwrap(), "second");
    assert_eq!(get(&store, "new").await.unwrap(), "1");

    let report = store.reseal(|_| {}).await.unwrap();
    assert_eq!((report.resealed, report.complete, report.failed.len()), (3, true, 0));
    assert!(store.status().await.unwrap().complete && store.refuses_unlabelled().unwrap());
    assert_eq!(get(&store, "DATABASE_URL").await.unwrap(), "postgres://app:pw@db/x");
    let tags = store.describe(&name("DATABASE_URL")).await.unwrap().tags;
    assert_eq!(tags.get("team").map(String::as_str), Some("red"));
    let before = fixture.ring.record();
    assert_eq!(store.reseal(|_| {}).await.unwrap().resealed, 0);
    assert_eq!(fixture.ring.record(), before, "a second run writes nothing");
}

#[tokio::test]
async fn once_a_reseal_is_complete_the_first_version_is_refused() {
    let fixture = earlier().await;
    let copy = fixture.directory.path().join("copy");
    std::fs::copy(fixture.path(), &copy).unwrap();
    let store = fixture.open().await;
    assert!(store.reseal(|_| {}).await.unwrap().complete);
    store.close().await;
    fixture.put_back(&copy);
    let store = fixture.open().await;
    assert!(matches!(get(&store, "api/key").await, Err(SourceError::Untrusted(Untrusted::RolledBack))));
    assert!(store.put(&new("a", "1")).await.is_err() && store.reseal(|_| {}).await.is_err());
    store.accept_restore().await.unwrap();
    assert_eq!(get(&store, "api/key").await.unwrap(), "second");
    assert!(!store.status().await.unwrap().complete);
    assert!(store.reseal(|_| {}).await.unwrap().complete);
}

#[tokio::test]
async fn a_value_without_a_purpose_is_refused_once_all_carry_one() {
    let fixture = Fixture::new();
    let store = fixture.open().await;
    store.put(&new("key", "1")).await.unwrap();
    // As an attacker could who can seal, but only the program keeps the file's own seals right.
    let plain = node_json::seal_unlabelled(&*fixture.ring, Some(b"key"), b"old", 7).replace('\'', "''");
    fixture.raw(&format!("UPDATE envelopes SET envelope = '{plain}'")).await;
    assert!(is_refused(&get(&store, "key").await));
    let report = store.reseal(|_| {}).await.unwrap();
    assert!(!report.complete && report.failed.len() == 1, "{report:?}");
}

#[tokio::test]
async fn a_policy_of_the_first_version_that_leads_beyond_all_dates_panics_nowhere() {
    let fixture = earlier().await;
    fixture.raw("UPDATE secrets SET every_ms = 259200000000000, grace_ms = 9223372036854775807").await;
    let store = fixture.open().await;
    let listed = list_all(&store, &ListRequest::default()).await.unwrap();
    assert!(
        listed.iter().all(|secret| secret.rotate_by.is_some() && !secret.is_due(OffsetDateTime::now_utc()))
    );
    assert_eq!(get(&store, "api/key").await.unwrap(), "second");
    store.status().await.unwrap();
}

/// Names the store of a process that may not write it.
#[cfg(unix)]
const READ_ONLY: &str = "TOKENSEAL_TEST_READ_ONLY_STORE";

#[cfg(unix)]
#[tokio::test]
async fn a_store_that_may_not_be_written_is_read() {
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::os::unix::process::CommandExt;

    if let Some(path) = std::env::var_os(READ_ONLY) {
        let store = LocalStore::open(&path, Remembering::new(Ring::of(1))).await.unwrap();
        assert_eq!(get(&store, "key").await.unwrap(), "value");
        assert_eq!(list_all(&store, &ListRequest::default()).await.unwrap().len(), 1);
        assert_eq!(store.status().await.unwrap().inventory.secrets, 1);
        assert!(matches!(store.put(&new("key", "2")).await, Err(SourceError::Storage { .. })));
        return;
    }
    let fixture = Fixture::new();
    let store = fixture.open().await;
    store.put(&new("key", "value")).await.unwrap();
    store.close().await;
    let before = std::fs::read(fixture.path()).unwrap();
    let set =
        |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    set(&fixture.path(), 0o400);
    set(fixture.directory.path(), 0o555);
    let mut program = std::process::Command::new(std::env::current_exe().unwrap());
    // Root may write everything: so the process runs as another user, who owns the file.
    let is_root = chown(fixture.path(), Some(65_534), Some(65_534)).is_ok();
    if is_root {
        chown(fixture.directory.path(), Some(65_534), Some(65_534)).unwrap();
        program.uid(65_534).gid(65_534);
    }
    let test = "the_local_store_is_as_it_was_left::a_store_that_may_not_be_written_is_read";
    let done =
        program.args([test, "--exact"]).env(READ_ONLY, fixture.path()).current_dir("/").output().unwrap();
    set(fixture.directory.path(), 0o755);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    assert!(String::from_utf8_lossy(&done.stdout).contains("1 passed"));
    let mut left: Vec<_> =
        std::fs::read_dir(fixture.directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!((std::fs::read(fixture.path()).unwrap(), left), (before, vec!["store.db".into()]));
}
