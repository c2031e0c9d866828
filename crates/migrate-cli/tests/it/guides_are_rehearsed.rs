//! Each guide in docs/migrating-from, rehearsed: its commands in its order, on rows of the system it is about.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use envelope_core::format::pulseplan_local::{MasterKey, derive_user_key, seal};
use envelope_core::{EncryptionContext, KeyProvider, Sealer, Writing};
use kms_provider::{Aws, Keyring};
use serde_json::{Value, json};
use test_support::moto::Moto;
use test_support::part;
use token_store::{Database, NewToken, Profile, TokenCipher, TokenKey, TokenStore};

use crate::support::{MASTER_KEY, Program, Sql, create_vod_tender, insert_vod};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../token-store/profiles/examples/customers.toml");

/// The output of `status`, as method and number of rows.
fn methods(program: &Program) -> Vec<(String, u64)> {
    let status = program.json(0, &["status"]);
    let group = |group: &Value| {
        (group["encryption_method"].as_str().unwrap_or("-").to_owned(), group["count"].as_u64().unwrap())
    };
    let mut groups: Vec<_> = status["groups"].as_array().unwrap().iter().map(group).collect();
    groups.sort();
    groups
}

#[track_caller]
fn assert_counts(report: &Value, migrated: u64, values: u64, already: u64, failed: u64) {
    let found = ["migrated", "values", "already", "failed"].map(|field| report[field].as_u64().unwrap());
    assert_eq!(found, [migrated, values, already, failed], "{report}");
}

#[track_caller]
fn assert_reveals(program: &Program, args: &[&str], token: &str) {
    let args = [&["get", "--reveal"], args].concat();
    assert_eq!(program.json(0, &args)["value"], token);
}

/// Rows that vod-tender itself put under the key service: under the plain context, marked like its own.
async fn vod_tenders_own(db: &Sql, program: &Program, rows: usize) {
    let keyring = Keyring::open(program.path().join("keyring.json"), &MASTER_KEY.parse().unwrap()).unwrap();
    let profile = Profile::load("vod-tender").unwrap();
    let sealer =
        Sealer::new(Arc::new(keyring), profile.base_context()).unwrap().with_writing(Writing::UnboundV2);
    let database = Database::connect(db.url()).await.unwrap();
    let store = TokenStore::open(database, profile, TokenCipher::new().with_sealer(sealer)).await.unwrap();
    for number in 0..rows {
        let token = NewToken::new().access_token(format!("kms {number}")).refresh_token("refresh");
        store.put(&TokenKey::new("kick", format!("kms-{number:02}")), token).await.unwrap();
    }
}

on_each_database! {
    async fn vod_tender(db) {
        create_vod_tender(&db).await;
        let mut program = Program::on(&db);
        program.run(&["schema"]).expect(0).says(&["encryption_method"]);
        for number in 0..20 {
            insert_vod(&db, &format!("c{number:02}"), number % 2, &format!("token {number}"), ["", "refresh"][number as usize / 10]).await;
        }
        vod_tenders_own(&db, &program, 4).await;

        assert_eq!(methods(&program), [("direct-aes".into(), 10), ("kms-envelope".into(), 4), ("plaintext".into(), 10)]);
        assert_counts(&program.json(0, &["migrate", "--dry-run"]), 20, 30, 4, 0);
        assert_counts(&program.json(0, &["migrate"]), 20, 30, 4, 0);
        let verified = program.json(4, &["verify"]);
        assert_eq!((&verified["checked"], &verified["ok"], &verified["unbound"]), (&json!(38), &json!(38), &json!(8)));
        program.set("BINDING", "off").run(&["verify"]).expect(0);
        program.unset("BINDING");
        assert_counts(&program.json(0, &["migrate", "--rebind"]), 4, 8, 20, 0);
        program.run(&["verify"]).expect(0);
        program.set("BINDING", "require").run(&["verify"]).expect(0);
        assert_reveals(&program, &["--row", "provider=kick,channel=kms-00"], "kms 0");

        assert_counts(&program.json(0, &["rollback"]), 24, 38, 0, 0);
        assert_eq!(methods(&program), [("direct-aes".into(), 24)]);
        program.unset("KMS_KEY_ID").unset("KMS_MASTER_KEY");
        assert_reveals(&program, &["--row", "provider=twitch,channel=c00"], "token 0");
        assert_reveals(&program, &["--row", "provider=kick,channel=kms-03"], "kms 3");
    }

    async fn your_own_table(db) {
        let id = db.either("bigint", "INTEGER");
        db.execute(&format!("CREATE TABLE customers (id {id} PRIMARY KEY, tenant_id text, email text, phone text, deleted_at text)")).await;
        db.execute(
            "INSERT INTO customers VALUES (1, 'a', 'a@example.org', '+1 555', NULL), (2, 'a', 'b@example.org', NULL, NULL), \
             (3, 'b', 'c@example.org', '', NULL), (4, 'b', 'gone@example.org', NULL, '2025-01-01')",
        )
        .await;
        let mut program = Program::on(&db);
        program.set("TOKEN_PROFILE", EXAMPLE).unset("ENCRYPTION_KEY");
        program.run(&["keyring", "list"]).expect(0).says(&["yes"]);
        program.run(&["profile", "check"]).expect(0).says(&["customers"]);
        assert_eq!(methods(&program), [("plaintext".into(), 3)]);
        assert_counts(&program.json(0, &["migrate", "--dry-run"]), 3, 4, 0, 0);
        assert_counts(&program.json(0, &["migrate"]), 3, 4, 0, 0);
        assert_eq!(methods(&program), [("kms-envelope".into(), 3)]);
        assert_counts(&program.json(0, &["migrate"]), 0, 0, 3, 0);
        program.run(&["verify"]).expect(0);
        program.feed(&["put", "--row", "id=1", "--column", "email"], "new@example.org").expect(0);
        assert_reveals(&program, &["--row", "id=1", "--column", "email"], "new@example.org");
        assert_reveals(&program, &["--row", "id=1", "--column", "phone"], "+1 555");
        let kept = db.rows("SELECT email FROM customers WHERE deleted_at IS NOT NULL").await;
        assert_eq!(kept[0][0].as_deref(), Some("gone@example.org"), "the filter leaves it alone");
        db.execute("UPDATE customers SET email = (SELECT email FROM customers WHERE id = 2) WHERE id = 1").await;
        let verified = program.json(4, &["verify"]);
        assert_eq!((&verified["checked"], &verified["failed"]), (&json!(4), &json!(1)));
        program.run(&["rollback"]).expect(2).says(&["legacy"]);
    }
}

/// A KMS key of the independent emulator, with the provider and the program's settings for it.
async fn kms_key(moto: &Moto) -> (Aws, String) {
    let config = moto.sdk_config("us-east-1");
    let key = aws_sdk_kms::Client::new(&config).create_key().send().await.unwrap().key_metadata.unwrap();
    let arn = key.arn().unwrap().to_owned();
    (Aws::from_config(&config, &arn, [] as [&str; 0]).unwrap(), arn)
}

/// A value in PulsePlan's KMS format: sealed by KMS `Encrypt` under the user's context.
async fn pulseplan_kms(moto: &Moto, arn: &str, user: &str, token: &str) -> String {
    let kms = aws_sdk_kms::Client::new(&moto.sdk_config("us-east-1"));
    let mut call = kms.encrypt().key_id(arn).plaintext(aws_sdk_kms::primitives::Blob::new(token));
    for (name, value) in [("user_id", user), ("service", "pulseplan"), ("data_type", "auth_token")] {
        call = call.encryption_context(name, value);
    }
    let blob = call.send().await.unwrap().ciphertext_blob.unwrap();
    let context = json!({ "user_id": user, "service": "pulseplan", "data_type": "auth_token" });
    json!({ "ciphertext": STANDARD.encode(blob), "key_id": arn, "encryption_context": context, "algorithm": "KMS",
        "encrypted_at": "2025-10-30T12:00:00.123456" })
    .to_string()
}

fn pulseplan_local(user: &str, version: u32, token: &str) -> String {
    let master = MasterKey::from_variable(MASTER_KEY).unwrap();
    let version = version.try_into().unwrap();
    seal(&derive_user_key(master.writing(), user, version), version, token)
}

async fn rehearse_pulseplan(db: &Sql, moto: &Moto) {
    let (uuid, time) = if db.is_postgres() { ("uuid", "timestamptz") } else { ("text", "text") };
    db.execute(&format!(
        "CREATE TABLE oauth_tokens (id {uuid} PRIMARY KEY, user_id {uuid} NOT NULL, provider text NOT NULL, \
         access_token text NOT NULL, refresh_token text NOT NULL, expires_at {time}, service_type text)"
    ))
    .await;
    let (_, arn) = kms_key(moto).await;
    let user = |number: usize| format!("00000000-0000-4000-9000-00000000000{number}");
    let id = |number: usize| format!("00000000-0000-4000-8000-00000000000{number}");
    let rows = [
        ("plain".to_owned(), "plain".to_owned()),
        (pulseplan_local(&user(1), 1, "three").replacen("v1:", "", 1), pulseplan_local(&user(1), 1, "three")),
        (pulseplan_local(&user(2), 1, "four"), pulseplan_local(&user(2), 1, "four")),
        (pulseplan_local(&user(3), 2, "second"), pulseplan_local(&user(3), 2, "second")),
        (
            format!("kms:{}", pulseplan_kms(moto, &arn, &user(4), "kms").await),
            pulseplan_kms(moto, &arn, &user(4), "kms").await,
        ),
        (pulseplan_kms(moto, &arn, &user(4), "copied").await, pulseplan_local(&user(5), 1, "own")),
    ];
    for (number, (access, refresh)) in rows.iter().enumerate() {
        let (id, user) = (id(number), user(number));
        let cells = [
            ("id::uuid", Some(id.as_str())),
            ("user_id::uuid", Some(&user)),
            ("provider", Some("google")),
            ("access_token", Some(access)),
            ("refresh_token", Some(refresh)),
        ];
        db.insert("oauth_tokens", &cells).await;
    }
    let mut program = Program::on_aws(db, moto.endpoint(), &arn);
    program.set("TOKEN_PROFILE", "pulseplan").set("TOKEN_ENCRYPTION_KEY", MASTER_KEY).unset("ENCRYPTION_KEY");

    program.run(&["profile", "check"]).expect(0).says(&["pulseplan"]);
    let kinds = methods(&program);
    assert_eq!(kinds.iter().map(|(_, count)| count).sum::<u64>(), 6);
    assert!(kinds.contains(&("pulseplan-kms+pulseplan-local".into(), 1)), "{kinds:?}");
    let report = program.json(3, &["migrate"]);
    assert_counts(&report, 5, 10, 0, 1);
    assert_eq!(report["failures"][0]["row"], format!("id={}", id(5)));
    assert_eq!(report["failures"][0]["class"], "context_mismatch_or_corrupt");
    assert_eq!(methods(&program), [("kms-envelope".into(), 5), ("pulseplan-kms+pulseplan-local".into(), 1)]);
    assert_counts(&program.json(3, &["migrate"]), 0, 0, 5, 1);
    for (number, token) in ["plain", "three", "four", "second", "kms"].into_iter().enumerate() {
        assert_reveals(&program, &["--row", &format!("id={}", id(number))], token);
    }
    assert_counts(&program.json(3, &["rollback"]), 5, 10, 0, 1);
    assert_eq!(
        methods(&program),
        [("pulseplan-kms+pulseplan-local".into(), 1), ("pulseplan-local".into(), 5)]
    );
    program.unset("KMS_KEY_ID");
    assert_reveals(&program, &["--row", &format!("id={}", id(4))], "kms");
}

/// A value as the autonomous platform sealed it: under a data key without a context, nothing associated.
async fn autonomous(provider: &Aws, token: &str) -> String {
    let generated = provider.generate(&EncryptionContext::empty()).await.unwrap();
    let sealed = STANDARD.decode(envelope_core::format::direct_aes::seal(&generated.key.0, token)).unwrap();
    let (nonce, ciphertext) = sealed.split_at(12);
    let parts = [generated.wrapped.bytes(), nonce, ciphertext].map(|part| STANDARD.encode(part));
    STANDARD.encode(format!("v1|{}", parts.join("|")))
}

async fn rehearse_autonomous(db: &Sql, moto: &Moto) {
    let (provider, arn) = kms_key(moto).await;
    let vectors = test_support::vectors::of(test_support::vectors::StoredFormat::AutonomousDev);
    for table in ["gh_connection", "jira_connection", "slack_connection"] {
        db.execute(&format!(
            "CREATE TABLE {table} (id text PRIMARY KEY, org_id text, user_id text, access_token text, refresh_token text)"
        ))
        .await;
        for number in 1..4 {
            let (id, access) =
                (format!("{table}-{number}"), autonomous(&provider, &format!("{table} {number}")).await);
            let refresh = if number == 1 { Some(autonomous(&provider, "refresh").await) } else { None };
            let cells = [
                ("id", Some(id.as_str())),
                ("access_token", Some(&access)),
                ("refresh_token", refresh.as_deref()),
            ];
            db.insert(table, &cells).await;
        }
    }
    db.insert("gh_connection", &[("id", Some("gh-dev")), ("access_token", Some(&vectors[0].stored))]).await;
    let mut program = Program::on_aws(db, moto.endpoint(), &arn);
    program.set("TOKEN_PROFILE", "autonomous").unset("ENCRYPTION_KEY");

    let checked = program.json(0, &["profile", "check"]);
    assert_eq!(checked["absent"], json!(["confluence_connection"]));
    assert_eq!(program.json(0, &["schema"])["absent"], json!(["confluence_connection"]));
    assert_counts(&program.json(3, &["migrate", "--dry-run"]), 9, 12, 0, 1);
    let report = program.json(3, &["migrate"]);
    assert_counts(&report, 9, 12, 0, 1);
    assert_eq!(
        (&report["failures"][0]["class"], &report["failures"][0]["row"]),
        (&json!("development_token"), &json!("id=gh-dev"))
    );
    program
        .set("DEV_ENCRYPTION_KEY", vectors[0].dev_encryption_key.as_deref().unwrap())
        .set("ENVIRONMENT", "production");
    assert_counts(&program.json(3, &["migrate"]), 0, 0, 9, 1);
    program.set("ENVIRONMENT", "development");
    assert_counts(&program.json(0, &["migrate"]), 1, 1, 9, 0);
    assert_eq!(program.json(0, &["verify"])["ok"], 13);
    assert_reveals(
        &program,
        &["--table", "jira_connection", "--row", "id=jira_connection-1", "--column", "refresh_token"],
        "refresh",
    );
    assert_reveals(&program, &["--row", "id=gh-dev"], &vectors[0].plaintext);
    program.run(&["rollback"]).expect(2).says(&["no legacy format"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pulseplan_on_sqlite() {
    rehearse_pulseplan(&Sql::sqlite().await, &part!(moto)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pulseplan_on_postgresql() {
    let db = Sql::postgres(part!(postgres)).await;
    rehearse_pulseplan(&db, &part!(moto)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_autonomous_platform_on_sqlite() {
    rehearse_autonomous(&Sql::sqlite().await, &part!(moto)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_autonomous_platform_on_postgresql() {
    let db = Sql::postgres(part!(postgres)).await;
    rehearse_autonomous(&db, &part!(moto)).await;
}
