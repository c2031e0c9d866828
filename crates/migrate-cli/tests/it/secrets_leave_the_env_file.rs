//! `manage-secrets` from the outside: a `.env` moves into either kind of source, and no secret remains in the
//! file.

use std::process::Command;

use serde_json::Value;

use crate::support::place::{Place, count};

fn thirty() -> String {
    let random = |n: u64| format!("canary{:x}Zq", (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    (0..30).map(|n| format!("TOKEN_{n}=\"{}\"\n", random(n))).collect()
}

fn everything(place: &Place) {
    std::fs::write(place.path().join(".env"), thirty()).unwrap();
    let dry = place.json(&["import", ".env", "--dry-run"], 0);
    assert_eq!((count(&dry, "created"), dry["dry_run"].as_bool()), (30, Some(true)));
    assert_eq!(count(&place.json(&["import", ".env"], 0), "created"), 30);
    let again = place.json(&["import", ".env"], 0);
    assert_eq!((count(&again, "created"), count(&again, "updated"), count(&again, "unchanged")), (0, 0, 30));
    assert_eq!(count(&place.json(&["scan", "."], 4), "findings"), 30);

    std::fs::write(place.path().join("other.env"), "TOKEN_0=another\n").unwrap();
    assert_eq!(count(&place.json(&["import", "other.env"], 3), "conflicts"), 1);
    std::fs::remove_file(place.path().join("other.env")).unwrap();

    assert_eq!(place.json(&["import", ".env", "--strip"], 0)["stripped"], true);
    assert_eq!(count(&place.json(&["scan", "."], 0), "findings"), 0);
    assert_eq!(place.json(&["import", ".env"], 0)["total"], 0);

    let child = place.run(&["exec", "--", "env"], "");
    let seen = String::from_utf8(child.stdout).unwrap();
    for line in thirty().lines() {
        assert!(seen.contains(&line.replace('"', "")), "{line} is not in the child's environment");
    }
    assert!(!seen.contains("KMS_MASTER_KEY"));
    assert_eq!(place.run(&["exec", "--", "sh", "-c", "exit 7"], "").status.code(), Some(7));
    let arguments = place.run(&["exec", "--", "sh", "-c", "tr '\\0' ' ' < /proc/$$/cmdline"], "");
    assert!(!String::from_utf8(arguments.stdout).unwrap().contains("canary"));

    assert!(place.run(&["set", "db", "--tag", "team=red"], "{\"password\":\"canary-1\"}\n").status.success());
    assert_eq!(place.json(&["get", "db#password", "--reveal"], 0)["value"], "canary-1");
    assert!(place.json(&["get", "db"], 0).get("value").is_none());
    assert_eq!(place.json(&["rotate", "db", "--length", "24", "--whole"], 0)["generated"], true);
    let before = place.json(&["get", "db#password", "--reveal", "--version-stage", "AWSPREVIOUS"], 0);
    assert_eq!(before["value"], "canary-1");
    assert_eq!(count(&place.json(&["list", "--tag", "team=red"], 0), "secrets"), 1);
    assert_eq!(place.json(&["status"], 0)["secrets"], 31);
    assert_eq!(place.json(&["get", "nothing"], 3)["error"]["class"], "not_found");
    assert!(place.json(&["doctor"], 0)["checks"].as_array().unwrap().iter().all(|check| check["ok"] == true));

    assert_eq!(place.json(&["backup", "saved"], 0)["secrets"], 31);
    assert!(place.run(&["delete", "TOKEN_3"], "").status.success());
    if place.moto.is_none() {
        let plan = place.json(&["restore", "saved", "--dry-run"], 0);
        assert_eq!(plan["added"], serde_json::json!(["TOKEN_3"]));
        assert_eq!(place.json(&["restore", "saved"], 0)["versions"], 1);
    }
    for file in std::fs::read_dir(place.path()).unwrap() {
        let text = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!String::from_utf8_lossy(&text).contains("canary"));
    }
}

#[test]
fn a_dotenv_moves_into_a_local_store() {
    everything(&Place::new(None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dotenv_moves_into_secrets_manager() {
    let moto = test_support::part!(moto);
    tokio::task::block_in_place(|| everything(&Place::new(Some(moto))));
}

#[test]
fn a_setting_without_a_value_stays_where_it_is() {
    let place = Place::new(None);
    let file = place.path().join(".env");
    std::fs::write(&file, "\u{feff}export HOOK= # later\nA=canary-1\nEMPTY=\"\"\n").unwrap();
    let report = place.json(&["import", ".env", "--strip"], 0);
    assert_eq!((count(&report, "created"), count(&report, "empty")), (1, 2), "{report}");
    let left = std::fs::read_to_string(&file).unwrap();
    assert_eq!(left, "\u{feff}export HOOK= # later\nA=\nEMPTY=\"\"\n");
    assert_eq!(place.json(&["import", ".env", "--strip"], 0)["stripped"], false);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), left, "once more takes nothing out");
}

#[test]
fn of_a_name_that_stands_twice_the_last_value_moves_and_that_is_said() {
    let place = Place::new(None);
    let file = place.path().join(".env");
    let text = "A=canary-1\nB=canary-2\nA=canary-3\n";
    std::fs::write(&file, text).unwrap();
    for (arguments, exit) in [(&["import", ".env"][..], 0), (&["import", ".env", "--strip"], 3)] {
        let report = place.json(arguments, exit);
        let warning = report["warnings"][0].as_str().unwrap();
        assert!(warning.contains("A (line 1)") && warning.contains("line 3"), "{report}");
        assert_eq!((count(&report, "conflicts"), &report["stripped"]), (0, &Value::Bool(false)), "{report}");
        assert!(!report.to_string().contains("canary"), "{report}");
    }
    assert_eq!(place.json(&["get", "A", "--reveal"], 0)["value"], "canary-3");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "the other value is nowhere else");
    std::fs::write(&file, "A=canary-3\nB=canary-2\nA='canary-3'\n").unwrap();
    let same = place.json(&["import", ".env", "--strip"], 0);
    assert_eq!((count(&same, "warnings"), same["stripped"].as_bool()), (1, Some(true)), "{same}");
    assert!(!std::fs::read_to_string(&file).unwrap().contains("canary"));
}

#[test]
fn a_file_replaces_another_only_where_that_is_said_and_never_what_it_is_made_from() {
    let place = Place::new(None);
    let write = |name: &str, text: &str| std::fs::write(place.path().join(name), text).unwrap();
    let read = |name: &str| std::fs::read(place.path().join(name)).unwrap();
    assert!(place.run(&["set", "name"], "canary").status.success());
    write("readable", "A=canary");
    place.json(&["seal-file", "readable", "sealed"], 0);
    for command in
        [&["seal-file", "readable", "target"][..], &["open-file", "sealed", "target"], &["backup", "target"]]
    {
        write("target", "somebody's own");
        let refused = place.json(command, 2);
        assert!(refused["error"]["hint"].as_str().unwrap().contains("--overwrite"), "{refused}");
        assert_eq!(read("target"), b"somebody's own", "{command:?}");
        place.json(&[command, &["--overwrite"]].concat(), 0);
        assert_ne!(read("target"), b"somebody's own", "{command:?}");
    }
    place.json(&["open-file", "sealed", "new"], 0);
    assert_eq!(read("new"), b"A=canary");

    std::os::unix::fs::symlink("readable", place.path().join("link")).unwrap();
    let sources: [(&[&str], &str); 6] = [
        (&["seal-file", "readable", "readable"], "readable"),
        (&["seal-file", "readable", "./link"], "readable"),
        (&["open-file", "sealed", "sealed"], "sealed"),
        (&["backup", "store.db"], "store.db"),
        (&["backup", "store.db.keyring"], "store.db.keyring"),
        (&["backup", "readable", "--source", "dotenv:readable"], "readable"),
    ];
    for (command, source) in sources {
        let before = read(source);
        place.json(&[command, &["--overwrite"]].concat(), 2);
        assert_eq!(read(source), before, "{command:?}");
    }
}

#[test]
fn a_program_that_does_not_start_leaves_one_document_and_one_that_does_its_own_output() {
    let place = Place::new(None);
    assert!(place.run(&["set", "a"], "canary").status.success());
    let exec = |arguments: &[&str]| place.run(&[&["exec", "--format", "json"], arguments].concat(), "");
    let document = |arguments: &[&str], exit: i32| -> Value {
        let output = exec(arguments);
        assert_eq!(output.status.code(), Some(exit), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let missing = document(&["--names", "a,nobody", "--", "true"], 3);
    assert_eq!((&missing["started"], count(&missing, "failures")), (&Value::Bool(false), 1), "{missing}");
    assert_eq!(
        (&missing["failures"][0]["name"], &missing["failures"][0]["class"]),
        (&"nobody".into(), &"not_found".into())
    );
    let unrunnable = document(&["--", "./no-such-program"], 2);
    assert!(unrunnable["error"]["message"].as_str().unwrap().contains("no-such-program"), "{unrunnable}");
    assert_eq!(exec(&["--", "echo", "its own"]).stdout, b"its own\n");
}

#[test]
fn data_keys_are_rotated_and_everything_follows() {
    let place = Place::new(None);
    assert!(place.run(&["set", "a"], "1").status.success());
    let rotated = Command::new(env!("CARGO_BIN_EXE_migrate-tokens"))
        .current_dir(place.path())
        .env("KMS_MASTER_KEY", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=")
        .env("KMS_KEY_ID", "keyring:store.db.keyring")
        .args(["keyring", "rotate"])
        .output()
        .unwrap();
    assert!(rotated.status.success(), "{rotated:?}");
    assert_eq!(place.json(&["reseal"], 0)["resealed"], 1);
    assert_eq!(place.json(&["reseal"], 0)["resealed"], 0);
    assert_eq!(place.json(&["get", "a", "--reveal"], 0)["value"], "1");
}

#[test]
fn mistakes_are_told_apart() {
    let place = Place::new(None);
    assert_eq!(place.run(&["get", "a"], "").status.code(), Some(2), "there is no store");
    assert_eq!(place.run(&["nonsense"], "").status.code(), Some(2));
    std::fs::write(place.path().join("dev.env"), "A=1\n").unwrap();
    let mut production = place.command(&["--source", "dotenv:dev.env", "list"]);
    assert_eq!(production.env("ENVIRONMENT", "production").output().unwrap().status.code(), Some(2));
    let mut nobody = place.command(&["--source", "secretsmanager", "list"]);
    nobody.env("AWS_ENDPOINT_URL", "http://127.0.0.1:9").env("AWS_REGION", "eu-west-1");
    nobody.env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "y");
    assert_eq!(nobody.output().unwrap().status.code(), Some(5));
}

#[test]
fn what_the_node_service_sealed_comes_over() {
    let place = Place::new(None);
    let vectors = test_support::vectors::of(test_support::vectors::StoredFormat::NodeJson);
    let vectors: Vec<_> = vectors.into_iter().filter(|vector| !vector.plaintext.is_empty()).collect();
    let keys: Vec<Value> = vectors
        .iter()
        .map(|v| serde_json::json!({ "id": v.data_key_id, "key": v.data_key, "isActive": false }))
        .collect();
    let mut keys = keys;
    keys[0]["isActive"] = true.into();
    std::fs::write(place.path().join("keys.json"), serde_json::json!({ "keys": keys }).to_string()).unwrap();
    let secrets: Vec<Value> = vectors
        .iter()
        .enumerate()
        .map(|(n, v)| serde_json::json!({ "name": format!("s{n}"), "envelope": v.stored, "aad": v.aad }))
        .collect();
    std::fs::write(place.path().join("secrets.json"), Value::from(secrets).to_string()).unwrap();
    assert!(place.run(&["set", "first"], "makes store and keyring").status.success());
    let imported = Command::new(env!("CARGO_BIN_EXE_migrate-tokens"))
        .current_dir(place.path())
        .env("KMS_MASTER_KEY", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=")
        .env("KMS_KEY_ID", "keyring:store.db.keyring")
        .args(["keyring", "import", "keys.json"])
        .output()
        .unwrap();
    assert!(imported.status.success(), "{imported:?}");
    assert_eq!(count(&place.json(&["import-node", "secrets.json"], 0), "imported"), vectors.len());
    for (n, vector) in vectors.iter().enumerate() {
        let name = format!("s{n}");
        assert_eq!(place.json(&["get", &name, "--reveal"], 0)["value"], vector.plaintext.as_str());
    }
}
