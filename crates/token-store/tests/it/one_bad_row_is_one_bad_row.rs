//! A row that the database refuses, for any reason, is named without its value, and the others are done; an
//! error of the whole table or connection ends a run, and is reported.

use token_store::migration::{self, MigrationReport, StopFlag};
use token_store::{Database, NewToken, StoreError, TokenKey, TokenStore, WriteFormat};

use crate::support::{Keys, Sql, carry_out, profile_of, shown, to, told, verified};

async fn table(db: &Sql, rows: usize) -> Keys {
    db.execute("CREATE TABLE users (id text PRIMARY KEY, token text)").await;
    for n in 0..rows {
        db.execute(&format!("INSERT INTO users VALUES ('r{n:03}', 'TOP-SECRET-{n}')")).await;
    }
    Keys::toml(&profile_of("users", &["id"], &["token"], ""))
}

fn assert_names(report: &MigrationReport, rows: &[&str]) {
    let named: Vec<&str> = report.failures.iter().map(|failure| failure.row.as_str()).collect();
    assert_eq!(named, rows, "{:?}", report.failures);
    for failure in &report.failures {
        assert!(!format!("{failure:?}").contains("SECRET"), "{failure:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_of_postgresql_that_is_refused_is_named_without_its_value() {
    let index = "CREATE INDEX i ON users (token)";
    let raise = |code: &str| {
        format!(
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF OLD.id = 'r007' THEN \
             RAISE EXCEPTION 'token % may not change', OLD.token USING ERRCODE = '{code}', HINT = OLD.token, COLUMN = OLD.token; \
             END IF; RETURN NEW; END $$; CREATE TRIGGER t BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION no()"
        )
    };
    let mut cases = vec![
        index.to_owned(),
        "ALTER TABLE users ADD n bigint GENERATED ALWAYS AS (CASE WHEN id = 'r007' THEN token::bigint END) STORED".into(),
    ];
    cases
        .extend(["P0001", "22023", "23505", "42501", "42703", "0A000", "38001", "XX000", "57014"].map(raise));
    // Of connections, transactions, resources and the server, where the server raises them itself.
    cases.extend(["08006", "25006", "25P02", "28000", "53100", "53200", "57P01", "58030"].map(raise));
    for case in cases {
        let db = Sql::postgres(test_support::part!(postgres)).await;
        let keys = table(&db, 12).await;
        if case == index {
            let noise = "SELECT string_agg(md5(n::text), '') FROM generate_series(1, 400) n";
            db.execute(&format!("UPDATE users SET token = ({noise}) WHERE id = 'r007'")).await;
            db.execute("UPDATE users SET token = 'short' WHERE id = 'r007'").await;
            db.execute(index).await;
            db.execute("DROP INDEX i").await;
            db.execute(&format!("UPDATE users SET token = ({noise}) WHERE id = 'r007'")).await;
            db.execute("CREATE INDEX i ON users (token) WHERE token LIKE 'kms:%'").await;
        } else if case.starts_with("ALTER") {
            db.execute("UPDATE users SET token = '7' WHERE id = 'r007'").await;
            db.execute(&case).await;
        } else {
            db.execute(&case).await;
        }
        let store = keys.store(&db).await;
        let report = carry_out(&store, &to(WriteFormat::KmsEnvelope, 500)).await;
        assert_names(&report, &["id=r007"]);
        assert_eq!((report.migrated, report.left.unwrap()), (11, 1), "{case}");
        assert_eq!(verified(&store).await.failed, 0, "{case}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_user_may_not_write_ends_the_run_and_a_policy_does_not() {
    let db = Sql::postgres(test_support::part!(postgres)).await;
    let keys = table(&db, 12).await;
    let name = db.rows("SELECT current_database()::text").await.remove(0).remove(0).unwrap();
    let role = format!("{name}_limited");
    db.execute(&format!(
        "CREATE ROLE \"{role}\" LOGIN PASSWORD 'tokens'; GRANT SELECT ON users TO \"{role}\""
    ))
    .await;
    let (scheme, rest) = db.url().split_once("://").unwrap();
    let url = format!("{scheme}://{role}:tokens@{}", rest.rsplit_once('@').map_or(rest, |(_, host)| host));
    let open = async || {
        let database = Database::connect(&url).await.unwrap();
        TokenStore::open(database, keys.profile.clone(), keys.cipher()).await.unwrap()
    };
    let options = to(WriteFormat::KmsEnvelope, 500);
    let outcome = migration::run(&open().await, &options, &StopFlag::default(), |_| {}).await;
    assert!(
        matches!(outcome.ended_by, Some(migration::Ended::Store(StoreError::Database(_)))),
        "{outcome:?}"
    );
    db.execute(&format!(
        "GRANT UPDATE ON users TO \"{role}\"; ALTER TABLE users ENABLE ROW LEVEL SECURITY; \
        CREATE POLICY s ON users FOR SELECT USING (true); \
        CREATE POLICY u ON users FOR UPDATE USING (id <> 'r003') WITH CHECK (id <> 'r007')"
    ))
    .await;
    let report = carry_out(&open().await, &options).await;
    let mut named: Vec<&str> = report.failures.iter().map(|failure| failure.row.as_str()).collect();
    named.sort_unstable();
    assert_eq!(named, ["id=r003", "id=r007"], "{:?}", report.failures);
    assert_eq!((report.migrated, report.conflicts, report.left.unwrap()), (10, 0, 2));
    let store = open().await;
    for (row, token) in [("r003", "TOP-SECRET-3"), ("r007", "TOP-SECRET-7"), ("r001", "TOP-SECRET-1")] {
        assert_eq!(
            shown(store.get(&TokenKey::from_values([row])).await.unwrap().column("token")),
            Some(token)
        );
    }
    let put = store
        .put(&TokenKey::from_values(["r003"]), NewToken::new().column("token", Some("new".into())))
        .await;
    assert!(matches!(put, Err(StoreError::Altered { .. })), "{put:?}");
    drop(store);
    db.execute(&format!("DROP OWNED BY \"{role}\"")).await;
    db.execute(&format!("DROP ROLE \"{role}\"")).await;
}

on_postgresql_and_sqlite! {
    async fn a_run_whose_first_hundred_rows_all_fail_alike_ends(db) {
        let keys = table(&db, 150).await;
        if db.is_postgres() {
            db.execute("ALTER TABLE users ADD CHECK (length(token) < 30)").await;
        } else {
            db.execute("CREATE TRIGGER t BEFORE UPDATE ON users BEGIN SELECT RAISE(ABORT, 'TOP-SECRET'); END").await;
        }
        let store = keys.store(&db).await;
        let outcome = migration::run(&store, &to(WriteFormat::KmsEnvelope, 60), &StopFlag::default(), |_| {}).await;
        let ended = outcome.ended_by.expect("the run ends");
        assert!(matches!(ended, migration::Ended::Store(StoreError::Unsuitable { .. })), "{ended:?}");
        assert!(!told(&ended).contains("SECRET"), "{}", told(&ended));
        assert_eq!((outcome.report.failed, outcome.report.migrated, outcome.report.left.unwrap()), (120, 0, 150));
    }

    async fn rows_after_the_first_hundred_are_sealed_although_those_are_refused(db) {
        let keys = table(&db, 300).await;
        if db.is_postgres() {
            db.execute("ALTER TABLE users ADD CHECK (id > 'r199' OR length(token) < 30)").await;
        } else {
            db.execute("CREATE TRIGGER t BEFORE UPDATE ON users WHEN OLD.id < 'r200' BEGIN SELECT RAISE(ABORT, 'x'); END").await;
        }
        let store = keys.store(&db).await;
        let report = carry_out(&store, &to(WriteFormat::KmsEnvelope, 60)).await;
        assert_eq!(crate::support::counts(&report), [300, 100, 0, 0, 200, 100]);
        assert_eq!((report.left.unwrap(), report.failures.len()), (200, 200));
    }

    async fn a_run_over_refused_rows_goes_on_where_all_others_are_sealed_already(db) {
        let keys = table(&db, 300).await;
        if db.is_postgres() {
            db.execute("ALTER TABLE users ADD CHECK (id > 'r109' OR length(token) < 30)").await;
        } else {
            db.execute("CREATE TRIGGER t BEFORE UPDATE ON users WHEN OLD.id < 'r110' BEGIN SELECT RAISE(ABORT, 'x'); END").await;
        }
        let store = keys.store(&db).await;
        for already in [0, 190] {
            let report = carry_out(&store, &to(WriteFormat::KmsEnvelope, 60)).await;
            assert_eq!((report.scanned, report.already, report.failed, report.left.unwrap()), (300, already, 110, 110));
        }
    }

    async fn a_row_that_was_written_ahead_hides_no_row_of_the_same_key_in_another_table(db) {
        let mut keys = table(&db, 130).await;
        db.execute("CREATE TABLE accounts (id text PRIMARY KEY, token text)").await;
        db.execute("INSERT INTO accounts SELECT id, token FROM users").await;
        if db.is_postgres() {
            db.execute("ALTER TABLE users ADD CHECK (id > 'r104' OR length(token) < 30)").await;
        } else {
            db.execute("CREATE TRIGGER t BEFORE UPDATE ON users WHEN OLD.id < 'r105' BEGIN SELECT RAISE(ABORT, 'x'); END").await;
        }
        let accounts = "[[tables]]\nname = \"accounts\"\nkey = [\"id\"]\ntokens = [\"token\"]\n";
        keys.profile = Keys::toml(&profile_of("users", &["id"], &["token"], accounts)).profile;
        let store = keys.store(&db).await;
        let report = carry_out(&store, &to(WriteFormat::KmsEnvelope, 50)).await;
        assert_eq!((report.scanned, report.migrated, report.failed, report.left.unwrap()), (260, 155, 105, 105), "{report:?}");
    }
}

on_each_database! {
    async fn a_table_that_is_gone_ends_the_run(db) {
        let keys = table(&db, 5).await;
        let store = keys.store(&db).await;
        keys.faults().next_for("generate", 5, test_support::faults::Fault::Hold);
        let run = tokio::spawn({
            let store = store.clone();
            async move { migration::run(&store, &to(WriteFormat::KmsEnvelope, 500), &StopFlag::default(), |_| {}).await }
        });
        keys.faults().wait_for_calls("generate", 5).await;
        db.execute("DROP TABLE users").await;
        keys.faults().heal();
        let outcome = run.await.unwrap();
        assert!(matches!(outcome.ended_by, Some(migration::Ended::Store(StoreError::Database(_)))), "{outcome:?}");
        assert_eq!(outcome.report.left, None, "what was not counted is not 0");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_of_sqlite_that_is_no_text_is_named() {
    let db = Sql::sqlite().await;
    let keys = table(&db, 6).await;
    db.execute("UPDATE users SET token = x'616263' WHERE id = 'r002'").await;
    db.execute("UPDATE users SET token = CAST(x'ff' AS TEXT) WHERE id = 'r004'").await;
    let store = keys.store(&db).await;
    let report = carry_out(&store, &to(WriteFormat::KmsEnvelope, 500)).await;
    assert_names(&report, &["id=r002", "id=r004"]);
    assert_eq!((report.migrated, report.conflicts, report.left.unwrap()), (4, 0, 2));
    assert_eq!(verified(&store).await.failed, 2);
    let error = store.get(&TokenKey::from_values(["r002"])).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreadable { .. }), "{error:?}");
}

/// A database that accepts any bytes as text holds an invalid text.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_of_postgresql_that_is_no_text_is_named() {
    let admin = Sql::postgres(test_support::part!(postgres)).await;
    let name = admin.rows("SELECT current_database()::text").await.remove(0).remove(0).unwrap();
    let bytes = format!("{name}_ascii");
    admin
        .execute(&format!(
            "CREATE DATABASE \"{bytes}\" TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'"
        ))
        .await;
    let url = admin.url().replacen(&name, &bytes, 1);
    let pool = sqlx::PgPool::connect(&url).await.unwrap();
    let say = async |sql: String| {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&pool).await.unwrap();
    };
    say("CREATE TABLE users (id text PRIMARY KEY, token text)".into()).await;
    say("INSERT INTO users SELECT 'r' || n, 'token ' || n FROM generate_series(10, 39) n".into()).await;
    say("UPDATE users SET token = E'caf\\xe9' WHERE id = 'r11'".into()).await;
    let keys = Keys::toml(&profile_of("users", &["id"], &["token"], ""));
    let database = Database::connect(&url).await.unwrap();
    let store = TokenStore::open(database, keys.profile.clone(), keys.cipher()).await.unwrap();
    let report = carry_out(&store, &to(WriteFormat::KmsEnvelope, 500)).await;
    assert_names(&report, &["id=r11"]);
    assert_eq!((report.migrated, report.left.unwrap()), (29, 1));
    assert_eq!(token_store::status::status(&store).await.unwrap().total, 30);
    store.database().close().await;
    pool.close().await;
    admin.execute(&format!("DROP DATABASE \"{bytes}\" WITH (FORCE)")).await;
}

/// Some characters of this character set have no counterpart in Unicode, and would be read as question marks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_of_mariadb_that_unicode_does_not_give_back_is_named() {
    let db = Sql::mariadb(test_support::part!(mariadb)).await;
    db.execute("CREATE TABLE users (id int PRIMARY KEY, token varchar(2000) CHARACTER SET tis620)").await;
    db.execute("INSERT INTO users VALUES (1, CONVERT(_utf8mb4'ก ok' USING tis620)), (2, X'41DB42')").await;
    let store = Keys::toml(&profile_of("users", &["id"], &["token"], "")).store(&db).await;
    let report = carry_out(&store, &to(WriteFormat::KmsEnvelope, 500)).await;
    assert_names(&report, &["id=2"]);
    assert_eq!((report.migrated, report.left.unwrap()), (1, 1));
    assert_eq!(shown(store.get(&TokenKey::from_values(["1"])).await.unwrap().column("token")), Some("ก ok"));
    assert_eq!(db.rows("SELECT HEX(token) FROM users WHERE id = 2").await, [[Some("41DB42".to_owned())]]);
}
