//! The key of a blind index moves to another key service with the values: every look-up finds its row meanwhile, and no index
//! changes. A key that nothing is indexed under holds up no one.

use std::sync::Arc;

use envelope_core::{DataKey, ErrorClass, KeyProvider};
use kms_provider::several::Member;
use kms_provider::{Keyring, Memory, Several};
use tempfile::TempDir;
use test_support::faults::{Fault, FaultyProvider};
use token_store::blind_index::{IndexColumn, rotate};
use token_store::migration::{Outcome, RewrapOptions, RewrapReport, StopFlag, rewrap};
use token_store::status::key_use;
use token_store::{StoreError, TokenStore, WriteFormat};

use crate::blind_indexes_rotate_under_look_ups::{
    UNIQUE, address, fill, found, one, options, put, ready, rotated, under,
};
use crate::support::{Keys, Sql, migrate, told, verified};

const ROWS: u32 = 6;

/// A keyring, and a key service whose keys are named as those of no other kind.
struct Services {
    keyring: Arc<FaultyProvider<Keyring>>,
    memory: Arc<FaultyProvider<Memory>>,
    _directory: TempDir,
}

impl Services {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keyring = Keyring::init(directory.path().join("keys.json"), &DataKey::generate()).unwrap();
        Self {
            keyring: Arc::new(FaultyProvider::new(keyring)),
            memory: Arc::new(FaultyProvider::new(Memory::new())),
            _directory: directory,
        }
    }

    fn ring(&self) -> Member {
        Member::new(&"keyring:keys.json".parse().unwrap(), self.keyring.clone())
    }

    fn aws(&self) -> Member {
        Member::new(&"alias/memory".parse().unwrap(), self.memory.clone())
    }

    /// Seals under the keyring, and opens what either wrapped.
    fn old(&self) -> Arc<dyn KeyProvider> {
        Arc::new(Several::new(self.ring(), [self.aws()]))
    }

    /// Seals under the other service, and opens what either wrapped.
    fn new_one(&self) -> Arc<dyn KeyProvider> {
        Arc::new(Several::new(self.aws(), [self.ring()]))
    }

    /// The other service alone.
    fn new_alone(&self) -> Arc<dyn KeyProvider> {
        Arc::new(Several::new(self.aws(), []))
    }
}

/// A store over the table, as a service has it with this key service.
async fn store(db: &Sql, keys: &Keys, provider: Arc<dyn KeyProvider>) -> TokenStore {
    let mut own = Keys::new("vod-tender").decorated(|_| provider);
    own.profile = keys.profile.clone();
    own.store(db).await
}

async fn assert_found(stores: &[&TokenStore]) {
    for store in stores {
        for id in 1..=ROWS {
            assert_eq!(found(store, &address(id).to_uppercase()).await, [format!("id={id}")]);
        }
        assert!(!verified(store).await.found_problems());
    }
}

async fn moved(store: &TokenStore, limit: Option<u64>, dry_run: bool) -> Outcome<RewrapReport> {
    let mut options = RewrapOptions::default();
    (options.run.limit, options.run.dry_run, options.run.batch_size) = (limit, dry_run, 2);
    rewrap(store, &options, &StopFlag::default(), |_| {}).await
}

async fn done(store: &TokenStore, limit: Option<u64>, dry_run: bool) -> RewrapReport {
    let outcome = moved(store, limit, dry_run).await;
    match outcome.ended_by {
        None => outcome.report,
        Some(ended) => panic!("ended early: {}", told(&ended)),
    }
}

async fn stored_keys(db: &Sql) -> Vec<Vec<Option<String>>> {
    db.table("tokenseal_index_keys", &["key_number", "key_id", "wrapped_key"]).await
}

async fn indexes(db: &Sql) -> Vec<Vec<Option<String>>> {
    db.table("users", &["id", "email_index"]).await
}

on_each_database! {
    async fn every_look_up_finds_its_row_while_values_and_keys_move_there_and_back(db) {
        let keys = ready(&db, UNIQUE).await;
        let services = Services::new();
        let (old, new) = (store(&db, &keys, services.old()).await, store(&db, &keys, services.new_one()).await);
        fill(&old, ROWS).await;
        assert_found(&[&old, &new]).await;
        let (before, made) = (indexes(&db).await, stored_keys(&db).await);
        for (target, other) in [(&new, &old), (&old, &new), (&new, &old)] {
            let stored = stored_keys(&db).await;
            let would = done(target, None, true).await;
            assert_eq!((would.index_keys, would.rewrapped, would.failed), (1, ROWS.into(), 0), "{would:?}");
            assert_eq!(stored_keys(&db).await, stored, "a dry run writes nothing");
            // A run that ends early: the key has moved, and most rows have not.
            let some = done(target, Some(2), false).await;
            assert_eq!((some.index_keys, some.rewrapped), (1, 2), "{some:?}");
            let cold = store(&db, &keys, services.old()).await;
            assert_found(&[target, other, &cold]).await;
            let taken = put(other, 99, "a", &address(1)).await.unwrap_err();
            assert!(matches!(taken, StoreError::NotUnique { .. }), "{}", told(&taken));
            let rest = done(target, None, false).await;
            assert_eq!((rest.index_keys, rest.rewrapped, rest.left), (0, u64::from(ROWS) - 2, Some(0)), "{rest:?}");
            assert_found(&[target, other]).await;
            assert_eq!(done(target, None, true).await.index_keys, 0);
        }
        assert_eq!(indexes(&db).await, before, "no index changes");
        assert_ne!(stored_keys(&db).await, made);
        let alone = store(&db, &keys, services.new_alone()).await;
        assert_found(&[&alone]).await;
        let used = key_use(&alone).await.unwrap();
        let used: Vec<_> = used.keys.iter().map(|key| (&*key.key_id, key.values)).collect();
        assert_eq!(used, [("memory:1", u64::from(ROWS) + 1)]);
    }

    async fn a_key_that_has_moved_is_wrapped_again_and_rotated_like_any_other(db) {
        let keys = ready(&db, UNIQUE).await;
        let services = Services::new();
        let (old, new) = (store(&db, &keys, services.old()).await, store(&db, &keys, services.new_one()).await);
        fill(&old, ROWS).await;
        done(&new, None, false).await;
        let calls = services.memory.faults().calls("rewrap");
        services.memory.inner().rotate();
        assert_eq!(done(&new, None, true).await.index_keys, 1);
        let report = done(&new, None, false).await;
        assert_eq!((report.index_keys, report.rewrapped, report.opened), (1, ROWS.into(), false), "{report:?}");
        assert!(services.memory.faults().calls("rewrap") > calls);
        assert_eq!(stored_keys(&db).await[0][1].as_deref(), Some("memory:2"));
        assert_found(&[&new, &store(&db, &keys, services.new_alone()).await]).await;
        // A value in place of the key does not unwrap: it is bound to its cell.
        let sealed = db.table("users", &["email"]).await[0][0].clone();
        let stored = stored_keys(&db).await[0][2].clone();
        db.run("UPDATE tokenseal_index_keys SET wrapped_key = $1", &[sealed.as_deref()]).await;
        let error = store(&db, &keys, services.new_one()).await.find(None, "email", &address(1).into()).await.err();
        assert!(matches!(error, Some(StoreError::IndexKey { .. })), "{error:?}");
        db.run("UPDATE tokenseal_index_keys SET wrapped_key = $1", &[stored.as_deref()]).await;
        let report = rotated(&new).await;
        assert_eq!((report.rewritten, report.made, report.removed), (u64::from(ROWS), 1, 1), "{report:?}");
        assert_found(&[&new, &old]).await;
    }

    async fn a_move_that_the_new_key_service_does_not_answer_leaves_the_key_as_it_was(db) {
        let keys = ready(&db, UNIQUE).await;
        let services = Services::new();
        let (old, new) = (store(&db, &keys, services.old()).await, store(&db, &keys, services.new_one()).await);
        fill(&old, ROWS).await;
        let stored = stored_keys(&db).await;
        services.memory.faults().always_for("generate", Fault::Fail(ErrorClass::Unavailable));
        assert!(moved(&new, None, false).await.ended_by.is_some());
        assert_eq!(stored_keys(&db).await, stored);
        services.memory.faults().heal();
        // A dry run asks the service that has the key, as the run does.
        services.keyring.faults().always_for("unwrap", Fault::Fail(ErrorClass::Unavailable));
        for dry_run in [true, false] {
            assert!(moved(&new, None, dry_run).await.ended_by.is_some(), "{dry_run}");
        }
        services.keyring.faults().heal();
        assert_eq!(done(&new, None, false).await.index_keys, 1);
        assert_found(&[&old, &new]).await;
    }

    async fn a_key_that_nothing_is_indexed_under_is_replaced_where_its_key_service_is_gone(db) {
        let mut keys = ready(&db, UNIQUE).await;
        keys.profile.legacy = Some(token_store::profile::LegacyFormat::DirectAes);
        let services = Services::new();
        let old = store(&db, &keys, services.old()).await;
        fill(&old, ROWS).await;
        // A rotation under the old settings that was cut off: two keys.
        let stop = StopFlag::default();
        let stopper = stop.clone();
        let cut = rotate(&old, &IndexColumn::default(), &options(2), &stop, move |_| stopper.stop()).await;
        assert!(cut.report.interrupted, "{cut:?}");
        migrate(&old, WriteFormat::DirectAes).await;
        let new = store(&db, &keys, services.new_alone()).await;
        assert_eq!(migrate(&new, WriteFormat::KmsEnvelope).await.failed, u64::from(ROWS));
        let mut dry = options(2);
        dry.dry_run = true;
        let would = rotate(&new, &IndexColumn::default(), &dry, &StopFlag::default(), |_| {}).await;
        assert!(would.ended_by.is_none() && would.report.failed == 0, "{would:?}");
        let report = rotated(&new).await;
        assert_eq!((report.made, report.removed, report.rewritten, report.failed), (1, 2, 0, 0), "{report:?}");
        assert_eq!(under(&db).await.1, [one("3", "active")]);
        assert_eq!(migrate(&new, WriteFormat::KmsEnvelope).await.migrated, u64::from(ROWS));
        assert_found(&[&new]).await;
    }
}

/// A key that rows are indexed under stays, and so do the rows, where nothing opens it.
#[tokio::test]
async fn a_key_in_use_whose_key_service_is_gone_is_not_removed() {
    let db = Sql::sqlite().await;
    let keys = ready(&db, UNIQUE).await;
    let services = Services::new();
    let old = store(&db, &keys, services.old()).await;
    fill(&old, ROWS).await;
    let before = indexes(&db).await;
    let new = store(&db, &keys, services.new_alone()).await;
    let report = rotated(&new).await;
    assert_eq!((report.rewritten, report.failed, report.removed), (0, ROWS.into(), 0), "{report:?}");
    assert_eq!(indexes(&db).await, before);
    let again = store(&db, &keys, services.new_one()).await;
    assert_found(&[&old, &again]).await;
}
