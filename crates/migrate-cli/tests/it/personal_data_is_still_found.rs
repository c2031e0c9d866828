//! The program finds rows by a sealed value, offers the index where look-ups would be lost, and rotates its key; however it
//! ends, no row has a value without its index.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Program, Sql};

pub(crate) const PROFILE: &str = r#"
name = "crm"
[context]
Application = "crm"
[[tables]]
name = "users"
key = ["id"]
tokens = ["email"]
"#;

pub(crate) const INDEX: &str = r#"
[[tables.index]]
column = "email"
into = "email_index"
normalize = "email"
bits = 256
unique = true
"#;

fn write_profile(program: &Program, more: &str) {
    std::fs::write(program.path().join("profile.toml"), format!("{PROFILE}{more}\n")).unwrap();
}

async fn program(db: &Sql, rows: u32) -> Program {
    db.execute("CREATE TABLE users (id varchar(32) PRIMARY KEY, email varchar(9000))").await;
    db.execute("CREATE UNIQUE INDEX by_email ON users (email)").await;
    for id in 1..=rows {
        let (id, email) = (id.to_string(), format!("User{id}@Example.org"));
        db.insert("users", &[("id", Some(&id)), ("email", Some(&email))]).await;
    }
    let mut program = Program::on(db);
    write_profile(&program, "");
    program.set("TOKEN_PROFILE", "profile.toml");
    program
}

pub(crate) fn find(program: &Program, value: &str, code: i32) -> Value {
    program.feed(&["find", "--column", "email", "--format", "json"], value).expect(code).document()["rows"]
        .clone()
}

/// The number of rows that have one of sealed value and index without the other.
async fn apart(db: &Sql) -> usize {
    let rows = db.table("users", &["email", "email_index"]).await;
    rows.iter().filter(|row| row[0].as_ref().unwrap().starts_with("kms:") != row[1].is_some()).count()
}

/// Every address as it was before a migration.
async fn make_readable(db: &Sql, rows: u32) {
    for id in 1..=rows {
        db.execute(&format!(
            "UPDATE users SET email = 'User{id}@Example.org', email_index = NULL WHERE id = '{id}'"
        ))
        .await;
    }
}

/// The number of states that rows are in: readable, or sealed with an index under one key or another.
async fn states(db: &Sql) -> usize {
    let rows = db.table("users", &["email_index"]).await;
    let keys =
        rows.iter().map(|row| row[0].as_ref().map(|index| index.split(':').next().unwrap().to_owned()));
    keys.collect::<HashSet<_>>().len()
}

on_each_database! {
    async fn the_lines_that_are_offered_keep_look_ups_and_uniqueness(db) {
        let program = program(&db, 3).await;
        for command in [["doctor"].as_slice(), &["profile", "check"], &["migrate", "--dry-run"]] {
            let hint = program.json(6, command)["findings"][0]["hint"].as_str().unwrap().to_owned();
            for line in INDEX.lines().filter(|line| !line.is_empty()) {
                assert!(hint.contains(line), "{command:?}: {line} in {hint}");
            }
        }
        write_profile(&program, INDEX);
        program.run(&["migrate"]).expect(6).says(&["migrate-tokens schema"]);
        assert_eq!(program.json(0, &["schema"])["applied"].as_array().unwrap().len(), 3);
        assert_eq!(program.json(0, &["schema", "--check"])["pending"], json!([]));
        assert_eq!(find(&program, "User2@Example.org", 0), json!(["id=2"]), "before it is sealed");
        let report = program.json(0, &["migrate"]);
        assert_eq!((report["migrated"].as_u64(), report["left"].as_u64()), (Some(3), Some(0)));
        assert_eq!(apart(&db).await, 0);
        assert_eq!(find(&program, " USER2@EXAMPLE.ORG\n", 0), json!(["id=2"]));
        assert_eq!(find(&program, "nobody@example.org", 3), json!([]));
        let human = program.feed(&["find", "--column", "email", "--table", "users"], "user3@example.org").expect(0);
        assert_eq!(human.stdout, "id=3\n");
        let none = program.feed(&["find", "--column", "email"], "nobody@example.org").expect(3);
        assert_eq!(none.stdout, "");
        none.says(&["no row has this value"]);
        program.feed(&["put", "--row", "id=9", "--column", "email"], "user1@EXAMPLE.org").expect(3).says(&["unique"]);
        program.feed(&["put", "--row", "id=9", "--column", "email"], "user9@example.org").expect(0);
        assert_eq!(find(&program, "USER9@example.org", 0), json!(["id=9"]));
        assert_eq!(program.json(0, &["verify"])["index_misfit"], 0);
    }

    async fn what_cannot_be_found_is_said_with_its_code(db) {
        let program = program(&db, 1).await;
        program.feed(&["find", "--column", "email"], "a@x.org").expect(2).says(&["no blind index", "tables.index"]);
        write_profile(&program, INDEX);
        program.run(&["schema"]).expect(0);
        program.feed(&["find", "--column", "id"], "1").expect(2).says(&["users.email"]);
        program.feed(&["find", "--column", "email", "--table", "others"], "1").expect(2);
        program.feed(&["find", "--column", "email"], "").expect(2).says(&["standard input is empty"]);
        program.run(&["find", "email"]).expect(2);
    }

    async fn a_verification_finds_an_index_that_does_not_fit(db) {
        let program = program(&db, 3).await;
        write_profile(&program, INDEX);
        program.run(&["schema"]).expect(0);
        program.run(&["migrate"]).expect(0);
        db.execute("UPDATE users SET email_index = 'k1:00' WHERE id = '1'").await;
        db.execute("UPDATE users SET email_index = NULL WHERE id = '2'").await;
        let report = program.json(4, &["verify"]);
        assert_eq!((report["index_misfit"].as_u64(), report["index_missing"].as_u64()), (Some(1), Some(1)), "{report}");
        program.run(&["migrate"]).expect(0);
        assert_eq!(program.json(4, &["verify"])["index_missing"], 0, "missing indexes are filled in");
    }

    async fn a_rotation_is_seen_in_the_keys_and_finds_every_row(db) {
        let program = program(&db, 4).await;
        write_profile(&program, INDEX);
        program.run(&["schema"]).expect(0);
        program.run(&["migrate"]).expect(0);
        let keys = program.json(0, &["status", "--keys"])["keys"].clone();
        assert_eq!(keys[0]["values"], 1, "the key of the index: {keys}");
        assert_eq!(program.json(0, &["rotate-index", "--dry-run"])["rewritten"], 4);
        let report = program.json(0, &["rotate-index", "--column", "email"]);
        for (field, count) in [("rewritten", 4), ("made", 1), ("removed", 1), ("left", 0), ("failed", 0)] {
            assert_eq!(report[field], count, "{field} of {report}");
        }
        assert_eq!(find(&program, "user4@example.org", 0), json!(["id=4"]));
        program.json(0, &["verify"]);
        program.run(&["rotate-index", "--column", "id"]).expect(2);
    }

    async fn killed_at_any_moment_no_value_and_index_are_apart(db) {
        const ROWS: u32 = 40;
        let program = program(&db, ROWS).await;
        write_profile(&program, INDEX);
        program.run(&["schema"]).expect(0);
        for command in [["migrate", "--batch-size", "2"], ["rotate-index", "--batch-size", "2"]] {
            // The next kill is earlier where a run had ended, later where it had not begun, however fast the machine is.
            let (mut delay, mut killed_between_rows) = (Duration::from_millis(150), 0);
            for round in 0..100 {
                let mut child = program.spawn(&command);
                tokio::time::sleep(delay).await;
                child.kill().unwrap();
                let ended = child.wait().unwrap().code().is_some();
                assert_eq!(apart(&db).await, 0, "{command:?}, round {round}");
                for id in [1, 17, ROWS] {
                    let found = find(&program, &format!("User{id}@Example.org"), 0);
                    assert_eq!(found, json!([format!("id={id}")]), "{command:?}, round {round}");
                }
                let between_rows = !ended && states(&db).await > 1;
                killed_between_rows += u32::from(between_rows);
                if killed_between_rows == 3 {
                    break;
                }
                if ended {
                    delay = delay.mul_f64(0.8);
                    if command[0] == "migrate" {
                        make_readable(&db, ROWS).await;
                    }
                } else if !between_rows {
                    delay = delay.mul_f64(1.1);
                }
            }
            assert_eq!(killed_between_rows, 3, "{command:?}");
            program.run(&command).expect(0);
        }
        program.run(&["rotate-index"]).expect(0);
        program.json(0, &["verify"]);
    }
}
