//! The keyring's file: whole or not at all, private, and nobody else's work.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use envelope_core::{DataKey, ErrorClass, KeyError, KeyProvider};
use kms_provider::Keyring;
use kms_provider::keyring::KeyringError;

use crate::keyring::Fixture;
use crate::support::row;

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
    // What a process that died half way leaves behind.
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
    // A directory of that name is in the way, even for root.
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
    // What a process that died half way leaves behind.
    fs::write(&in_the_way, &text[..text.len() / 2]).unwrap();
    set_mode(&fixture, 0o640);
    Keyring::rekey(fixture.path(), &fixture.master, &master).unwrap();
    assert_eq!((mode(&fixture), in_the_way.exists()), (0o640, false));
    let text = fs::read(fixture.path()).unwrap();
    for old in [&fixture.master, &other] {
        Keyring::rekey(fixture.path(), old, &master).unwrap();
    }
    assert_eq!(fs::read(fixture.path()).unwrap(), text, "what is done already is not done again");
}

#[test]
fn a_new_master_key_waits_for_whoever_writes_so_that_nothing_of_theirs_is_lost() {
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
fn a_wrong_master_key_is_called_that() {
    let fixture = Fixture::new();
    fixture.init();
    let error = Keyring::open(fixture.path(), &DataKey::generate()).unwrap_err();
    assert!(matches!(error, KeyringError::WrongMasterKey { .. }));
    assert!(error.hint().contains("KMS_MASTER_KEY"));
    assert_eq!(KeyError::from(error).class(), ErrorClass::Misconfigured);
}

#[test]
fn every_flipped_bit_of_the_file_is_a_typed_error_and_none_is_taken_for_a_wrong_master_key() {
    let fixture = Fixture::new();
    fixture.init().rotate().unwrap();
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
    let text: serde_json::Value = serde_json::from_slice(&fs::read(fixture.path()).unwrap()).unwrap();
    type Change = fn(&mut serde_json::Value);
    let changes: [(&str, Change); 6] = [
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
fn a_later_version_is_called_that() {
    let fixture = Fixture::new();
    fixture.init();
    fs::write(fixture.path(), r#"{"format":"tokenseal-keyring","version":2,"something":"new"}"#).unwrap();
    assert!(matches!(fixture.open(), Err(KeyringError::UnknownVersion { version: 2, .. })));
}
