//! Backups and sealed files are under a data key of the key service where there is one, and under the master key otherwise.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use test_support::openbao::ROOT_TOKEN;
use test_support::part;
use tokio::task::block_in_place;

use crate::support::{MASTER_KEY, Program, Run, key_in, signal};

fn bytes(program: &Program, name: &str) -> Vec<u8> {
    fs::read(program.path().join(name)).unwrap()
}

fn write(program: &Program, name: &str, text: &str) {
    fs::write(program.path().join(name), text).unwrap();
}

/// Checks for every key service: no master key is needed, each kind has its own key, and another key opens
/// nothing.
fn everything(program: &mut Program, key: &str, other_key: &str) {
    program.set("KMS_KEY_ID", key).set("ENVIRONMENT", "development");
    write(program, "from.env", "A=canary-1\nB='canary 2'\n");
    write(program, "to.env", "");
    write(program, "notes", "canary notes\n");
    let source = ["--source", "dotenv:from.env"];
    program.secrets(&[&source[..], &["backup", "saved"]].concat(), "").expect(0);
    program.secrets(&["seal-file", "notes", "notes.sealed"], "").expect(0);
    for file in ["saved", "notes.sealed"] {
        assert!(bytes(program, file).starts_with(b"TKSTREAM\x03"), "{file}");
        assert!(!String::from_utf8_lossy(&bytes(program, file)).contains("canary"));
    }
    program.secrets(&["open-file", "notes.sealed", "notes.opened"], "").expect(0);
    assert_eq!(bytes(program, "notes.opened"), b"canary notes\n");

    // A backup is no sealed file.
    program.secrets(&["open-file", "saved", "saved.opened"], "").expect(2).says(&["--as-backup"]);
    assert!(!program.path().join("saved.opened").exists());
    program.secrets(&["open-file", "notes.sealed", "no", "--as-backup"], "").expect(2);
    program.secrets(&["open-file", "saved", "saved.opened", "--as-backup"], "").expect(0);

    // A sealed file is no backup, also once it says that it is one.
    let restore = |program: &Program, file: &str| {
        let arguments = ["--source", "local:store.db", "restore", file, "--format", "json"];
        program.secrets(&arguments, "")
    };
    program.set("KMS_MASTER_KEY", MASTER_KEY);
    restore(program, "notes.sealed").expect(2);
    let mut forged = bytes(program, "notes.sealed");
    forged[10] = 1;
    fs::write(program.path().join("forged"), forged).unwrap();
    assert_ne!(restore(program, "forged").code, Some(0), "its context says that it is a file");
    let restored = restore(program, "saved").expect(0).document();
    assert_eq!(restored["added"], serde_json::json!(["A", "B"]));

    program.set("KMS_KEY_ID", other_key);
    let refused = program.secrets(&["open-file", "notes.sealed", "no"], "");
    assert_ne!(refused.code, Some(0), "{refused:?}");
    program.unset("KMS_KEY_ID");
    let refused = program.secrets(&["open-file", "notes.sealed", "no"], "").expect(2);
    refused.says(&["KMS_KEY_ID"]);
    assert!(!Path::new(&program.path().join("no")).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aws_key_replaces_the_master_key() {
    let moto = part!(moto);
    let (key, other) = (key_in(&moto, "us-east-1").await, key_in(&moto, "us-east-1").await);
    block_in_place(|| {
        let mut program = Program::bare();
        program
            .set("AWS_ENDPOINT_URL", moto.endpoint())
            .set("AWS_REGION", "us-east-1")
            .set("AWS_ACCESS_KEY_ID", "testing")
            .set("AWS_SECRET_ACCESS_KEY", "testing");
        everything(&mut program, &key, &other);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transit_key_replaces_the_master_key() {
    let bao = part!(openbao);
    let (key, other) = (bao.transit().await, bao.transit().await);
    block_in_place(|| {
        let mut program = Program::bare();
        program.set("VAULT_ADDR", bao.address()).set("VAULT_TOKEN", ROOT_TOKEN);
        everything(&mut program, &format!("vault:{key}/tokens"), &format!("vault:{other}/tokens"));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sealed_under_the_master_key_still_opens_beside_a_key_service() {
    let moto = part!(moto);
    let key = key_in(&moto, "us-east-1").await;
    block_in_place(|| {
        let mut program = Program::bare();
        program.set("KMS_MASTER_KEY", MASTER_KEY);
        write(&program, "notes", "canary notes\n");
        program.secrets(&["seal-file", "notes", "notes.sealed"], "").expect(0);
        assert!(bytes(&program, "notes.sealed").starts_with(b"TKSTREAM\x02"));
        program.set("KMS_KEY_ID", &key);
        program.secrets(&["open-file", "notes.sealed", "opened"], "").expect(0);
        assert_eq!(bytes(&program, "opened"), b"canary notes\n");
    });
}

#[test]
fn without_any_key_nothing_is_written() {
    let program = Program::bare();
    write(&program, "notes", "canary notes\n");
    let refused = program.secrets(&["seal-file", "notes", "sealed", "--format", "json"], "").expect(2);
    let document: Value = refused.document();
    assert!(document["error"]["message"].as_str().unwrap().contains("KMS_MASTER_KEY"), "{document}");
    assert!(!program.path().join("sealed").exists());
}

/// The names in the program's directory.
fn names(program: &Program) -> Vec<String> {
    let entries = fs::read_dir(program.path()).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_termination_leaves_nothing_half_written() {
    const LEN: u64 = 96 << 20;
    let mut program = Program::bare();
    program.set("KMS_MASTER_KEY", MASTER_KEY);
    fs::File::create(program.path().join("large")).unwrap().set_len(LEN).unwrap();
    program.secrets(&["seal-file", "large", "sealed"], "").expect(0);
    let (seal, open) = (["seal-file", "large", "out"], ["open-file", "sealed", "out"]);
    for (command, by) in [(seal, "TERM"), (open, "TERM"), (open, "HUP")] {
        let is_stopped = |_: &usize| is_stopped(&program, &command, by);
        // On a machine that is busy with other work, the signal can come after the end.
        assert!((0..20).find(is_stopped).is_some(), "{command:?} ends before every signal");
    }
}

/// Runs a command, and stops it while it writes: then nothing is left. False if it was done before, with the whole file.
fn is_stopped(program: &Program, command: &[&str], by: &str) -> bool {
    let mut child = program.secrets_command(command).spawn().unwrap();
    let limit = Instant::now() + Duration::from_secs(60);
    while !names(program).iter().any(|name| name.ends_with(".part")) && child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < limit, "{:?}", names(program));
    }
    signal(&child, by);
    let code = child.wait().unwrap().code();
    if code == Some(130) {
        assert_eq!(names(program), ["large", "sealed"], "{command:?}");
        return true;
    }
    assert_eq!(
        (code, names(program).as_slice()),
        (Some(0), &["large".into(), "out".into(), "sealed".into()][..])
    );
    let out = program.path().join("out");
    if command[0] == "seal-file" {
        program.secrets(&["open-file", "out", "opened"], "").expect(0);
        fs::remove_file(&out).unwrap();
        fs::rename(program.path().join("opened"), &out).unwrap();
    }
    assert!(fs::read(program.path().join("large")).unwrap() == fs::read(&out).unwrap(), "{command:?}");
    fs::remove_file(out).unwrap();
    false
}

#[test]
fn a_limit_on_the_size_of_files_leaves_nothing_half_written() {
    let mut program = Program::bare();
    program.set("KMS_MASTER_KEY", MASTER_KEY);
    fs::File::create(program.path().join("large")).unwrap().set_len(4 << 20).unwrap();
    program.secrets(&["seal-file", "large", "sealed"], "").expect(0);
    let run = program.secrets_command(&["open-file", "sealed", "out"]);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 100; exec \"$0\" \"$@\""]).arg(run.get_program()).args(run.get_args());
    limited.current_dir(program.path()).env("KMS_MASTER_KEY", MASTER_KEY).stdin(Stdio::null());
    let ended = limited.output().unwrap();
    assert!(ended.status.code().is_some_and(|code| code != 0), "{ended:?}");
    assert!(!ended.stderr.is_empty());
    assert_eq!(names(&program), ["large", "sealed"]);
}

#[test]
fn a_path_that_is_not_utf_8_loses_no_report() {
    let mut program = Program::bare();
    program.set("KMS_MASTER_KEY", MASTER_KEY);
    let odd = OsStr::from_bytes(b"a\xff.env");
    fs::write(program.path().join(odd), "DB_PASSWORD=canary-hunter2\n").unwrap();
    let run = |arguments: &[&OsStr], code: i32| {
        let mut command = program.secrets_command(&["--format", "json"]);
        let output = command.args(arguments).output().unwrap();
        Run::of(&["json"], output).expect(code).document()
    };
    let word = OsStr::new;
    assert_eq!(run(&[word("seal-file"), odd, word("sealed")], 0)["from"], "a\u{fffd}.env");
    assert_eq!(run(&[word("open-file"), word("sealed"), OsStr::from_bytes(b"b\xff")], 0)["to"], "b\u{fffd}");
    assert_eq!(run(&[word("scan"), word(".")], 4)["findings"].as_array().unwrap().len(), 1);
    let backup = [word("--source"), word("local:s.db"), word("backup"), OsStr::from_bytes(b"c\xff")];
    program.secrets(&["--source", "local:s.db", "set", "A"], "canary").expect(0);
    assert_eq!(run(&backup, 0)["file"], "c\u{fffd}");
}
