//! A row whose trigger meets a lock, a deadlock or a serialization failure is left as it was and named with that reason, and
//! all others are written. SQLite locks no rows.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use token_store::migration::MigrationReport;
use token_store::{Database, OpenOptions, Timeouts, TokenStore, WriteFormat};

use crate::support::{Keys, Sql, carry_out, counts, profile_of, to};

const ROWS: u64 = 60;
const RUN: &str = "UPDATE counters SET n = n + 1 WHERE id = NEW.id";

/// Sixty rows, each with a counter of its own that a trigger of these statements may change.
async fn table(db: &Sql, body: &str) -> TokenStore {
    db.execute("CREATE TABLE users (id integer PRIMARY KEY, token text)").await;
    db.execute("CREATE TABLE counters (id integer PRIMARY KEY, n integer NOT NULL)").await;
    for n in 1..=ROWS {
        db.execute(&format!("INSERT INTO users (id, token) VALUES ({n}, 'TOP-SECRET-{n}')")).await;
        db.execute(&format!("INSERT INTO counters (id, n) VALUES ({n}, 0)")).await;
    }
    if db.is_postgres() {
        let function = format!(
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NEW; END $$"
        );
        db.execute(&function).await;
        db.execute("CREATE TRIGGER t AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION f()").await;
    } else {
        mariadb_trigger(db, body).await;
    }
    let timeouts = Timeouts::new(Duration::from_millis(500), Duration::from_secs(30));
    let database = Database::open(db.url(), OpenOptions::default().timeouts(timeouts)).await.unwrap();
    let keys = Keys::toml(&profile_of("users", &["id"], &["token"], ""));
    TokenStore::open(database, keys.profile.clone(), keys.cipher()).await.unwrap()
}

async fn mariadb_trigger(db: &Sql, body: &str) {
    let mut connection =
        sqlx::MySqlConnection::connect(&db.url().replacen("mariadb:", "mysql:", 1)).await.unwrap();
    let trigger = format!("CREATE TRIGGER t AFTER UPDATE ON users FOR EACH ROW BEGIN {body}; END");
    connection.execute(AssertSqlSafe(trigger)).await.unwrap();
    connection.close().await.unwrap();
}

/// The application, in the middle of a transaction that has changed the counters of these rows.
enum Application {
    Postgres(sqlx::PgConnection),
    MariaDb(sqlx::MySqlConnection),
}

impl Application {
    async fn holding(db: &Sql, rows: &[u64]) -> Self {
        // One by one: MariaDB locks every row that a statement looks at.
        let update = |row: &u64| format!("UPDATE counters SET n = n + 1 WHERE id = {row}");
        let updates = rows.iter().map(update).collect::<Vec<_>>().join("; ");
        if db.is_postgres() {
            let mut connection = sqlx::PgConnection::connect(db.url()).await.unwrap();
            connection.execute("BEGIN").await.unwrap();
            sqlx::raw_sql(AssertSqlSafe(updates)).execute(&mut connection).await.unwrap();
            return Self::Postgres(connection);
        }
        let url = db.url().replacen("mariadb:", "mysql:", 1);
        let mut connection = sqlx::MySqlConnection::connect(&url).await.unwrap();
        connection.execute("START TRANSACTION").await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(updates)).execute(&mut connection).await.unwrap();
        Self::MariaDb(connection)
    }

    async fn commit(self) {
        match self {
            Self::Postgres(mut connection) => connection.execute("COMMIT").await.map(drop).unwrap(),
            Self::MariaDb(mut connection) => connection.execute("COMMIT").await.map(drop).unwrap(),
        }
    }
}

/// Demands that these rows alone are left, in conflict and named as such.
fn assert_contended(report: &MigrationReport, rows: &[u64], case: &str) {
    let blocked = rows.len() as u64;
    assert_eq!(counts(report), [ROWS, ROWS - blocked, 0, blocked, 0, ROWS - blocked], "{case}: {report:?}");
    assert_eq!(report.left, Some(blocked), "{case}");
    let mut named: Vec<&str> = report.failures.iter().map(|failure| failure.row.as_str()).collect();
    named.sort_unstable();
    let mut expected: Vec<String> = rows.iter().map(|row| format!("id={row}")).collect();
    expected.sort_unstable();
    assert_eq!(named, expected, "{case}");
    for failure in &report.failures {
        assert_eq!(failure.class, "conflict", "{case}: {failure:?}");
        assert!(
            failure.error.contains("met a lock") && !failure.error.contains("SECRET"),
            "{case}: {failure:?}"
        );
    }
}

async fn only_the_rows_that_meet_a_lock_are_left(db: Sql) {
    let store = table(&db, RUN).await;
    for rows in [vec![30], (1..=20).map(|n| n * 3).collect()] {
        let application = Application::holding(&db, &rows).await;
        db.execute("DELETE FROM users").await;
        for n in 1..=ROWS {
            db.execute(&format!("INSERT INTO users (id, token) VALUES ({n}, 'TOP-SECRET-{n}')")).await;
        }
        let report = carry_out(&store, &to(WriteFormat::KmsEnvelope, 500)).await;
        assert_contended(&report, &rows, "locked counters");
        application.commit().await;
        let report = carry_out(&store, &to(WriteFormat::KmsEnvelope, 10)).await;
        let blocked = rows.len() as u64;
        assert_eq!(counts(&report), [ROWS, blocked, ROWS - blocked, 0, 0, blocked], "{report:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_rows_of_postgresql_that_meet_a_lock_are_left() {
    only_the_rows_that_meet_a_lock_are_left(Sql::postgres(test_support::part!(postgres)).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_rows_of_mariadb_that_meet_a_lock_are_left() {
    only_the_rows_that_meet_a_lock_are_left(Sql::mariadb(test_support::part!(mariadb)).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_row_of_postgresql_whose_trigger_raises_a_passing_error_is_left() {
    for code in ["55P03", "40001", "40P01"] {
        let db = Sql::postgres(test_support::part!(postgres)).await;
        let body =
            format!("IF NEW.id = 30 THEN RAISE EXCEPTION 'no %', OLD.token USING ERRCODE = '{code}'; END IF");
        let store = table(&db, &body).await;
        let report = carry_out(&store, &to(WriteFormat::KmsEnvelope, 500)).await;
        assert_contended(&report, &[30], code);
        assert!(report.failures[0].error.contains(code), "{:?}", report.failures);
    }
}

/// An error of a deferred constraint comes with the commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_row_of_postgresql_whose_deferred_trigger_raises_a_passing_error_is_left() {
    let db = Sql::postgres(test_support::part!(postgres)).await;
    let body = "IF NEW.id = 30 THEN RAISE EXCEPTION 'no' USING ERRCODE = '40001'; END IF";
    let store = table(&db, body).await;
    db.execute("DROP TRIGGER t ON users").await;
    db.execute(
        "CREATE CONSTRAINT TRIGGER t AFTER UPDATE ON users DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION f()",
    )
    .await;
    assert_contended(&carry_out(&store, &to(WriteFormat::KmsEnvelope, 500)).await, &[30], "deferred");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_row_of_mariadb_whose_trigger_raises_a_passing_error_is_left() {
    for number in [1205, 1213] {
        let db = Sql::mariadb(test_support::part!(mariadb)).await;
        let body = format!(
            "IF NEW.id = 30 THEN SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = OLD.token; END IF"
        );
        let store = table(&db, &body).await;
        let report = carry_out(&store, &to(WriteFormat::KmsEnvelope, 500)).await;
        assert_contended(&report, &[30], &number.to_string());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_that_a_trigger_of_mariadb_raises_is_about_its_row_whatever_its_number() {
    for (number, state) in
        [(1053, "45000"), (1040, "45000"), (1114, "45000"), (1290, "77777"), (4025, "45000")]
    {
        let db = Sql::mariadb(test_support::part!(mariadb)).await;
        let body = format!(
            "IF NEW.id = 30 THEN SIGNAL SQLSTATE '{state}' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = OLD.token; END IF"
        );
        let store = table(&db, &body).await;
        let report = carry_out(&store, &to(WriteFormat::KmsEnvelope, 500)).await;
        assert_eq!(counts(&report), [ROWS, ROWS - 1, 0, 0, 1, ROWS - 1], "{number}: {report:?}");
        let failure = &report.failures[0];
        assert_eq!((failure.row.as_str(), failure.class.as_str()), ("id=30", "database"), "{number}");
        let is_told =
            failure.error.contains("raised in a function") && failure.error.contains(&number.to_string());
        assert!(is_told && !failure.error.contains("SECRET"), "{failure:?}");
    }
}
