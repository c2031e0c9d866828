//! `exec`: which secrets a program gets, as what, and what happens to it afterwards.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use tokenseal::settings::VARIABLES;

use crate::support::place::Place;
use crate::support::signal;

fn set(place: &Place, name: &str, value: &[u8]) {
    let mut child = place.command(&["set", name]).spawn().unwrap();
    child.stdin.take().unwrap().write_all(value).unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
}

fn exec(place: &Place, arguments: &[&str], script: &str) -> Output {
    place.run(&[&["exec"], arguments, &["--", "sh", "-c", script]].concat(), "")
}

#[track_caller]
fn says(output: &Output, expected: &str) {
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{output:?}");
}

#[test]
fn names_choose_fields_and_rename() {
    let place = Place::new(None);
    set(&place, "db", b"{\"password\":\"canary-1\",\"port\":5432}");
    set(&place, "OTHER", b"canary-2");
    let script = "echo $DB_PASSWORD $PORT $DB_PORT $OTHER";
    says(
        &exec(&place, &["--names", "DB_PASSWORD=db#password,PORT=db#port,db#port"], script),
        "canary-1 5432 5432\n",
    );
    says(&exec(&place, &["--except", "db"], script), "canary-2\n");
    let missing = exec(&place, &["--names", "db#nothing", "--format", "json"], script);
    assert_eq!(missing.status.code(), Some(3));
    let document: Value = serde_json::from_slice(&missing.stdout).unwrap();
    assert_eq!((&document["started"], &document["failures"][0]["name"]), (&false.into(), &"db".into()));
    assert!(!document.to_string().contains("canary"));
    assert_eq!(exec(&place, &["--except", "nobody"], script).status.code(), Some(2));
}

#[test]
fn a_variable_that_decides_what_code_runs_is_refused_unless_named() {
    for name in ["PATH", "LD_PRELOAD", "NODE_OPTIONS", "python-path", "BASH_ENV"] {
        let place = Place::new(None);
        set(&place, name, b"/tmp/elsewhere");
        let refused = exec(&place, &[], "echo started");
        let variable = if name == "python-path" { "PYTHON_PATH" } else { name };
        assert_eq!((refused.status.code(), refused.stdout.len()), (Some(2), 0), "{refused:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains(variable), "{refused:?}");
        says(&exec(&place, &["--except", name], "echo started"), "started\n");
    }
    let place = Place::new(None);
    fs::write(place.path().join("sh"), "#!/bin/sh\necho planted\n").unwrap();
    fs::set_permissions(place.path().join("sh"), fs::Permissions::from_mode(0o755)).unwrap();
    set(&place, "PATH", place.path().to_str().unwrap().as_bytes());
    let named = exec(&place, &["--names", "PATH"], "echo $PATH");
    says(&named, &format!("{}\n", place.path().display()));
}

#[test]
fn the_environment_and_the_secrets_have_a_stated_precedence() {
    let place = Place::new(None);
    set(&place, "API_KEY", b"canary-1");
    let run = |prefer: &[&str]| {
        let arguments = [&["exec"], prefer, &["--", "sh", "-c", "echo $API_KEY"]].concat();
        place.command(&arguments).env("API_KEY", "from outside").output().unwrap()
    };
    let secrets = run(&[]);
    says(&secrets, "canary-1\n");
    assert!(String::from_utf8_lossy(&secrets.stderr).contains("API_KEY: the secret replaces"), "{secrets:?}");
    says(&run(&["--prefer", "environment"]), "from outside\n");

    // A variable that this program withholds is not one that the program would have.
    set(&place, "ENCRYPTION_KEY", b"canary-2");
    let arguments = ["exec", "--prefer", "environment", "--", "sh", "-c", "echo $ENCRYPTION_KEY"];
    says(&place.command(&arguments).env("ENCRYPTION_KEY", KEY).output().unwrap(), "canary-2\n");
}

#[test]
fn a_source_that_is_read_once_is_not_watched() {
    let place = Place::new(None);
    fs::write(place.path().join(".env"), "A=canary-1\n").unwrap();
    let output =
        place.command(&["--source", "dotenv:.env", "exec", "--watch", "--", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

/// A key that every secret variable accepts.
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// The names of the variables that a program under `exec` gets, of those that are set.
fn seen_of(place: &Place, names: &[String], more: &[&str]) -> Vec<String> {
    let arguments = [more, &["exec", "--", "env"]].concat();
    let mut command = place.command(&arguments);
    let file = place.path().join("key");
    fs::write(&file, KEY).unwrap();
    for name in names {
        match name.as_str() {
            // Set already.
            "KMS_MASTER_KEY" => {}
            name if name.ends_with("_FILE") => {
                command.env(name, &file);
            }
            name => {
                command.env(name, KEY);
            }
        }
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let seen = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_set = |name: &&String| seen.lines().any(|line| line.starts_with(&format!("{name}=")));
    names.iter().filter(is_set).cloned().collect()
}

#[test]
fn every_key_that_it_uses_is_withheld() {
    let place = Place::new(None);
    set(&place, "A", b"1");
    let secret = VARIABLES.iter().filter(|variable| variable.secret && variable.name != "DATABASE_URL");
    for variable in secret {
        let names = [variable.name.to_owned(), variable.file_name().unwrap()];
        // The store's own key is set already, and both forms of it at once are refused.
        for name in names.into_iter().filter(|name| name != "KMS_MASTER_KEY_FILE") {
            let expected: Vec<String> =
                if name.starts_with("VAULT_") { vec![name.clone()] } else { Vec::new() };
            assert_eq!(seen_of(&place, std::slice::from_ref(&name), &[]), expected, "{name}");
        }
    }
    let names = ["AWS_SECRET_ACCESS_KEY".to_owned(), "DATABASE_URL_FILE".to_owned()];
    assert_eq!(seen_of(&place, &names, &[]), names, "variables that the program may need itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_opened_the_source_is_withheld() {
    let bao = test_support::part!(openbao);
    let place = Place::on_openbao(&bao).await;
    tokio::task::block_in_place(|| {
        set(&place, "A", b"canary-1");
        let output = exec(&place, &[], "echo $A; env");
        assert!(output.status.success(), "{output:?}");
        let seen = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(seen.starts_with("canary-1\n") && !seen.contains("VAULT_TOKEN"), "{seen}");
        assert!(seen.contains("VAULT_ADDR"), "{seen}");
    });
}

#[test]
fn a_binary_secret_blocks_nothing_and_is_a_file_on_request() {
    let place = Place::new(None);
    let binary = [0xff, 0, 1, b'c'];
    set(&place, "tls/key", &binary);
    set(&place, "A", b"canary-1");
    let left_out = exec(&place, &[], "echo $A");
    says(&left_out, "canary-1\n");
    assert!(String::from_utf8_lossy(&left_out.stderr).contains("--file tls/key"), "{left_out:?}");
    assert_eq!(exec(&place, &["--names", "tls/key"], "true").status.code(), Some(3));
    let script = "stat -c %a \"$TLS_KEY_FILE\" \"$(dirname \"$TLS_KEY_FILE\")\"; od -An -tx1 \"$TLS_KEY_FILE\"; echo $TLS_KEY_FILE; echo $A; exit 7";
    let output = exec(&place, &["--file", "tls/key"], script);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let seen = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines[..3], ["600", "700", " ff 00 01 63"]);
    assert_eq!(lines[4], "canary-1");
    assert!(!std::path::Path::new(lines[3]).exists(), "its file is gone with the program");
    says(
        &exec(&place, &["--file", "CERT=tls/key", "--names", "A"], "test -f $CERT && echo $A"),
        "canary-1\n",
    );
}

#[test]
fn a_value_too_large_for_a_variable_is_named_with_the_limit() {
    let place = Place::new(None);
    set(&place, "BIG", "x".repeat(140_000).as_bytes());
    let refused = exec(&place, &[], "echo started");
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(3), "{told}");
    assert!(told.contains("BIG") && told.contains("140000 bytes") && told.contains("131072"), "{told}");
    says(&exec(&place, &["--file", "BIG"], "wc -c < $BIG_FILE"), "140000\n");
    set(&place, "BIG", "x".repeat(131_072 - "BIG=".len() - 1).as_bytes());
    says(&exec(&place, &[], "echo ${#BIG}"), "131067\n");
}

struct Running {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Running {
    fn start(place: &Place, arguments: &[&str], script: &str) -> Self {
        let arguments = [&["exec"], arguments, &["--", "sh", "-c", script]].concat();
        let mut child = place.command(&arguments).stderr(Stdio::inherit()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

const WATCH: [&str; 3] = ["--watch", "--watch-interval", "100ms"];

#[test]
fn a_rotation_restarts_the_program_with_the_new_value() {
    let place = Place::new(None);
    set(&place, "A", b"canary-1");
    let mut running =
        Running::start(&place, &WATCH, "trap 'exit 0' TERM; echo $A; while :; do sleep 0.05; done");
    assert_eq!(running.line(), "canary-1");
    set(&place, "A", b"canary-2");
    assert_eq!(running.line(), "canary-2");
    signal(&running.child, "TERM");
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_rotation_signals_a_program_that_reads_its_files_again() {
    let place = Place::new(None);
    set(&place, "A", b"canary-1");
    let arguments = [&WATCH[..], &["--on-change", "hup", "--file", "A"]].concat();
    let script = "trap 'cat $A_FILE; echo' HUP; cat $A_FILE; echo; while :; do sleep 0.05; done";
    let mut running = Running::start(&place, &arguments, script);
    assert_eq!(running.line(), "canary-1");
    set(&place, "A", b"canary-2");
    assert_eq!(running.line(), "canary-2");
    signal(&running.child, "KILL");
    running.child.wait().unwrap();
}

#[test]
fn signals_and_exit_codes_pass_through_a_parent() {
    let place = Place::new(None);
    set(&place, "A", b"canary-1");
    for (name, script, code) in [
        ("USR1", "trap 'exit 41' USR1; echo ready; while :; do sleep 0.05; done", 41),
        ("TERM", "trap 'exit 42' TERM; echo ready; while :; do sleep 0.05; done", 42),
        ("TERM", "echo ready; exec sleep 60", 128 + 15),
    ] {
        let mut running = Running::start(&place, &["--file", "A"], script);
        assert_eq!(running.line(), "ready");
        signal(&running.child, name);
        assert_eq!(running.child.wait().unwrap().code(), Some(code), "{name} {script}");
    }
}

#[test]
fn as_process_one_it_reaps_what_others_left() {
    let place = Place::new(None);
    set(&place, "A", b"canary-1");
    let script = "(sh -c 'sleep 0.1 & exit 0'); sleep 0.6; ps -eo stat= 2>/dev/null | grep -c '^Z'; exit 9";
    let program = env!("CARGO_BIN_EXE_manage-secrets");
    let mut unshared = Command::new("unshare");
    unshared.args(["--pid", "--fork", "--mount-proc", "--kill-child", program, "--source", "local:store.db"]);
    unshared.args(["exec", "--file", "A", "--", "sh", "-c", script]).current_dir(place.path());
    let output =
        unshared.env("KMS_MASTER_KEY", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=").output().unwrap();
    if String::from_utf8_lossy(&output.stderr).contains("unshare") {
        // This machine gives out no process namespaces; the code is the same as process 1 of a container.
        return;
    }
    assert_eq!(output.status.code(), Some(9), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "0", "{output:?}");
}
