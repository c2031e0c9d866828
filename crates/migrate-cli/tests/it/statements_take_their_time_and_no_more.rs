//! How long a statement waits for a lock, and how long it may take, is a setting, and a misspelt column is no setting.

use test_support::part;

use crate::support::{Program, Sql, fill, stored};

async fn trigger(db: &Sql, body: &str) {
    db.execute(&format!(
        "CREATE TABLE seen (lock_timeout text, statement_timeout text); \
         CREATE FUNCTION seen() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} RETURN NEW; END $$; \
         CREATE TRIGGER seen BEFORE UPDATE ON oauth_tokens FOR EACH ROW EXECUTE FUNCTION seen()"
    ))
    .await;
}

const ROW: [&str; 3] = ["put", "--row", "provider=twitch,channel=channel-000"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_writes_has_the_time_of_the_settings() {
    let db = Sql::postgres(part!(postgres)).await;
    fill(&db, 1).await;
    trigger(
        &db,
        "INSERT INTO seen VALUES (current_setting('lock_timeout'), current_setting('statement_timeout'));",
    )
    .await;
    let mut program = Program::on(&db);
    program.feed(&ROW, "usual").expect(0);
    program.set("DATABASE_LOCK_TIMEOUT", "1234ms").set("DATABASE_STATEMENT_TIMEOUT", "7s");
    program.feed(&ROW, "set").expect(0);
    program.set("DATABASE_LOCK_TIMEOUT", "0").set("DATABASE_STATEMENT_TIMEOUT", "0");
    program.feed(&ROW, "without").expect(0);
    let seen = db.rows("SELECT DISTINCT lock_timeout, statement_timeout FROM seen ORDER BY 1, 2").await;
    let seen: Vec<(&str, &str)> =
        seen.iter().map(|row| (row[0].as_deref().unwrap(), row[1].as_deref().unwrap())).collect();
    assert_eq!(seen, [("0", "0"), ("1234ms", "7s"), ("5s", "1min")]);
    program.set("DATABASE_LOCK_TIMEOUT", "soon").run(&["status"]).expect(2).says(&["DATABASE_LOCK_TIMEOUT"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_takes_longer_is_given_up_and_leaves_the_row() {
    let db = Sql::postgres(part!(postgres)).await;
    fill(&db, 1).await;
    trigger(&db, "PERFORM pg_sleep(20);").await;
    let mut program = Program::on(&db);
    program.set("DATABASE_STATEMENT_TIMEOUT", "200ms");
    let before = stored(&db).await;
    let run = program.feed(&ROW, "never");
    assert!(matches!(run.code, Some(3 | 6)), "{run:?}");
    assert_eq!(stored(&db).await, before);
}

on_each_database! {
    async fn a_misspelt_column_of_the_time_of_a_change_is_refused(db) {
        fill(&db, 1).await;
        let mut program = Program::on(&db);
        let shown = program.run(&["profile", "show"]).expect(0).stdout;
        let misspelt = shown.replace("updated = \"updated_at\"", "updated = \"update_at\"");
        assert_ne!(shown, misspelt);
        std::fs::write(program.path().join("own.toml"), misspelt).unwrap();
        program.set("TOKEN_PROFILE", "own.toml");
        let report = program.json(6, &["profile", "check"]);
        let finding = &report["findings"][0];
        assert_eq!((&finding["kind"], &finding["column"]), (&"missing-column".into(), &"update_at".into()));
        program.run(&["doctor"]).expect(6).says(&["update_at"]);
        program.run(&["migrate", "--dry-run"]).expect(6).says(&["update_at"]);
        program.run(&["migrate"]).expect(6).says(&["update_at"]);
    }

    async fn types_of_keys_are_written_into_a_profile_and_everything_else_stays(db) {
        fill(&db, 1).await;
        let mut program = Program::on(&db);
        program.run(&["profile", "check", "--write"]).expect(2).says(&["built in", "profile show"]);
        let shown = program.run(&["profile", "show"]).expect(0).stdout;
        let own = format!("# our own\n{shown}");
        std::fs::write(program.path().join("own.toml"), &own).unwrap();
        program.set("TOKEN_PROFILE", "own.toml");
        let report = program.json(0, &["profile", "check", "--write"]);
        assert_eq!(report["written"], "own.toml");
        let written = std::fs::read_to_string(program.path().join("own.toml")).unwrap();
        assert!(written.starts_with("# our own\n"), "{written}");
        let profile = program.json(0, &["profile", "show", "own.toml"]);
        assert_eq!(profile["tables"][0]["types"]["channel"], "text", "{profile}");
        program.run(&["profile", "check", "own.toml", "--write"]).expect(0);
        assert_eq!(std::fs::read_to_string(program.path().join("own.toml")).unwrap(), written, "once more changes nothing");
        program.run(&["migrate"]).expect(0);
    }
}
