//! A key names the row that holds it and no other, however the database casts, cuts, rounds, compares or answers; a new row
//! is sealed for the key that the database stores.

use token_store::{NewToken, StoreError, TokenKey, WriteFormat};

use crate::support::{Keys, Sql, migrate, profile_of, shown, verified};

/// A table with this key column, and the keys that name its rows.
async fn table(db: &Sql, key_type: &str) -> Keys {
    db.execute(&format!("CREATE TABLE accounts (id {key_type} PRIMARY KEY, token text)")).await;
    Keys::toml(&profile_of("accounts", &["id"], &["token"], ""))
}

async fn put(store: &token_store::TokenStore, key: &str, token: &str) -> Result<(), StoreError> {
    let new = NewToken::new().column("token", Some(token.into()));
    store.put(&TokenKey::from_values([key]), new).await.map(drop)
}

/// The token of a key, and whether there is such a row.
async fn read(store: &token_store::TokenStore, key: &str) -> Option<String> {
    match store.get(&TokenKey::from_values([key])).await {
        Ok(token) => Some(shown(token.column("token")).unwrap_or_default().to_owned()),
        Err(StoreError::NotFound { .. }) => None,
        Err(error) => panic!("{key:?}: {error:?}"),
    }
}

/// The stored key is found under each of its texts; every other key finds nothing, and writes to nothing.
async fn names(db: &Sql, key_type: &str, first: &str, same: &[&str], others: &[&str]) {
    db.execute("DROP TABLE IF EXISTS accounts").await;
    let keys = table(db, key_type).await;
    let store = keys.store(db).await;
    put(&store, first, "victim's").await.unwrap_or_else(|error| panic!("{key_type} {first:?}: {error:?}"));
    for key in same {
        assert_eq!(read(&store, key).await.as_deref(), Some("victim's"), "{key_type} {key:?}");
    }
    for key in others {
        assert_eq!(read(&store, key).await, None, "{key_type} {key:?}");
        assert!(!store.delete(&TokenKey::from_values([*key])).await.unwrap_or(false), "{key_type} {key:?}");
        // It is a row of its own, or none.
        if put(&store, key, "mallory's").await.is_ok() {
            assert_eq!(read(&store, key).await.as_deref(), Some("mallory's"), "{key_type} {key:?}");
        }
        assert_eq!(read(&store, same[0]).await.as_deref(), Some("victim's"), "{key_type} {key:?}");
    }
    assert_eq!(verified(&store).await.failed, 0, "{key_type}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_postgresql_would_cut_round_or_coerce_is_no_rows() {
    let db = Sql::postgres(test_support::part!(postgres)).await;
    let long = "x".repeat(32);
    let cut = format!("{long}mallory");
    names(&db, "varchar(32)", &long, &[&long], &[&cut, &format!("{long} "), "x"]).await;
    db.execute("CREATE DOMAIN short AS varchar(32)").await;
    names(&db, "short", &long, &[&long], &[&cut, &format!("{long}   ")]).await;
    names(&db, "char(4)", "ab", &["ab", "ab  "], &["abcde", "abc", " ab"]).await;
    let uuid = "6f9619ff-8b86-d011-b42d-00cf4fc964ff";
    names(&db, "uuid", &uuid.to_uppercase(), &[uuid, &uuid.to_uppercase()], &["mallory", "", &uuid[1..]])
        .await;
    names(&db, "bigint", "007", &["7", "007", " 7"], &["7x", "7.4", "abc", "", "99999999999999999999"]).await;
    names(&db, "numeric(6,2)", "2.5", &["2.50", "2.5", "02.500"], &["2.504", "2.51", "x", "1e5"]).await;
    names(&db, "boolean", "t", &["true", "yes"], &["maybe"]).await;
    db.execute("CREATE TYPE mood AS ENUM ('sad', 'glad')").await;
    names(&db, "mood", "sad", &["sad"], &["mad", "sa"]).await;
    db.execute(
        "CREATE COLLATION anycase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
    )
    .await;
    names(&db, "text COLLATE anycase", "Bob", &["Bob"], &["bob", "BOB"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_sqlite_would_coerce_or_compare_loosely_is_no_rows() {
    let db = Sql::sqlite().await;
    names(&db, "INTEGER", "1", &["1", "01"], &["1x", "1.9", "abc", ""]).await;
    names(&db, "INT", "7", &["7", "007"], &["7x", "7.4", "a1"]).await;
    names(&db, "TEXT COLLATE NOCASE", "Bob", &["Bob"], &["bob", "BOB"]).await;
    names(&db, "TEXT COLLATE RTRIM", "ab", &["ab"], &["ab ", "AB"]).await;
    names(&db, "", "a", &["a"], &["A", "1"]).await;
    names(&db, "VARCHAR(4)", "abcdef", &["abcdef"], &["abcd"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_mariadb_would_compare_loosely_cut_or_coerce_is_no_rows() {
    let db = Sql::mariadb(test_support::part!(mariadb)).await;
    names(&db, "varchar(32)", "Bob", &["Bob"], &["bob", "BOB", "Bob ", "Bób", " Bob"]).await;
    names(&db, "varchar(32) COLLATE utf8mb4_bin", "Bob", &["Bob"], &["bob", "Bob "]).await;
    let long = "x".repeat(32);
    names(&db, "varchar(32)", &long, &[&long], &[&format!("{long}mallory"), &format!("{long} "), "x"]).await;
    names(&db, "char(4)", "ab", &["ab"], &["ab  ", "AB", "abcde", " ab"]).await;
    names(&db, "varchar(32) CHARACTER SET latin1", "é?", &["é?"], &["éж", "e?", "É?"]).await;
    names(&db, "int", "007", &["7", "007", " 7"], &["7x", "7.4", "abc", "", "99999999999"]).await;
    names(&db, "int(5) unsigned zerofill", "7", &["7", "00007"], &["7x", "-7", "4294967296"]).await;
    names(
        &db,
        "bigint unsigned",
        "18446744073709551615",
        &["18446744073709551615"],
        &["18446744073709551614", "-1"],
    )
    .await;
    names(
        &db,
        "bigint",
        "9007199254740993",
        &["9007199254740993"],
        &["9007199254740992", "9007199254740994"],
    )
    .await;
    names(&db, "decimal(6,2)", "2.5", &["2.50", "2.5", "02.500"], &["2.504", "2.51", "x", "99999"]).await;
    let uuid = "6f9619ff-8b86-d011-b42d-00cf4fc964ff";
    names(&db, "uuid", &uuid.to_uppercase(), &[uuid, &uuid.to_uppercase()], &["mallory", "", &uuid[1..]])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_key_that_differs_in_case_or_trailing_spaces_only_is_refused_on_mariadb_and_changes_nothing() {
    let db = Sql::mariadb(test_support::part!(mariadb)).await;
    let keys = table(&db, "varchar(32)").await;
    let store = keys.store(&db).await;
    put(&store, "Bob", "victim's").await.unwrap();
    let before = db.table("accounts", &["id", "token"]).await;
    for key in ["bob", "BOB", "Bob "] {
        let calls = keys.faults().calls("generate");
        let done = put(&store, key, "mallory's").await;
        assert!(done.is_err(), "{key:?}");
        // Not one attempt after the other, as for a row that others keep changing.
        assert!(keys.faults().calls("generate") - calls <= 2, "{key:?}: {done:?}");
    }
    assert_eq!(db.table("accounts", &["id", "token"]).await, before);
}

on_each_database! {
    async fn a_new_row_is_sealed_for_the_owner_that_the_database_gives_it(db) {
        db.execute("CREATE TABLE accounts (id text PRIMARY KEY, tenant text DEFAULT 'acme', token text)").await;
        for format in [Keys::toml(&profile_of("accounts", &["id"], &["token"], "owner = [\"tenant\"]")),
                       Keys::toml(&profile_of("accounts", &["id"], &["token"], "owner = [\"tenant\"]")).v3()] {
            db.execute("DELETE FROM accounts").await;
            let store = format.store(&db).await;
            put(&store, "one", "secret").await.unwrap();
            let key = TokenKey::from_values(["two"]).owned_by("tenant", "other");
            store.put(&key, NewToken::new().column("token", Some("theirs".into()))).await.unwrap();
            assert_eq!(read(&store, "one").await.as_deref(), Some("secret"));
            assert_eq!(read(&store, "two").await.as_deref(), Some("theirs"));
            assert!(store.get(&key).await.is_ok());
            let theirs = store.get(&TokenKey::from_values(["two"]).owned_by("tenant", "acme")).await;
            assert!(matches!(theirs, Err(StoreError::NotFound { .. })), "{theirs:?}");
            let report = verified(&store).await;
            assert_eq!((report.ok, report.failed, report.unbound), (2, 0, 0));
        }
    }

    async fn an_owner_of_null_is_sealed_for_null(db) {
        db.execute("CREATE TABLE accounts (id text PRIMARY KEY, tenant text, token text)").await;
        let keys = Keys::toml(&profile_of("accounts", &["id"], &["token"], "owner = [\"tenant\"]"));
        let store = keys.store(&db).await;
        put(&store, "one", "secret").await.unwrap();
        assert_eq!(db.rows("SELECT tenant FROM accounts").await, [[None]]);
        assert_eq!(read(&store, "one").await.as_deref(), Some("secret"));
    }

    async fn plain_columns_change_with_the_tokens_null_included(db) {
        db.execute("CREATE TABLE accounts (id text PRIMARY KEY, token text, expires text, scope text)").await;
        let keys = Keys::toml(&profile_of("accounts", &["id"], &["token"], "plain = [\"expires\", \"scope\"]"));
        let store = keys.store(&db).await;
        let key = TokenKey::from_values(["one"]);
        let new = |token: &str| NewToken::new().column("token", Some(token.into()));
        store.put(&key, new("first").plain("expires", "2030").plain("scope", "all")).await.unwrap();
        store.put(&key, new("second").plain_null("expires").plain("scope", "x").plain("scope", "some")).await.unwrap();
        assert_eq!(db.rows("SELECT expires, scope FROM accounts").await, [[None, Some("some".to_owned())]]);
        assert_eq!(read(&store, "one").await.as_deref(), Some("second"));
    }

    async fn a_second_unique_value_is_refused_by_name_and_not_called_a_conflict(db) {
        db.execute("CREATE TABLE accounts (id text PRIMARY KEY, token text, slot text UNIQUE)").await;
        let keys = Keys::toml(&profile_of("accounts", &["id"], &["token"], "plain = [\"slot\"]"));
        let store = keys.store(&db).await;
        for (id, is_new) in [("one", true), ("two", false)] {
            let new = NewToken::new().column("token", Some("secret".into())).plain("slot", "taken");
            let done = store.put(&TokenKey::from_values([id]), new).await;
            assert_eq!(done.is_ok(), is_new, "{done:?}");
            if let Err(error) = done {
                assert!(matches!(error, StoreError::Database(_)), "{error:?}");
            }
        }
        assert_eq!(keys.faults().calls("generate"), 2, "nothing is sealed again and again");
    }

    async fn a_key_column_without_type_or_with_two_columns_is_walked(db) {
        db.execute("CREATE TABLE accounts (a bigint, b varchar(5), token text, PRIMARY KEY (a, b))").await;
        for n in 0..30 {
            db.execute(&format!("INSERT INTO accounts VALUES ({}, 'k{n}', 'token {n}')", n / 7)).await;
        }
        let keys = Keys::toml(&profile_of("accounts", &["a", "b"], &["token"], ""));
        let store = keys.store(&db).await;
        let report = migrate(&store, WriteFormat::KmsEnvelope).await;
        assert_eq!((report.migrated, report.left.unwrap()), (30, 0));
        for n in 0..30 {
            let key = TokenKey::from_values([(n / 7).to_string(), format!("k{n}")]);
            assert_eq!(shown(store.get(&key).await.unwrap().column("token")), Some(format!("token {n}").as_str()));
        }
        let listed = store.list(None, Some(&TokenKey::from_values(["3", "k22"])), 100).await.unwrap();
        assert_eq!(listed.len(), 7);
    }
}

/// Whoever owns the database makes `=` answer with the victim's row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_and_functions_of_the_search_path_are_not_used() {
    let db = Sql::postgres(test_support::part!(postgres)).await;
    let keys = table(&db, "text").await;
    let store = keys.store(&db).await;
    put(&store, "victim", "secret").await.unwrap();
    db.execute("CREATE SCHEMA evil").await;
    for body in ["SELECT true"] {
        db.execute(&format!(
            "CREATE FUNCTION evil.always(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE AS '{body}'"
        ))
        .await;
        db.execute("CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.always)").await;
    }
    db.execute("CREATE FUNCTION evil.octet_length(text) RETURNS int LANGUAGE sql AS 'SELECT 1/0'").await;
    let name = db.rows("SELECT current_database()::text").await.remove(0).remove(0).unwrap();
    db.execute(&format!("ALTER DATABASE \"{name}\" SET search_path = evil, public, pg_catalog")).await;
    let store = keys.store(&db).await;
    assert_eq!(read(&store, "mallory").await, None);
    assert_eq!(read(&store, "victim").await.as_deref(), Some("secret"));
    put(&store, "mallory", "their own").await.unwrap();
    assert_eq!(read(&store, "victim").await.as_deref(), Some("secret"));
    assert_eq!(migrate(&store, WriteFormat::KmsEnvelope).await.already, 2);
}

/// A view of the victim's row under every key: the returned row is compared with the requested one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_was_not_asked_for_is_not_returned() {
    let db = Sql::postgres(test_support::part!(postgres)).await;
    let keys = table(&db, "text").await;
    let store = keys.store(&db).await;
    put(&store, "victim", "secret").await.unwrap();
    db.execute("ALTER TABLE accounts RENAME TO hidden").await;
    db.execute("CREATE FUNCTION anybody() RETURNS SETOF hidden LANGUAGE sql VOLATILE AS 'SELECT ''mallory'', token FROM hidden'").await;
    db.execute("CREATE VIEW accounts AS SELECT id, token FROM anybody()").await;
    let error = keys.store(&db).await.get(&TokenKey::from_values(["mallory"])).await.unwrap_err();
    assert!(matches!(error, StoreError::Open { .. }), "sealed for another row: {error:?}");
}
