//! A value that other rows, keys or constraints depend on is sealed without a loss: changes that the database
//! would make with it are found before a row is changed, and a row that would become wrong stays as it was
//! and is named.

use token_store::findings::{Finding, Kind, Severity, findings};
use token_store::migration::MigrationReport;
use token_store::{Database, NewToken, StoreError, TokenKey, TokenStore, WriteFormat, schema};

use crate::support::{Keys, Sql, carry_out, profile_of, shown, to, verified};

const ACCEPT: &str = "lost_indexes = \"accept\"";
const INDEX: &str =
    "[[tables.index]]\ncolumn = \"email\"\ninto = \"email_index\"\nnormalize = \"email\"\nunique = true";

/// A store of the table after these statements, and after the schema migration.
async fn store(db: &Sql, statements: &[&str], key: &str, more: &str) -> TokenStore {
    for table in ["o", "log", "users", "tokenseal_index_keys"] {
        db.execute(&format!("DROP TABLE IF EXISTS {table}")).await;
    }
    for statement in statements {
        db.execute(statement).await;
    }
    let keys = Keys::toml(&profile_of("users", &[key], &["email"], more));
    let database = Database::connect(db.url()).await.unwrap();
    schema::migrate(&database, &keys.profile).await.unwrap();
    TokenStore::open(database, keys.profile.clone(), keys.cipher()).await.unwrap()
}

async fn found(store: &TokenStore) -> Vec<Finding> {
    findings(store, WriteFormat::KmsEnvelope).await.unwrap()
}

fn severities(found: &[Finding], kind: Kind) -> Vec<Severity> {
    found.iter().filter(|finding| finding.kind == kind).map(|finding| finding.severity).collect()
}

async fn run(store: &TokenStore) -> MigrationReport {
    carry_out(store, &to(WriteFormat::KmsEnvelope, 500)).await
}

async fn texts(db: &Sql, sql: &str) -> Vec<String> {
    db.rows(sql).await.into_iter().map(|mut row| row.remove(0).unwrap_or_default()).collect()
}

fn named(report: &MigrationReport) -> Vec<&str> {
    report.failures.iter().map(|failure| failure.row.as_str()).collect()
}

/// A type of text with an index, long enough for an envelope.
fn text(db: &Sql) -> &'static str {
    if db.is_mariadb() { "varchar(900) CHARACTER SET ascii" } else { "varchar(900)" }
}

const ROWS: &str = "INSERT INTO users (id, email) VALUES (1, 'a@x.org'), (2, 'b@x.org'), (3, 'c@x.org')";
use Severity::{Refuse, Warn};

on_each_database! {
    async fn a_foreign_key_that_would_carry_an_envelope_into_other_rows_is_refused(db) {
        let text = text(&db);
        let users = format!("CREATE TABLE users (id int PRIMARY KEY, email {text} UNIQUE)");
        let actions = ["CASCADE", "SET NULL", "SET DEFAULT"];
        for action in actions.iter().take(if db.is_mariadb() { 2 } else { 3 }) {
            let others = format!(
                "CREATE TABLE o (id int PRIMARY KEY, mail {text}, FOREIGN KEY (mail) REFERENCES users (email) ON UPDATE {action})"
            );
            for more in [ACCEPT, INDEX] {
                let row = "INSERT INTO o VALUES (1, 'a@x.org')";
                let store = store(&db, &[&users, &others, ROWS, row], "id", more).await;
                let found = found(&store).await;
                assert_eq!(severities(&found, Kind::Referenced), [Refuse], "{action} {more}: {found:?}");
                assert_eq!(texts(&db, "SELECT mail FROM o").await, ["a@x.org"]);
            }
        }
    }

    async fn a_foreign_key_that_refuses_a_change_keeps_its_row_alone_from_being_sealed(db) {
        let text = text(&db);
        let users = format!("CREATE TABLE users (id int PRIMARY KEY, email {text} UNIQUE)");
        let others = format!("CREATE TABLE o (id int PRIMARY KEY, mail {text}, FOREIGN KEY (mail) REFERENCES users (email))");
        let row = "INSERT INTO o VALUES (1, 'b@x.org')";
        let store = store(&db, &[&users, &others, ROWS, row], "id", ACCEPT).await;
        let found = found(&store).await;
        assert_eq!(severities(&found, Kind::Referenced), [Warn], "{found:?}");
        let report = run(&store).await;
        assert_eq!((named(&report), report.migrated, report.left.unwrap()), (vec!["id=2"], 2, 1));
        assert_eq!(texts(&db, "SELECT mail FROM o").await, ["b@x.org"]);
        assert_eq!(texts(&db, "SELECT email FROM users WHERE id = 2").await, ["b@x.org"]);
    }

    async fn a_foreign_key_that_refers_to_a_key_or_within_the_table_is_judged_by_the_column(db) {
        let text = text(&db);
        let users = format!("CREATE TABLE users (id int PRIMARY KEY, email {text})");
        let others = "CREATE TABLE o (id int PRIMARY KEY, u int, FOREIGN KEY (u) REFERENCES users (id) ON UPDATE CASCADE)";
        let store_of_key = store(&db, &[&users, others, ROWS], "id", "").await;
        assert_eq!(found(&store_of_key).await, []);
        assert_eq!(run(&store_of_key).await.migrated, 3);
        let users = format!(
            "CREATE TABLE users (id int PRIMARY KEY, email {text} UNIQUE, boss {text}, \
             FOREIGN KEY (boss) REFERENCES users (email) ON UPDATE CASCADE)"
        );
        let store = store(&db, &[&users, ROWS], "id", &format!("owner = [\"boss\"]\n{ACCEPT}")).await;
        let found = found(&store).await;
        assert_eq!(severities(&found, Kind::Referenced), [Refuse], "{found:?}");
    }

    async fn a_key_or_an_owner_that_is_computed_from_a_token_is_refused_and_its_rows_stay(db) {
        let text = text(&db);
        let (hash, part) = match () {
            () if db.is_postgres() => ("md5(email)", "split_part(email, '@', 2)"),
            () if db.is_mariadb() => ("sha2(email, 256)", "substr(email, 3)"),
            () => ("hex(email)", "substr(email, 3)"),
        };
        let key = format!("CREATE TABLE users (n int, email {text}, id {text} GENERATED ALWAYS AS ({hash}) STORED UNIQUE)");
        let owner = format!(
            "CREATE TABLE users (n int, email {text}, id int PRIMARY KEY, dom {text} GENERATED ALWAYS AS ({part}) STORED)"
        );
        for (definition, row, more) in [
            (&key, "INSERT INTO users (n, email) VALUES (1, 'a@x.org'), (2, 'b@y.org')", ""),
            (&owner, "INSERT INTO users (id, email) VALUES (1, 'a@x.org'), (2, 'b@y.org')", "owner = [\"dom\"]"),
        ] {
            let store = store(&db, &[definition, row], "id", more).await;
            let found = found(&store).await;
            assert_eq!(severities(&found, Kind::DependentColumn), [Refuse], "{found:?}");
            // A service asks for no findings.
            let report = run(&store).await;
            assert_eq!((report.migrated, report.failed, report.left.unwrap()), (0, 2, 2), "{definition}: {report:?}");
            assert_eq!(texts(&db, "SELECT email FROM users ORDER BY email").await, ["a@x.org", "b@y.org"]);
        }
    }

    async fn a_key_that_is_computed_from_another_column_is_a_key(db) {
        let text = text(&db);
        let number = if db.is_mariadb() { "concat('k', n)" } else { "'k' || n" };
        let number = if db.is_postgres() { "'k' || n::text" } else { number };
        let table = format!("CREATE TABLE users (n int, email {text}, id {text} GENERATED ALWAYS AS ({number}) STORED UNIQUE)");
        let rows = "INSERT INTO users (n, email) VALUES (1, 'a@x.org'), (2, 'b@y.org')";
        let store = store(&db, &[&table, rows], "id", "").await;
        assert_eq!(found(&store).await, []);
        let report = run(&store).await;
        assert_eq!((report.migrated, report.left.unwrap()), (2, 0), "{report:?}");
        let token = store.get(&TokenKey::from_values(["k2"])).await.unwrap();
        assert_eq!(shown(token.column("email")), Some("b@y.org"));
    }

    async fn an_index_over_what_is_computed_from_a_token_is_an_index_over_it(db) {
        let text = text(&db);
        let table = format!(
            "CREATE TABLE users (id int PRIMARY KEY, email {text}, lc {text} GENERATED ALWAYS AS (lower(email)) STORED UNIQUE)"
        );
        let store_of_it = store(&db, &[&table, ROWS], "id", "").await;
        let found_of_it = found(&store_of_it).await;
        assert_eq!(severities(&found_of_it, Kind::UniqueIndex), [Refuse], "{found_of_it:?}");
        assert_eq!(severities(&found_of_it, Kind::DependentColumn), [Warn], "{found_of_it:?}");
        let accepted = store(&db, &[&table, ROWS], "id", ACCEPT).await;
        assert_eq!(severities(&found(&accepted).await, Kind::UniqueIndex), []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_keys_and_constraints_of_partitions_and_other_schemas_are_found() {
    let db = Sql::postgres(test_support::part!(postgres)).await;
    let table = "CREATE TABLE users (id int PRIMARY KEY, email text) PARTITION BY RANGE (id)";
    let part = "CREATE TABLE part PARTITION OF users FOR VALUES FROM (0) TO (100)";
    let unique = "CREATE UNIQUE INDEX part_email ON part (email)";
    let check = "ALTER TABLE part ADD CONSTRAINT of_part CHECK (email <> '')";
    let schema = "CREATE SCHEMA other";
    let others = "CREATE TABLE other.o (mail text REFERENCES part (email) ON UPDATE CASCADE)";
    let of_parts = store(&db, &[table, part, unique, check, schema, others, ROWS], "id", "").await;
    let found_there = found(&of_parts).await;
    for (kind, severity) in [(Kind::Referenced, Refuse), (Kind::UniqueIndex, Refuse), (Kind::Check, Warn)] {
        assert_eq!(severities(&found_there, kind), [severity], "{found_there:?}");
    }
    db.execute("DROP SCHEMA other CASCADE").await;
    // An expression over the whole row names no column.
    let table = "CREATE TABLE users (id int PRIMARY KEY, email text)";
    let function =
        "CREATE FUNCTION f(users) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT lower($1.email) $$";
    let index = "CREATE UNIQUE INDEX of_row ON users (f(users.*))";
    let check = "ALTER TABLE users ADD CONSTRAINT of_row CHECK (f(users.*) <> '')";
    let of_row = store(&db, &[table, function, index, check, ROWS], "id", "").await;
    let found_there = found(&of_row).await;
    for (kind, severity) in [(Kind::UniqueIndex, Refuse), (Kind::Check, Warn)] {
        assert_eq!(severities(&found_there, kind), [severity], "{found_there:?}");
    }
}

/// Without columns, a foreign key of SQLite refers to the primary key, not to the key of the profile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_key_of_sqlite_that_names_no_column_is_found() {
    let db = Sql::sqlite().await;
    let users = "CREATE TABLE Users (id INTEGER UNIQUE NOT NULL, Email TEXT PRIMARY KEY)";
    let others = "CREATE TABLE o (id INTEGER PRIMARY KEY, mail TEXT REFERENCES users ON UPDATE CASCADE)";
    for statement in [users, others, ROWS] {
        db.execute(statement).await;
    }
    let keys = Keys::toml(&profile_of("Users", &["id"], &["Email"], ACCEPT));
    let found = found(&keys.store(&db).await).await;
    assert_eq!(severities(&found, Kind::Referenced), [Refuse], "{found:?}");
}

fn email(value: &str) -> NewToken {
    NewToken::new().column("email", Some(value.to_owned().into()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_constraint_of_sqlite_that_replaces_rows_deletes_none() {
    let db = Sql::sqlite().await;
    let key = "CREATE TABLE users (id TEXT COLLATE NOCASE PRIMARY KEY ON CONFLICT REPLACE, email TEXT)";
    let other = "CREATE TABLE users (id TEXT PRIMARY KEY, handle TEXT NOT NULL DEFAULT '' UNIQUE ON CONFLICT REPLACE, email TEXT)";
    for (definition, second) in [(key, "ABC"), (other, "def")] {
        let store = store(&db, &[definition], "id", "").await;
        store.put(&TokenKey::from_values(["abc"]), email("victim")).await.unwrap();
        let put = store.put(&TokenKey::from_values([second]), email("other")).await;
        assert!(put.is_err(), "{definition}: {put:?}");
        let token = store.get(&TokenKey::from_values(["abc"])).await.unwrap();
        assert_eq!(shown(token.column("email")), Some("victim"), "{definition}");
    }
    for clause in ["REPLACE", "IGNORE", "FAIL", "ROLLBACK"] {
        let users = format!(
            "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, email_index TEXT UNIQUE ON CONFLICT {clause})"
        );
        let rows = "INSERT INTO users (id, email) VALUES (1, 'a@x.org'), (2, 'A@x.org'), (3, 'b@x.org')";
        let store = store(&db, &[&users, rows], "id", INDEX).await;
        let report = run(&store).await;
        assert_eq!((report.migrated, report.failed, report.left.unwrap()), (2, 1, 1), "{clause}: {report:?}");
        assert_eq!(texts(&db, "SELECT CAST(count(*) AS text) FROM users").await, ["3"], "{clause}");
        let put = store.put(&TokenKey::from_values(["3"]), email("A@X.org")).await;
        assert!(matches!(put, Err(StoreError::NotUnique { .. })), "{clause}: {put:?}");
        assert_eq!(verified(&store).await.failed, 0, "{clause}");
    }
}

/// The conflict clause of a statement would apply to the statements of its triggers too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_of_sqlite_goes_on_deciding_about_its_own_conflicts() {
    let db = Sql::sqlite().await;
    let users = "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT)";
    let log = "CREATE TABLE log (what TEXT PRIMARY KEY)";
    let update =
        "CREATE TRIGGER u AFTER UPDATE ON users BEGIN INSERT OR IGNORE INTO log VALUES ('changed'); END";
    let insert =
        "CREATE TRIGGER i AFTER INSERT ON users BEGIN INSERT OR REPLACE INTO log VALUES ('made'); END";
    let store = store(&db, &[users, log, update, insert, ROWS], "id", "").await;
    let report = run(&store).await;
    assert_eq!((report.migrated, report.left.unwrap()), (3, 0), "{report:?}");
    store.put(&TokenKey::from_values(["4"]), email("d@x.org")).await.unwrap();
    store.put(&TokenKey::from_values(["4"]), email("e@x.org")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_of_sqlite_that_ends_its_transaction_keeps_no_other_from_being_sealed() {
    let db = Sql::sqlite().await;
    let users = "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT UNIQUE)";
    let deferred = "CREATE TABLE o (mail TEXT REFERENCES users (email) DEFERRABLE INITIALLY DEFERRED)";
    let referring = "INSERT INTO o VALUES ('b@x.org')";
    let ends =
        "CREATE TRIGGER t BEFORE UPDATE ON users WHEN OLD.id = 2 BEGIN SELECT RAISE(ROLLBACK, 'no'); END";
    for statements in [&[users, deferred, ROWS, referring][..], &[users, ROWS, ends]] {
        let store = store(&db, statements, "id", ACCEPT).await;
        let report = run(&store).await;
        assert_eq!(
            (named(&report), report.migrated, report.left.unwrap()),
            (vec!["id=2"], 2, 1),
            "{report:?}"
        );
        let put = store.put(&TokenKey::from_values(["2"]), email("z@x.org")).await;
        assert!(put.is_err(), "{put:?}");
        // Every connection of the pool still begins transactions.
        for n in 0..8 {
            store.put(&TokenKey::from_values(["3"]), email(&format!("{n}@x.org"))).await.unwrap();
        }
        assert_eq!(texts(&db, "SELECT email FROM users WHERE id = 2").await, ["b@x.org"]);
        store.database().close().await;
    }
}
