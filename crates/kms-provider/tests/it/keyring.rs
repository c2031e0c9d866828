//! The keyring as a key service: rotation, imports, other processes.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use envelope_core::conformance::same_key;
use envelope_core::format::node_json::DataKeyRing;
use envelope_core::{DataKey, ErrorClass, KeyProvider};
use kms_provider::Keyring;
use kms_provider::keyring::KeyringError;

use crate::support::{claimed, class, row, within};

pub(crate) struct Fixture {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) master: DataKey,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), master: DataKey::generate() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("keys.json")
    }

    pub(crate) fn init(&self) -> Keyring {
        Keyring::init(self.path(), &self.master).unwrap()
    }

    pub(crate) fn open(&self) -> Result<Keyring, KeyringError> {
        Keyring::open(self.path(), &self.master)
    }
}

fn export(keys: &[(&str, [u8; 32], bool)]) -> Vec<u8> {
    let keys = keys.iter().map(|(id, key, active)| {
        serde_json::json!({ "id": id, "key": STANDARD.encode(key), "isActive": active, "createdAt": 1 })
    });
    serde_json::json!({ "keys": keys.collect::<Vec<_>>() }).to_string().into_bytes()
}

#[tokio::test]
async fn a_rotated_keyring_wraps_under_the_new_key_and_opens_the_old_one() {
    let fixture = Fixture::new();
    let keyring = fixture.init();
    let old = keyring.generate(&row(1)).await.unwrap();
    let rotated = keyring.rotate().unwrap();
    let new = keyring.generate(&row(1)).await.unwrap();
    assert_eq!(new.wrapped.key_id(), Some(format!("keyring:{}", rotated.id).as_str()));
    assert_ne!(new.wrapped.key_id(), old.wrapped.key_id());
    let reopened = fixture.open().unwrap();
    assert!(same_key(&reopened.unwrap(&old.wrapped, &row(1)).await.unwrap(), &old.key.0));
    let rewrapped = reopened.rewrap(&old.wrapped, &row(1)).await.unwrap();
    assert_eq!(rewrapped.key_id(), new.wrapped.key_id());
    assert!(same_key(&reopened.unwrap(&rewrapped, &row(1)).await.unwrap(), &old.key.0));
    assert_eq!(reopened.describe().await.unwrap().key_id, new.wrapped.key_id().unwrap());
}

#[tokio::test]
async fn a_rotation_by_another_process_is_noticed() {
    let fixture = Fixture::new();
    let (here, elsewhere) = (fixture.init(), fixture.open().unwrap());
    elsewhere.rotate().unwrap();
    let made = elsewhere.generate(&row(1)).await.unwrap();
    assert!(same_key(&here.unwrap(&made.wrapped, &row(1)).await.unwrap(), &made.key.0), "at once for unwrap");
    elsewhere.rotate().unwrap();
    let active = elsewhere.describe().await.unwrap().key_id;
    let generates_under_it = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let made = runtime.block_on(here.generate(&row(1))).unwrap();
        made.wrapped.key_id() == Some(&active)
    };
    std::thread::scope(|scope| {
        scope
            .spawn(|| within(Duration::from_secs(5), "generate takes the new key", generates_under_it))
            .join()
            .unwrap();
    });
}

#[tokio::test]
async fn without_its_file_a_keyring_makes_no_keys_and_continues_to_open() {
    let fixture = Fixture::new();
    let keyring = fixture.init();
    let made = keyring.generate(&row(1)).await.unwrap();
    std::fs::remove_file(fixture.path()).unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    for _ in 0..2 {
        let error = keyring.generate(&row(1)).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Misconfigured);
        assert!(error.hint().is_some());
    }
    assert!(keyring.unwrap(&made.wrapped, &row(1)).await.is_ok());
}

#[tokio::test]
async fn under_a_new_master_key_a_keyring_has_the_same_keys_and_opens_everything() {
    let fixture = Fixture::new();
    let keyring = fixture.init();
    let old = keyring.generate(&row(1)).await.unwrap();
    keyring.rotate().unwrap();
    let new = keyring.generate(&row(1)).await.unwrap();
    let listed = keyring.list().unwrap();
    let master = DataKey::generate();
    let rekeyed = Keyring::rekey(fixture.path(), &fixture.master, &master).unwrap();
    assert_eq!(rekeyed.list().unwrap(), listed);
    rekeyed.rotate().unwrap();
    let reopened = Keyring::open(fixture.path(), &master).unwrap();
    assert_eq!(reopened.list().unwrap().len(), 3);
    for made in [&old, &new] {
        for keyring in [&rekeyed, &reopened] {
            assert!(same_key(&keyring.unwrap(&made.wrapped, &row(1)).await.unwrap(), &made.key.0));
        }
    }
    assert!(matches!(fixture.open(), Err(KeyringError::WrongMasterKey { .. })));
}

#[tokio::test]
async fn a_holder_of_the_old_master_key_continues_to_open_and_reports_why_no_key_is_made() {
    let fixture = Fixture::new();
    let running = fixture.init();
    let old = running.generate(&row(1)).await.unwrap();
    let master = DataKey::generate();
    let rekeyed = Keyring::rekey(fixture.path(), &fixture.master, &master).unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    for _ in 0..2 {
        for error in [running.generate(&row(1)).await.unwrap_err(), running.describe().await.unwrap_err()] {
            assert_eq!(error.class(), ErrorClass::Misconfigured);
            assert!(error.hint().unwrap().contains("the master key"));
        }
        assert!(
            same_key(&running.unwrap(&old.wrapped, &row(1)).await.unwrap(), &old.key.0),
            "nothing is forgotten"
        );
    }
    assert!(matches!(running.rotate(), Err(KeyringError::WrongMasterKey { .. })));
    assert!(matches!(running.list(), Err(KeyringError::WrongMasterKey { .. })));
    rekeyed.rotate().unwrap();
    let made = rekeyed.generate(&row(1)).await.unwrap();
    assert_eq!(class(running.unwrap(&made.wrapped, &row(1)).await), ErrorClass::Misconfigured);
    assert!(running.unwrap(&old.wrapped, &row(1)).await.is_ok());
    assert_eq!(Keyring::open(fixture.path(), &master).unwrap().list().unwrap().len(), 2);
}

#[tokio::test]
async fn a_copy_under_a_new_master_key_serves_next_to_the_one_under_the_old() {
    let fixture = Fixture::new();
    let old = fixture.init();
    let copy = fixture.directory.path().join("copy.json");
    std::fs::copy(fixture.path(), &copy).unwrap();
    let new = Keyring::rekey(&copy, &fixture.master, &DataKey::generate()).unwrap();
    for (writer, reader) in [(&old, &new), (&new, &old)] {
        let made = writer.generate(&row(1)).await.unwrap();
        assert!(same_key(&reader.unwrap(&made.wrapped, &row(1)).await.unwrap(), &made.key.0));
    }
}

#[tokio::test]
async fn two_rotations_at_once_both_survive() {
    let fixture = Fixture::new();
    let first = fixture.init().generate(&row(0)).await.unwrap();
    let made = std::thread::scope(|scope| {
        let rotate = || {
            let keyring = fixture.open().unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let rotate = |_| {
                keyring.rotate().unwrap();
                runtime.block_on(keyring.generate(&row(0))).unwrap()
            };
            (0..8).map(rotate).collect::<Vec<_>>()
        };
        let threads = [scope.spawn(rotate), scope.spawn(rotate)];
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let keyring = fixture.open().unwrap();
    let keys = keyring.list().unwrap();
    assert_eq!(keys.len(), 17);
    assert_eq!(keys.iter().filter(|key| key.active).count(), 1);
    for made in made.iter().chain([&first]) {
        assert!(same_key(&keyring.unwrap(&made.wrapped, &row(0)).await.unwrap(), &made.key.0));
    }
}

#[tokio::test]
async fn a_claim_that_contradicts_the_bytes_is_refused() {
    let fixture = Fixture::new();
    let keyring = fixture.init();
    let old = keyring.generate(&row(1)).await.unwrap();
    keyring.rotate().unwrap();
    let active = keyring.describe().await.unwrap().key_id;
    assert_eq!(
        class(keyring.unwrap(&claimed(&old.wrapped, Some(&active)), &row(1)).await),
        ErrorClass::WrongKey
    );
    let stranger = Fixture::new();
    let foreign = stranger.init().generate(&row(1)).await.unwrap();
    for key_id in [foreign.wrapped.key_id(), None] {
        let outcome = keyring.unwrap(&claimed(&foreign.wrapped, key_id), &row(1)).await;
        assert_eq!(class(outcome), ErrorClass::WrongKey);
    }
}

#[tokio::test]
async fn importing_the_old_export_is_idempotent_and_never_undoes_a_rotation() {
    let fixture = Fixture::new();
    let keyring = fixture.init();
    let exported = export(&[("default-1761300000", [7; 32], true), ("older", [8; 32], false)]);
    let imported = keyring.import(&exported).unwrap();
    assert_eq!(imported.added, ["default-1761300000", "older"]);
    assert_eq!(
        keyring.active_data_key().0,
        "default-1761300000",
        "the old program can read newly sealed values"
    );
    let rotated = keyring.rotate().unwrap();
    let before = std::fs::read(fixture.path()).unwrap();
    let again = keyring.import(&exported).unwrap();
    assert_eq!(again.present, ["default-1761300000", "older"]);
    assert!(again.added.is_empty());
    assert_eq!(std::fs::read(fixture.path()).unwrap(), before);
    let reopened = fixture.open().unwrap();
    assert_eq!(reopened.active_data_key().0, rotated.id);
    assert_eq!(reopened.data_key("older").unwrap().expose_secret(), &[8; 32]);
    assert!(reopened.data_key("none").is_none());
    let ring: &dyn DataKeyRing = &reopened;
    assert_eq!(ring.active().0, rotated.id);
    assert_eq!(ring.data_key("older").unwrap().expose_secret(), &[8; 32]);
    let listed = reopened.list().unwrap();
    assert_eq!(listed.iter().filter(|key| key.active).count(), 1);
    assert_eq!(listed.len(), 4);
}

#[test]
fn an_import_that_conflicts_changes_nothing() {
    let fixture = Fixture::new();
    let keyring = fixture.init();
    keyring.import(&export(&[("a", [1; 32], false)])).unwrap();
    let before = std::fs::read(fixture.path()).unwrap();
    let conflicting = export(&[("b", [2; 32], true), ("a", [3; 32], false)]);
    assert!(matches!(keyring.import(&conflicting), Err(KeyringError::Conflict { id }) if id == "a"));
    let contradictory = export(&[("c", [2; 32], false), ("c", [3; 32], false)]);
    assert!(matches!(keyring.import(&contradictory), Err(KeyringError::Conflict { id }) if id == "c"));
    assert_eq!(std::fs::read(fixture.path()).unwrap(), before);
    assert_eq!(keyring.list().unwrap().len(), 2);
}

#[test]
fn a_text_that_is_no_export_is_refused() {
    let fixture = Fixture::new();
    let keyring = fixture.init();
    let key = STANDARD.encode([1; 32]);
    for text in [
        "".to_owned(),
        "{}".into(),
        "[]".into(),
        r#"{"keys":[]}"#.into(),
        r#"{"keys":[{"id":"a","key":"AAAA","isActive":true}]}"#.into(),
        format!(r#"{{"keys":[{{"id":"a","key":"{key}"}}]}}"#),
        format!(r#"{{"keys":[{{"id":"","key":"{key}","isActive":true}}]}}"#),
        format!(r#"{{"keys":[{{"id":"a b","key":"{key}","isActive":true}}]}}"#),
        format!(r#"{{"keys":[{{"id":"{}","key":"{key}","isActive":true}}]}}"#, "x".repeat(256)),
        String::from_utf8(export(&[("a", [1; 32], true), ("b", [2; 32], true)])).unwrap(),
    ] {
        let error = keyring.import(text.as_bytes()).unwrap_err();
        assert!(
            matches!(error, KeyringError::NotAnExport { .. } | KeyringError::UnusableKey { .. }),
            "{text}: {error:?}"
        );
        assert!(!error.hint().is_empty());
    }
    assert_eq!(keyring.list().unwrap().len(), 1);
}
