//! Triggers, rules, policies and computed columns that change or discard written values destroy nothing: the
//! row stays as it was, is named, and the others are done.

use token_store::{NewToken, StoreError, TokenKey, TokenStore, WriteFormat};

use crate::support::{Keys, Sql, carry_out, migrate, profile_of, shown, to, verified};

const ROWS: usize = 20;

/// Rows `r00` to `r19`, whose tokens are `Token 00` and so on.
async fn table(db: &Sql) -> Keys {
    db.execute("CREATE TABLE users (id text PRIMARY KEY, token text)").await;
    for n in 0..ROWS {
        db.execute(&format!("INSERT INTO users VALUES ('r{n:02}', 'Token {n:02}')")).await;
    }
    Keys::toml(&profile_of("users", &["id"], &["token"], ""))
}

/// Each value is unchanged; so many rows are named as failures.
async fn assert_failed(store: &TokenStore, failed: &[&str]) {
    let report = carry_out(store, &to(WriteFormat::KmsEnvelope, 7)).await;
    let named: Vec<&str> = report.failures.iter().map(|failure| failure.row.as_str()).collect();
    assert_eq!(named, failed, "{:?}", report.failures);
    assert_eq!((report.migrated, report.left.unwrap()), ((ROWS - failed.len()) as u64, failed.len() as u64));
    for n in 0..ROWS {
        let token = store.get(&TokenKey::from_values([format!("r{n:02}")])).await.unwrap();
        assert_eq!(shown(token.column("token")), Some(format!("Token {n:02}").as_str()));
    }
    let report = verified(store).await;
    assert_eq!((report.failed, report.plaintext), (0, failed.len() as u64));
}

async fn postgres_trigger(db: &Sql, when: &str, body: &str) {
    db.execute(&format!(
        "CREATE OR REPLACE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$"
    ))
    .await;
    db.execute(&format!("CREATE {when} ON users FOR EACH ROW EXECUTE FUNCTION meddle()")).await;
}

const ONE_ROW: &[&str] = &["id=r13"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_of_postgresql_that_rewrites_a_row_leaves_that_row_as_it_was() {
    for (when, body) in [
        (
            "TRIGGER t BEFORE UPDATE",
            "IF NEW.id = 'r13' THEN NEW.token := lower(NEW.token); END IF; RETURN NEW;",
        ),
        ("TRIGGER t BEFORE UPDATE", "IF NEW.id = 'r13' THEN RETURN NULL; END IF; RETURN NEW;"),
        ("TRIGGER t BEFORE UPDATE", "IF NEW.id = 'r13' THEN NEW.id := 'moved'; END IF; RETURN NEW;"),
        (
            "TRIGGER t BEFORE UPDATE",
            "IF NEW.id = 'r13' THEN RAISE EXCEPTION 'token %', OLD.token; END IF; RETURN NEW;",
        ),
        (
            "TRIGGER t BEFORE UPDATE",
            "IF NEW.id = 'r13' THEN RAISE EXCEPTION 'x' USING ERRCODE = '42P01'; END IF; RETURN NEW;",
        ),
        (
            "TRIGGER t AFTER UPDATE",
            "IF NEW.id = 'r13' AND pg_trigger_depth() = 1 THEN UPDATE users SET token = upper(NEW.token) WHERE id = NEW.id; END IF; RETURN NULL;",
        ),
        (
            "CONSTRAINT TRIGGER t AFTER UPDATE",
            "IF NEW.id = 'r13' AND pg_trigger_depth() = 1 THEN UPDATE users SET token = upper(NEW.token) WHERE id = NEW.id; END IF; RETURN NULL;",
        ),
        (
            "CONSTRAINT TRIGGER t AFTER UPDATE",
            "IF NEW.id = 'r13' THEN RAISE EXCEPTION 'no'; END IF; RETURN NULL;",
        ),
    ] {
        let db = Sql::postgres(test_support::part!(postgres)).await;
        let keys = table(&db).await;
        let store = keys.store(&db).await;
        if when.starts_with("CONSTRAINT") {
            db.execute(&format!(
                "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$"
            ))
            .await;
            db.execute("CREATE CONSTRAINT TRIGGER t AFTER UPDATE ON users DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION meddle()").await;
        } else {
            postgres_trigger(&db, when, body).await;
        }
        // Once for a store that was opened before the trigger was created, and once for one opened after.
        assert_failed(&store, ONE_ROW).await;
        let fresh = keys.store(&db).await;
        let again = migrate(&fresh, WriteFormat::KmsEnvelope).await;
        assert_eq!((again.failed, again.already), (1, ROWS as u64 - 1), "{body}");
        let written = fresh
            .put(&TokenKey::from_values(["r13"]), NewToken::new().column("token", Some("New".into())))
            .await;
        assert!(
            matches!(written, Err(StoreError::Altered { .. } | StoreError::Database(_))),
            "{body}: {written:?}"
        );
        assert_eq!(
            shown(fresh.get(&TokenKey::from_values(["r13"])).await.unwrap().column("token")),
            Some("Token 13")
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_of_mariadb_that_rewrites_or_refuses_a_row_leaves_that_row_as_it_was() {
    for body in [
        "IF NEW.id = 'r13' THEN SET NEW.token = LOWER(NEW.token); END IF",
        "IF NEW.id = 'r13' THEN SET NEW.token = CONCAT(NEW.token, ' '); END IF",
        "IF NEW.id = 'r13' THEN SET NEW.id = 'moved'; END IF",
        "IF NEW.id = 'r13' THEN SET NEW.id = 'R13'; END IF",
        "IF NEW.id = 'r13' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = OLD.token; END IF",
        "IF NEW.id = 'r13' THEN INSERT INTO nowhere VALUES (1); END IF",
    ] {
        let db = Sql::mariadb(test_support::part!(mariadb)).await;
        let keys = table(&db).await;
        let store = keys.store(&db).await;
        db.execute(&format!("CREATE TRIGGER t BEFORE UPDATE ON users FOR EACH ROW BEGIN {body}; END")).await;
        // Once for a store that was opened before the trigger was created, and once for one opened after.
        assert_failed(&store, ONE_ROW).await;
        let fresh = keys.store(&db).await;
        let again = migrate(&fresh, WriteFormat::KmsEnvelope).await;
        assert_eq!((again.failed, again.already), (1, ROWS as u64 - 1), "{body}");
        let told = format!("{:?}", again.failures);
        assert!(!told.contains("Token 13"), "{told}");
        let written = fresh
            .put(&TokenKey::from_values(["r13"]), NewToken::new().column("token", Some("New".into())))
            .await;
        assert!(written.is_err(), "{body}: {written:?}");
        assert_eq!(
            shown(fresh.get(&TokenKey::from_values(["r13"])).await.unwrap().column("token")),
            Some("Token 13")
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_of_mariadb_without_transactions_is_refused_and_nothing_is_written() {
    let db = Sql::mariadb(test_support::part!(mariadb)).await;
    let keys = table(&db).await;
    db.execute("ALTER TABLE users ENGINE=MyISAM").await;
    let before = db.table("users", &["id", "token"]).await;
    let store = keys.store(&db).await;
    let found = token_store::findings::findings(&store, WriteFormat::KmsEnvelope).await.unwrap();
    let kinds: Vec<_> = found.iter().map(|finding| (finding.kind.label(), finding.severity)).collect();
    assert!(kinds.contains(&("engine", token_store::findings::Severity::Refuse)), "{found:?}");
    let outcome = token_store::migration::run(
        &store,
        &to(WriteFormat::KmsEnvelope, 7),
        &token_store::migration::StopFlag::default(),
        |_| {},
    )
    .await;
    assert!(outcome.ended_by.is_some() && outcome.report.migrated == 0, "{:?}", outcome.report);
    assert_eq!(db.table("users", &["id", "token"]).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envelope_that_does_not_fit_its_column_on_mariadb_is_a_named_failure_and_never_cut() {
    let db = Sql::mariadb(test_support::part!(mariadb)).await;
    db.execute("CREATE TABLE users (id varchar(20) PRIMARY KEY, token varchar(60))").await;
    for n in 0..ROWS {
        db.execute(&format!("INSERT INTO users VALUES ('r{n:02}', 'Token {n:02}')")).await;
    }
    let keys = Keys::toml(&profile_of("users", &["id"], &["token"], ""));
    let store = keys.store(&db).await;
    let found = token_store::findings::findings(&store, WriteFormat::KmsEnvelope).await.unwrap();
    assert!(found.iter().any(|finding| finding.kind.label() == "column-length"), "{found:?}");
    let all: Vec<String> = (0..ROWS).map(|n| format!("id=r{n:02}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    assert_failed(&store, &all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_of_mariadb_is_refused_where_an_envelope_would_pass_its_65535_bytes() {
    let db = Sql::mariadb(test_support::part!(mariadb)).await;
    db.execute("CREATE TABLE users (id varchar(20) PRIMARY KEY, token tinytext)").await;
    db.execute("ALTER TABLE users MODIFY token text").await;
    let keys = Keys::toml(&profile_of("users", &["id"], &["token"], ""));
    let store = keys.store(&db).await;
    for (bytes, is_refused) in [(40_000, false), (60_000, true)] {
        db.run("REPLACE INTO users VALUES ('a', $1)", &[Some(&"x".repeat(bytes))]).await;
        let found = token_store::findings::findings(&store, WriteFormat::KmsEnvelope).await.unwrap();
        assert_eq!(
            found.iter().any(|finding| finding.kind.label() == "column-length"),
            is_refused,
            "{bytes}: {found:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_and_policies_of_postgresql_keep_rows_back_and_not_the_others() {
    let db = Sql::postgres(test_support::part!(postgres)).await;
    let keys = table(&db).await;
    db.execute("CREATE RULE keep AS ON UPDATE TO users WHERE OLD.id = 'r13' DO INSTEAD NOTHING").await;
    assert_failed(&keys.store(&db).await, ONE_ROW).await;

    let db = Sql::postgres(test_support::part!(postgres)).await;
    let keys = table(&db).await;
    db.execute("ALTER TABLE users ADD COLUMN n bigint GENERATED ALWAYS AS (CASE WHEN id = 'r13' THEN substr(token, 7)::bigint END) STORED").await;
    assert_failed(&keys.store(&db).await, ONE_ROW).await;

    let db = Sql::postgres(test_support::part!(postgres)).await;
    let keys = table(&db).await;
    db.execute("ALTER TABLE users ADD CHECK (id <> 'r13' OR length(token) < 20)").await;
    assert_failed(&keys.store(&db).await, ONE_ROW).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_of_sqlite_that_rewrites_a_row_leaves_that_row_as_it_was() {
    for trigger in [
        "CREATE TRIGGER t AFTER UPDATE ON users WHEN NEW.id = 'r13' BEGIN UPDATE users SET token = upper(NEW.token) WHERE id = NEW.id; END",
        "CREATE TRIGGER t BEFORE UPDATE ON users WHEN NEW.id = 'r13' BEGIN SELECT RAISE(IGNORE); END",
        "CREATE TRIGGER t BEFORE UPDATE ON users WHEN NEW.id = 'r13' BEGIN SELECT RAISE(ABORT, 'no'); END",
        "CREATE TRIGGER t BEFORE UPDATE ON users WHEN NEW.id = 'r13' BEGIN SELECT RAISE(FAIL, 'no'); END",
        "CREATE TRIGGER t AFTER UPDATE ON users WHEN NEW.id = 'r13' BEGIN DELETE FROM users WHERE id = NEW.id; END",
    ] {
        let db = Sql::sqlite().await;
        let keys = table(&db).await;
        let store = keys.store(&db).await;
        db.execute(trigger).await;
        assert_failed(&store, ONE_ROW).await;
        let fresh = keys.store(&db).await;
        assert_eq!(migrate(&fresh, WriteFormat::KmsEnvelope).await.failed, 1, "{trigger}");
        let written = fresh
            .put(&TokenKey::from_values(["r13"]), NewToken::new().column("token", Some("New".into())))
            .await;
        assert!(
            matches!(written, Err(StoreError::Altered { .. } | StoreError::Database(_))),
            "{trigger}: {written:?}"
        );
    }
}

on_postgresql_and_sqlite! {
    async fn an_inserted_row_that_the_database_changes_is_not_there(db) {
        db.execute("CREATE TABLE users (id text PRIMARY KEY, token text)").await;
        if db.is_postgres() {
            postgres_trigger(&db, "TRIGGER t BEFORE INSERT", "NEW.id := lower(NEW.id); RETURN NEW;").await;
        } else {
            db.execute("CREATE TRIGGER t AFTER INSERT ON users BEGIN UPDATE users SET id = lower(id) WHERE id = NEW.id; END").await;
        }
        let store = Keys::toml(&profile_of("users", &["id"], &["token"], "")).store(&db).await;
        let put = async |id: &str| {
            store.put(&TokenKey::from_values([id]), NewToken::new().column("token", Some("secret".into()))).await
        };
        put("low").await.unwrap();
        assert!(matches!(put("UPPER").await, Err(StoreError::Altered { .. })));
        assert_eq!(db.rows("SELECT id FROM users").await, [[Some("low".to_owned())]]);
    }
}

on_each_database! {
    async fn a_row_whose_owner_changes_meanwhile_is_sealed_for_the_new_owner(db) {
        db.execute("CREATE TABLE users (id text PRIMARY KEY, tenant text, token text)").await;
        for id in ["one", "two"] {
            db.execute(&format!("INSERT INTO users VALUES ('{id}', 'old', 'token')")).await;
        }
        let keys = Keys::toml(&profile_of("users", &["id"], &["token"], "owner = [\"tenant\"]"));
        let store = keys.store(&db).await;
        keys.faults().next_for("generate", 2, test_support::faults::Fault::Hold);
        let run = tokio::spawn({
            let store = store.clone();
            async move { migrate(&store, WriteFormat::KmsEnvelope).await }
        });
        keys.faults().wait_for_calls("generate", 2).await;
        db.execute("UPDATE users SET tenant = 'new' WHERE id = 'one'").await;
        keys.faults().heal();
        let report = run.await.unwrap();
        assert_eq!((report.migrated, report.failed, report.left.unwrap()), (2, 0, 0));
        assert_eq!(verified(&store).await.ok, 2);
    }
}
