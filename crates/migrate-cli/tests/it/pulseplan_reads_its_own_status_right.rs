//! PulsePlan's status page reads the JSON next to its tokens, and stays correct after every write of the
//! programs.

use serde_json::{Value, json};
use test_support::part;

use crate::support::{Program, Sql};

const TOKEN_KEY: &str = "hRBgHxon2vkMAnkuY9KH3OUiAQKbIBubNxy12kXZbP8=";

async fn create(db: &Sql, record: &str) {
    db.execute(&format!(
        "CREATE TABLE oauth_tokens (id VARCHAR(40) PRIMARY KEY, user_id VARCHAR(40) NOT NULL, provider VARCHAR(40), \
         access_token TEXT, refresh_token TEXT, metadata {record})"
    ))
    .await;
}

/// The programs with PulsePlan's profile and both of its keys.
fn pulseplan(db: &Sql) -> Program {
    let mut program = Program::on(db);
    program.unset("ENCRYPTION_KEY").set("TOKEN_PROFILE", "pulseplan").set("TOKEN_ENCRYPTION_KEY", TOKEN_KEY);
    program
}

/// Makes a row as PulsePlan would have without KMS.
fn put(program: &mut Program, id: &str, provider: &str, token: &str) {
    program.set("USE_KMS", "false");
    let (row, provider) = (format!("id={id}"), format!("provider={provider}"));
    let args = ["put", "--row", &row, "--set", "user_id=u1", "--set", &provider];
    program.feed(&args, token).expect(0);
    program.feed(&["put", "--row", &row, "--column", "refresh_token"], &format!("{token} refresh")).expect(0);
    program.unset("USE_KMS");
}

async fn records(db: &Sql) -> Vec<(String, Option<String>)> {
    let rows = db.table("oauth_tokens", &["id", "metadata"]).await;
    rows.into_iter().map(|row| (row[0].clone().unwrap(), row[1].clone())).collect()
}

async fn record(db: &Sql, id: &str) -> String {
    records(db).await.into_iter().find(|(found, _)| found == id).unwrap().1.unwrap()
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

async fn the_record_is_kept_true(db: Sql, column: &str) {
    create(&db, column).await;
    let mut program = pulseplan(&db);
    for id in ["a", "b", "c"] {
        put(&mut program, id, "canvas", &format!("token {id}"));
    }
    // A row of before the record, one with members of others, and one that PulsePlan says is under KMS already.
    let odd = "{ \"n\": 1.0 , \"encryption_method\" :\"aes256-gcm-v1\",\"é\":[\"}\"] }";
    db.run("UPDATE oauth_tokens SET metadata = NULL WHERE id = 'a'", &[]).await;
    let cast = if column == "jsonb" || (db.is_postgres() && column == "json") {
        format!("$1::{column}")
    } else {
        "$1".into()
    };
    let set = format!("UPDATE oauth_tokens SET metadata = {cast} WHERE id = 'b'");
    db.run(&set, &[Some(odd)]).await;
    assert_eq!(parsed(&record(&db, "c").await), json!({"encryption_method": "aes256-gcm-v1"}));

    let dry = program.json(0, &["migrate", "--dry-run"]);
    let done = program.json(0, &["migrate"]);
    assert_eq!((&dry["migrated"], &done["migrated"], &done["left"]), (&json!(3), &json!(3), &json!(0)));
    let key = parsed(&record(&db, "a").await)["kms_key_id"].clone();
    assert!(key.as_str().unwrap().starts_with("keyring:"), "{key}");
    for id in ["a", "b", "c"] {
        let found = parsed(&record(&db, id).await);
        assert_eq!((&found["encryption_method"], &found["kms_key_id"]), (&json!("kms"), &key), "{id}");
    }
    if column != "jsonb" {
        let expected =
            odd.replace("aes256-gcm-v1", "kms").replace("[\"}\"]", &format!("[\"}}\"],\"kms_key_id\":{key}"));
        assert_eq!(record(&db, "b").await, expected, "every other byte stays");
    }
    assert_eq!(program.json(0, &["migrate"])["already"], 3);

    // A wrong record is corrected by the next run, although the tokens are sealed.
    let wrong = set.replace("'b'", "'c'");
    db.run(&wrong, &[Some("{\"encryption_method\":\"aes256-gcm-v1\",\"mine\":true}")]).await;
    assert_eq!(program.json(0, &["migrate"])["migrated"], 1);
    let found = parsed(&record(&db, "c").await);
    assert_eq!((&found["encryption_method"], &found["mine"]), (&json!("kms"), &json!(true)));

    // A new key is named as well.
    program.run(&["keyring", "rotate"]).expect(0);
    program.run(&["rewrap", "--to", "keyring:keyring.json"]).expect(0);
    let rotated = parsed(&record(&db, "a").await)["kms_key_id"].clone();
    assert_ne!(rotated, key);

    assert_eq!(program.json(0, &["rollback"])["migrated"], 3);
    for id in ["a", "b", "c"] {
        let found = parsed(&record(&db, id).await);
        assert_eq!(found["encryption_method"], "aes256-gcm-v1", "{id}");
        assert!(found.get("kms_key_id").is_none(), "{id}: {found}");
    }
    if column != "jsonb" {
        assert_eq!(record(&db, "b").await, odd, "back to the byte");
    }
    for id in ["a", "b", "c"] {
        let row = format!("id={id}");
        assert_eq!(program.json(0, &["get", "--row", &row, "--reveal"])["value"], format!("token {id}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_type_jsonb_is_kept_true_on_postgresql() {
    the_record_is_kept_true(Sql::postgres(part!(postgres)).await, "jsonb").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_type_json_is_kept_true_on_postgresql() {
    the_record_is_kept_true(Sql::postgres(part!(postgres)).await, "json").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_in_text_is_kept_true_on_postgresql() {
    the_record_is_kept_true(Sql::postgres(part!(postgres)).await, "text").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_in_text_is_kept_true_on_sqlite() {
    the_record_is_kept_true(Sql::sqlite().await, "TEXT").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_type_json_is_kept_true_on_mariadb() {
    the_record_is_kept_true(Sql::mariadb(part!(mariadb)).await, "json").await;
}

on_each_database! {
    async fn a_record_that_cannot_be_kept_true_is_one_named_failure(db) {
        create(&db, "text").await;
        let mut program = pulseplan(&db);
        for id in ["a", "b", "c", "d"] {
            put(&mut program, id, "canvas", &format!("token {id}"));
        }
        let bad = [("a", "[]"), ("b", "{\"encryption_method\":\"kms\",\"encryption_method\":\"x\"}"), ("c", "not json")];
        for (id, text) in bad {
            db.run("UPDATE oauth_tokens SET metadata = $1 WHERE id = $2", &[Some(text), Some(id)]).await;
        }
        let report = program.json(3, &["migrate"]);
        assert_eq!((&report["migrated"], &report["failed"], &report["left"]), (&json!(1), &json!(3), &json!(3)));
        for (failure, (id, _)) in report["failures"].as_array().unwrap().iter().zip(bad) {
            assert_eq!((&failure["class"], &failure["column"]), (&json!("record"), &json!("metadata")));
            assert_eq!(failure["row"], format!("id={id}"));
        }
        for (id, text) in bad {
            assert_eq!(record(&db, id).await, text, "it stays as it was");
            // It never decides how a token is read, and no write makes it worse.
            let row = format!("id={id}");
            assert_eq!(program.json(0, &["get", "--row", &row, "--reveal"])["value"], format!("token {id}"));
            program.feed(&["put", "--row", &row], "another").expect(3).says(&["record"]);
            assert_eq!(program.json(0, &["get", "--row", &row, "--reveal"])["value"], format!("token {id}"));
        }
    }

    async fn kms_is_switched_off_for_writing_and_opens_what_it_sealed(db) {
        create(&db, "text").await;
        let mut program = pulseplan(&db);
        program.feed(&["put", "--row", "id=a", "--set", "user_id=u1"], "sealed").expect(0);
        assert_eq!(parsed(&record(&db, "a").await)["encryption_method"], "kms");
        program.set("USE_KMS", "false");
        assert_eq!(program.json(0, &["get", "--row", "id=a", "--reveal"])["value"], "sealed");
        program.run(&["migrate"]).expect(2).says(&["USE_KMS"]);
        program.run(&["status"]).expect(0);
        let put = program.feed(&["put", "--row", "id=b", "--set", "user_id=u1"], "local").expect(0);
        put.says(&["USE_KMS is false"]);
        assert_eq!(parsed(&record(&db, "b").await), json!({"encryption_method": "aes256-gcm-v1"}));
        program.set("READ_FLOOR", "envelope").run(&["status"]).expect(2).says(&["USE_KMS"]);
        program.unset("READ_FLOOR").set("USE_KMS", "perhaps").run(&["status"]).expect(2).says(&["USE_KMS"]);
        program.set("USE_KMS", "TRUE");
        let report = program.json(0, &["migrate"]);
        assert_eq!((&report["migrated"], &report["already"]), (&json!(1), &json!(1)));
    }

    async fn only_the_rows_of_a_condition_are_moved(db) {
        create(&db, "text").await;
        let mut program = pulseplan(&db);
        put(&mut program, "a", "canvas", "one");
        put(&mut program, "b", "google", "two");
        let report = program.json(0, &["migrate", "--where", "provider=canvas"]);
        assert_eq!((&report["scanned"], &report["migrated"], &report["left"]), (&json!(1), &json!(1), &json!(0)));
        assert_eq!(program.json(0, &["status"])["pending"], 1);
        assert_eq!(program.json(0, &["status", "--where", "provider=canvas"])["pending"], 0);
    }
}

/// AWS KMS that nothing answers for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_kms_is_away_a_token_is_written_under_the_users_key_and_found_by_the_next_migration() {
    let db = Sql::sqlite().await;
    create(&db, "TEXT").await;
    let mut program = Program::on_aws(&db, "http://127.0.0.1:9", "alias/tokens");
    program
        .unset("ENCRYPTION_KEY")
        .set("TOKEN_PROFILE", "pulseplan")
        .set("KMS_FALLBACK", "local")
        .run(&["status"])
        .expect(2)
        .says(&["TOKEN_ENCRYPTION_KEY"]);
    program.set("TOKEN_ENCRYPTION_KEY", TOKEN_KEY);
    let args = ["put", "--row", "id=a", "--set", "user_id=u1"];
    program.feed(&args, "in an outage").expect(0).says(&["older form"]);
    assert_eq!(parsed(&record(&db, "a").await), json!({"encryption_method": "aes256-gcm-v1"}));
    let mut healed = pulseplan(&db);
    assert_eq!(healed.json(0, &["status"])["pending"], 1);
    assert_eq!(healed.json(0, &["migrate"])["migrated"], 1);
    assert_eq!(healed.json(0, &["get", "--row", "id=a", "--reveal"])["value"], "in an outage");
    healed.set("KMS_FALLBACK", "local");
    assert_eq!(healed.json(0, &["verify"])["ok"], 1);
}
