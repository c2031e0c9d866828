//! A backup restores into any source, and a damaged one changes nothing.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use envelope_core::DataKey;
use futures_util::{FutureExt as _, StreamExt};
use secrets_cache::backup::{self, BackupError, Unlabelled};
use secrets_cache::local::LocalStore;
use secrets_cache::sealed_stream::{Existing, StreamError, StreamKey, StreamKind, seal_file};
use secrets_cache::secret::RotationPolicy;
use secrets_cache::source::memory::MemorySource;
use secrets_cache::source::{ListPage, ListRequest, Stored, list_all};
use secrets_cache::{NewSecret, Secret, SecretName, SecretSource, SecretValue, SourceError, Stage};
use time::OffsetDateTime;

use crate::support::{Flaky, Ring, denied, name, new, outage, text, value};

fn key() -> Arc<DataKey> {
    Arc::new(DataKey::from_slice(&[5; 32]).unwrap())
}

async fn local(directory: &Path, file: &str) -> LocalStore {
    LocalStore::open_or_create(directory.join(file), Ring::of(1)).await.unwrap()
}

async fn filled(directory: &Path) -> LocalStore {
    let store = local(directory, "from.db").await;
    let far = OffsetDateTime::now_utc() + Duration::from_secs(3_600);
    let policy = RotationPolicy::every(Duration::from_secs(86_400));
    store
        .put(&new("full", "1").with_tag("team", "red").with_expiry(far).with_rotation(policy))
        .await
        .unwrap();
    store.rotate(&name("full"), &value("2")).await.unwrap();
    store.put(&NewSecret::new(name("bytes"), SecretValue::binary(vec![0, 255]))).await.unwrap();
    let gone = OffsetDateTime::now_utc() - Duration::from_secs(1);
    store.put(&new("gone", "3").with_expiry(gone)).await.unwrap();
    let secrets = (0..700).map(|n| Ok(new(&format!("many/{n}"), &format!("value \"{n}\"\n"))));
    store.put_all(futures_util::stream::iter(secrets).boxed()).await.unwrap();
    store
}

#[tokio::test]
async fn all_of_it_comes_back_elsewhere_and_twice_is_once() {
    let directory = tempfile::tempdir().unwrap();
    let (from, file) = (filled(directory.path()).await, directory.path().join("backup"));
    let written = backup::write(&from, StreamKey::new(key(), "test"), &file, Existing::Replace, &|| false)
        .await
        .unwrap();
    assert_eq!((written.secrets, written.versions), (702, 703));
    assert_eq!(written.left_out, [(name("gone"), "expired")]);
    let (local, memory) = (local(directory.path(), "to.db").await, MemorySource::new());
    let targets: [&dyn SecretSource; 2] = [&local, &memory];
    for target in targets {
        let plan = backup::plan(&file, key(), Unlabelled::Refuse, target, &|| false).await.unwrap();
        assert_eq!((plan.added.len(), plan.changed.len(), plan.unchanged), (702, 0, 0));
        let restored = backup::restore(&file, key(), Unlabelled::Refuse, target, &|| false).await.unwrap();
        assert_eq!((restored.versions, restored.plan), (703, plan));
        let full = target.describe(&name("full")).await.unwrap();
        assert_eq!(full.tags["team"], "red");
        assert_eq!(full.rotation, Some(RotationPolicy::every(Duration::from_secs(86_400))));
        assert!(full.expires.is_some());
        assert_eq!(text(&target.get(&name("full"), &Stage::Current).await.unwrap()), "2");
        assert_eq!(text(&target.get(&name("full"), &Stage::Previous).await.unwrap()), "1");
        assert_eq!(target.get(&name("bytes"), &Stage::Current).await.unwrap().value.expose_bytes(), [0, 255]);
        assert_eq!(text(&target.get(&name("many/699"), &Stage::Current).await.unwrap()), "value \"699\"\n");
        let again = backup::restore(&file, key(), Unlabelled::Refuse, target, &|| false).await.unwrap();
        assert_eq!((again.versions, again.plan.unchanged), (0, 702));
    }
}

#[tokio::test]
async fn a_dry_run_says_what_would_change_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (store, file) = (filled(directory.path()).await, directory.path().join("backup"));
    backup::write(&store, StreamKey::new(key(), "test"), &file, Existing::Replace, &|| false).await.unwrap();
    store.put(&new("many/1", "changed since")).await.unwrap();
    store.delete(&name("many/2")).await.unwrap();
    store.put(&new("only here", "stays")).await.unwrap();
    let before = store.status().await.unwrap();
    let plan = backup::plan(&file, key(), Unlabelled::Refuse, &store, &|| false).await.unwrap();
    assert_eq!(
        (plan.added.as_slice(), plan.changed.as_slice()),
        (&[name("many/2")][..], &[name("many/1")][..])
    );
    assert_eq!(store.status().await.unwrap(), before);
    backup::restore(&file, key(), Unlabelled::Refuse, &store, &|| false).await.unwrap();
    assert_eq!(text(&store.get(&name("many/1"), &Stage::Current).await.unwrap()), "value \"1\"\n");
    assert_eq!(text(&store.get(&name("only here"), &Stage::Current).await.unwrap()), "stays");
}

#[tokio::test]
async fn a_wrong_key_and_damage_are_told_and_restore_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (from, file) = (filled(directory.path()).await, directory.path().join("backup"));
    backup::write(&from, StreamKey::new(key(), "test"), &file, Existing::Replace, &|| false).await.unwrap();
    let target = local(directory.path(), "to.db").await;
    let wrong =
        backup::restore(&file, Arc::new(DataKey::generate()), Unlabelled::Refuse, &target, &|| false).await;
    assert!(matches!(wrong, Err(BackupError::Stream(StreamError::WrongKey))));
    let whole = std::fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    let near_the_end = flipped.len() - 40;
    flipped[near_the_end] ^= 1;
    for damaged in [flipped, whole[..whole.len() - 1].to_vec(), whole[..200].to_vec()] {
        std::fs::write(&file, damaged).unwrap();
        let refused = backup::restore(&file, key(), Unlabelled::Refuse, &target, &|| false).await;
        assert!(
            matches!(refused, Err(BackupError::Stream(StreamError::Damaged | StreamError::Truncated))),
            "{refused:?}"
        );
        backup::plan(&file, key(), Unlabelled::Refuse, &target, &|| false).await.unwrap_err();
    }
    std::fs::write(directory.path().join("other"), "a sealed file of something else").unwrap();
    seal_file(
        &StreamKey::new(key(), "test"),
        StreamKind::File,
        &directory.path().join("other"),
        &file,
        Existing::Replace,
        &|| false,
    )
    .unwrap();
    for unlabelled in [Unlabelled::Accept, Unlabelled::Refuse] {
        let refused = backup::restore(&file, key(), unlabelled, &target, &|| false).await;
        assert!(matches!(refused, Err(BackupError::Stream(StreamError::OtherKind))));
    }
    assert_eq!(target.status().await.unwrap().inventory.secrets, 0);
}

#[tokio::test]
async fn a_source_that_fails_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let source = Flaky::with(&[("a", "1")]).await;
    source.fail(outage());
    let failed = backup::write(
        &*source,
        StreamKey::new(key(), "test"),
        &directory.path().join("backup"),
        Existing::Replace,
        &|| false,
    )
    .await;
    assert!(matches!(failed, Err(BackupError::Source(_))), "{failed:?}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    source.heal();
    let nowhere = backup::write(
        &*source,
        StreamKey::new(key(), "test"),
        &directory.path().join("no/such/backup"),
        Existing::Replace,
        &|| false,
    )
    .await;
    assert!(matches!(nowhere, Err(BackupError::Stream(StreamError::File(_)))), "{nowhere:?}");
}

/// A backup of the program before backups said that they are, under the bytes 0 to 31: two secrets, three versions.
const EARLIER: &[u8] = include_bytes!("../vectors/backup_v1");

#[tokio::test]
async fn a_backup_of_the_first_version_is_restored_where_such_are_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("backup");
    std::fs::write(&file, EARLIER).unwrap();
    let key = Arc::new(DataKey::from_slice(&std::array::from_fn::<u8, 32, _>(|at| at as u8)).unwrap());
    let target = local(directory.path(), "to.db").await;
    let refused = backup::restore(&file, key.clone(), Unlabelled::Refuse, &target, &|| false).await;
    assert!(matches!(refused, Err(BackupError::Stream(StreamError::Unlabelled))));
    assert_eq!(target.status().await.unwrap().inventory.secrets, 0);
    let restored = backup::restore(&file, key, Unlabelled::Accept, &target, &|| false).await.unwrap();
    assert_eq!((restored.plan.added.len(), restored.versions), (2, 3));
    assert_eq!(text(&target.get(&name("api/key"), &Stage::Current).await.unwrap()), "second");
}

/// A source whose previous versions are refused: a policy of IAM can do that, the emulators cannot.
struct NoPrevious(MemorySource, SourceError);

#[async_trait::async_trait]
impl SecretSource for NoPrevious {
    fn id(&self) -> Arc<str> {
        "refusing".into()
    }

    async fn get(&self, name: &SecretName, stage: &Stage) -> Result<Secret, SourceError> {
        if *stage == Stage::Previous { Err(self.1.clone()) } else { self.0.get(name, stage).await }
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, SourceError> {
        self.0.list(request).await
    }
}

#[tokio::test]
async fn a_previous_value_that_is_refused_is_reported_and_an_outage_ends_the_backup() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("backup");
    for (failure, expected) in [
        (Some(denied()), Some("denied")),
        (Some(SourceError::NoSuchStage { name: name("a"), stage: Stage::Previous }), None),
        (Some(outage()), Some("outage")),
    ] {
        let memory = MemorySource::new();
        memory.put(&new("a", "1")).await.unwrap();
        memory.rotate(&name("a"), &value("2")).await.unwrap();
        let source = NoPrevious(memory, failure.unwrap());
        let written =
            backup::write(&source, StreamKey::new(key(), "test"), &file, Existing::Replace, &|| false).await;
        if expected == Some("outage") {
            assert!(matches!(written, Err(BackupError::Source(_))), "{written:?}");
            continue;
        }
        let written = written.unwrap();
        let left: Vec<_> = expected.map(|class| (name("a"), class)).into_iter().collect();
        assert_eq!((written.versions, written.without_previous), (1, left));
    }
}

#[tokio::test]
async fn after_a_late_restore_a_new_value_lives_as_long_as_those_before() {
    let directory = tempfile::tempdir().unwrap();
    let (from, file) = (local(directory.path(), "from.db").await, directory.path().join("backup"));
    let lifetime = Duration::from_secs(2);
    from.put(&new("short", "1").with_expiry(OffsetDateTime::now_utc() + lifetime)).await.unwrap();
    backup::write(&from, StreamKey::new(key(), "test"), &file, Existing::Replace, &|| false).await.unwrap();
    tokio::time::sleep(lifetime + Duration::from_millis(100)).await;
    let to = local(directory.path(), "to.db").await;
    let restored = backup::restore(&file, key(), Unlabelled::Refuse, &to, &|| false).await.unwrap();
    assert_eq!(restored.plan.expired, [name("short")]);
    assert!(matches!(to.get(&name("short"), &Stage::Current).await, Err(SourceError::Expired { .. })));
    to.put(&new("short", "2")).await.unwrap();
    assert_eq!(text(&to.get(&name("short"), &Stage::Current).await.unwrap()), "2");
    let known = to.describe(&name("short")).await.unwrap();
    assert!(known.lifetime.unwrap().abs_diff(lifetime) < Duration::from_millis(50), "{known:?}");
}

#[tokio::test]
async fn a_value_that_follows_one_without_any_time_left_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let store = local(directory.path(), "store.db").await;
    let gone = OffsetDateTime::now_utc() - Duration::from_secs(60);
    store.put(&new("a", "1").with_expiry(gone)).await.unwrap();
    store.put(&new("a", "2")).await.unwrap();
    assert_eq!(text(&store.get(&name("a"), &Stage::Current).await.unwrap()), "2");
    assert_eq!(store.describe(&name("a")).await.unwrap().expires, None);
}

#[tokio::test]
async fn a_restore_and_its_rehearsal_stop_when_they_are_asked_to() {
    let directory = tempfile::tempdir().unwrap();
    let (store, file) = (filled(directory.path()).await, directory.path().join("backup"));
    backup::write(&store, StreamKey::new(key(), "test"), &file, Existing::Replace, &|| false).await.unwrap();
    let (transactional, other) = (local(directory.path(), "to.db").await, MemorySource::new());
    let targets: [&dyn SecretSource; 2] = [&transactional, &other];
    for target in targets {
        for after in [0, 300] {
            let asked = AtomicU64::new(0);
            let is_stopped = || asked.fetch_add(1, Ordering::SeqCst) >= after;
            let planned = backup::plan(&file, key(), Unlabelled::Refuse, target, &is_stopped).await;
            assert!(matches!(planned, Err(BackupError::Stopped)), "{after}: {planned:?}");
            // The whole file is read before anything is stored.
            asked.store(0, Ordering::SeqCst);
            let restored = backup::restore(&file, key(), Unlabelled::Refuse, target, &is_stopped).await;
            assert!(matches!(restored, Err(BackupError::Stopped)), "{after}: {restored:?}");
            assert_eq!(list_all(target, &ListRequest::default()).await.unwrap().len(), 0);
        }
    }
}

/// A source that keeps no expiry, and ends nothing by itself.
struct WithoutSchedule(MemorySource);

#[async_trait::async_trait]
impl SecretSource for WithoutSchedule {
    fn id(&self) -> Arc<str> {
        "without schedule".into()
    }

    fn keeps_schedule(&self) -> bool {
        false
    }

    async fn get(&self, name: &SecretName, stage: &Stage) -> Result<Secret, SourceError> {
        self.0.get(name, stage).await
    }

    async fn put(&self, secret: &NewSecret) -> Result<Stored, SourceError> {
        self.0.put(secret).await
    }
}

#[tokio::test]
async fn an_interrupted_restore_reports_only_what_it_did() {
    let directory = tempfile::tempdir().unwrap();
    let (from, file) = (local(directory.path(), "from.db").await, directory.path().join("backup"));
    let soon = OffsetDateTime::now_utc() + Duration::from_secs(1);
    for secret in ["a", "b", "c"] {
        from.put(&new(secret, "1").with_expiry(soon)).await.unwrap();
    }
    backup::write(&from, StreamKey::new(key(), "test"), &file, Existing::Replace, &|| false).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    for keeps_schedule in [true, false] {
        let (with, without) = (MemorySource::new(), WithoutSchedule(MemorySource::new()));
        let target: &dyn SecretSource = if keeps_schedule { &with } else { &without };
        let is_stored = || match keeps_schedule {
            true => with.get(&name("a"), &Stage::Current).now_or_never(),
            false => without.0.get(&name("a"), &Stage::Current).now_or_never(),
        };
        let is_stopped = || !matches!(is_stored(), Some(Err(SourceError::NotFound { .. })));
        let restored = backup::restore(&file, key(), Unlabelled::Refuse, target, &is_stopped).await.unwrap();
        assert!(restored.interrupted);
        assert_eq!((restored.versions, restored.plan.added.as_slice()), (1, &[name("a")][..]));
        let expired: &[SecretName] = if keeps_schedule { &[name("a")] } else { &[] };
        assert_eq!(restored.plan.expired, expired);
        assert_eq!(restored.plan.without_schedule, u64::from(!keeps_schedule));
    }
}

/// A source without transactions that stores so many values and has an outage then, and takes values of 9 bytes at most.
struct Failing {
    inner: MemorySource,
    left: AtomicU64,
    /// Whether only the attempt shows which values it takes.
    says_nothing: bool,
}

impl Failing {
    fn after(stored: u64) -> Self {
        Self { inner: MemorySource::new(), left: AtomicU64::new(stored), says_nothing: false }
    }
}

#[async_trait::async_trait]
impl SecretSource for Failing {
    fn id(&self) -> Arc<str> {
        "failing".into()
    }

    async fn get(&self, name: &SecretName, stage: &Stage) -> Result<Secret, SourceError> {
        self.inner.get(name, stage).await
    }

    fn check(&self, _: &SecretName, value: &SecretValue) -> Result<(), SourceError> {
        if self.says_nothing { Ok(()) } else { short(value) }
    }

    async fn put(&self, secret: &NewSecret) -> Result<Stored, SourceError> {
        if self.left.load(Ordering::SeqCst) == 0 {
            return Err(outage());
        }
        short(&secret.value)?;
        self.left.fetch_sub(1, Ordering::SeqCst);
        self.inner.put(secret).await
    }
}

fn short(value: &SecretValue) -> Result<(), SourceError> {
    match value.expose_bytes().len() {
        0..10 => Ok(()),
        _ => Err(SourceError::Unsupported { source_id: "failing".into(), operation: "store a long value" }),
    }
}

#[tokio::test]
async fn a_restore_that_an_outage_ends_reports_what_it_has_stored() {
    let directory = tempfile::tempdir().unwrap();
    let (from, file) = (local(directory.path(), "from.db").await, directory.path().join("backup"));
    for secret in ["a", "b", "c"] {
        from.put(&new(secret, "1")).await.unwrap();
    }
    backup::write(&from, StreamKey::new(key(), "test"), &file, Existing::Replace, &|| false).await.unwrap();
    let at_once = Failing::after(0);
    let failed = backup::restore(&file, key(), Unlabelled::Refuse, &at_once, &|| false).await;
    assert!(matches!(failed, Err(BackupError::Source(_))), "{failed:?}");
    let target = Failing::after(1);
    let restored = backup::restore(&file, key(), Unlabelled::Refuse, &target, &|| false).await.unwrap();
    assert_eq!((restored.versions, restored.plan.added.as_slice()), (1, &[name("a")][..]));
    assert_eq!((restored.outage, restored.plan.failed[0].name.as_str()), (Some("unavailable"), "b"));
    assert_eq!(restored.plan.failed.len(), 1, "nothing is said of those that were not tried");
}

#[tokio::test]
async fn a_previous_value_that_does_not_fit_leaves_out_no_current_one() {
    let directory = tempfile::tempdir().unwrap();
    let (from, file) = (local(directory.path(), "from.db").await, directory.path().join("backup"));
    for (secret, previous, current) in
        [("a", "longer than nine", "1"), ("b", "1", "longer than nine"), ("c", "1", "2")]
    {
        from.put(&new(secret, previous)).await.unwrap();
        from.rotate(&name(secret), &value(current)).await.unwrap();
    }
    backup::write(&from, StreamKey::new(key(), "test"), &file, Existing::Replace, &|| false).await.unwrap();
    for says_nothing in [false, true] {
        restores_all_current_values(&file, Failing { says_nothing, ..Failing::after(u64::MAX) }).await;
    }
}

async fn restores_all_current_values(file: &Path, target: Failing) {
    // The previous value of `b` is stored where only the attempt shows that the current one is refused.
    let versions = if target.says_nothing { 4 } else { 3 };
    let restored = backup::restore(file, key(), Unlabelled::Refuse, &target, &|| false).await.unwrap();
    assert_eq!((restored.versions, restored.plan.added.as_slice()), (versions, &[name("a"), name("c")][..]));
    let names = |list: &[backup::NotRestored]| list.iter().map(|left| left.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&restored.plan.without_previous), [name("a")]);
    assert_eq!(names(&restored.plan.failed), [name("b")]);
    assert_eq!(text(&target.get(&name("a"), &Stage::Current).await.unwrap()), "1");
    // The second time, the current values are there, and the previous one of `a` is not asked for.
    let again = backup::restore(file, key(), Unlabelled::Refuse, &target, &|| false).await.unwrap();
    assert_eq!((again.plan.unchanged, again.plan.added.len()), (2, 0));
    assert!(again.plan.without_previous.is_empty());
}
