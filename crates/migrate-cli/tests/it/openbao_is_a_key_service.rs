//! The main job with OpenBao as the key service and as the source of secrets, from the first row to a retired key.

use serde_json::{Value, json};
use test_support::openbao::{OpenBao, ROOT_TOKEN, Server};
use test_support::part;

use crate::support::{DIRECT_KEY, Program, Sql, fill, signal, stored, wait_for_progress};

/// Rows that `fill` makes, of two values each.
const ROWS: usize = 12;

fn on_openbao(db: &Sql, bao: &OpenBao, key: &str) -> Program {
    let mut program = Program::bare();
    program
        .set("DATABASE_URL", db.url())
        .set("ENCRYPTION_KEY", DIRECT_KEY)
        .set("KMS_KEY_ID", key)
        .set("VAULT_ADDR", bao.address())
        .set("VAULT_TOKEN", ROOT_TOKEN);
    program
}

fn keys(program: &Program) -> Vec<(String, u64)> {
    let status = program.json(0, &["status", "--keys"]);
    let keys = status["keys"].as_array().unwrap().iter();
    keys.map(|key| (key["key_id"].as_str().unwrap().to_owned(), key["values"].as_u64().unwrap())).collect()
}

/// The sealed part of every access token, after the wrapped data key.
async fn payloads(db: &Sql) -> Vec<String> {
    let texts = stored(db).await.into_iter().map(|row| row[2].clone().unwrap());
    texts.map(|text| text.rsplit(':').next().unwrap().to_owned()).collect()
}

async fn main_job(db: Sql, bao: OpenBao) {
    let mount = bao.transit().await;
    let uri = format!("vault:{mount}/tokens");
    let program = on_openbao(&db, &bao, &uri);
    fill(&db, ROWS).await;
    program.run(&["doctor"]).expect(0).says(&[&uri]);
    let estimate = program.json(0, &["estimate"]);
    assert_eq!((&estimate["migration_usd"], &estimate["monthly_usd"]), (&json!(0.0), &json!(0.0)));
    let values = 2 * ROWS as u64;
    assert_eq!(program.json(0, &["migrate"])["values"], values);
    assert_eq!(program.json(0, &["verify"])["ok"], values);
    assert_eq!(keys(&program), [(format!("{uri}:v1"), values)]);

    // A value that is copied to another row does not open there.
    let before = stored(&db).await;
    db.execute(
        "UPDATE oauth_tokens SET access_token = (SELECT t.access_token FROM (SELECT access_token FROM oauth_tokens \
         WHERE channel = 'channel-001') t) WHERE channel = 'channel-000'",
    )
    .await;
    program.run(&["get", "--row", "provider=twitch,channel=channel-000", "--reveal"]).expect(3);
    let own = before[0][2].clone();
    db.run("UPDATE oauth_tokens SET access_token = $1 WHERE channel = 'channel-000'", &[own.as_deref()])
        .await;

    let sealed = payloads(&db).await;
    bao.call("POST", &format!("{mount}/keys/tokens/rotate"), json!({})).await;
    let report = program.json(0, &["rewrap", "--to", &uri]);
    assert_eq!((&report["rewrapped"], &report["failed"]), (&json!(ROWS), &json!(0)));
    assert_eq!(keys(&program), [(format!("{uri}:v2"), values)]);
    assert_eq!(payloads(&db).await, sealed, "no sealed byte is touched");
    let current = stored(&db).await;
    let again = program.json(0, &["rewrap", "--to", &uri]);
    assert_eq!((&again["rewrapped"], &again["already"]), (&json!(0), &json!(ROWS)));
    assert_eq!(stored(&db).await, current, "a current data key keeps its bytes");

    bao.call("POST", &format!("{mount}/keys/tokens/config"), json!({ "min_decryption_version": 2 })).await;
    assert_eq!(program.json(0, &["verify"])["ok"], values);
    program.run(&["rollback"]).expect(0);
    assert_eq!(program.json(0, &["verify"])["failed"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_main_job_from_plaintext_to_a_retired_version_on_sqlite() {
    main_job(Sql::sqlite().await, part!(openbao)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_main_job_from_plaintext_to_a_retired_version_on_postgresql() {
    let db = Sql::postgres(part!(postgres)).await;
    main_job(db, part!(openbao)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_sealed_in_mid_run_ends_the_run_and_the_next_one_goes_on() {
    // Whether OpenBao is there at all is the part's question.
    let _bao = part!(openbao);
    let server = Server::private(None).await.unwrap();
    let bao = server.bao();
    let mount = bao.transit().await;
    let db = Sql::sqlite().await;
    fill(&db, 60).await;
    let program = on_openbao(&db, bao, &format!("vault:{mount}/tokens"));
    let mut child = program.spawn(&["migrate", "--batch-size", "5", "--rate", "20", "--concurrency", "1"]);
    let _lines = wait_for_progress(&mut child);
    bao.call("POST", "sys/seal", json!({})).await;
    let ended = tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(5));
    program.run(&["migrate"]).expect(5).says(&["sealed"]);
    bao.call("POST", "sys/unseal", json!({ "key": server.unseal_key() })).await;
    program.run(&["migrate"]).expect(0);
    assert_eq!(program.json(0, &["verify"])["ok"], 120);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_to_another_transit_key_can_be_interrupted_and_loses_nothing() {
    let bao = part!(openbao);
    let (old, new) = (bao.transit().await, bao.transit().await);
    let (old, new) = (format!("vault:{old}/tokens"), format!("vault:{new}/tokens"));
    let db = Sql::sqlite().await;
    fill(&db, 40).await;
    let mut program = on_openbao(&db, &bao, &old);
    program.run(&["migrate"]).expect(0);
    let child = program.spawn(&["rewrap", "--to", &new, "--batch-size", "1", "--rate", "40"]);
    while !keys(&program).iter().any(|(key, _)| key.starts_with(&new)) {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    signal(&child, "KILL");
    drop(child);
    program.run(&["rewrap", "--to", &new]).expect(0);
    program.set("KMS_KEY_ID", &new);
    assert_eq!(keys(&program), [(format!("{new}:v1"), 80)]);
    assert_eq!(program.json(0, &["verify"])["ok"], 80);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_cannot_work_are_refused_by_name_before_anything_is_done() {
    let bao = part!(openbao);
    let mount = bao.transit().await;
    let db = Sql::sqlite().await;
    fill(&db, 1).await;
    let uri = format!("vault:{mount}/tokens");
    let fresh = || on_openbao(&db, &bao, &uri);
    fresh().unset("VAULT_ADDR").run(&["status"]).expect(2).says(&["VAULT_ADDR"]);
    fresh().unset("VAULT_TOKEN").run(&["status"]).expect(2).says(&["VAULT_TOKEN", "VAULT_K8S_ROLE"]);
    fresh().set("VAULT_K8S_ROLE", "app").run(&["status"]).expect(2).says(&["VAULT_TOKEN"]);
    fresh()
        .unset("VAULT_TOKEN")
        .set("VAULT_ROLE_ID", "x")
        .run(&["status"])
        .expect(2)
        .says(&["VAULT_SECRET_ID_FILE"]);
    fresh().set("VAULT_ADDR", "http://bao.example.org").run(&["status"]).expect(2).says(&["VAULT_ADDR"]);
    fresh().set("KMS_KEY_ID", "vault:").run(&["status"]).expect(2).says(&["KMS_KEY_ID"]);
    fresh().set("KMS_ALLOWED_KEYS", "alias/x").run(&["migrate"]).expect(2).says(&["KMS_ALLOWED_KEYS"]);
    let mistyped = format!("vault:{mount}/tokenz");
    fresh().set("KMS_KEY_ID", &mistyped).run(&["migrate"]).expect(5).says(&["derived=true"]);
    let made = bao.call("GET", &format!("{mount}/keys?list=true"), Value::Null).await;
    assert_eq!(made["keys"], json!(["tokens"]), "a mistyped name makes no key");
    let denied = bao.token("path \"x\" { capabilities = [\"read\"] }", "1h").await;
    let refused = fresh().set("VAULT_TOKEN", &denied).run(&["migrate"]).expect(5);
    refused.says(&[&format!("{mount}/keys/tokens")]);
    assert!(!format!("{refused:?}").contains(&denied), "the token is shown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_kept_in_kv_and_read_from_it() {
    let bao = part!(openbao);
    let mount = bao.kv().await;
    let mut program = Program::bare();
    program.set("VAULT_ADDR", bao.address()).set("VAULT_TOKEN", ROOT_TOKEN);
    let source = format!("vault:{mount}/app/prod");
    let with = |args: &[&str]| -> Vec<String> {
        let mut all = vec!["--source".to_owned(), source.clone()];
        all.extend(args.iter().map(|word| (*word).to_owned()));
        all
    };
    let run = |args: &[&str], input: &str, code: i32| {
        let args = with(args);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        program.secrets(&args, input).expect(code)
    };
    run(&["doctor"], "", 0);
    run(&["set", "db-password", "--tag", "team=shop"], "first", 0);
    run(&["rotate", "db-password"], "second", 0);
    assert_eq!(run(&["get", "db-password", "--reveal"], "", 0).stdout.trim_end(), "second");
    let previous = run(&["get", "db-password", "--reveal", "--version-stage", "previous"], "", 0);
    assert_eq!(previous.stdout.trim_end(), "first");
    let listed = run(&["list", "--format", "json"], "", 0);
    assert!(listed.stdout.contains("db-password") && !listed.stdout.contains("second"), "{}", listed.stdout);
    run(&["delete", "db-password"], "", 0);
    run(&["get", "db-password", "--reveal"], "", 3);
    program.unset("VAULT_TOKEN");
    let all = with(&["list"]);
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    program.secrets(&all, "").expect(2).says(&["VAULT_TOKEN"]);
}
