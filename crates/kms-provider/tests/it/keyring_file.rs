//! The keyring's file: whole or not at all, private, and written only by holders of the master key.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use envelope_core::ledger::{Ledger, LedgerError, StoreRecord};
use envelope_core::{DataKey, ErrorClass, KeyError, KeyProvider, WrappedDataKey};
use kms_provider::Keyring;
use kms_provider::keyring::KeyringError;

use crate::keyring::Fixture;
use crate::support::{context, row};

fn mode(fixture: &Fixture) -> u32 {
    fs::metadata(fixture.path()).unwrap().permissions().mode() & 0o777
}

fn set_mode(fixture: &Fixture, mode: u32) {
    fs::set_permissions(fixture.path(), fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn killed_between_write_and_rename_the_old_file_is_still_whole() {
    let fixture = Fixture::new();
    let made = fixture.init().generate(&row(1)).await.unwrap();
    let text = fs::read(fixture.path()).unwrap();
    // A file that a killed process leaves.
    let leftover = fixture.directory.path().join("keys.json.tmp");
    fs::write(&leftover, &text[..text.len() / 2]).unwrap();
    let keyring = fixture.open().unwrap();
    assert!(keyring.unwrap(&made.wrapped, &row(1)).await.is_ok());
    keyring.rotate().unwrap();
    assert!(!leftover.exists());
    assert!(fixture.open().unwrap().unwrap(&made.wrapped, &row(1)).await.is_ok());
}

#[test]
fn a_write_that_fails_leaves_the_old_file() {
    let fixture = Fixture::new();
    let keyring = fixture.init();
    let text = fs::read(fixture.path()).unwrap();
    // A directory of that name prevents it, even for root.
    fs::create_dir_all(fixture.directory.path().join("keys.json.tmp/in-the-way")).unwrap();
    let error = keyring.rotate().unwrap_err();
    assert!(matches!(error, KeyringError::Io { .. }), "{error:?}");
    assert_eq!(fs::read(fixture.path()).unwrap(), text);
    assert_eq!(keyring.list().unwrap().len(), 1);
}

#[test]
fn a_new_master_key_that_is_refused_or_not_written_leaves_the_old_file() {
    let fixture = Fixture::new();
    let (master, other) = (DataKey::generate(), DataKey::generate());
    let rekey = |old, new| Keyring::rekey(fixture.path(), old, new).unwrap_err();
    assert!(matches!(rekey(&fixture.master, &master), KeyringError::Missing { .. }));
    fixture.init().rotate().unwrap();
    let text = fs::read(fixture.path()).unwrap();
    assert!(matches!(rekey(&fixture.master, &fixture.master), KeyringError::SameMasterKey));
    assert!(matches!(rekey(&other, &master), KeyringError::WrongMasterKey { .. }));
    set_mode(&fixture, 0o644);
    assert!(matches!(rekey(&fixture.master, &master), KeyringError::Exposed { .. }));
    set_mode(&fixture, 0o600);
    let in_the_way = fixture.directory.path().join("keys.json.tmp");
    fs::create_dir_all(in_the_way.join("in-the-way")).unwrap();
    assert!(matches!(rekey(&fixture.master, &master), KeyringError::Io { .. }));
    assert_eq!(fs::read(fixture.path()).unwrap(), text);

    fs::remove_dir_all(&in_the_way).unwrap();
    // A file that a killed process leaves.
    fs::write(&in_the_way, &text[..text.len() / 2]).unwrap();
    set_mode(&fixture, 0o640);
    Keyring::rekey(fixture.path(), &fixture.master, &master).unwrap();
    assert_eq!((mode(&fixture), in_the_way.exists()), (0o640, false));
    let text = fs::read(fixture.path()).unwrap();
    for old in [&fixture.master, &other] {
        Keyring::rekey(fixture.path(), old, &master).unwrap();
    }
    assert_eq!(fs::read(fixture.path()).unwrap(), text, "a finished rekey is not repeated");
}

#[test]
fn a_new_master_key_waits_for_writers_so_that_none_of_their_changes_is_lost() {
    let fixture = Fixture::new();
    fixture.init();
    let lock = fs::File::options().write(true).open(fixture.directory.path().join("keys.json.lock")).unwrap();
    lock.lock().unwrap();
    let text = fs::read(fixture.path()).unwrap();
    let master = DataKey::generate();
    std::thread::scope(|scope| {
        let rekey = scope.spawn(|| Keyring::rekey(fixture.path(), &fixture.master, &master).map(drop));
        std::thread::sleep(Duration::from_millis(300));
        assert!(!rekey.is_finished());
        assert_eq!(fs::read(fixture.path()).unwrap(), text);
        lock.unlock().unwrap();
        rekey.join().unwrap().unwrap();
    });
    assert!(Keyring::open(fixture.path(), &master).is_ok());
}

#[test]
fn making_a_keyring_never_replaces_one() {
    let fixture = Fixture::new();
    fixture.init();
    let text = fs::read(fixture.path()).unwrap();
    for master in [&fixture.master, &DataKey::generate()] {
        assert!(matches!(Keyring::init(fixture.path(), master), Err(KeyringError::Exists { .. })));
    }
    assert_eq!(fs::read(fixture.path()).unwrap(), text);
}

#[test]
fn the_file_is_private_and_an_open_one_is_refused() {
    let fixture = Fixture::new();
    let keyring = fixture.init();
    assert_eq!(mode(&fixture), 0o600);
    keyring.rotate().unwrap();
    assert_eq!(mode(&fixture), 0o600);
    for exposed in [0o644, 0o604, 0o660, 0o602, 0o777] {
        set_mode(&fixture, exposed);
        assert!(matches!(fixture.open(), Err(KeyringError::Exposed { mode, .. }) if mode == exposed));
    }
    for private in [0o640, 0o400, 0o440] {
        set_mode(&fixture, private);
        assert!(fixture.open().is_ok(), "{private:o}");
    }
    set_mode(&fixture, 0o640);
    keyring.rotate().unwrap();
    assert_eq!(mode(&fixture), 0o640, "the group keeps its read permission");
}

#[test]
fn a_link_to_a_keyring_stays_a_link() {
    let fixture = Fixture::new();
    fixture.init();
    let link = fixture.directory.path().join("link.json");
    symlink(fixture.path(), &link).unwrap();
    Keyring::open(&link, &fixture.master).unwrap().rotate().unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fixture.open().unwrap().list().unwrap().len(), 2);
}

#[test]
fn a_wrong_master_key_is_reported_as_such() {
    let fixture = Fixture::new();
    fixture.init();
    let error = Keyring::open(fixture.path(), &DataKey::generate()).unwrap_err();
    assert!(matches!(error, KeyringError::WrongMasterKey { .. }));
    assert!(error.hint().contains("the master key"));
    assert_eq!(KeyError::from(error).class(), ErrorClass::Misconfigured);
}

#[test]
fn every_flipped_bit_of_the_file_is_a_typed_error_and_none_is_taken_for_a_wrong_master_key() {
    let fixture = Fixture::new();
    remember(&fixture.init(), 7);
    let text = fs::read(fixture.path()).unwrap();
    for at in 0..text.len() {
        for bit in 0..8 {
            let mut damaged = text.clone();
            damaged[at] ^= 1 << bit;
            fs::write(fixture.path(), &damaged).unwrap();
            match fixture.open() {
                Err(
                    KeyringError::NotAKeyring { .. }
                    | KeyringError::Damaged { .. }
                    | KeyringError::UnknownVersion { .. },
                ) => {}
                other => panic!("bit {bit} of byte {at}: {other:?}"),
            }
        }
    }
}

#[test]
fn every_truncation_of_the_file_is_a_typed_error() {
    let fixture = Fixture::new();
    fixture.init();
    let text = fs::read(fixture.path()).unwrap();
    // But for the line end after the last brace.
    for length in 0..text.len() - 1 {
        fs::write(fixture.path(), &text[..length]).unwrap();
        assert!(matches!(fixture.open(), Err(KeyringError::NotAKeyring { .. })), "{length} bytes");
    }
    fs::write(fixture.path(), vec![b' '; 5 << 20]).unwrap();
    assert!(matches!(fixture.open(), Err(KeyringError::NotAKeyring { .. })));
    fs::remove_file(fixture.path()).unwrap();
    assert!(matches!(fixture.open(), Err(KeyringError::Missing { .. })));
}

#[test]
fn without_the_master_key_the_list_of_keys_cannot_be_changed() {
    let fixture = Fixture::new();
    let keyring = fixture.init();
    keyring.rotate().unwrap();
    remember(&keyring, 7);
    let text: serde_json::Value = serde_json::from_slice(&fs::read(fixture.path()).unwrap()).unwrap();
    type Change = fn(&mut serde_json::Value);
    let changes: [(&str, Change); 12] = [
        ("an old key made active again", |file| {
            file["keys"][0]["active"] = true.into();
            file["keys"][1]["active"] = false.into();
        }),
        ("a key dropped", |file| drop(file["keys"].as_array_mut().unwrap().remove(0))),
        ("a key repeated", |file| {
            let key = file["keys"][0].clone();
            file["keys"].as_array_mut().unwrap().push(key);
        }),
        ("keys in another order", |file| file["keys"].as_array_mut().unwrap().reverse()),
        ("two ids exchanged", |file| {
            let id = file["keys"][0]["id"].take();
            file["keys"][0]["id"] = file["keys"][1]["id"].take();
            file["keys"][1]["id"] = id;
        }),
        ("another date", |file| file["keys"][0]["created_at"] = "2001-01-01T00:00:00Z".into()),
        ("an earlier revision of a store", |file| file["stores"][0]["revision"] = 6.into()),
        ("a store that is not labelled", |file| file["stores"][0]["labelled"] = false.into()),
        ("a store that was re-sealed", |file| file["stores"][0]["resealed"] = true.into()),
        ("another path of a store", |file| file["stores"][0]["path"] = "/other.db".into()),
        ("another store", |file| file["stores"][0]["id"] = "other".into()),
        ("a store forgotten", |file| drop(file["stores"].as_array_mut().unwrap().remove(0))),
    ];
    for (what, change) in changes {
        let mut changed = text.clone();
        change(&mut changed);
        fs::write(fixture.path(), changed.to_string()).unwrap();
        assert!(matches!(fixture.open(), Err(KeyringError::Damaged { .. })), "{what}");
    }
    fs::write(fixture.path(), text.to_string()).unwrap();
    assert!(fixture.open().is_ok(), "the same list in other white space");
}

#[test]
fn a_later_version_is_reported_as_such() {
    let fixture = Fixture::new();
    fixture.init();
    fs::write(fixture.path(), r#"{"format":"tokenseal-keyring","version":3,"something":"new"}"#).unwrap();
    assert!(matches!(fixture.open(), Err(KeyringError::UnknownVersion { version: 3, .. })));
}

fn record(revision: u64) -> StoreRecord {
    let mut record = StoreRecord::new("0123", "/srv/secrets.db");
    (record.revision, record.labelled) = (revision, true);
    record
}

fn remember(keyring: &Keyring, revision: u64) {
    keyring.update(&mut |stores| *stores = vec![record(revision)]).unwrap();
}

#[test]
fn the_memory_of_a_store_outlives_rotations_rekeying_and_other_processes() {
    let fixture = Fixture::new();
    let (here, elsewhere) = (fixture.init(), fixture.open().unwrap());
    assert_eq!(here.records().unwrap(), []);
    remember(&here, 7);
    assert_eq!(elsewhere.records().unwrap(), [record(7)]);
    elsewhere.rotate().unwrap();
    remember(&elsewhere, 8);
    assert_eq!(here.records().unwrap(), [record(8)]);
    let master = DataKey::generate();
    let rekeyed = Keyring::rekey(fixture.path(), &fixture.master, &master).unwrap();
    assert_eq!(rekeyed.records().unwrap(), [record(8)]);
    let text = fs::read(fixture.path()).unwrap();
    rekeyed.update(&mut |_| {}).unwrap();
    assert_eq!(fs::read(fixture.path()).unwrap(), text, "no change writes nothing");
}

#[test]
fn many_processes_change_the_memory_of_a_store_one_after_the_other() {
    let fixture = Fixture::new();
    remember(&fixture.init(), 0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let keyring = fixture.open().unwrap();
                for _ in 0..25 {
                    keyring.update(&mut |stores| stores[0].revision += 1).unwrap();
                }
            });
        }
    });
    assert_eq!(fixture.open().unwrap().records().unwrap(), [record(100)]);
}

#[test]
fn a_keyring_that_cannot_be_read_remembers_nothing_rather_than_anything() {
    let fixture = Fixture::new();
    let keyring = fixture.init();
    fs::write(fixture.path(), "{}").unwrap();
    assert!(matches!(keyring.records(), Err(LedgerError::Failed(_))));
    assert!(matches!(keyring.update(&mut |_| {}), Err(LedgerError::Failed(_))));
}

/// A keyring of the program before there were commitments and stores, its master key, and a data key that it wrapped.
const EARLIER: &str = include_str!("../vectors/keyring_v1.json");
const EARLIER_WRAPPED: &str = "SwETZGstZTcwYmQwZTdjMjViZDZkYnx6mRLXUUfmTjE0thnjihek6NukO8UK187+U1KF0JCsDzWT5MfecLYmklS/ocFl/tebt1rVnFsSnKNawQ==";

#[tokio::test]
async fn a_keyring_of_the_first_version_opens_what_it_wrapped_and_is_written_as_the_second() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    fs::write(&path, EARLIER).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let master = DataKey::from_slice(&std::array::from_fn::<u8, 32, _>(|at| at as u8)).unwrap();
    let keyring = Keyring::open(&path, &master).unwrap();
    let wrapped: Vec<u8> = {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.decode(EARLIER_WRAPPED).unwrap()
    };
    let cell = context(&[
        ("Application", "vod-tender"),
        ("Purpose", "oauth-token"),
        ("channel", "a"),
        ("column", "access_token"),
        ("provider", "twitch"),
        ("table", "oauth_tokens"),
    ]);
    let wrapped = WrappedDataKey::new(wrapped, Some("keyring:dk-e70bd0e7c25bd6db")).unwrap();
    keyring.unwrap(&wrapped, &cell).await.unwrap();
    assert!(keyring.unwrap(&wrapped, &row(1)).await.is_err());
    assert_eq!(keyring.rewrap(&wrapped, &cell).await.unwrap(), wrapped, "it is under the current key");
    assert_eq!(fs::read_to_string(&path).unwrap(), EARLIER, "reading writes nothing");

    remember(&keyring, 1);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"version\": 2"), "{text}");
    let reopened = Keyring::open(&path, &master).unwrap();
    assert_eq!(
        (reopened.list().unwrap(), reopened.records().unwrap()),
        (keyring.list().unwrap(), vec![record(1)])
    );
    let rotated = reopened.rotate().unwrap();
    let rewrapped = reopened.rewrap(&wrapped, &cell).await.unwrap();
    assert_eq!(rewrapped.key_id(), Some(format!("keyring:{}", rotated.id).as_str()));
    assert_eq!(rewrapped.bytes()[..2], *b"K\x02");
    // A file that says it is of the first version has no stores: its seal would not cover them.
    let lowered = text.replace("\"version\": 2", "\"version\": 1");
    fs::write(&path, lowered).unwrap();
    assert!(matches!(Keyring::open(&path, &master), Err(KeyringError::NotAKeyring { .. })));
}

#[test]
fn the_lock_follows_no_link_and_waits_at_no_pipe() {
    let fixture = Fixture::new();
    let lock = fixture.directory.path().join("keys.json.lock");
    let target = fixture.directory.path().join("planted");
    symlink(&target, &lock).unwrap();
    assert!(matches!(Keyring::init(fixture.path(), &fixture.master), Err(KeyringError::Io { .. })));
    assert!(!target.exists(), "nothing is made at the end of the link");
    fs::write(&target, "somebody's file").unwrap();
    assert!(matches!(Keyring::init(fixture.path(), &fixture.master), Err(KeyringError::Io { .. })));
    fs::remove_file(&lock).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &lock, 0o600.into()).unwrap();
    assert!(matches!(Keyring::init(fixture.path(), &fixture.master), Err(KeyringError::Io { .. })));
    fs::remove_file(&lock).unwrap();
    fixture.init();
    assert_eq!(fs::read_to_string(&target).unwrap(), "somebody's file");
}

#[test]
fn the_lock_belongs_to_the_owner_of_the_keyring_regardless_of_its_maker() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give files away");
        return;
    }
    let fixture = Fixture::new();
    let owner = |path: &std::path::Path| std::os::unix::fs::MetadataExt::uid(&fs::metadata(path).unwrap());
    let lock = fixture.directory.path().join("keys.json.lock");
    // While there is no keyring, the owner of the directory.
    std::os::unix::fs::chown(fixture.directory.path(), Some(4_242), Some(4_242)).unwrap();
    let keyring = fixture.init();
    assert_eq!(owner(&lock), 4_242);
    std::os::unix::fs::chown(fixture.path(), Some(4_243), Some(4_243)).unwrap();
    fs::remove_file(&lock).unwrap();
    keyring.rotate().unwrap();
    assert_eq!((owner(&lock), owner(&fixture.path())), (4_243, 4_243));
}
