//! A value is found by its blind index while values move to another key service, by `rewrap` and by the way through
//! `ENCRYPTION_KEY`, whenever a run is killed.

use std::time::Duration;

use rand::RngExt as _;
use serde_json::json;
use test_support::part;

use crate::personal_data_is_still_found::{INDEX, PROFILE, find};
use crate::support::{Program, Sql, key_in};
use crate::values_move_between_key_services::everywhere;

const ROWS: u32 = 60;

const VERSION: &str = r#"
[tables.version]
version = "v"
method = "m"
key_id = "k"
"#;

/// Sealed addresses with their indexes.
async fn fill(db: &Sql, program: &mut Program) {
    db.execute("CREATE TABLE users (id varchar(32) PRIMARY KEY, email varchar(9000))").await;
    for id in 1..=ROWS {
        let (id, email) = (id.to_string(), format!("User{id}@Example.org"));
        db.insert("users", &[("id", Some(&id)), ("email", Some(&email))]).await;
    }
    let profile = PROFILE.replace("[context]", "legacy = \"direct-aes\"\n[context]");
    std::fs::write(program.path().join("profile.toml"), format!("{profile}{INDEX}{VERSION}")).unwrap();
    program.set("TOKEN_PROFILE", "profile.toml");
    program.run(&["schema"]).expect(0);
    program.run(&["migrate"]).expect(0);
}

fn assert_found(program: &Program) {
    for id in [1, 17, ROWS] {
        assert_eq!(find(program, &format!("USER{id}@example.org"), 0), json!([format!("id={id}")]));
    }
    program.json(0, &["verify"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_every_value_is_found_between_keyring_aws_and_openbao() {
    let (moto, bao) = (part!(moto), part!(openbao));
    let db = Sql::postgres(part!(postgres)).await;
    let mut program = everywhere(&db, &moto, &bao);
    fill(&db, &mut program).await;
    let indexes = db.table("users", &["id", "email_index"]).await;
    let aws = key_in(&moto, "eu-west-1").await;
    let vault = format!("vault:{}/tokens", bao.transit().await);
    for key in [aws.as_str(), &vault, "keyring:keyring.json", &vault, &aws] {
        let args = ["rewrap", "--to", key, "--batch-size", "5", "--no-progress"];
        let dry = program.json(0, &[&args[..], &["--dry-run"]].concat());
        assert_eq!((&dry["index_keys"], &dry["rewrapped"]), (&json!(1), &json!(ROWS)), "{dry}");
        for _ in 0..3 {
            let mut child = program.spawn(&args);
            std::thread::sleep(Duration::from_millis(rand::rng().random_range(20..600)));
            let _ = child.kill();
            let _ = child.wait();
            program.set("KMS_ALLOWED_KEYS", key);
            assert_found(&program);
            program.unset("KMS_ALLOWED_KEYS");
        }
        let report = program.json(0, &args);
        assert_eq!((&report["failed"], &report["left"]), (&json!(0), &json!(0)), "{report}");
        program.set("KMS_KEY_ID", key);
        assert_found(&program);
        let status = program.json(0, &["status", "--keys"]);
        assert_eq!(status["keys"].as_array().unwrap().len(), 1, "{status}");
        assert_eq!(program.json(0, &args)["index_keys"], 0);
    }
    assert_eq!(db.table("users", &["id", "email_index"]).await, indexes);
}

/// The steps of docs/operations/key-rotation.md for two keyrings under two master keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_of_the_index_follows_a_rollback_where_the_former_key_service_is_gone() {
    let db = Sql::sqlite().await;
    let mut program = Program::on(&db);
    fill(&db, &mut program).await;
    program.run(&["rollback"]).expect(0);
    program.set("KMS_KEY_ID", "keyring:new.json");
    program.set("KMS_MASTER_KEY", "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=");
    program.run(&["keyring", "init"]).expect(0);
    let lost = program.feed(&["find", "--column", "email"], "user1@example.org");
    assert_eq!(lost.code, Some(5), "{lost:?}");
    lost.says(&["index key of users.email", "`migrate-tokens rotate-index` replaces the key"]);
    assert_ne!(program.run(&["migrate"]).code, Some(0));
    assert_eq!(program.json(0, &["rotate-index", "--dry-run"])["failed"], 0);
    let report = program.json(0, &["rotate-index"]);
    assert_eq!((&report["made"], &report["removed"]), (&json!(1), &json!(1)), "{report}");
    assert_eq!(program.json(0, &["migrate"])["migrated"], ROWS);
    assert_found(&program);
    program.run(&["doctor"]).expect(0);
}
