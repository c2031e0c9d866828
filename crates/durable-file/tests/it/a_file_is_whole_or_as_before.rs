//! A file has all of its new content, or is as it was.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use durable_file::{Content, FileError, Links, NewFile, Options, leftovers, write};

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_replacement_that_is_dropped_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, "old").unwrap();
    let mut new = NewFile::begin(&path, &Options::replace()).unwrap();
    new.write_all(b"new").unwrap();
    assert_eq!(leftovers(&path).unwrap().len(), 1, "a replacement in progress is visible");
    drop(new);
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names(directory.path()), ["file"]);
}

#[test]
fn a_commit_replaces_all_of_the_file_and_leaves_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    write(&path, &Options::replace(), b"a longer first version").unwrap();
    write(&path, &Options::replace(), b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(names(directory.path()), ["file"]);
}

#[test]
fn a_new_file_never_replaces_one_that_exists() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let late = NewFile::begin(&path, &Options::create()).unwrap();
    write(&path, &Options::create(), b"first").unwrap();
    assert!(matches!(late.commit(), Err(FileError::Exists { .. })));
    assert!(matches!(NewFile::begin(&path, &Options::create()), Err(FileError::Exists { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"first");
    assert_eq!(names(directory.path()), ["file"]);
}

#[test]
fn a_name_of_the_greatest_length_can_be_replaced() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["x".repeat(255), "ä".repeat(127)] {
        let path = directory.path().join(name);
        write(&path, &Options::create(), b"1").unwrap();
        write(&path, &Options::replace(), b"2").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2");
    }
}

#[test]
fn a_file_longer_than_the_limit_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, [b'x'; 100]).unwrap();
    assert!(matches!(Content::read(&path, Links::Follow, 99), Err(FileError::TooLong { limit: 99, .. })));
    assert_eq!(Content::read(&path, Links::Follow, 100).unwrap().bytes().len(), 100);
}

/// Not a test: the test below runs this in a process whose files are limited.
#[test]
fn child() {
    let Some(path) = std::env::var_os("TEST_CHILD_FILE") else {
        return;
    };
    let error = write(Path::new(&path), &Options::replace(), &[b'n'; 100_000]).unwrap_err();
    assert!(matches!(error, FileError::Io { action: "write", .. }), "{error:?}");
}

#[test]
fn a_file_that_cannot_be_written_in_full_is_not_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, "old").unwrap();
    // Ignored, the signal becomes an error of the write, as a full disk is one. The limit is in blocks of 512 bytes.
    let script = "trap '' XFSZ; ulimit -f 16; exec \"$0\" --exact a_file_is_whole_or_as_before::child";
    let exe = std::env::current_exe().unwrap();
    let done =
        Command::new("sh").args(["-c", script]).arg(exe).env("TEST_CHILD_FILE", &path).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    assert!(String::from_utf8_lossy(&done.stdout).contains("1 passed"));
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names(directory.path()), ["file"]);
}
