//! A file to read is a regular one, and a file with plaintext is its owner's alone.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::place::Place;

#[test]
fn a_pipe_in_the_place_of_a_file_is_refused() {
    let place = Place::new(None);
    assert!(place.run(&["set", "a"], "canary").status.success());
    assert!(Command::new("mkfifo").arg(place.path().join("pipe")).status().unwrap().success());
    for arguments in [
        &["seal-file", "pipe", "out"][..],
        &["open-file", "pipe", "out"],
        &["restore", "pipe"],
        &["restore", "pipe", "--dry-run"],
        &["import-node", "pipe"],
        &["import", "pipe"],
        &["scan", ".", "--baseline", "pipe"],
    ] {
        let mut child = place.command(arguments).spawn().unwrap();
        let limit = Instant::now() + Duration::from_secs(60);
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > limit {
                child.kill().unwrap();
                panic!("{arguments:?} waits for a pipe");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
    }
}

#[test]
fn plaintext_over_a_readable_file_is_for_its_owner_alone() {
    let place = Place::new(None);
    let path = |name: &str| place.path().join(name);
    fs::write(path("plain"), "canary").unwrap();
    place.json(&["seal-file", "plain", "sealed"], 0);
    for before in [0o644, 0o664, 0o600] {
        fs::write(path("target"), "other").unwrap();
        fs::set_permissions(path("target"), Permissions::from_mode(before)).unwrap();
        place.json(&["open-file", "sealed", "target", "--overwrite"], 0);
        assert_eq!(fs::read(path("target")).unwrap(), b"canary");
        assert_eq!(fs::metadata(path("target")).unwrap().permissions().mode() & 0o7777, 0o600, "{before:o}");
    }
}
