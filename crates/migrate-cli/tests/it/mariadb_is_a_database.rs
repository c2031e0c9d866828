//! Both programs' work on MariaDB, from the table of before any encryption to a rollback, with vod-tender's profile.

use serde_json::json;
use test_support::part;

use crate::support::{Program, Sql, create_vod_tender, insert_vod, stored};

const ROWS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_main_job_from_plaintext_to_a_rollback() {
    let db = Sql::mariadb(part!(mariadb)).await;
    create_vod_tender(&db).await;
    for n in 0..ROWS {
        let version = i32::try_from(n % 2).unwrap();
        insert_vod(&db, &format!("c{n}"), version, &format!("access {n}"), &format!("refresh {n} é")).await;
    }
    let program = Program::on(&db);
    program.run(&["profile", "check"]).expect(6).says(&["encryption_method"]);
    assert_eq!(program.json(4, &["schema", "--check"])["pending"].as_array().unwrap().len(), 1);
    program.run(&["schema"]).expect(0);
    program.run(&["schema"]).expect(0).says(&["complete"]);
    program.run(&["profile", "check"]).expect(0);
    program.run(&["doctor"]).expect(0);
    assert_eq!(program.json(0, &["status"])["pending"], ROWS);
    let before = db.fingerprint("oauth_tokens").await;
    assert_eq!(program.json(0, &["migrate", "--dry-run"])["migrated"], ROWS);
    assert_eq!(db.fingerprint("oauth_tokens").await, before);
    let report = program.json(0, &["migrate"]);
    assert_eq!((&report["migrated"], &report["left"]), (&json!(ROWS), &json!(0)));
    assert_eq!(program.json(0, &["verify"])["ok"], 2 * ROWS);
    let row = ["--row", "provider=twitch,channel=c1"];
    assert_eq!(program.json(0, &[&["get", "--reveal"][..], &row].concat())["value"], "access 1");
    // A key that differs in case or trailing spaces names no row.
    program.run(&["get", "--row", "provider=twitch,channel=C1"]).expect(3);
    program.run(&["get", "--row", "provider=twitch,channel=c1 "]).expect(3);
    program.feed(&[&["put"][..], &row, &["--set", "scope=chat"]].concat(), "new").expect(0);
    assert_eq!(program.json(0, &[&["get", "--reveal"][..], &row].concat())["value"], "new");
    program.feed(&["put", "--row", "provider=twitch,channel=new"], "first").expect(0);
    program.run(&["keyring", "rotate"]).expect(0);
    let report = program.json(0, &["rewrap", "--to", "keyring:keyring.json"]);
    assert_eq!((&report["rewrapped"], &report["left"]), (&json!(ROWS + 1), &json!(0)));
    assert_eq!(program.json(0, &["status", "--keys"])["keys"].as_array().unwrap().len(), 1);
    assert_eq!(program.json(0, &["migrate", "--where", "channel=c1"])["already"], 1);
    let rollback = program.json(0, &["rollback"]);
    assert_eq!((&rollback["migrated"], &rollback["left"]), (&json!(ROWS + 1), &json!(0)));
    assert!(stored(&db).await.iter().all(|row| row[4].as_deref() == Some("1")));
    assert_eq!(program.json(0, &["verify"])["failed"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_in_the_way_is_refused_by_name() {
    let db = Sql::mariadb(part!(mariadb)).await;
    create_vod_tender(&db).await;
    db.execute("ALTER TABLE oauth_tokens ADD COLUMN encryption_method TEXT").await;
    insert_vod(&db, "c", 0, "access", "refresh").await;
    db.execute("ALTER TABLE oauth_tokens MODIFY access_token VARCHAR(40)").await;
    let program = Program::on(&db);
    let report = program.json(6, &["profile", "check"]);
    assert_eq!(report["findings"][0]["kind"], "column-length", "{report}");
    program.run(&["migrate"]).expect(6).says(&["access_token"]);
    assert_eq!(stored(&db).await[0][2].as_deref(), Some("access"));
}
