//! After any import, each value is in the file or comes back from the source, exactly.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;

use crate::support::place::{Place, count};

const MASTER_KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

fn write(place: &Place, text: &str) {
    fs::write(place.path().join(".env"), text).unwrap();
}

fn read(place: &Place) -> String {
    fs::read_to_string(place.path().join(".env")).unwrap()
}

fn stored(place: &Place, name: &str) -> Option<String> {
    let output = place.run(&["get", name, "--reveal", "--format", "json"], "");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    output.status.success().then(|| document["value"].as_str().unwrap().to_owned())
}

fn names(report: &Value, list: &str) -> Vec<String> {
    report[list]
        .as_array()
        .unwrap()
        .iter()
        .map(|listed| listed["name"].as_str().unwrap().to_owned())
        .collect()
}

const STRIP: [&str; 3] = ["import", ".env", "--strip"];

#[test]
fn what_opens_the_store_is_neither_moved_nor_stripped() {
    let place = Place::new(None);
    let kept = format!(
        "KMS_MASTER_KEY={MASTER_KEY}\nKMS_KEY_ID=keyring:store.db.keyring\nKMS_MASTER_KEY_FILE=/run/key\nOTHER_NAME='{MASTER_KEY}'\n"
    );
    write(&place, &format!("{kept}DB_PASSWORD=canary-1\nAWS_SECRET_ACCESS_KEY=canary-2\n"));
    let report = place.json(&STRIP, 0);
    assert_eq!(names(&report, "kept"), ["KMS_MASTER_KEY", "KMS_KEY_ID", "KMS_MASTER_KEY_FILE", "OTHER_NAME"]);
    assert!(report["kept"][0]["reason"].as_str().unwrap().contains("opens local:store.db"), "{report}");
    assert!(!report.to_string().contains(MASTER_KEY));
    assert_eq!(read(&place), format!("{kept}DB_PASSWORD=\nAWS_SECRET_ACCESS_KEY=\n"));
    assert_eq!(stored(&place, "KMS_MASTER_KEY"), None);
    assert_eq!(stored(&place, "OTHER_NAME"), None);
    assert_eq!(stored(&place, "DB_PASSWORD").unwrap(), "canary-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_opens_secrets_manager_is_neither_moved_nor_stripped() {
    let moto = test_support::part!(moto);
    tokio::task::block_in_place(|| {
        let place = Place::new(Some(moto));
        let kept = "AWS_ACCESS_KEY_ID=canary-1\nAWS_SECRET_ACCESS_KEY=canary-2\nAWS_REGION=eu-west-1\n";
        write(&place, &format!("{kept}DB_PASSWORD=canary-3\n"));
        let report = place.json(&STRIP, 0);
        assert_eq!(count(&report, "kept"), 3);
        assert_eq!(read(&place), format!("{kept}DB_PASSWORD=\n"));
        assert_eq!(stored(&place, "AWS_SECRET_ACCESS_KEY"), None);
    });
}

#[test]
fn a_doubtful_value_keeps_the_file_and_is_named_with_its_line() {
    let lines = [
        "iH4>hb_d0#_GN8d]6",
        "{\"a\": \"x # y\"}",
        "a # b",
        "#abc",
        "it's",
        "a\"b",
        "{\"a\": 1",
        "f(x",
        "${HOME}/x",
        "\"${HOME}/x\"",
        "$(cat /run/secret)",
        "a\\$b",
        "\"a\\$b\"",
        "'it\\'s'",
        "\"open",
        "'open",
        "\"closed\" more",
        "\"closed\"#more",
        "\"a\\x41\"",
        "ends\\",
        "\u{a0}space",
        "bell\u{7}",
    ];
    for value in lines {
        let place = Place::new(None);
        let text = format!("# keep\nFIRST=canary-1\nDOUBT={value}\n");
        write(&place, &text);
        let report = place.json(&STRIP, 3);
        assert_eq!(read(&place), text, "{value}");
        let listed = &report["doubtful"][0];
        assert_eq!((&listed["name"], &listed["line"]), (&"DOUBT".into(), &3.into()), "{value}: {report}");
        assert!(!listed["reason"].as_str().unwrap().is_empty());
        assert_eq!(stored(&place, "DOUBT"), None, "{value}");
        assert_eq!(stored(&place, "FIRST").unwrap(), "canary-1");
        assert_eq!(
            place.json(&["import", ".env", "--dry-run"], 3)["doubtful"],
            report["doubtful"],
            "{value}"
        );
    }
}

#[test]
fn everything_but_the_values_is_kept_to_the_byte() {
    let place = Place::new(None);
    let before = "\u{feff}# first\r\n\r\nexport A = 'canary one'  # why\r\nB=\"canary\r\ntwo\"\r\n  C=canary three \r\n#D=old\r\nE=\n\
                  F=`canary four` # x\rG='canary five'\nH=pa$$w0rd=\tend";
    let after =
        "\u{feff}# first\r\n\r\nexport A = ''  # why\r\nB=\"\"\r\n  C= \r\n#D=old\r\nE=\nF=`` # x\rG=''\nH=";
    write(&place, before);
    let report = place.json(&STRIP, 0);
    assert_eq!((report["stripped"].as_bool(), read(&place).as_str()), (Some(true), after));
    for (name, value) in [
        ("A", "canary one"),
        ("B", "canary\ntwo"),
        ("C", "canary three"),
        ("F", "canary four"),
        ("G", "canary five"),
        ("H", "pa$$w0rd=\tend"),
    ] {
        assert_eq!(stored(&place, name).unwrap(), value, "{name}");
    }
    assert_eq!(place.json(&STRIP, 0)["stripped"], false, "nothing is left to take out");
    assert_eq!(read(&place), after);
}

#[test]
fn names_and_except_choose_what_moves() {
    let place = Place::new(None);
    let text = "A=canary-1\nB=canary-2\nC=x#y\n";
    write(&place, text);
    assert_eq!(place.json(&[&STRIP[..], &["--names", "A"]].concat(), 0)["stripped"], true);
    assert_eq!(read(&place), "A=\nB=canary-2\nC=x#y\n");
    assert_eq!(place.json(&[&STRIP[..], &["--except", "A,C"]].concat(), 0)["stripped"], true);
    assert_eq!(read(&place), "A=\nB=\nC=x#y\n");
    for unknown in [["--names", "NOTHING"], ["--except", "b"]] {
        place.json(&[&STRIP[..], &unknown].concat(), 2);
    }
    assert_eq!(stored(&place, "C"), None);
}

#[test]
fn links_are_followed_and_the_real_file_keeps_its_permissions() {
    let place = Place::new(None);
    fs::create_dir(place.path().join("real")).unwrap();
    let real = place.path().join("real/settings");
    fs::write(&real, "A=canary-1 \n# note\n").unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    symlink("real/settings", place.path().join(".env")).unwrap();
    // A link that an attacker planted where a temporary file could be.
    let victim = place.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, place.path().join(".env.part")).unwrap();
    symlink(&victim, place.path().join("real/settings.part")).unwrap();
    assert_eq!(place.json(&STRIP, 0)["stripped"], true);
    assert!(place.path().join(".env").symlink_metadata().unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&real).unwrap(), "A= \n# note\n");
    assert_eq!(real.metadata().unwrap().mode() & 0o777, 0o640);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn hard_links_are_warned_of() {
    let place = Place::new(None);
    write(&place, "A=canary-1\n");
    fs::hard_link(place.path().join(".env"), place.path().join("other")).unwrap();
    let report = place.json(&STRIP, 0);
    assert!(report["warnings"][0].as_str().unwrap().contains("2 hard links"), "{report}");
    assert_eq!(stored(&place, "A").unwrap(), "canary-1");
}

#[test]
fn what_is_not_a_regular_file_is_refused_before_anything_is_stored() {
    let place = Place::new(None);
    let fifo = place.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    fs::create_dir(place.path().join("directory")).unwrap();
    symlink("nothing", place.path().join("dangling")).unwrap();
    for path in ["fifo", "/dev/null", "directory", "dangling", "missing"] {
        place.json(&["import", path, "--strip"], 2);
        assert!(!place.path().join("store.db").exists() || count(&place.json(&["list"], 0), "secrets") == 0);
    }
    assert!(fifo.metadata().unwrap().file_type() != fs::metadata(place.path()).unwrap().file_type());
    assert!(Path::new("/dev/null").metadata().unwrap().rdev() != 0, "the device is still a device");
}

#[test]
fn a_spelling_that_is_in_the_source_is_the_same_secret() {
    let place = Place::new(None);
    for (name, value) in [("database-url", "canary-1"), ("db/password", "canary-2"), ("api-key", "canary-3")]
    {
        assert!(place.run(&["set", name], value).status.success());
    }
    write(&place, "DATABASE_URL=canary-1\nDB_PASSWORD=canary-2\nAPI_KEY=another\n");
    let report = place.json(&STRIP, 3);
    assert_eq!(report["conflicts"], serde_json::json!(["API_KEY"]));
    assert_eq!(report["unchanged"], serde_json::json!(["DATABASE_URL", "DB_PASSWORD"]));
    assert_eq!(report["matched"]["DATABASE_URL"], "database-url");
    assert_eq!(count(&place.json(&["list"], 0), "secrets"), 3, "no second secret was made");
    let child = place.run(&["exec", "--", "sh", "-c", "echo $DATABASE_URL $DB_PASSWORD $API_KEY"], "");
    assert_eq!(String::from_utf8(child.stdout).unwrap(), "canary-1 canary-2 canary-3\n");
    assert_eq!(place.json(&["import", ".env", "--overwrite", "--strip"], 0)["stripped"], true);
    assert_eq!(stored(&place, "api-key").unwrap(), "another");
}

#[test]
fn two_spellings_in_one_file_never_overwrite_each_other() {
    let place = Place::new(None);
    let text = "db-url=canary-1\nDB_URL=canary-2\n";
    write(&place, text);
    assert_eq!(
        place.json(&["import", ".env", "--strip", "--overwrite"], 3)["conflicts"],
        serde_json::json!(["DB_URL"])
    );
    assert_eq!(read(&place), text);
    assert_eq!(stored(&place, "db-url").unwrap(), "canary-1");
}

#[test]
fn a_full_disk_changes_nothing() {
    let place = Place::new(None);
    // The store exists, so that the limit meets the new file or the values.
    assert!(place.run(&["set", "x"], "1").status.success());
    let text: String =
        (0..400).map(|n| format!("# {}\nA{n}='canary-{n}-{}'\n", "c".repeat(60), "x".repeat(200))).collect();
    write(&place, &text);
    for blocks in [0, 8, 64, 128, 300] {
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command
            .args(["-c", &script])
            .arg(env!("CARGO_BIN_EXE_manage-secrets"))
            .args(["--source", "local:store.db"]);
        let limited =
            command.args(STRIP).current_dir(place.path()).env("KMS_MASTER_KEY", MASTER_KEY).output().unwrap();
        assert!(!limited.status.success(), "{blocks}: {limited:?}");
        assert!(limited.status.code().is_some(), "it ends by itself: {limited:?}");
        assert_eq!(read(&place), text, "{blocks}");
        assert_eq!(stored(&place, "x").unwrap(), "1");
    }
    assert_eq!(place.json(&STRIP, 0)["stripped"], true);
    assert_eq!(stored(&place, "A399").unwrap(), format!("canary-399-{}", "x".repeat(200)));
}

#[test]
fn ten_thousand_lines_take_a_time_that_grows_with_their_number() {
    let place = Place::new(None);
    write(&place, &(0..10_000).map(|n| format!("A{n}=canary-{n}\n")).collect::<String>());
    assert_eq!(count(&place.json(&STRIP, 0), "created"), 10_000);
    assert_eq!(stored(&place, "A9999").unwrap(), "canary-9999");
}

/// A setting as text in a file, and the value that it says.
#[derive(Clone, Debug)]
struct Setting {
    name: String,
    line: String,
    value: String,
}

fn setting() -> impl Strategy<Value = (u8, String)> {
    let quoted = "[ -&(-\\[\\]-_a-~äß€\n]{0,40}";
    prop_oneof![
        ("[A-Za-z0-9/+=.,:;@%^&*!?~|-]{1,40}").prop_map(|value| (0, value)),
        quoted.prop_map(|value| (1, value)),
        "[ !%-\\[\\]-_a-~äß€]{0,40}".prop_map(|value| (2, value.replace('`', ""))),
    ]
}

fn settings() -> impl Strategy<Value = Vec<Setting>> {
    proptest::collection::vec(setting(), 1..20).prop_map(|values| {
        let all = values.into_iter().enumerate().map(|(n, (kind, value))| {
            let name = format!("S{n}");
            // A line of a value that looks like a setting is doubtful, and so is an escape: other tests have them.
            let value = value.replace('=', "+").replace('\\', "/");
            let line = match kind {
                0 => format!("{name}={value}\n"),
                1 => format!("export {name} = '{}' # comment\n", value.replace('\'', "")),
                _ => format!("{name}=\"{}\"\n", value.replace('"', "").replace('$', "S")),
            };
            let value = match kind {
                0 => value,
                1 => value.replace('\'', ""),
                _ => value.replace('"', "").replace('$', "S"),
            };
            Setting { name, line, value }
        });
        all.collect()
    })
}

/// Each value is in the file or comes back from the source, exactly; and never both gone.
fn check(place: &Place, settings: &[Setting], what: &str) {
    let file = read(place);
    let list = place.run(&["list", "--format", "json"], "");
    let has_store = list.status.success();
    for setting in settings.iter().filter(|setting| !setting.value.is_empty()) {
        let is_in_file = file.contains(&setting.line);
        let from_store = has_store.then(|| stored(place, &setting.name)).flatten();
        if let Some(value) = &from_store {
            assert_eq!(*value, setting.value, "{what}: {setting:?}");
        }
        assert!(is_in_file || from_store.is_some(), "{what}: {setting:?} is lost; the file is {file:?}");
    }
}

#[test]
fn generated_files_move_exactly() {
    let mut runner = TestRunner::new(Config { cases: 16, failure_persistence: None, ..Config::default() });
    runner
        .run(&settings(), |settings| {
            let place = Place::new(None);
            let text: String = settings.iter().map(|setting| setting.line.as_str()).collect();
            write(&place, &text);
            let report = place.json(&STRIP, 0);
            let has_values = settings.iter().any(|setting| !setting.value.is_empty());
            assert_eq!(report["stripped"].as_bool(), Some(has_values), "{report} {text:?}");
            check(&place, &settings, "after a whole run");
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_kill_at_any_step_loses_nothing() {
    let settings: Vec<Setting> = (0..200)
        .map(|n| Setting {
            name: format!("S{n}"),
            line: format!("S{n}='canary {n} #'\n"),
            value: format!("canary {n} #"),
        })
        .collect();
    let text: String = settings.iter().map(|setting| setting.line.as_str()).collect();
    let whole = Place::new(None);
    write(&whole, &text);
    let started = Instant::now();
    whole.json(&STRIP, 0);
    let whole_run = started.elapsed();
    const ROUNDS: u32 = 40;
    for round in 0..ROUNDS {
        let place = Place::new(None);
        write(&place, &text);
        let mut child = place.command(&STRIP).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(whole_run * round / ROUNDS + Duration::from_micros(u64::from(round) * 37));
        child.kill().unwrap();
        child.wait().unwrap();
        let file = read(&place);
        assert!(file == text || !file.contains("canary"), "the file is half-written: {file}");
        if file != text {
            check(&place, &settings, "after a kill");
        }
        // What was begun is finished by another run.
        place.json(&STRIP, 0);
        assert!(!read(&place).contains("canary"));
        check(&place, &settings[190..], "after another run");
    }
}

#[test]
fn an_edit_during_the_import_is_never_lost() {
    let text: String = (0..100).map(|n| format!("S{n}='canary {n}'\n")).collect();
    let whole = Place::new(None);
    write(&whole, &text);
    let started = Instant::now();
    whole.json(&STRIP, 0);
    let whole_run = started.elapsed();
    const ROUNDS: u32 = 24;
    for round in 0..ROUNDS {
        let place = Place::new(None);
        write(&place, &text);
        let child = place.command(&STRIP).spawn().unwrap();
        std::thread::sleep(whole_run * round / ROUNDS);
        // As an editor saves: a new file takes the place of the old one.
        let edited = format!("{}NEW='canary new'\n", read(&place));
        fs::write(place.path().join("edited"), &edited).unwrap();
        fs::rename(place.path().join("edited"), place.path().join(".env")).unwrap();
        let output = child.wait_with_output().unwrap();
        let file = read(&place);
        let is_kept =
            file.contains("NEW='canary new'") || stored(&place, "NEW").as_deref() == Some("canary new");
        assert!(is_kept, "round {round}: {output:?}: {file}");
        match output.status.code() {
            Some(0) => {}
            Some(3) => assert!(
                String::from_utf8_lossy(&output.stdout).contains("changed since it was read"),
                "{output:?}"
            ),
            other => panic!("{other:?}: {output:?}"),
        }
    }
}
