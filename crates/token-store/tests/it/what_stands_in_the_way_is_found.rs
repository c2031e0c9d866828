//! Obstacles to sealing a column are found before a row is changed, and refused or reported as warnings.

use token_store::WriteFormat;
use token_store::findings::{Finding, Kind, Severity, findings};

use crate::support::{Keys, Sql, migrate, profile_of};

async fn found(db: &Sql, key: &[&str], more: &str) -> Vec<Finding> {
    let store = Keys::toml(&profile_of("users", key, &["email"], more)).store(db).await;
    findings(&store, WriteFormat::KmsEnvelope).await.unwrap()
}

/// Creates the table with these statements, and compares the findings.
async fn assert_found(
    db: &Sql,
    statements: &[&str],
    key: &[&str],
    more: &str,
    expected: &[(Kind, Severity)],
) {
    db.execute("DROP TABLE IF EXISTS users").await;
    for statement in statements {
        db.execute(statement).await;
    }
    let found = found(db, key, more).await;
    let kinds: Vec<(Kind, Severity)> = found.iter().map(|finding| (finding.kind, finding.severity)).collect();
    assert_eq!(kinds, expected, "{statements:?}: {found:?}");
}

const TABLE: &str =
    "CREATE TABLE users (id integer PRIMARY KEY, tenant integer NOT NULL DEFAULT 1, email text)";
const ROW: &str = "INSERT INTO users (id, email) VALUES (1, 'a@x.org')";
use Severity::{Refuse, Warn};

on_each_database! {
    async fn a_plain_table_is_in_no_ones_way(db) {
        assert_found(&db, &[TABLE, ROW], &["id"], "", &[]).await;
    }
}

on_postgresql_and_sqlite! {
    async fn an_index_over_a_token_column_is_refused_until_it_is_accepted(db) {
        for (index, kind) in [
            ("CREATE INDEX i ON users (email)", Kind::Index),
            ("CREATE UNIQUE INDEX i ON users (email)", Kind::UniqueIndex),
            ("CREATE INDEX i ON users (lower(email))", Kind::Index),
            ("CREATE UNIQUE INDEX i ON users (tenant, email)", Kind::UniqueIndex),
            ("CREATE INDEX i ON users (tenant) WHERE email IS NOT NULL", Kind::Index),
        ] {
            assert_found(&db, &[TABLE, index, ROW], &["id"], "", &[(kind, Refuse)]).await;
            assert_found(&db, &[TABLE, index, ROW], &["id"], "lost_indexes = \"accept\"", &[]).await;
            // Values that are already sealed still open.
            assert_found(&db, &[TABLE, index], &["id"], "", &[(kind, Warn)]).await;
        }
        let constraint = "CREATE TABLE users (id integer PRIMARY KEY, email text UNIQUE)";
        assert_found(&db, &[constraint, ROW], &["id"], "", &[(Kind::UniqueIndex, Refuse)]).await;
    }
}

on_postgresql_and_sqlite! {
    async fn a_key_that_is_not_guaranteed_is_refused(db) {
        let table = "CREATE TABLE users (id integer NOT NULL, tenant integer NOT NULL DEFAULT 1, name text NOT NULL DEFAULT 'x', email text)";
        for index in [
            "CREATE INDEX i ON users (id)",
            "CREATE UNIQUE INDEX i ON users (id) WHERE tenant = 1",
            "CREATE UNIQUE INDEX i ON users (id, lower(name))",
            "CREATE UNIQUE INDEX i ON users (id, tenant)",
        ] {
            assert_found(&db, &[table, index, ROW], &["id"], "", &[(Kind::KeyNotUnique, Refuse)]).await;
        }
        for index in ["CREATE UNIQUE INDEX i ON users (id)", "CREATE UNIQUE INDEX i ON users (tenant, id)"] {
            assert_found(&db, &[table, index, ROW], &["id", "tenant"], "", &[]).await;
        }
    }
}

on_each_database! {
    async fn a_column_of_updated_that_does_not_exist_is_named(db) {
        assert_found(&db, &[TABLE, ROW], &["id"], "updated = \"updated_att\"", &[(Kind::MissingColumn, Refuse)]).await;
    }

    async fn the_findings_are_downgraded_once_every_row_is_sealed(db) {
        assert_found(&db, &[TABLE, "CREATE INDEX i ON users (email)", ROW], &["id"], "", &[(Kind::Index, Refuse)]).await;
        let store = Keys::toml(&profile_of("users", &["id"], &["email"], "lost_indexes = \"accept\"")).store(&db).await;
        assert_eq!(migrate(&store, WriteFormat::KmsEnvelope).await.left.unwrap(), 0);
        assert_eq!(found(&db, &["id"], "").await.first().map(|finding| finding.severity), Some(Warn));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_postgresql_has_is_found() {
    let db = Sql::postgres(test_support::part!(postgres)).await;
    let check = async |statements: &[&str], expected: &[(Kind, Severity)]| {
        let all: Vec<&str> = [TABLE, ROW].into_iter().chain(statements.iter().copied()).collect();
        assert_found(&db, &all, &["id"], "", expected).await;
    };
    db.execute("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$").await;
    check(
        &["CREATE TRIGGER t BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION f()"],
        &[(Kind::Trigger, Warn)],
    )
    .await;
    check(&["CREATE TRIGGER t BEFORE DELETE ON users FOR EACH ROW EXECUTE FUNCTION f()"], &[]).await;
    check(
        &["CREATE CONSTRAINT TRIGGER t AFTER UPDATE ON users DEFERRABLE FOR EACH ROW EXECUTE FUNCTION f()"],
        &[(Kind::Trigger, Warn)],
    )
    .await;
    check(&["CREATE RULE r AS ON UPDATE TO users DO ALSO NOTHING"], &[(Kind::Rule, Warn)]).await;
    check(&["ALTER TABLE users ADD CHECK (email LIKE '%@%')"], &[(Kind::Check, Warn)]).await;
    check(
        &["ALTER TABLE users ADD low text GENERATED ALWAYS AS (lower(email)) STORED"],
        &[(Kind::DependentColumn, Warn)],
    )
    .await;
    check(&["ALTER TABLE users ALTER email TYPE varchar(200)"], &[(Kind::ColumnLength, Refuse)]).await;
    check(&["ALTER TABLE users ALTER email TYPE varchar(2000)"], &[]).await;
    check(&["ALTER TABLE users ALTER email TYPE bytea USING email::bytea"], &[(Kind::ColumnType, Refuse)])
        .await;
    check(
        &[
            "ALTER TABLE users DROP email",
            "ALTER TABLE users ADD email text GENERATED ALWAYS AS ('x') STORED",
        ],
        &[(Kind::GeneratedColumn, Refuse)],
    )
    .await;
    check(&["ALTER TABLE users ADD UNIQUE (id) INCLUDE (email)"], &[(Kind::UniqueIndex, Refuse)]).await;
    let table = "CREATE TABLE users (id integer NOT NULL, tenant integer NOT NULL DEFAULT 1, email text)";
    let unique = |statement: &'static str| [table, statement, ROW];
    assert_found(&db, &unique("ALTER TABLE users ADD UNIQUE (id) INCLUDE (tenant)"), &["id"], "", &[]).await;
    assert_found(
        &db,
        &unique("ALTER TABLE users ADD UNIQUE (id) DEFERRABLE"),
        &["id"],
        "",
        &[(Kind::KeyNotUnique, Refuse)],
    )
    .await;
    let broken = [
        "CREATE UNIQUE INDEX i ON users (id)",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'i'::regclass",
    ];
    assert_found(&db, &[table, broken[0], broken[1], ROW], &["id"], "", &[(Kind::KeyNotUnique, Refuse)])
        .await;
    let child = "CREATE TABLE child () INHERITS (users)";
    assert_found(&db, &[TABLE, child, ROW], &["id"], "", &[(Kind::KeyNotUnique, Refuse)]).await;
    db.execute("DROP TABLE users CASCADE").await;
    let parts = [
        "CREATE TABLE users (id integer PRIMARY KEY, email text) PARTITION BY RANGE (id)",
        "CREATE TABLE part PARTITION OF users DEFAULT",
        ROW,
    ];
    assert_found(&db, &parts, &["id"], "", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_sqlite_has_is_found() {
    let db = Sql::sqlite().await;
    let trigger = "CREATE TRIGGER t AFTER UPDATE ON users BEGIN SELECT 1; END";
    assert_found(&db, &[TABLE, ROW, trigger], &["id"], "", &[(Kind::Trigger, Warn)]).await;
    let checked = "CREATE TABLE users (id integer PRIMARY KEY, email text CHECK (email LIKE '%@%'))";
    assert_found(&db, &[checked, ROW], &["id"], "", &[(Kind::Check, Warn)]).await;
    let computed = "CREATE TABLE users (id integer PRIMARY KEY, email text, low text GENERATED ALWAYS AS (lower(email)))";
    assert_found(&db, &[computed, ROW], &["id"], "", &[(Kind::DependentColumn, Warn)]).await;
    let number = "CREATE TABLE users (id integer PRIMARY KEY, email integer)";
    assert_found(&db, &[number, ROW], &["id"], "", &[(Kind::ColumnType, Refuse)]).await;
}

/// The index is unique byte by byte; under the column's own collation two rows would be one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_only_differ_in_case_are_two_rows() {
    let db = Sql::sqlite().await;
    db.execute("CREATE TABLE users (id TEXT COLLATE NOCASE NOT NULL, email text)").await;
    db.execute("CREATE UNIQUE INDEX i ON users (id COLLATE BINARY)").await;
    db.execute("INSERT INTO users VALUES ('a', 'one'), ('A', 'two'), ('b', 'three'), ('B', 'four')").await;
    let store = Keys::toml(&profile_of("users", &["id"], &["email"], "")).store(&db).await;
    let report = migrate(&store, WriteFormat::KmsEnvelope).await;
    assert_eq!((report.migrated, report.left.unwrap()), (4, 0));
    assert_eq!(crate::support::verified(&store).await.ok, 4);
}

/// A run itself would write the tokens that it seals into the history.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_that_mariadb_keeps_is_refused_until_it_is_accepted() {
    let db = Sql::mariadb(test_support::part!(mariadb)).await;
    let table = "CREATE TABLE users (id int PRIMARY KEY, email mediumtext) WITH SYSTEM VERSIONING";
    let row = "INSERT INTO users (id, email) VALUES (1, 'a@x.org')";
    assert_found(&db, &[table, row], &["id"], "", &[(Kind::History, Refuse)]).await;
    assert_found(&db, &[table, row], &["id"], "history = \"accept\"", &[(Kind::History, Warn)]).await;
    let left_out = "CREATE TABLE users (id int PRIMARY KEY, email mediumtext WITHOUT SYSTEM VERSIONING) WITH SYSTEM VERSIONING";
    assert_found(&db, &[left_out, row], &["id"], "", &[]).await;
    assert_found(&db, &[table, row, "ALTER TABLE users DROP SYSTEM VERSIONING"], &["id"], "", &[]).await;
}

on_each_database! {
    async fn a_column_that_holds_no_mark_and_no_index_is_refused(db) {
        let marks = "[tables.version]\nversion = \"v\"\nmethod = \"m\"\nkey_id = \"k\"";
        let index = "[[tables.index]]\ncolumn = \"email\"\ninto = \"i\"";
        let of_keys = "CREATE TABLE tokenseal_index_keys (profile text, table_name text, column_name text, key_number bigint, \
                       state text, generation bigint, normalize text, bits bigint, wrapped_key text, key_id text)";
        db.execute(of_keys).await;
        // SQLite counts no characters.
        let is_counted = db.is_postgres() || db.is_mariadb();
        for (more, columns, expected) in [
            (marks, "v integer, m varchar(40), k varchar(200)", &[][..]),
            (marks, "v integer, m varchar(8), k varchar(10)", &[(Kind::ColumnLength, Refuse), (Kind::ColumnLength, Warn)][..]),
            (index, "i varchar(67)", &[][..]),
            (index, "i varchar(32)", &[(Kind::ColumnLength, Refuse)][..]),
        ] {
            let table = format!("CREATE TABLE users (id integer PRIMARY KEY, email text, {columns})");
            assert_found(&db, &[&table, ROW], &["id"], more, if is_counted { expected } else { &[] }).await;
        }
    }
}

on_each_database! {
    async fn a_filter_that_is_no_condition_is_refused(db) {
        for filter in ["tenant = 1 AND", "true) OR (true", "tenant = 1 -- only", "no_such_column = 1", "tenant = 'a"] {
            let more = format!("filter = \"{filter}\"");
            assert_found(&db, &[TABLE, ROW], &["id"], &more, &[(Kind::Filter, Refuse)]).await;
        }
        assert_found(&db, &[TABLE, ROW], &["id"], "filter = \"tenant = 1 OR email IS NULL\"", &[]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_materialized_view_keeps_a_copy_of_the_token() {
    let db = Sql::postgres(test_support::part!(postgres)).await;
    let views = [
        "CREATE VIEW plain AS SELECT id, email FROM users",
        "CREATE MATERIALIZED VIEW copied AS SELECT upper(email) FROM plain",
        "CREATE MATERIALIZED VIEW ids AS SELECT id FROM users",
    ];
    let statements = [&[TABLE, ROW], &views[..]].concat();
    assert_found(&db, &statements, &["id"], "", &[(Kind::MaterializedView, Warn)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_of_sqlite_that_names_no_column_is_refused() {
    let db = Sql::sqlite().await;
    for (filter, expected) in [
        ("\\\"Tenant\\\" = 1 AND email <> 'a \\\"b\\\"'", &[][..]),
        ("\\\"tennant\\\" = 1", &[(Kind::Filter, Refuse)][..]),
    ] {
        assert_found(&db, &[TABLE, ROW], &["id"], &format!("filter = \"{filter}\""), expected).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_of_mariadb_with_a_word_in_double_quotes_is_refused() {
    let db = Sql::mariadb(test_support::part!(mariadb)).await;
    for (filter, expected) in [
        ("`tenant` = 1 AND email <> 'a \\\"b\\\"'", &[][..]),
        ("\\\"tenant\\\" = 1", &[(Kind::Filter, Refuse)][..]),
        ("tenant = \\\"1\\\"", &[(Kind::Filter, Refuse)][..]),
    ] {
        assert_found(&db, &[TABLE, ROW], &["id"], &format!("filter = \"{filter}\""), expected).await;
    }
    // In a service's pool whose sessions take such a word for a name.
    let ansi = sqlx::mysql::MySqlPoolOptions::new().idle_timeout(None).max_lifetime(None).after_connect(
        |connection, _| {
            let sql = "SET SESSION sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES')";
            Box::pin(async move { sqlx::Executor::execute(connection, sql).await.map(drop) })
        },
    );
    let pool = ansi.connect(&db.url().replacen("mariadb:", "mysql:", 1)).await.unwrap();
    let keys = Keys::toml(&profile_of("users", &["id"], &["email"], "filter = \"\\\"tenant\\\" = 1\""));
    let database = token_store::Database::from_pool(pool);
    let store = token_store::TokenStore::open(database, keys.profile.clone(), keys.cipher()).await.unwrap();
    let found = findings(&store, WriteFormat::KmsEnvelope).await.unwrap();
    assert!(found.iter().all(|finding| finding.kind != Kind::Filter), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_padded_key_of_mariadb_that_is_ordered_in_two_ways_is_refused() {
    let db = Sql::mariadb(test_support::part!(mariadb)).await;
    for (collation, expected) in
        [("utf8mb4_nopad_bin", &[(Kind::NoCanonicalText, Refuse)][..]), ("utf8mb4_bin", &[][..])]
    {
        let table =
            format!("CREATE TABLE users (id char(6) COLLATE {collation} PRIMARY KEY, email mediumtext)");
        assert_found(&db, &[&table, ROW], &["id"], "", expected).await;
    }
}
