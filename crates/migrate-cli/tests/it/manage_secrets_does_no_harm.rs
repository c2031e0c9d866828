//! `manage-secrets` reports problems before any change, and changes no more than it was asked to.

use std::fs;
use std::process::Command;

use serde_json::Value;
use test_support::moto::Moto;

use crate::support::place::{Place, count};

const CANARY: &str = "canary-9f3b1c";

#[test]
fn endpoints_of_any_service_are_checked_at_the_start_of_both_programs() {
    for variable in [
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_KMS",
        "AWS_ENDPOINT_URL_SECRETS_MANAGER",
        "AWS_ENDPOINT_URL_STS",
    ] {
        for endpoint in
            ["localhost:4566", "localhost", "http:/x", "ftp://x", "http://", "user:canary-9f3b1c@host"]
        {
            let programs: [(&str, &[&str]); 3] = [
                (env!("CARGO_BIN_EXE_manage-secrets"), &["set", "a"]),
                (env!("CARGO_BIN_EXE_manage-secrets"), &["list", "--format", "json"]),
                (env!("CARGO_BIN_EXE_migrate-tokens"), &["status"]),
            ];
            for (program, arguments) in programs {
                let mut command = Command::new(program);
                command.args(arguments).env_clear().env(variable, endpoint).env("AWS_REGION", "eu-west-1");
                command
                    .env("AWS_ACCESS_KEY_ID", "x")
                    .env("AWS_SECRET_ACCESS_KEY", "y")
                    .env("DATABASE_URL", "sqlite://x.db");
                let output = command.output().unwrap();
                let told = format!("{output:?}");
                assert_eq!(output.status.code(), Some(2), "{told}");
                assert!(
                    told.contains(&format!("{variable} must be a URL")) && !told.contains(CANARY),
                    "{told}"
                );
            }
        }
    }
}

#[test]
fn a_rotation_of_one_field_keeps_the_rest_to_the_byte() {
    let place = Place::new(None);
    let before = "{ \"user\": \"app\",\n  \"password\" : \"canary-1\", \"port\":5432, \"nested\": {\"key\": \"\\u00e4\"} }";
    assert!(place.run(&["set", "db"], before).status.success());
    let rotated = place.json(&["rotate", "db", "--field", "password", "--length", "20"], 0);
    assert_eq!((&rotated["field"], &rotated["generated"]), (&"password".into(), &true.into()));
    let after = place.json(&["get", "db", "--reveal"], 0)["value"].as_str().unwrap().to_owned();
    let (head, rest) = after.split_once("\"password\" : \"").unwrap();
    assert_eq!(
        (head, &rest[20..]),
        ("{ \"user\": \"app\",\n  ", "\", \"port\":5432, \"nested\": {\"key\": \"\\u00e4\"} }")
    );
    assert!(place.run(&["rotate", "db", "--field", "/nested/key"], "a \"quoted\" \\ value").status.success());
    assert_eq!(place.json(&["get", "db#/nested/key", "--reveal"], 0)["value"], "a \"quoted\" \\ value");
    assert_eq!(place.json(&["get", "db#port", "--reveal"], 0)["value"], "5432");
    for (field, code) in [("nothing", 3), ("port", 3), ("nested", 3), ("/nested/nothing", 3)] {
        assert_eq!(place.run(&["rotate", "db", "--field", field], "x").status.code(), Some(code), "{field}");
    }
}

#[test]
fn a_rotation_flattens_no_json_secret() {
    let place = Place::new(None);
    assert!(place.run(&["set", "db"], "{\"password\":\"canary-1\"}").status.success());
    for arguments in [&["rotate", "db"][..], &["rotate", "db", "--length", "32"]] {
        let refused = place.json(arguments, 2);
        assert!(refused["error"]["hint"].as_str().unwrap().contains("--field"), "{refused}");
    }
    assert_eq!(place.json(&["get", "db#password", "--reveal"], 0)["value"], "canary-1");
    assert!(place.run(&["rotate", "db"], "{\"password\":\"canary-2\"}").status.success());
    assert!(place.run(&["rotate", "db", "--whole"], "canary-3").status.success());
    assert_eq!(place.json(&["get", "db", "--reveal"], 0)["value"], "canary-3");
    assert_eq!(place.json(&["rotate", "nobody"], 3)["error"]["class"], "not_found");
}

#[test]
fn a_binary_value_is_marked_where_it_is_shown() {
    use std::io::Write as _;
    let place = Place::new(None);
    let mut child = place.command(&["set", "key"]).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&[0xff, 0x00]).unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(place.run(&["get", "key", "--reveal"], "").stdout, b"base64:/wA=\n");
    assert_eq!(place.json(&["get", "key", "--reveal"], 0)["value_base64"], "/wA=");
}

#[test]
fn the_status_of_a_new_store_shows_its_active_key_at_once() {
    let place = Place::new(None);
    let before = place.json(&["status"], 0);
    assert_eq!((&before["initialized"], &before["master_key_present"]), (&false.into(), &true.into()));
    assert_eq!((count(&before, "data_keys"), before["secrets"].as_u64()), (0, Some(0)));
    assert!(!place.path().join("store.db").exists(), "a status makes no store");
    assert!(place.run(&["set", "a"], "1").status.success());
    assert!(place.run(&["delete", "a"], "").status.success());
    let empty = place.json(&["status"], 0);
    assert_eq!(
        (&empty["initialized"], &empty["secrets"], &empty["expired"]),
        (&true.into(), &0.into(), &0.into())
    );
    assert_eq!((count(&empty, "data_keys"), &empty["data_keys"][0]["active"]), (1, &true.into()), "{empty}");
    assert!(!empty["data_keys"][0]["id"].as_str().unwrap().is_empty());
}

#[test]
fn variables_of_the_environment_are_imported_by_name() {
    let place = Place::new(None);
    let run = |names: &str, code: i32| -> Value {
        let mut command = place.command(&["import", "--from-environment", names, "--format", "json"]);
        let output = command.env("DB_PASSWORD", "canary-1#2").env("API_KEY", "canary-2").output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(!String::from_utf8_lossy(&output.stdout).contains("canary"));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    assert_eq!(run("DB_PASSWORD,API_KEY", 0)["created"], serde_json::json!(["DB_PASSWORD", "API_KEY"]));
    assert_eq!(place.json(&["get", "DB_PASSWORD", "--reveal"], 0)["value"], "canary-1#2");
    assert_eq!(count(&run("DB_PASSWORD", 0), "unchanged"), 1);
    run("DB_PASSWORD,MISSING", 2);
    assert_eq!(count(&run("KMS_MASTER_KEY", 0), "kept"), 1, "what opens the store is not put into it");
    assert_eq!(place.run(&["import", ".env", "--from-environment", "A"], "").status.code(), Some(2));
    assert_eq!(place.run(&["import"], "").status.code(), Some(2));
}

#[test]
fn a_list_shows_no_control_characters() {
    let place = Place::new(None);
    let tag = "note=a\u{1b}[2Jb\u{202e}c";
    assert!(place.run(&["set", "a", "--tag", tag], "1").status.success());
    let listed = String::from_utf8(place.run(&["list"], "").stdout).unwrap();
    assert!(listed.contains("\\u{1b}[2J") && !listed.contains(['\u{1b}', '\u{202e}']), "{listed:?}");
    assert_eq!(place.json(&["list"], 0)["secrets"][0]["tags"]["note"], "a\u{1b}[2Jb\u{202e}c");
}

#[test]
fn a_prefix_that_would_glue_names_together_is_refused() {
    let place = Place::new(None);
    assert!(place.run(&["--prefix", "app/", "set", "a"], "1").status.success());
    let refused = place.json(&["--prefix", "app", "list"], 2);
    assert!(refused["error"]["hint"].as_str().unwrap().contains("`/`"), "{refused}");
}

async fn moto_place() -> Option<Place> {
    async fn get() -> Option<Moto> {
        Some(test_support::part!(moto, None))
    }
    get().await.map(|moto| Place::new(Some(moto)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_finds_what_secrets_manager_would_refuse() {
    let Some(place) = moto_place().await else { return };
    tokio::task::block_in_place(|| {
        let text = format!("FINE=canary-1\nBIG={}\n", "x".repeat(65_537));
        fs::write(place.path().join(".env"), &text).unwrap();
        for arguments in [&["import", ".env", "--dry-run"][..], &["import", ".env", "--strip"]] {
            let report = place.json(arguments, 3);
            assert_eq!(report["failures"][0]["name"], "BIG", "{report}");
            assert_eq!(
                (&report["failures"][0]["class"], &report["created"]),
                (&"unfit".into(), &serde_json::json!(["FINE"]))
            );
            assert!(report["failures"][0]["error"].as_str().unwrap().contains("65536"));
        }
        assert_eq!(fs::read_to_string(place.path().join(".env")).unwrap(), text);
        assert_eq!(count(&place.json(&["import", ".env", "--except", "BIG"], 0), "unchanged"), 1);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_goes_on_past_a_secret_that_is_scheduled_for_deletion() {
    let Some(place) = moto_place().await else { return };
    tokio::task::block_in_place(|| {
        for name in ["a", "b", "c"] {
            assert!(place.run(&["set", name], CANARY).status.success());
        }
        place.json(&["backup", "saved"], 0);
        for name in ["a", "b"] {
            assert!(place.run(&["rotate", name], "another").status.success());
        }
        assert!(place.run(&["delete", "a"], "").status.success());
        let report = place.json(&["restore", "saved"], 3);
        assert_eq!(report["changed"], serde_json::json!(["b"]), "{report}");
        let failures: Vec<&Value> = report["failures"].as_array().unwrap().iter().collect();
        assert_eq!(
            (failures.len(), failures[0]["name"].as_str(), failures[0]["class"].as_str()),
            (1, Some("a"), Some("pending_deletion"))
        );
        assert_eq!(place.json(&["get", "b", "--reveal"], 0)["value"], CANARY);
    });
}

#[test]
fn a_dry_run_fails_where_the_run_would() {
    let place = Place::new(None);
    fs::write(place.path().join(".env"), "A=canary-1\n").unwrap();
    let run = |source: &str, key: Option<(&str, &str)>, dry: &[&str]| {
        let mut command = place.command(&[&["--source", source, "import", ".env"], dry].concat());
        match key {
            Some((name, "")) => command.env_remove(name),
            Some((name, value)) => command.env(name, value),
            None => &mut command,
        };
        command.output().unwrap()
    };
    for (source, key) in [
        ("local:new.db", Some(("KMS_KEY_ID", "keyring:missing.json"))),
        ("local:new.db", Some(("KMS_MASTER_KEY", ""))),
        ("local:no/directory/new.db", None),
    ] {
        let (dry, real) = (run(source, key, &["--dry-run"]), run(source, key, &[]));
        assert_eq!(
            (dry.status.code(), real.status.code()),
            (Some(2), Some(2)),
            "{source} {key:?}: {dry:?} {real:?}"
        );
    }
    let dry = run("local:new.db", None, &["--dry-run"]);
    assert_eq!(dry.status.code(), Some(0), "{dry:?}");
    assert!(!place.path().join("new.db").exists() && !place.path().join("new.db.keyring").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_refuses_is_the_same_exit_code_for_every_command() {
    let bao = test_support::part!(openbao);
    let place = Place::on_openbao(&bao).await;
    tokio::task::block_in_place(|| {
        assert!(place.run(&["set", "a"], CANARY).status.success());
        place.json(&["backup", "saved"], 0);
        fs::write(place.path().join(".env"), "A=canary-1\nB=canary-2\n").unwrap();
        for command in [
            ["get", "a"].as_slice(),
            &["list"],
            &["import", ".env"],
            &["import", ".env", "--dry-run"],
            &["restore", "saved"],
            &["backup", "other"],
            &["exec", "--", "true"],
            &["exec", "--names", "a", "--", "true"],
            &["exec", "--names", "a,b", "--", "true"],
        ] {
            let output = place.command(command).env("VAULT_TOKEN", "wrong").output().unwrap();
            let told = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(5), "{command:?}: {output:?}");
            assert!(!told.contains("secretsmanager") && !told.contains("Region"), "{command:?}: {told}");
            assert!(
                command[0] == "backup" || command[0] == "restore" || told.contains("VAULT_TOKEN"),
                "{command:?}: {told}"
            );
        }
        // Only some of the requested names are missing: the source itself exists.
        let missing = place.run(&["exec", "--names", "a,missing", "--", "true"], "");
        assert_eq!(missing.status.code(), Some(3), "{missing:?}");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_option_that_a_source_lacks_is_named() {
    let bao = test_support::part!(openbao);
    let place = Place::on_openbao(&bao).await;
    tokio::task::block_in_place(|| {
        for (option, words) in [
            (["--ttl-days", "3"], "cannot let a secret expire"),
            (["--rotation-policy", "30d"], "cannot keep a rotation policy"),
        ] {
            let output = place.run(&[&["set", "a"], &option[..]].concat(), CANARY);
            let told = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{output:?}");
            assert!(told.contains(words) && told.contains("leave that option out"), "{told}");
        }
    });
}
