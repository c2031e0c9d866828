//! A token that begins like an envelope is sealed where its row or the profile says that it is readable; elsewhere it is one
//! named failure, and the row's other columns move.

use envelope_core::format::direct_aes;
use serde_json::json;

use crate::support::{Program, Sql, create_vod_tender, direct_key, insert_vod};

const TEXTS: [&str; 5] = ["kms:hello", "KMS: my key", "kms:v2:hello", "kms:v3:", "{not json"];

fn profile(program: &mut Program, more: &str) {
    let text = format!(
        "name = \"crm\"\n{more}[context]\nApplication = \"crm\"\n[[tables]]\nname = \"t\"\nkey = [\"id\"]\ntokens = [\"a\", \"b\"]\n"
    );
    std::fs::write(program.path().join("crm.toml"), text).unwrap();
    program.set("TOKEN_PROFILE", "crm.toml");
}

async fn create(db: &Sql, rows: &[(&str, &str)]) {
    db.execute("CREATE TABLE t (id VARCHAR(20) PRIMARY KEY, a TEXT, b TEXT)").await;
    for (n, (a, b)) in rows.iter().enumerate() {
        db.insert("t", &[("id", Some(&n.to_string())), ("a", Some(a)), ("b", Some(b))]).await;
    }
}

on_each_database! {
    async fn where_the_version_column_says_plaintext_it_is_sealed(db) {
        create_vod_tender(&db).await;
        db.execute("ALTER TABLE oauth_tokens ADD COLUMN encryption_method TEXT").await;
        for (n, text) in TEXTS.iter().enumerate() {
            insert_vod(&db, &format!("c{n}"), 0, text, "fine").await;
        }
        let program = Program::on(&db);
        let report = program.json(0, &["migrate"]);
        assert_eq!((&report["migrated"], &report["left"]), (&json!(TEXTS.len()), &json!(0)));
        for (n, text) in TEXTS.iter().enumerate() {
            let row = format!("provider=twitch,channel=c{n}");
            assert_eq!(program.json(0, &["get", "--row", &row, "--reveal"])["value"], *text);
        }
        // A truncated envelope is none of these, and a whole one is not readable either.
        let whole = db.rows("SELECT access_token FROM oauth_tokens WHERE channel = 'c0'").await;
        let whole = whole[0][0].clone().unwrap();
        for (channel, text) in [("c0", whole.as_str()), ("c1", &whole[..whole.len() - 9])] {
            let sql = "UPDATE oauth_tokens SET encryption_version = 0, access_token = $1 WHERE channel = $2";
            db.run(sql, &[Some(text), Some(channel)]).await;
        }
        assert_eq!(program.json(3, &["migrate"])["failed"], 2);
        program.run(&["get", "--row", "provider=twitch,channel=c1", "--reveal"]).expect(3);
    }

    async fn where_the_profile_says_plaintext_it_is_sealed_and_a_later_version_is_a_failure(db) {
        create(&db, &[("kms:hello", "fine"), ("kms:v9:AAAA:AAAA", "fine"), ("one", "two")]).await;
        let mut program = Program::on(&db);
        profile(&mut program, "");
        let dry = program.json(3, &["migrate", "--dry-run"]);
        let report = program.json(3, &["migrate"]);
        for report in [&dry, &report] {
            assert_eq!((&report["migrated"], &report["failed"], &report["values"]), (&json!(2), &json!(1), &json!(5)));
            let failure = &report["failures"][0];
            assert_eq!((&failure["row"], &failure["column"], &failure["class"]), (&json!("id=1"), &json!("a"), &json!("malformed")));
        }
        assert_eq!(report["left"], 1);
        let rows = db.table("t", &["id", "a", "b"]).await;
        assert_eq!(rows[1][1].as_deref(), Some("kms:v9:AAAA:AAAA"), "the text stays to the byte");
        assert!(rows[1][2].as_deref().unwrap().starts_with("kms:v2:"), "the other column moves");
        assert_eq!(program.json(0, &["get", "--row", "id=0", "--reveal"])["value"], "kms:hello");
        let again = program.json(3, &["migrate"]);
        assert_eq!((&again["already"], &again["failed"], &again["values"]), (&json!(2), &json!(1), &json!(0)));
    }

    async fn where_unmarked_texts_are_direct_aes_it_is_a_failure_and_the_other_column_moves(db) {
        let sealed = direct_aes::seal(&direct_key(), "token");
        create(&db, &[("kms:hello", &sealed)]).await;
        let mut program = Program::on(&db);
        profile(&mut program, "legacy = \"direct-aes\"\nunmarked = \"direct-aes\"\n");
        let report = program.json(3, &["migrate"]);
        assert_eq!((&report["failed"], &report["values"]), (&json!(1), &json!(1)));
        assert_eq!(db.table("t", &["a"]).await[0][0].as_deref(), Some("kms:hello"));
        let other = program.json(0, &["status"]);
        assert_eq!(other["pending"], 1);
    }
}
