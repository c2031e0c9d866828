//! The new file has the owner, group, mode and attributes of the old one.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};

use durable_file::{NewFile, Options, write};

fn mode(path: &std::path::Path) -> u32 {
    path.metadata().unwrap().mode() & 0o7777
}

#[test]
fn a_new_file_is_for_its_owner_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    write(&path, &Options::create(), b"new").unwrap();
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn the_mode_is_kept_up_to_the_widest() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    for (before, widest, after) in [
        (0o644, 0o7777, 0o644),
        (0o2755, 0o7777, 0o2755),
        (0o644, 0o640, 0o640),
        (0o400, 0o7777, 0o400),
        (0o440, 0o7777, 0o440),
        (0o444, 0o7777, 0o444),
        (0o444, 0o600, 0o400),
    ] {
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(before)).unwrap();
        write(&path, &Options::replace().with_widest_mode(widest), b"new").unwrap();
        assert_eq!(mode(&path), after, "{before:o} {widest:o}");
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn another_owner_is_kept_or_the_replacement_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, "old").unwrap();
    let before = path.metadata().unwrap();
    if chown(&path, Some(4321), Some(8765)).is_err() {
        // Only root can give a file away; then only root meets such a file in a directory of its own.
        assert_ne!(before.uid(), 0);
        return;
    }
    match write(&path, &Options::replace(), b"new") {
        Ok(()) => {
            let after = path.metadata().unwrap();
            assert_eq!((after.uid(), after.gid()), (4321, 8765));
            assert_eq!(fs::read(&path).unwrap(), b"new");
        }
        Err(_) => assert_eq!(fs::read(&path).unwrap(), b"old"),
    }
}

#[test]
fn user_attributes_are_kept() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().join("file");
    fs::write(&path, "old").unwrap();
    xattr::set(&path, "user.origin", b"deploy").unwrap();
    // Only root may give a file an attribute that it may not write to.
    for mode in [0o600, 0o400] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let new = NewFile::begin(&path, &Options::replace()).unwrap();
        new.commit().unwrap();
        assert_eq!(xattr::get(&path, "user.origin").unwrap().as_deref(), Some(b"deploy".as_slice()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode);
    }
}

/// Version 2; rw- for the owner, r-- for user 4321, --- for the group, r-- as the mask, --- for others.
fn access_control_list() -> Vec<u8> {
    let entry = |tag: u16, permissions: u16, id: u32| {
        [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    let none = u32::MAX;
    let entries =
        [entry(1, 6, none), entry(2, 4, 4321), entry(4, 0, none), entry(16, 4, none), entry(32, 0, none)];
    [2u32.to_le_bytes().to_vec(), entries.concat()].concat()
}

#[test]
fn a_list_that_the_directory_has_for_new_files_is_not_taken_on() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().join("file");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    if xattr::set(directory.path(), "system.posix_acl_default", &access_control_list()).is_err() {
        // This file system has no access control lists, so none can be inherited on it.
        return;
    }
    for options in [Options::replace(), Options::replace().with_widest_mode(0o640)] {
        write(&path, &options, b"new").unwrap();
        assert_eq!(xattr::get(&path, "system.posix_acl_access").unwrap(), None);
        assert_eq!(mode(&path), 0o640);
    }
}

#[test]
fn an_access_control_list_is_kept() {
    let list = access_control_list();
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().join("file");
    fs::write(&path, "old").unwrap();
    if xattr::set(&path, "system.posix_acl_access", &list).is_err() {
        // This file system has no access control lists, so none can be lost on it.
        return;
    }
    write(&path, &Options::replace(), b"new").unwrap();
    assert_eq!(xattr::get(&path, "system.posix_acl_access").unwrap(), Some(list));
}
