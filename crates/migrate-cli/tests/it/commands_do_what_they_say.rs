//! Each command does its work, and its JSON has the fields that scripts rely on.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Program, Sql, channel, count_version, create_vod_tender, fill, insert_vod, stored};

#[track_caller]
fn assert_fields(document: &Value, fields: &[&str]) {
    for field in fields {
        assert!(document.get(field).is_some(), "there is no {field} in {document}");
    }
}

const MIGRATION: [&str; 10] = [
    "scanned",
    "migrated",
    "values",
    "already",
    "conflicts",
    "failed",
    "kms_calls",
    "dry_run",
    "elapsed_seconds",
    "failures",
];

on_each_database! {
    async fn migrate_status_verify_and_rollback(db) {
        fill(&db, 10).await;
        let program = Program::on(&db);
        let status = program.json(0, &["status"]);
        assert_fields(&status, &["total", "pending", "groups"]);
        assert_fields(&status["groups"][0], &["table", "encryption_version", "encryption_method", "encryption_key_id", "count"]);

        let before = db.fingerprint("oauth_tokens").await;
        let predicted = program.json(0, &["migrate", "--dry-run"]);
        assert_eq!(db.fingerprint("oauth_tokens").await, before);
        let done = program.json(0, &["migrate"]);
        assert_fields(&done, &MIGRATION);
        for field in ["scanned", "migrated", "values", "already", "conflicts", "failed", "kms_calls"] {
            assert_eq!(predicted[field], done[field], "{field}");
        }
        assert_eq!((&done["migrated"], &done["values"], &done["kms_calls"]), (&json!(10), &json!(20), &json!(20)));
        let keys = program.json(0, &["status", "--keys"]);
        assert_fields(&keys, &["keys", "unreadable"]);
        assert_eq!(keys["keys"][0]["values"], 20);

        let verified = program.json(0, &["verify"]);
        assert_fields(&verified, &["checked", "ok", "failed", "plaintext", "unbound", "failures"]);
        assert_eq!(verified["ok"], 20);
        assert_eq!(program.json(0, &["verify", "--sample", "3"])["checked"], 6);

        let predicted = program.json(0, &["rollback", "--dry-run"]);
        let back = program.json(0, &["rollback"]);
        assert_fields(&back, &MIGRATION);
        for field in ["scanned", "migrated", "values", "kms_calls"] {
            assert_eq!(predicted[field], back[field], "{field}");
        }
        assert_eq!(count_version(&db, 1).await, 10);
        assert_eq!(program.json(0, &["migrate", "--to", "direct-aes"])["already"], 10);
        assert_eq!(program.json(0, &["migrate", "--to", "kms-envelope", "--limit", "4"])["migrated"], 4);
        program.run(&["verify"]).expect(0);
    }

    async fn schema_adds_and_checks(db) {
        create_vod_tender(&db).await;
        let program = Program::on(&db);
        let before = db.fingerprint("oauth_tokens").await;
        let checked = program.json(4, &["schema", "--check"]);
        assert_eq!((checked["pending"].as_array().unwrap().len(), &checked["applied"]), (1, &json!([])));
        assert_eq!(db.fingerprint("oauth_tokens").await, before);
        let applied = program.json(0, &["schema"]);
        assert_eq!((&applied["applied"], &applied["pending"]), (&checked["pending"], &json!([])));
        program.run(&["schema", "--check"]).expect(0).says(&["complete"]);
        program.run(&["schema"]).expect(0).says(&["complete"]);
    }

    async fn put_reads_standard_input_and_get_shows_only_when_asked(db) {
        fill(&db, 2).await;
        let program = Program::on(&db);
        let row = |channel: &str| format!("provider=twitch,channel={channel}");
        let odd = row("a\\,b\\\\c='é");
        for (row, input) in [(row("channel-000"), "new token"), (odd.clone(), "tök€n\n")] {
            let put = program.feed(&["put", "--row", &row, "--format", "json"], input).expect(0).document();
            assert_eq!((put["encryption_version"].as_i64(), put.get("value")), (Some(2), None));
            let get = program.json(0, &["get", "--row", &row]);
            assert_eq!((&get["row"], &get["column"], get.get("value")), (&json!(row), &json!("access_token"), None));
            let token = input.trim_end_matches('\n');
            assert_eq!(program.json(0, &["get", "--row", &row, "--reveal"])["value"], token);
            let human = program.run(&["get", "--reveal", "--row", &row]).expect(0);
            assert_eq!(human.stdout, format!("{token}\n"));
        }
        let kept = program.json(0, &["get", "--row", &row("channel-000"), "--column", "refresh_token", "--reveal"]);
        assert_eq!((&kept["value"], &kept["encryption_version"]), (&json!("refresh 0"), &json!(2)));
        let of_odd = db.rows("SELECT channel FROM oauth_tokens WHERE channel LIKE 'a%'").await;
        assert_eq!(of_odd[0][0].as_deref(), Some("a,b\\c='é"));
        let null = program.json(0, &["get", "--row", &odd, "--column", "refresh_token", "--reveal"]);
        assert!(null.get("value").is_none_or(Value::is_null), "{null}");
        program.feed(&["put", "--row", &row("x")], &"x".repeat(2_000_000)).expect(3);
        // A pipe that broke does not empty a token.
        program.feed(&["put", "--row", &row("channel-000")], "").expect(2);
        assert_eq!(program.json(0, &["get", "--row", &row("channel-000"), "--reveal"])["value"], "new token");
        program.feed(&["put", "--row", &row("channel-000"), "--allow-empty"], "").expect(0);
        assert_eq!(program.json(0, &["get", "--row", &row("channel-000"), "--reveal"])["value"], "");
    }

    async fn doctor_passes_on_a_sound_configuration_and_finds_what_is_wrong(db) {
        fill(&db, 1).await;
        let mut program = Program::on(&db);
        let sound = program.json(0, &["doctor"]);
        let checks = sound["checks"].as_array().unwrap().clone();
        assert!(checks.len() >= 6, "{sound}");
        for check in &checks {
            assert_fields(check, &["name", "ok", "detail", "hint"]);
            assert_eq!(check["ok"], true, "{check}");
        }
        program.run(&["doctor"]).expect(0).says(&["wrong context", "is refused", "DATABASE_URL"]);
        db.execute("ALTER TABLE oauth_tokens DROP COLUMN encryption_method").await;
        program.run(&["doctor"]).expect(6).says(&["migrate-tokens schema"]);
        program.set("KMS_MASTER_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        let broken = program.json(6, &["doctor"]);
        let failed = broken["checks"].as_array().unwrap().iter().filter(|check| check["ok"] == false).count();
        assert_eq!(failed, 2, "one failed check does not hide the next: {broken}");
        program.unset("KMS_KEY_ID").unset("ENCRYPTION_KEY").run(&["doctor"]).expect(6).says(&["plaintext"]);
    }

    async fn profile_shows_and_checks(db) {
        create_vod_tender(&db).await;
        let mut program = Program::on(&db);
        let shown = program.run(&["profile", "show"]).expect(0).stdout;
        std::fs::write(program.path().join("copy.toml"), &shown).unwrap();
        assert_eq!(program.run(&["profile", "show", "copy.toml"]).expect(0).stdout, shown);
        assert_eq!(program.json(0, &["profile", "show", "pulseplan"])["legacy"], "pulseplan-local");
        program.run(&["profile", "check"]).expect(6).says(&["encryption_method", "migrate-tokens schema"]);
        program.run(&["profile", "check", "pulseplan"]).expect(6).says(&["user_id"]);
        program.run(&["profile", "check", "autonomous"]).expect(6).says(&["gh_connection"]);
        program.run(&["schema"]).expect(0);
        program.set("TOKEN_PROFILE", "copy.toml");
        assert_eq!(program.json(0, &["profile", "check"])["tables"], json!(["oauth_tokens"]));
    }

    async fn rewrap_moves_data_keys_and_no_token(db) {
        fill(&db, 4).await;
        let program = Program::on(&db);
        program.run(&["migrate"]).expect(0);
        let payloads = |rows: Vec<Vec<Option<String>>>| -> Vec<String> {
            rows.iter().map(|row| row[2].as_ref().unwrap().rsplit(':').next().unwrap().to_owned()).collect()
        };
        let before = payloads(stored(&db).await);
        program.run(&["keyring", "rotate"]).expect(0);
        let report = program.json(0, &["rewrap", "--to", "keyring:keyring.json"]);
        assert_fields(&report, &["scanned", "rewrapped", "already", "failed", "failures"]);
        assert_eq!((&report["rewrapped"], &report["failed"]), (&json!(4), &json!(0)));
        assert_eq!(payloads(stored(&db).await), before);
        program.run(&["verify"]).expect(0);
    }

    async fn estimate_reckons_without_writing(db) {
        fill(&db, 5).await;
        let program = Program::on(&db);
        let before = db.fingerprint("oauth_tokens").await;
        let report = program.json(0, &["estimate"]);
        assert_fields(&report, &["rows", "kms_calls", "seconds", "migration_usd", "monthly_usd"]);
        assert_eq!((&report["rows"], &report["kms_calls"]), (&json!(5), &json!(10)));
        assert_eq!(db.fingerprint("oauth_tokens").await, before);
    }

    async fn estimate_shows_the_price_of_secrets_part_by_part(db) {
        fill(&db, 5).await;
        let mut program = Program::on(&db);
        let without = program.json(0, &["estimate"]);
        let report = program.json(0, &["estimate", "--secrets", "20"]);
        let monthly = report["monthly_usd"].as_f64().unwrap();
        assert!((10.0..=15.0).contains(&monthly), "{report}");
        let parts = report["parts"].as_array().unwrap();
        let part = |name: &str| parts.iter().find(|part| part["part"] == name).unwrap();
        assert_eq!((&part("secrets")["quantity"], &part("secrets")["monthly_usd"]), (&json!(20), &json!(8.0)));
        assert_eq!(part("secret reads")["quantity"], json!(172_800));
        let sum: f64 = parts.iter().map(|part| part["monthly_usd"].as_f64().unwrap()).sum();
        assert!((sum - monthly).abs() < 1e-9, "{report}");
        assert!(monthly - without["monthly_usd"].as_f64().unwrap() > 8.0);
        let own = ["--secret-price", "1", "--secret-request-price", "0", "--secret-reads-per-month", "7"];
        let own = program.json(0, &[&["estimate", "--secrets", "3"], &own[..]].concat());
        assert_eq!(own["parts"][2]["monthly_usd"], json!(3.0));
        assert_eq!(own["parts"][3]["monthly_usd"], json!(0.0));
        assert_eq!(own["parts"][4]["quantity"], json!(7));
        program.run(&["estimate", "--secret-price", "-1"]).expect(2);
        let alone = program.unset("DATABASE_URL").json(0, &["estimate", "--secrets", "20"]);
        assert_eq!((&alone["rows"], &alone["monthly_usd"]), (&json!(0), &report["monthly_usd"]));
        program.run(&["estimate"]).expect(2);
    }

    async fn unbound_and_broken_rows_are_listed_with_their_exit_codes(db) {
        fill(&db, 4).await;
        let mut program = Program::on(&db);
        program.set("BINDING", "off").run(&["migrate", "--limit", "2"]).expect(0);
        program.set("BINDING", "accept-unbound");
        insert_vod(&db, "broken", 2, "not an envelope", "").await;
        let verified = program.json(4, &["verify"]);
        assert_eq!((&verified["unbound"], &verified["failed"], &verified["plaintext"]), (&json!(4), &json!(1), &json!(2)));
        let report = program.json(3, &["migrate", "--rebind"]);
        assert_eq!((&report["migrated"], &report["failed"]), (&json!(4), &json!(1)));
        let failure = &report["failures"][0];
        assert_fields(failure, &["table", "row", "column", "class", "error", "correlation_id"]);
        assert_eq!(failure["row"], "provider=twitch,channel=broken");
        program.run(&["migrate"]).expect(3).says(&["provider=twitch,channel=broken", "access_token, correlation id "]);
        program.set("BINDING", "require").run(&["get", "--row", &format!("provider=twitch,channel={}", channel(0))]).expect(0);
    }
}

#[test]
fn keyring_commands_make_list_rotate_and_import() {
    let mut program = Program::bare();
    program.set("KMS_MASTER_KEY", crate::support::MASTER_KEY).set("KMS_KEY_ID", "keyring:keys.json");
    let made = program.json(0, &["keyring", "init"]);
    assert_fields(&made["keys"][0], &["id", "active", "created_at"]);
    program.run(&["keyring", "init"]).expect(2);
    program.json(0, &["keyring", "rotate"]);
    let export =
        json!({ "keys": [{ "id": "default-1", "key": crate::support::DIRECT_KEY, "isActive": true }] });
    std::fs::write(program.path().join("export.json"), export.to_string()).unwrap();
    program.run(&["keyring", "import", "export.json"]).expect(0).says(&["default-1"]);
    let keys = program.json(0, &["keyring", "list"])["keys"].as_array().unwrap().clone();
    assert_eq!(
        keys.iter().map(|key| key["active"].as_bool().unwrap()).collect::<Vec<_>>(),
        [false, false, true]
    );
    let mode =
        std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(program.path().join("keys.json")).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    program.run(&["keyring", "import", "missing.json"]).expect(2).says(&["missing.json"]);
    program.unset("KMS_KEY_ID").run(&["keyring", "list"]).expect(2).says(&["KMS_KEY_ID"]);
}

#[test]
fn a_rekeyed_keyring_is_under_the_new_master_key_alone() {
    const NEW: &str = crate::support::DIRECT_KEY;
    let mut program = Program::bare();
    program.set("KMS_MASTER_KEY", crate::support::MASTER_KEY).set("KMS_KEY_ID", "keyring:keys.json");
    program.feed(&["keyring", "rekey"], NEW).expect(2).says(&["does not exist", "from your backup first"]);
    program.run(&["keyring", "init"]).expect(0);
    let before = program.json(0, &["keyring", "rotate"]);
    let file = program.path().join("keys.json");
    let text = std::fs::read(&file).unwrap();
    for (bad, words) in [("", "0 bytes"), ("AAAA", "3 bytes"), ("not a key", "base64"), ("\u{e9}", "base64")]
    {
        program.feed(&["keyring", "rekey"], bad).expect(2).says(&["standard input", words, "openssl rand"]);
    }
    program
        .feed(&["keyring", "rekey"], crate::support::MASTER_KEY)
        .expect(2)
        .says(&["is the same as the current one"]);
    program.set("KMS_MASTER_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    program
        .feed(&["keyring", "rekey"], NEW)
        .expect(2)
        .says(&["master key does not open", "set KMS_MASTER_KEY"]);
    assert_eq!(std::fs::read(&file).unwrap(), text, "the refused call has changed nothing");

    program.set("KMS_MASTER_KEY", crate::support::MASTER_KEY);
    let rekey = || program.feed(&["keyring", "rekey", "--format", "json"], &format!("{NEW}\n")).expect(0);
    let run = rekey();
    assert_eq!(run.document(), before, "the same keys, reported as by every command");
    run.says(&["KMS_MASTER_KEY is to be that one"]);
    let text = std::fs::read(&file).unwrap();
    rekey();
    assert_eq!(std::fs::read(&file).unwrap(), text, "once more does nothing");
    program.run(&["keyring", "list"]).expect(2).says(&["master key does not open"]);
    assert_eq!(program.set("KMS_MASTER_KEY", NEW).json(0, &["keyring", "list"]), before);
}

#[test]
fn demo_tells_the_whole_story_and_leaves_it_to_look_into() {
    let program = Program::bare();
    let human = program.run(&["demo", "--dir", "demo", "--rows", "40"]).expect(0);
    human.says(&["status before", "migrate --dry-run", "verify", "rollback", "kms:v2:", "demo.env"]);
    // The commands that it suggests work exactly as printed, also in a directory with an awkward name.
    let awkward = program.run(&["demo", "--dir", "it's 100%20?", "--rows", "2"]).expect(0);
    let (_, next) = awkward.stdout.split_once("; then\n").unwrap();
    let typed = Command::new("sh").args(["-ec", next]).current_dir(program.path()).output().unwrap();
    let shown = String::from_utf8(typed.stdout).unwrap();
    assert!(shown.contains("0 not under the key service") && shown.contains("demo-access-"), "{shown}");
    let report = program.json(0, &["demo", "--dir", "demo", "--rows", "40"]);
    assert!(report["steps"].as_array().unwrap().len() >= 8, "{report}");
    let env = std::fs::read_to_string(program.path().join("demo/demo.env")).unwrap();
    let mut after = Program::bare();
    for line in env.lines().filter_map(|line| line.strip_prefix("export ")) {
        let (name, value) = line.split_once('=').unwrap();
        after.set(name, value.trim_matches('\''));
    }
    assert_eq!(after.json(0, &["status"])["pending"], 0);
    let shown = after.json(0, &["get", "--row", "provider=twitch,channel=channel-00000", "--reveal"]);
    assert!(shown["value"].as_str().unwrap().starts_with("demo-access-"));
}

#[test]
fn a_demo_replaces_nothing_but_an_earlier_demo() {
    let program = Program::bare();
    for (number, name) in ["keyring.json", "tokens.db", "tokens.db-wal", "demo.env"].into_iter().enumerate() {
        let dir = program.path().join(number.to_string());
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join(name), "somebody's own").unwrap();
        let refused = program.run(&["demo", "--rows", "2", "--dir", &number.to_string()]).expect(2);
        refused.says(&[name, "--dir"]);
        assert_eq!(std::fs::read_to_string(dir.join(name)).unwrap(), "somebody's own");
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "nothing is written next to it");
    }
    let keyring = || std::fs::read(program.path().join("tokenseal-demo/keyring.json")).unwrap();
    program.run(&["demo", "--rows", "2"]).expect(0);
    let first = keyring();
    program.run(&["demo", "--rows", "2"]).expect(0);
    assert_ne!(keyring(), first, "the second demo begins again");
}

#[tokio::test]
async fn a_sqlite_database_keeps_its_journal_mode() {
    let db = Sql::sqlite().await;
    fill(&db, 3).await;
    for mode in ["delete", "wal"] {
        db.execute(&format!("PRAGMA journal_mode = {mode}")).await;
        Program::on(&db).run(&["migrate", "--to", "direct-aes"]).expect(0);
        assert_eq!(db.rows("PRAGMA journal_mode").await[0][0].as_deref(), Some(mode));
    }
}
