//! Every walk over a table ends, for any keys, and holds a bounded part of the table at a time.

use token_store::findings::{Kind, Severity, findings};
use token_store::status::{status, workload};
use token_store::{Database, WriteFormat, schema};

use crate::support::{Keys, Sql, migrate, profile_of, shown, verified};

async fn keys_of(db: &Sql, definition: &str, rows: &[&str]) -> Keys {
    db.execute("DROP TABLE IF EXISTS t").await;
    db.execute(&format!("CREATE TABLE t ({definition})")).await;
    for (n, key) in rows.iter().enumerate() {
        db.execute(&format!("INSERT INTO t (id, tok) VALUES ({key}, 'token {n}')")).await;
    }
    Keys::toml(&profile_of("t", &["id"], &["tok"], ""))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_sqlite_are_walked_as_they_are_stored() {
    let db = Sql::sqlite().await;
    for (definition, rows, canonical) in [
        ("id, tok TEXT, PRIMARY KEY (id)", &["1", "2", "10", "9"][..], true),
        ("id, tok TEXT, PRIMARY KEY (id)", &["'a'", "'b'", "'10'"][..], true),
        ("id, tok TEXT, PRIMARY KEY (id)", &["1", "'1'", "2"][..], false),
        ("id INT PRIMARY KEY, tok TEXT", &["1", "'a1'", "'b'", "20"][..], true),
        ("id REAL PRIMARY KEY, tok TEXT", &["1.0/3", "2.0/3", "1", "1e300"][..], false),
        ("id NUMERIC PRIMARY KEY, tok TEXT", &["1.0/3", "'x'", "7"][..], false),
        ("id DECIMAL(10,2) PRIMARY KEY, tok TEXT", &["5", "6"][..], true),
        ("id TEXT COLLATE NOCASE PRIMARY KEY, tok TEXT", &["'a'", "'B'", "'c'"][..], true),
        ("id INT PRIMARY KEY, tok TEXT) STRICT, WITHOUT ROWID --", &["3", "1", "2"][..], true),
        ("id ANY PRIMARY KEY, tok TEXT) STRICT --", &["3", "1", "2"][..], true),
    ] {
        let keys = keys_of(&db, definition, rows).await;
        let store = keys.store(&db).await;
        let total = rows.len() as u64;
        assert_eq!(status(&store).await.unwrap().total, total, "{definition} {rows:?}");
        assert_eq!(workload(&store).await.unwrap().rows, total, "{definition} {rows:?}");
        assert_eq!(verified(&store).await.rows, total, "{definition} {rows:?}");
        let found = findings(&store, WriteFormat::KmsEnvelope).await.unwrap();
        let refused = found.iter().any(|f| f.kind == Kind::NoCanonicalText && f.severity == Severity::Refuse);
        assert_eq!(refused, !canonical, "{definition} {rows:?}: {found:?}");
        let report = migrate(&store, WriteFormat::KmsEnvelope).await;
        assert_eq!((report.scanned, report.conflicts), (total, 0), "{definition} {rows:?}: {report:?}");
        assert_eq!(report.migrated + report.failed, total, "{definition} {rows:?}: {report:?}");
        assert_eq!(report.left.unwrap(), report.failed, "{definition} {rows:?}");
        let report = verified(&store).await;
        assert_eq!((report.rows, report.failed), (total, 0), "{definition} {rows:?}: {report:?}");
        if canonical {
            assert_eq!(report.plaintext, 0, "{definition} {rows:?}");
            let names = db.rows("SELECT CAST(id AS TEXT) FROM t").await;
            for name in names.into_iter().flatten().flatten() {
                let key = token_store::TokenKey::from_values([name]);
                assert!(
                    shown(store.get(&key).await.unwrap().column("tok")).is_some(),
                    "{definition} {key:?}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_postgresql_are_walked_in_their_own_order() {
    let db = Sql::postgres(test_support::part!(postgres)).await;
    db.execute("CREATE EXTENSION IF NOT EXISTS citext").await;
    for (definition, rows, canonical) in [
        ("id float8 PRIMARY KEY, tok text", &["1.0/3", "2.0/3", "'NaN'", "1e300"][..], false),
        ("id numeric PRIMARY KEY, tok text", &["2.50", "1.0/3", "7"][..], false),
        ("id timestamptz PRIMARY KEY, tok text", &["'2020-01-01'", "now()"][..], false),
        ("id citext PRIMARY KEY, tok text", &["'a'", "'B'"][..], false),
        ("id bytea PRIMARY KEY, tok text", &["'\\x00'", "'\\xff'"][..], false),
        ("id numeric(8,3) PRIMARY KEY, tok text", &["2.5", "1.0/3", "7"][..], true),
        ("id date PRIMARY KEY, tok text", &["'2020-01-01'", "'1999-12-31'"][..], false),
        ("id bool PRIMARY KEY, tok text", &["true", "false"][..], true),
    ] {
        let keys = keys_of(&db, definition, rows).await;
        let store = keys.store(&db).await;
        let found = findings(&store, WriteFormat::KmsEnvelope).await.unwrap();
        let refused = found.iter().any(|f| f.kind == Kind::NoCanonicalText && f.severity == Severity::Refuse);
        assert_eq!(refused, !canonical, "{definition}: {found:?}");
        let report = migrate(&store, WriteFormat::KmsEnvelope).await;
        let total = rows.len() as u64;
        assert_eq!((report.migrated, report.left.unwrap()), (total, 0), "{definition}: {report:?}");
        let report = verified(&store).await;
        assert_eq!((report.rows, report.ok), (total, total), "{definition}: {report:?}");
    }
}

on_each_database! {
    async fn large_values_are_taken_a_few_at_a_time(db) {
        db.execute("CREATE TABLE t (id integer PRIMARY KEY, tok text)").await;
        let large = "x".repeat(900_000);
        for n in 0..14 {
            db.run(&format!("INSERT INTO t VALUES ({n}, $1)"), &[Some(&large)]).await;
        }
        let keys = Keys::toml(&profile_of("t", &["id"], &["tok"], ""));
        let store = keys.store(&db).await;
        let mut most = 0;
        let mut before = 0;
        let options = crate::support::to(WriteFormat::KmsEnvelope, 500);
        let stop = token_store::migration::StopFlag::default();
        let outcome = token_store::migration::run(&store, &options, &stop, |report| {
            most = most.max(report.scanned - before);
            before = report.scanned;
        })
        .await;
        assert_eq!((outcome.report.migrated, outcome.report.left.unwrap()), (14, 0), "{outcome:?}");
        assert!(most <= 6, "{most} rows of 900 kB at once");
        assert_eq!(verified(&store).await.ok, 14);
    }

    async fn only_rows_with_the_value_are_looked_at(db) {
        db.execute("CREATE TABLE t (id integer PRIMARY KEY, tenant bigint, tok text)").await;
        for n in 0..12 {
            db.execute(&format!("INSERT INTO t VALUES ({n}, {}, 'token {n}')", n % 3)).await;
        }
        let keys = Keys::toml(&profile_of("t", &["id"], &["tok"], "filter = \"id > 2\""));
        let store = keys.store(&db).await.only_where(&[("tenant".into(), "01".into())]).await.unwrap();
        assert_eq!(status(&store).await.unwrap().total, 3);
        let report = migrate(&store, WriteFormat::KmsEnvelope).await;
        assert_eq!((report.scanned, report.migrated, report.left.unwrap()), (3, 3, 0));
        assert_eq!(verified(&store).await.ok, 3);
        let all = keys.store(&db).await;
        assert_eq!(migrate(&all, WriteFormat::KmsEnvelope).await.migrated, 6);
        let store = keys.store(&db).await;
        assert!(store.clone().only_where(&[("nothing".into(), "1".into())]).await.is_err());
        if db.is_postgres() {
            assert!(store.only_where(&[("tenant".into(), "x".into())]).await.is_err());
        }
    }

    async fn a_row_that_was_skipped_is_left(db) {
        db.execute("CREATE TABLE t (id text UNIQUE, tok text)").await;
        db.execute("INSERT INTO t VALUES ('a', 'one'), (NULL, 'two'), (NULL, 'three')").await;
        let store = Keys::toml(&profile_of("t", &["id"], &["tok"], "")).store(&db).await;
        let found = findings(&store, WriteFormat::KmsEnvelope).await.unwrap();
        assert!(found.iter().any(|f| f.kind == Kind::NullKey && f.severity == Severity::Refuse), "{found:?}");
        let report = migrate(&store, WriteFormat::KmsEnvelope).await;
        assert_eq!((report.migrated, report.left.unwrap()), (1, 2));
        assert!(report.failures.iter().any(|failure| failure.class == "null_key"), "{:?}", report.failures);
    }

    async fn rows_without_a_key_are_counted_alike_where_columns_say_the_version(db) {
        db.execute("CREATE TABLE t (id varchar(40) UNIQUE, tok text)").await;
        db.execute("INSERT INTO t VALUES ('1', 'one'), (NULL, NULL)").await;
        let version = "[tables.version]\nversion = \"v\"\nmethod = \"m\"\nkey_id = \"k\"";
        let keys = Keys::toml(&profile_of("t", &["id"], &["tok"], version));
        schema::migrate(&Database::connect(db.url()).await.unwrap(), &keys.profile).await.unwrap();
        let store = keys.store(&db).await;
        // Without a value it has nothing to lose.
        let report = migrate(&store, WriteFormat::KmsEnvelope).await;
        assert_eq!((report.migrated, report.left.unwrap()), (1, 0), "{report:?}");
        assert_eq!(status(&store).await.unwrap().pending, 0);
        db.execute("INSERT INTO t (id, tok) VALUES (NULL, 'two')").await;
        let counted = status(&store).await.unwrap();
        assert_eq!((counted.pending, counted.total), (1, 2));
        let methods: Vec<_> = counted.groups.iter().map(|group| group.encryption_method.as_deref()).collect();
        assert_eq!(methods, [Some("no-key"), Some("kms-envelope")]);
        assert_eq!(migrate(&store, WriteFormat::KmsEnvelope).await.left.unwrap(), 1);
    }

    async fn rows_without_a_key_hide_no_other_row_and_are_counted(db) {
        for kind in ["int", "text"] {
            db.execute("DROP TABLE IF EXISTS t").await;
            db.execute(&format!("CREATE TABLE t (id {kind} UNIQUE, tok text)")).await;
            db.execute("INSERT INTO t VALUES ('-2', 'two'), ('0', 'zero'), ('7', 'seven')").await;
            // More than a page of them.
            let nulls = vec!["(NULL, NULL)"; 600].join(", ");
            db.execute(&format!("INSERT INTO t VALUES {nulls}")).await;
            let store = Keys::toml(&profile_of("t", &["id"], &["tok"], "")).store(&db).await;
            // Without a value they have nothing to lose.
            let found = findings(&store, WriteFormat::KmsEnvelope).await.unwrap();
            let severities: Vec<(Kind, Severity)> = found.iter().map(|f| (f.kind, f.severity)).collect();
            assert_eq!(severities, [(Kind::NullKey, Severity::Warn)], "{kind}");
            let report = migrate(&store, WriteFormat::KmsEnvelope).await;
            assert_eq!((report.migrated, report.left.unwrap(), report.failures.len()), (3, 0, 0), "{kind}: {report:?}");
            let report = verified(&store).await;
            assert_eq!((report.rows, report.ok, report.found_problems()), (3, 3, false), "{kind}: {report:?}");
            assert_eq!(status(&store).await.unwrap().pending, 0, "{kind}");
            db.execute("INSERT INTO t VALUES (NULL, 'eight')").await;
            let report = verified(&store).await;
            assert_eq!((report.ok, report.unnamed, report.found_problems()), (3, 1, true), "{kind}: {report:?}");
            assert_eq!(status(&store).await.unwrap().pending, 1, "{kind}");
            assert_eq!(workload(&store).await.unwrap().pending, 1, "{kind}");
            assert_eq!(migrate(&store, WriteFormat::KmsEnvelope).await.left.unwrap(), 1, "{kind}");
        }
    }
}

/// Equal values of such types have several texts, and any of them is the value.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_is_compared_by_the_database_where_values_have_several_texts() {
    let count = async |db: &Sql, columns: &str, values: &str, conditions: &[(&str, &str)]| {
        db.execute("DROP TABLE IF EXISTS t").await;
        db.execute(&format!("CREATE TABLE t (id int PRIMARY KEY, tok text, {columns})")).await;
        db.execute(&format!("INSERT INTO t VALUES (1, 'token', {values})")).await;
        let keys = Keys::toml(&profile_of("t", &["id"], &["tok"], ""));
        for (column, value) in conditions {
            let condition = [((*column).to_owned(), (*value).to_owned())];
            let store = keys.store(db).await.only_where(&condition).await.unwrap();
            assert_eq!(store.count_rows().await.unwrap(), 1, "{column}={value}");
        }
    };
    let lite = Sql::sqlite().await;
    count(&lite, "b BOOLEAN, f REAL", "1, 1.5", &[("b", "true"), ("b", "1"), ("f", "1.50")]).await;
    let postgres = Sql::postgres(test_support::part!(postgres)).await;
    let values = [("n", "2.50"), ("i", "24:00"), ("d", "2024-1-2"), ("f", "1.50")];
    count(&postgres, "n numeric, i interval, d date, f float8", "2.5, '1 day', '2024-01-02', 1.5", &values)
        .await;
    let mariadb = Sql::mariadb(test_support::part!(mariadb)).await;
    let values = [("d", "2024-1-2"), ("f", "1.50"), ("e", "a")];
    count(&mariadb, "d date, f double, e enum('A', 'B')", "'2024-01-02', 1.5, 'A'", &values).await;
    let keys = Keys::toml(&profile_of("t", &["id"], &["tok"], ""));
    let condition = [("f".to_owned(), "1.5x".to_owned())];
    assert!(keys.store(&mariadb).await.only_where(&condition).await.is_err());
}

/// A value that a database would round, cut or take for a number chooses rows that were not asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_whose_value_is_not_one_of_its_column_is_refused() {
    let refused =
        async |db: &Sql, columns: &str, values: &str, good: &[(&str, &str)], bad: &[(&str, &str)]| {
            db.execute("DROP TABLE IF EXISTS t").await;
            db.execute(&format!("CREATE TABLE t (id int PRIMARY KEY, tok text, {columns})")).await;
            db.execute(&format!("INSERT INTO t VALUES (1, 'token', {values})")).await;
            let keys = Keys::toml(&profile_of("t", &["id"], &["tok"], ""));
            let condition = |(column, value): &(&str, &str)| [((*column).to_owned(), (*value).to_owned())];
            for one in good {
                let store = keys.store(db).await.only_where(&condition(one)).await.unwrap();
                assert_eq!(store.count_rows().await.unwrap(), 1, "{one:?}");
            }
            for one in bad {
                let narrowed = keys.store(db).await.only_where(&condition(one)).await;
                let error = narrowed.err().unwrap_or_else(|| panic!("{one:?} is taken"));
                assert!(matches!(error, token_store::StoreError::NotAValue { .. }), "{one:?}: {error:?}");
            }
        };
    let good = [("p", "2.5"), ("p", "2.50"), ("p", "+02.5"), ("n", "7"), ("d", "2024-01-02")];
    let bad = [
        ("p", "2.504"),
        ("p", "abc"),
        ("p", "2.5x"),
        ("p", "99999"),
        ("n", "7.4"),
        ("n", "x"),
        ("n", "99999"),
        ("d", "2024-01-02x"),
        ("d", "2024-02-31"),
        ("d", "2024-01-02 10:00:00"),
        ("t", "garbage"),
        ("t", "2024-02-31 10:00:00"),
        ("c", "\u{e9}\u{e9}\u{e9}"),
    ];
    let columns = "p decimal(6,2), n smallint, d date, t timestamp, c varchar(2)";
    let values = "2.5, 7, '2024-01-02', '2024-01-02 10:00:00', 'a'";
    let postgres = Sql::postgres(test_support::part!(postgres)).await;
    refused(&postgres, columns, values, &good, &bad).await;
    let mariadb = Sql::mariadb(test_support::part!(mariadb)).await;
    refused(&mariadb, columns, values, &[&good[..], &[("t", "2024-01-02T10:00:00")]].concat(), &bad).await;
    let only_there = "e enum('A', 'B'), f float, y year, l varchar(9) CHARACTER SET latin1";
    let good = [("e", "a"), ("f", "1.5"), ("y", "2024"), ("l", "\u{e9}")];
    let bad = [("e", "c"), ("e", ""), ("f", "inf"), ("f", "1x"), ("y", "24"), ("l", "\u{4e2d}")];
    refused(&mariadb, only_there, "'A', 1.5, 2024, '\u{e9}'", &good, &bad).await;
    let sqlite = Sql::sqlite().await;
    refused(&sqlite, "p decimal(6,2)", "2.5", &[("p", "2.5")], &[]).await;
    let keys = Keys::toml(&profile_of("t", &["id"], &["tok"], ""));
    for other in ["2.504", "abc", "2.5x"] {
        let condition = [("p".to_owned(), other.to_owned())];
        let store = keys.store(&sqlite).await.only_where(&condition).await.unwrap();
        assert_eq!(store.count_rows().await.unwrap(), 0, "SQLite compares such a text as it is: {other}");
    }
}
