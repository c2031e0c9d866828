//! End to end on a real PostgreSQL and an independent KMS: rows that an independent program wrote are
//! migrated, and another one reads every token exactly.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use test_support::moto::Moto;
use test_support::part;

use crate::support::{DIRECT_KEY, Program, Sql, create_vod_tender};

const ROWS: usize = 1_000;
const COLUMNS: [&str; 7] = [
    "provider",
    "channel",
    "access_token",
    "refresh_token",
    "encryption_version",
    "encryption_key_id",
    "encryption_method",
];

/// Runs one of the scripts next to this test.
fn python(python: &Path, script: &str, args: &[&str], input: &Value) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/independent").join(script);
    let mut command = Command::new(python);
    command.arg(&script).args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{} failed", script.display());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The rows that the writer makes, put into the table as they are, and their plaintexts, by key.
async fn write(db: &Sql, interpreter: &Path) -> Vec<Value> {
    let rows = python(interpreter, "writer.py", &[&ROWS.to_string(), DIRECT_KEY], &Value::Null);
    let rows = rows.as_array().unwrap().clone();
    for row in &rows {
        let text = |name: &str| row[name].as_str();
        db.insert(
            "oauth_tokens",
            &[
                ("provider", text("provider")),
                ("channel", text("channel")),
                ("access_token", text("access_token")),
                ("refresh_token", text("refresh_token")),
                ("encryption_version::integer", text("encryption_version")),
                ("encryption_key_id", text("encryption_key_id")),
            ],
        )
        .await;
    }
    rows
}

/// Every row, read by the independent program, has the token that was written.
async fn assert_read(db: &Sql, interpreter: &Path, truth: &[Value], version: &str, means: Value) {
    let rows = db.table("oauth_tokens", &COLUMNS).await;
    assert_eq!(rows.len(), ROWS);
    let as_json = |row: &Vec<Option<String>>| -> Value {
        COLUMNS.iter().zip(row).map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
    };
    let rows: Vec<Value> = rows.iter().map(as_json).collect();
    assert!(rows.iter().all(|row| row["encryption_version"] == version));
    let mut document =
        json!({ "rows": rows, "context": { "Application": "vod-tender", "Purpose": "oauth-token" } });
    document.as_object_mut().unwrap().extend(means.as_object().unwrap().clone());
    let read = python(interpreter, "reader.py", &[], &document);
    for (row, tokens) in rows.iter().zip(read.as_array().unwrap()) {
        let same =
            |written: &&Value| written["provider"] == row["provider"] && written["channel"] == row["channel"];
        let written = truth.iter().find(same).unwrap();
        assert!(written["truth"] == *tokens, "{} {}", row["provider"], row["channel"]);
    }
}

/// A new key: its ARN, and an alias that no other run has given.
async fn kms_key(moto: &Moto) -> (String, String) {
    let kms = aws_sdk_kms::Client::new(&moto.sdk_config("us-east-1"));
    let key = kms.create_key().send().await.unwrap().key_metadata.unwrap();
    let alias = format!("alias/acceptance-{}", key.key_id());
    kms.create_alias().alias_name(&alias).target_key_id(key.key_id()).send().await.unwrap();
    (key.arn().unwrap().to_owned(), alias)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_rows_migrate_verify_and_roll_back() {
    let db = Sql::postgres(part!(postgres)).await;
    let moto = part!(moto);
    let interpreter: PathBuf = moto.python().await.expect("the emulator's Python");
    create_vod_tender(&db).await;
    let truth = write(&db, &interpreter).await;
    let values = truth
        .iter()
        .flat_map(|row| row["truth"].as_array().unwrap())
        .filter(|token| token.as_str().is_some_and(|token| !token.is_empty()));
    let values = values.count();
    let (arn, alias) = kms_key(&moto).await;
    let program = Program::on_aws(&db, moto.endpoint(), &alias);
    let kms = json!({ "kms_endpoint": moto.endpoint() });

    program.run(&["migrate"]).expect(6).says(&["encryption_method", "migrate-tokens schema"]);
    assert_eq!(program.json(0, &["schema"])["applied"].as_array().unwrap().len(), 1);
    assert_eq!(program.json(0, &["schema"])["applied"], json!([]));
    let status = program.json(0, &["status"]);
    assert_eq!((&status["total"], &status["pending"]), (&json!(ROWS), &json!(ROWS)));

    let predicted = program.json(0, &["migrate", "--dry-run"]);
    let done = program.json(0, &["migrate"]);
    for field in ["scanned", "migrated", "values", "already", "conflicts", "failed"] {
        assert_eq!(predicted[field], done[field], "{field}");
    }
    assert_eq!(
        (&done["migrated"], &done["values"], &done["failed"]),
        (&json!(ROWS), &json!(values), &json!(0))
    );
    assert_read(&db, &interpreter, &truth, "2", kms.clone()).await;
    let group = json!([{ "table": "oauth_tokens", "encryption_version": 2, "encryption_method": "kms-envelope",
        "encryption_key_id": arn, "count": ROWS }]);
    assert_eq!(program.json(0, &["status"])["groups"], group);

    let before = db.fingerprint("oauth_tokens").await;
    let again = program.json(0, &["migrate"]);
    assert_eq!(
        (&again["migrated"], &again["already"], &again["kms_calls"]),
        (&json!(0), &json!(ROWS), &json!(0))
    );
    assert!(db.fingerprint("oauth_tokens").await == before, "a second run writes nothing");
    let verified = program.json(0, &["verify"]);
    assert_eq!((&verified["checked"], &verified["ok"]), (&json!(values), &json!(values)));

    assert_eq!(program.json(0, &["rollback"])["migrated"], ROWS);
    assert_read(&db, &interpreter, &truth, "1", json!({ "encryption_key": DIRECT_KEY })).await;
}
