//! Several commands at once, a full disk, and values of any bytes: none is lost, and each command says how it ended.

use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use kms_provider::keyring::Keyring;
use secrets_cache::local::LocalStore;
use secrets_cache::{NewSecret, SecretSource as _, SecretValue};
use serde_json::{Value, json};
use test_support::part;
use time::OffsetDateTime;
use tokio::task::block_in_place;

use crate::support::place::{MASTER_KEY, Place, STRIP, count, read, stored, write};

fn start(place: &Place, directory: &std::path::Path, arguments: &[&str]) -> Child {
    let mut command = place.command(arguments);
    command.current_dir(directory).stdin(Stdio::null()).spawn().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_imports_of_different_values_at_once_one_is_stored_and_the_others_keep_their_files() {
    let (moto, bao) = (part!(moto), part!(openbao));
    let places = [Place::new(None), Place::new(Some(moto)), Place::on_openbao(&bao).await];
    block_in_place(|| places.iter().for_each(import_at_once));
}

fn import_at_once(place: &Place) {
    const AT_ONCE: usize = 4;
    // A store that is there already: the first use has a test of its own.
    assert!(place.run(&["set", "OTHER"], "x").status.success());
    let source = match place.source()[1].as_str() {
        "local:store.db" => {
            vec!["--source".into(), format!("local:{}", place.path().join("store.db").display())]
        }
        _ => place.source(),
    };
    let source: Vec<&str> = source.iter().map(String::as_str).collect();
    for round in 0..5 {
        let name = format!("KEY_{round}");
        let overwrite = round >= 3;
        if overwrite {
            assert!(place.run(&["set", &name], "before").status.success());
        }
        let directories: Vec<_> = (0..AT_ONCE).map(|_| tempfile::tempdir().unwrap()).collect();
        let text = |n: usize| format!("{name}=value-{n}\nONLY_{round}_{n}=own-{n}\n");
        let mut children = Vec::new();
        for (n, directory) in directories.iter().enumerate() {
            std::fs::write(directory.path().join(".env"), text(n)).unwrap();
            let more: &[&str] = if overwrite { &["--overwrite"] } else { &[] };
            let own: &[&str] = if source[0] == "--source" { &source } else { &[] };
            let arguments = [own, &STRIP, more].concat();
            children.push(start(place, directory.path(), &arguments));
        }
        let outputs: Vec<Output> =
            children.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
        let there = stored(place, &name).unwrap();
        let mut kept = 0;
        for (n, output) in outputs.iter().enumerate() {
            let left = std::fs::read_to_string(directories[n].path().join(".env")).unwrap();
            match code(output) {
                // Where --overwrite is given, a later one may have replaced this value, which is the previous one then.
                0 => assert!(
                    left.contains(&format!("{name}=\n")) && (overwrite || there == format!("value-{n}"))
                ),
                3 => {
                    assert_eq!(left, text(n), "nothing was taken out: {output:?}");
                    assert!(String::from_utf8_lossy(&output.stdout).contains(&name), "{output:?}");
                    kept += 1;
                }
                _ => panic!("{:?}: {output:?}", place.source()),
            }
        }
        assert!(overwrite || kept == AT_ONCE - 1, "{outputs:?}");
        let history = [Some(there), previous(place, &name)];
        let stripped = (0..AT_ONCE).filter(|&n| code(&outputs[n]) == 0);
        let lost = stripped.filter(|n| !history.contains(&Some(format!("value-{n}")))).count();
        assert!(lost <= AT_ONCE - 2 && (overwrite || lost == 0), "{history:?} {outputs:?}");
    }
}

fn previous(place: &Place, name: &str) -> Option<String> {
    let output =
        place.run(&["get", name, "--reveal", "--version-stage", "AWSPREVIOUS", "--format", "json"], "");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    document["value"].as_str().map(Into::into)
}

#[test]
fn the_first_uses_of_a_store_at_once_all_succeed() {
    for _ in 0..3 {
        let place = Place::new(None);
        let names: Vec<String> = (0..6).map(|n| format!("A{n}")).collect();
        let mut children: Vec<Child> =
            names.iter().map(|name| place.command(&["set", name]).spawn().unwrap()).collect();
        for (child, name) in children.iter_mut().zip(&names) {
            std::io::Write::write_all(&mut child.stdin.take().unwrap(), name.as_bytes()).unwrap();
        }
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{output:?}");
        }
        for name in names {
            assert_eq!(stored(&place, &name), Some(name));
        }
    }
}

#[test]
fn a_rotation_to_the_same_value_says_that_nothing_changed() {
    let place = Place::new(None);
    assert!(place.run(&["set", "a"], "one").status.success());
    assert!(place.run(&["rotate", "a"], "two").status.success());
    let again = place.run(&["rotate", "a", "--format", "json"], "two");
    let report: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!((code(&again), &report["unchanged"]), (0, &true.into()), "{report}");
    assert_eq!(previous(&place, "a").as_deref(), Some("one"));
    let said = place.run(&["rotate", "a"], "two");
    assert!(String::from_utf8_lossy(&said.stdout).contains("already has this value"), "{said:?}");
}

#[test]
fn names_that_differ_in_case_are_two_secrets_for_a_program() {
    let place = Place::new(None);
    write(&place, "http_proxy=http://a\nHTTP_PROXY=http://b\nSame=1\nSAME=1\n");
    let report = place.json(&STRIP, 0);
    assert_eq!((count(&report, "created"), &report["stripped"]), (4, &true.into()), "{report}");
    let output = place.run(&["exec", "--", "sh", "-c", "echo $http_proxy $HTTP_PROXY $Same $SAME"], "");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "http://a http://b 1 1\n", "{output:?}");
}

#[test]
fn a_conflict_that_overwrite_does_not_settle_does_not_advise_it() {
    let place = Place::new(None);
    write(&place, "DATABASE-URL=one\nDATABASE_URL=two\n");
    let output = place.run(&["import", ".env", "--overwrite"], "");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(code(&output), 3, "{said}");
    assert!(
        said.contains("another spelling of DATABASE-URL") && !said.contains("--overwrite replaces"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_secret_is_overwritten_by_an_import_that_says_so() {
    let place = Place::new(None);
    block_in_place(|| assert!(place.run(&["set", "A"], "old").status.success()));
    let keyring = place.path().join("store.db.keyring");
    let ring = Arc::new(Keyring::open(keyring, &MASTER_KEY.parse().unwrap()).unwrap());
    let store = LocalStore::open(place.path().join("store.db"), ring).await.unwrap();
    let gone = OffsetDateTime::now_utc() - Duration::from_secs(60);
    store
        .put(&NewSecret::new("A".parse().unwrap(), SecretValue::text("old")).with_expiry(gone))
        .await
        .unwrap();
    store.close().await;
    block_in_place(|| {
        assert_eq!(stored(&place, "A"), None);
        write(&place, "A=new\n");
        let left = place.json(&STRIP, 3);
        assert_eq!(left["failures"][0]["class"], "expired", "{left}");
        let report = place.json(&[&STRIP[..], &["--overwrite"]].concat(), 0);
        assert_eq!((count(&report, "updated"), &report["stripped"]), (1, &true.into()), "{report}");
        assert_eq!(stored(&place, "A").as_deref(), Some("new"));
    });
}

#[test]
fn a_backup_replaces_no_file_of_the_store() {
    let place = Place::new(None);
    assert!(place.run(&["set", "a"], "canary").status.success());
    for target in [
        "store.db",
        "store.db-wal",
        "store.db-shm",
        "store.db-journal",
        "store.db.keyring",
        "store.db.keyring.lock",
        "./store.db-wal",
    ] {
        let output = place.run(&["backup", target, "--overwrite"], "");
        assert_eq!(code(&output), 2, "{target}: {output:?}");
    }
    assert_eq!(stored(&place, "a").as_deref(), Some("canary"));
    place.json(&["backup", "elsewhere"], 0);
}

#[test]
fn a_doubtful_line_blocks_only_the_settings_that_it_may_be() {
    let place = Place::new(None);
    let text = "A=one\nB=\"x\" y\nC=three\n";
    write(&place, text);
    let report = place.json(&["import", ".env", "--except", "B", "--dry-run"], 0);
    assert_eq!((count(&report, "created"), count(&report, "doubtful")), (2, 0), "{report}");
    let report = place.json(&[&STRIP[..], &["--names", "A"]].concat(), 0);
    assert_eq!(report["stripped"], true, "{report}");
    assert_eq!(read(&place), "A=\nB=\"x\" y\nC=three\n");
    let report = place.json(&["import", ".env", "--names", "B"], 3);
    assert_eq!((count(&report, "created"), &report["doubtful"][0]["name"]), (0, &json!("B")), "{report}");
    assert_eq!(place.run(&["import", ".env", "--except", "NOBODY"], "").status.code(), Some(2));
}

#[test]
fn a_full_disk_does_not_stop_reading() {
    let place = Place::new(None);
    assert!(place.run(&["set", "a"], "canary").status.success());
    let run = |arguments: &[&str]| {
        let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(env!("CARGO_BIN_EXE_manage-secrets"));
        command.args(["--source", "local:store.db"]).args(arguments).current_dir(place.path());
        command.env("KMS_MASTER_KEY", MASTER_KEY).stdin(Stdio::null()).output().unwrap()
    };
    for (arguments, expected) in
        [(&["get", "a", "--reveal"][..], "canary"), (&["list"], "a"), (&["status"], "1")]
    {
        let output = run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains(expected), "{output:?}");
    }
    assert!(!run(&["rotate", "a", "--length", "20"]).status.success());
    assert_eq!(stored(&place, "a").as_deref(), Some("canary"), "and nothing has changed");
}

#[test]
fn a_value_of_any_bytes_goes_from_one_secret_to_another_by_a_pipe() {
    let place = Place::new(None);
    for value in [&b"\xff\x00\xfe"[..], b"text", b"two\nlines", "é".as_bytes()] {
        let mut child = place.command(&["set", "from"]).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), value).unwrap();
        assert!(child.wait_with_output().unwrap().status.success());
        let raw = place.run(&["get", "from", "--raw"], "");
        assert!(raw.status.success(), "{raw:?}");
        assert_eq!(raw.stdout, value);
        assert!(!raw.stderr.is_empty(), "the reveal is recorded");
    }
    assert!(place.run(&["set", "json"], "{\"k\":\"v\"}").status.success());
    assert_eq!(place.run(&["get", "json#k", "--raw"], "").stdout, b"v");
    assert_eq!(code(&place.run(&["get", "json", "--raw", "--format", "json"], "")), 2);
    assert_eq!(code(&place.run(&["get", "json", "--raw", "--reveal"], "")), 2);
}

/// Copies one secret to another, through a pipe of the system.
fn piped(place: &Place, command: &[&str]) -> Output {
    let mut get = place.command(&["get", "from", "--raw"]).stderr(Stdio::null()).spawn().unwrap();
    let copied = place.command(command).stdin(get.stdout.take().unwrap()).output().unwrap();
    assert!(get.wait().unwrap().success());
    copied
}

#[test]
fn a_value_that_ends_in_a_line_break_is_copied_to_the_byte() {
    let place = Place::new(None);
    for value in [&b"x\n"[..], b"x\r\n", b"\n", b"\r\n", b"two\n\n", b"x", b"\xff\n"] {
        let mut child = place.command(&["set", "from", "--raw"]).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), value).unwrap();
        assert!(child.wait_with_output().unwrap().status.success());
        assert_eq!(place.run(&["get", "from", "--raw"], "").stdout, value);
        for command in ["set", "rotate"] {
            assert!(place.run(&["set", "to"], "another").status.success());
            let copied = piped(&place, &[command, "to", "--raw"]);
            assert!(copied.status.success(), "{command} {value:?}: {copied:?}");
            assert_eq!(place.run(&["get", "to", "--raw"], "").stdout, value, "{command}");
        }
        // Without the option, the line break that `echo` writes is no part of the value.
        let text = String::from_utf8_lossy(value);
        let without = text.strip_suffix('\n').map_or(&*text, |text| text.strip_suffix('\r').unwrap_or(text));
        if !without.is_empty() && !value.starts_with(b"\xff") {
            assert!(piped(&place, &["set", "to"]).status.success());
            assert_eq!(place.run(&["get", "to", "--raw"], "").stdout, without.as_bytes());
        }
    }
    assert_eq!(code(&place.run(&["rotate", "to", "--raw", "--length", "20"], "x")), 2);
    assert_eq!(code(&place.run(&["set", "to", "--raw"], "")), 2, "there is no value");
    assert!(place.run(&["set", "to"], "kept").status.success());
    assert_eq!(code(&place.run(&["rotate", "to", "--raw"], "")), 2, "a program before the pipe has failed");
    assert_eq!(stored(&place, "to").as_deref(), Some("kept"));
}
