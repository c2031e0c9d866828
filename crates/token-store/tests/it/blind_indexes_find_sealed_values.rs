//! A sealed value is found by its blind index in every spelling, the database keeps it unique, and no row has the index of
//! another value.

use std::sync::Arc;
use std::time::Duration;

use envelope_core::ErrorClass;
use secrecy::SecretString;
use test_support::faults::Fault;
use token_store::audit;
use token_store::migration::{Former, RewrapOptions, StopFlag, relocate, rewrap};
use token_store::{
    Database, ErrorKind, NewToken, StoreError, TokenCipher, TokenKey, TokenRow, TokenStore, WriteFormat,
    schema,
};

use crate::support::{Ear, Keys, Sql, carry_out, counts, eventually, migrate, shown, to, told, verified};

/// Customers with an e-mail address and a telephone number.
fn profile(index: &str) -> String {
    format!(
        r#"
        name = "crm"
        [context]
        Application = "crm"
        [[tables]]
        name = "users"
        key = ["id"]
        tokens = ["email", "phone"]
        plain = ["note"]
        {index}
        [tables.version]
        version = "v"
        method = "m"
        key_id = "k"
        "#
    )
}

const INDEXES: &str = r#"
        index = [
            { column = "email", into = "email_index", normalize = "email", unique = true },
            { column = "phone", into = "phone_index", normalize = "e164", bits = 16 },
        ]
"#;

async fn create(db: &Sql) {
    db.execute(
        "CREATE TABLE users (id bigint PRIMARY KEY, email text, phone text, note text, v integer, m text, k text)",
    )
    .await;
}

fn keys() -> Keys {
    Keys::toml(&profile(INDEXES))
}

/// The table with everything that the indexes need.
pub(crate) async fn ready(db: &Sql) -> Keys {
    create(db).await;
    let keys = keys();
    let database = Database::connect(db.url()).await.unwrap();
    schema::migrate(&database, &keys.profile).await.unwrap();
    keys
}

pub(crate) async fn put(store: &TokenStore, id: u32, email: &str) -> Result<(), StoreError> {
    let token = NewToken::new().column("email", Some(SecretString::from(email)));
    store.put(&TokenKey::from_values([id.to_string()]), token).await.map(drop)
}

async fn found(store: &TokenStore, column: &str, value: &str) -> Vec<String> {
    let rows = store.find(None, column, &SecretString::from(value)).await;
    let rows = rows.unwrap_or_else(|error| panic!("{column} {value:?}: {}", told(&error)));
    rows.iter().map(|row| row.name().to_owned()).collect()
}

/// Id, index of the e-mail address and version of every row.
async fn indexes(db: &Sql) -> Vec<(String, Option<String>, Option<String>)> {
    let rows = db.table("users", &["id", "email_index", "v"]).await;
    rows.into_iter().map(|row| (row[0].clone().unwrap(), row[1].clone(), row[2].clone())).collect()
}

async fn index_keys(db: &Sql) -> Vec<Vec<Option<String>>> {
    db.table("tokenseal_index_keys", &["table_name", "column_name", "key_number", "state", "key_id"]).await
}

fn plain(id: u32) -> (String, String) {
    (format!("User{id}@Example.org"), format!("+49 30 {id:05}"))
}

async fn insert_plain(db: &Sql, id: u32) {
    let ((email, phone), id) = (plain(id), id.to_string());
    db.insert("users", &[("id::bigint", Some(&id)), ("email", Some(&email)), ("phone", Some(&phone))]).await;
}

on_each_database! {
    async fn the_schema_has_what_look_ups_need_and_is_safe_to_repeat(db) {
        create(&db).await;
        let (keys, database) = (keys(), Database::connect(db.url()).await.unwrap());
        let before = schema::check(&database, &keys.profile).await.unwrap();
        assert_eq!(before.pending.len(), 5, "a table, and two columns with an index each: {:?}", before.pending);
        assert!(matches!(
            TokenStore::open(database.clone(), keys.profile.clone(), keys.cipher()).await.err(),
            Some(StoreError::NoColumns { addable: true, .. })
        ));
        assert_eq!(schema::migrate(&database, &keys.profile).await.unwrap().applied, before.pending);
        for _ in 0..2 {
            let after = schema::migrate(&database, &keys.profile).await.unwrap();
            assert_eq!((after.applied.len(), after.pending.len()), (0, 0), "{after:?}");
        }
    }

    async fn a_written_value_is_found_in_every_spelling_that_the_normalisation_joins(db) {
        let keys = ready(&db).await;
        let store = keys.store(&db).await;
        let token = NewToken::new()
            .column("email", Some(SecretString::from("Ada@Bücher.Example")))
            .column("phone", Some(SecretString::from("0049 (30) 1234567")))
            .plain("note", "first");
        store.put(&TokenKey::from_values(["1"]), token).await.unwrap();
        put(&store, 2, "other@example.org").await.unwrap();
        for spelling in ["Ada@Bücher.Example", " ada@bücher.example\n", "ADA@XN--BCHER-KVA.EXAMPLE.", "ａda@bücher.example"] {
            assert_eq!(found(&store, "email", spelling).await, ["id=1"], "{spelling:?}");
        }
        assert_eq!(found(&store, "phone", "+49 30 1234567").await, ["id=1"]);
        for other in ["ada@bucher.example", "ad@bücher.example", "", " ", "Ada"] {
            assert_eq!(found(&store, "email", other).await, [] as [&str; 0], "{other:?}");
        }
        let rows: Vec<TokenRow> = store.find(None, "email", &"ada@bücher.example".into()).await.unwrap();
        assert_eq!(shown(rows[0].token("email").unwrap()), Some("Ada@Bücher.Example"));
        assert_eq!(rows[0].plain("note"), Some("first"));
        let many = ["other@example.org", "none@example.org", "ada@bücher.example"].map(SecretString::from);
        let many = store.find_many(Some("users"), "email", &many).await.unwrap();
        assert_eq!(many.iter().map(|rows| rows.iter().map(TokenRow::name).collect()).collect::<Vec<Vec<_>>>(), [vec!["id=2"], vec![], vec!["id=1"]]);
        // The index is the documented one, and depends on the value alone.
        let stored = indexes(&db).await;
        assert!(stored[0].1.as_ref().unwrap().starts_with("k1:") && stored[0].1.as_ref().unwrap().len() == 67, "{stored:?}");
        let phones = db.table("users", &["phone_index"]).await;
        assert!(phones.iter().flatten().flatten().all(|index| index.len() == "k1:".len() + 4), "{phones:?}");
        for (column, is_none) in [("note", true), ("id", true), ("email", false)] {
            let error = store.find(None, column, &"x".into()).await.err();
            assert_eq!(error.is_some(), is_none, "{column}: {error:?}");
        }
    }

    async fn a_changed_or_removed_value_is_not_found_any_more(db) {
        let store = ready(&db).await.store(&db).await;
        put(&store, 1, "old@example.org").await.unwrap();
        put(&store, 1, "new@example.org").await.unwrap();
        assert_eq!(found(&store, "email", "old@example.org").await, [] as [&str; 0]);
        assert_eq!(found(&store, "email", "new@example.org").await, ["id=1"]);
        // Another column of the row keeps the index that it has.
        let key = TokenKey::from_values(["1"]);
        store.put(&key, NewToken::new().column("phone", Some(SecretString::from("+1 555")))).await.unwrap();
        assert_eq!(found(&store, "email", "new@example.org").await, ["id=1"]);
        store.put(&key, NewToken::new().column("email", None::<SecretString>)).await.unwrap();
        assert_eq!(indexes(&db).await[0].1, None);
        assert_eq!(found(&store, "email", "new@example.org").await, [] as [&str; 0]);
    }

    async fn the_database_refuses_a_second_registration_in_every_spelling(db) {
        let store = ready(&db).await.store(&db).await;
        put(&store, 1, "ada@example.org").await.unwrap();
        put(&store, 2, "bob@example.org").await.unwrap();
        for spelling in ["ada@example.org", " ADA@EXAMPLE.ORG ", "ada@example.org."] {
            for id in [2, 3] {
                let error = put(&store, id, spelling).await.unwrap_err();
                assert!(matches!(error, StoreError::NotUnique { .. }), "{spelling:?}: {}", told(&error));
                assert_eq!((error.kind(), error.class()), (ErrorKind::Conflict, "not_unique"));
                assert!(!told(&error).to_lowercase().contains("ada@"), "{}", told(&error));
            }
        }
        put(&store, 1, "ADA@example.org").await.unwrap();
        assert_eq!(found(&store, "email", "bob@example.org").await, ["id=2"]);
        assert_eq!(indexes(&db).await.len(), 2);
    }

    async fn of_many_who_register_at_once_one_has_the_address(db) {
        let keys = Arc::new(ready(&db).await);
        let mut tasks = Vec::new();
        for id in 1..=6 {
            let store = keys.store(&db).await;
            tasks.push(tokio::spawn(async move { put(&store, id, "ada@example.org").await }));
        }
        let mut won = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(()) => won += 1,
                Err(error) => assert!(matches!(error, StoreError::NotUnique { .. } | StoreError::Contended { .. }), "{}", told(&error)),
            }
        }
        assert_eq!((won, indexes(&db).await.len()), (1, 1));
    }

    async fn a_migration_fills_indexes_also_of_rows_that_are_sealed_already(db) {
        create(&db).await;
        for id in 1..=5 {
            insert_plain(&db, id).await;
        }
        // Three rows are sealed before there is any index.
        let mut keys = Keys::toml(&profile(""));
        let store = keys.store(&db).await;
        for id in 1..=3 {
            put(&store, id, &plain(id).0).await.unwrap();
        }
        let sealed = db.table("users", &["id", "email", "phone"]).await;
        keys.profile = Keys::toml(&profile(INDEXES)).profile;
        let database = Database::connect(db.url()).await.unwrap();
        schema::migrate(&database, &keys.profile).await.unwrap();
        let store = keys.store(&db).await;
        // A plaintext value that is not indexed yet is found as it is stored.
        assert_eq!(found(&store, "email", &plain(4).0).await, ["id=4"]);
        assert_eq!(found(&store, "email", &plain(1).0).await, [] as [&str; 0]);
        assert_eq!(verified(&store).await.index_missing, 6, "both values of three rows");
        let mut dry = to(WriteFormat::KmsEnvelope, 2);
        dry.run.dry_run = true;
        assert_eq!(counts(&carry_out(&store, &dry).await)[..3], [5, 5, 0]);
        assert_eq!(indexes(&db).await.iter().filter(|row| row.1.is_some()).count(), 0);
        let report = migrate(&store, WriteFormat::KmsEnvelope).await;
        assert_eq!(counts(&report), [5, 5, 0, 0, 0, 4], "two rows are sealed, and all are indexed");
        assert_eq!(db.table("users", &["id", "email", "phone"]).await[..3], sealed[..3], "sealed texts stay as they are");
        for id in 1..=5 {
            let (email, phone) = plain(id);
            assert_eq!(found(&store, "email", &email.to_uppercase()).await, [format!("id={id}")]);
            assert_eq!(found(&store, "phone", &phone.replace(' ', "")).await, [format!("id={id}")]);
        }
        let again = migrate(&store, WriteFormat::KmsEnvelope).await;
        assert_eq!(counts(&again), [5, 0, 5, 0, 0, 0]);
        assert!(!verified(&store).await.found_problems());
    }

    async fn a_migration_names_the_rows_that_are_not_unique_and_writes_all_others(db) {
        let keys = ready(&db).await;
        for id in 1..=6 {
            insert_plain(&db, id).await;
        }
        db.execute("UPDATE users SET email = 'USER2@example.org' WHERE id = 5").await;
        let store = keys.store(&db).await;
        let outcome = token_store::migration::run(&store, &to(WriteFormat::KmsEnvelope, 10), &StopFlag::default(), |_| {}).await;
        assert_eq!((outcome.report.migrated, outcome.report.failed), (5, 1));
        let failure = &outcome.report.failures[0];
        assert!(failure.row == "id=2" || failure.row == "id=5", "{failure:?}");
        assert!(!failure.error.to_lowercase().contains("user2"), "{failure:?}");
        assert_eq!(indexes(&db).await.iter().filter(|row| row.1.is_some()).count(), 5);
    }

    async fn a_rollback_takes_the_indexes_away(db) {
        let keys = Keys::toml(&profile(INDEXES).replace("[context]", "legacy = \"direct-aes\"\n[context]"));
        create(&db).await;
        schema::migrate(&Database::connect(db.url()).await.unwrap(), &keys.profile).await.unwrap();
        let store = keys.store(&db).await;
        put(&store, 1, "ada@example.org").await.unwrap();
        migrate(&store, WriteFormat::DirectAes).await;
        assert_eq!(indexes(&db).await, [("1".into(), None, Some("1".into()))]);
        assert!(!verified(&store).await.found_problems());
        migrate(&store, WriteFormat::KmsEnvelope).await;
        assert_eq!(found(&store, "email", "ada@example.org").await, ["id=1"]);
    }

    async fn an_index_that_fits_no_value_is_found_by_a_verification_and_finds_no_row(db) {
        let store = ready(&db).await.store(&db).await;
        for (id, email) in [(1, "ada@example.org"), (2, "mallory@example.org"), (3, "carol@example.org")] {
            put(&store, id, email).await.unwrap();
        }
        assert!(!verified(&store).await.found_problems());
        // Mallory puts the index of Ada's address next to her own.
        let stored = indexes(&db).await;
        db.execute("UPDATE users SET email_index = NULL WHERE id = 1").await;
        db.run("UPDATE users SET email_index = $1 WHERE id = 2", &[stored[0].1.as_deref()]).await;
        assert_eq!(found(&store, "email", "ada@example.org").await, [] as [&str; 0]);
        let report = verified(&store).await;
        assert_eq!((report.index_missing, report.index_misfit, report.failed), (1, 1, 0));
        let classes: Vec<(&str, &str, &str)> = report.findings.iter().map(|found| (&*found.row, &*found.column, &*found.class)).collect();
        assert_eq!(classes, [("id=1", "email", "index_missing"), ("id=2", "email", "index_misfit")]);
        assert!(report.found_problems());
        db.execute("UPDATE users SET email = NULL WHERE id = 3").await;
        assert_eq!(verified(&store).await.index_misfit, 2, "an index without a value is of another one");
    }

    async fn a_read_that_reseals_a_row_indexes_it(db) {
        let keys = ready(&db).await;
        insert_plain(&db, 1).await;
        let store = keys.store(&db).await.with_reseal_on_read();
        store.get(&TokenKey::from_values(["1"])).await.unwrap();
        eventually("the row is sealed", async || store.resealed_rows() == 1).await;
        assert_eq!(found(&store, "email", "user1@example.org").await, ["id=1"]);
        assert!(!verified(&store).await.found_problems());
    }

    async fn a_relocated_row_is_found(db) {
        let store = ready(&db).await.store(&db).await;
        put(&store, 1, "ada@example.org").await.unwrap();
        db.execute("UPDATE users SET id = 9 WHERE id = 1").await;
        let mut former = Former::default();
        former.columns = vec![("id".into(), Some("1".into()))];
        let rows = [(TokenKey::from_values(["9"]), former)];
        let outcome = relocate(&store, &rows, false, |_| {}).await;
        assert_eq!(outcome.report.relocated, 1, "{outcome:?}");
        assert_eq!(found(&store, "email", "ada@example.org").await, ["id=9"]);
        assert!(!verified(&store).await.found_problems());
    }

    async fn without_the_key_service_no_guess_can_be_tested(db) {
        let keys = ready(&db).await;
        let store = keys.store(&db).await;
        put(&store, 1, "ada@example.org").await.unwrap();
        // Another key service: the wrapped key opens only under its own.
        let thief = Keys::toml(&profile(INDEXES)).store(&db).await;
        let error = thief.find(None, "email", &"ada@example.org".into()).await.err();
        assert!(matches!(error, Some(StoreError::IndexKey { .. })), "{error:?}");
        let without = keys.store_with(&db, TokenCipher::new()).await;
        let error = without.find(None, "email", &"ada@example.org".into()).await.err();
        assert!(matches!(error, Some(StoreError::IndexKey { .. })), "{error:?}");
        // A wrapped key that was copied to another column does not unwrap there.
        db.execute("UPDATE tokenseal_index_keys SET wrapped_key = (SELECT w FROM (SELECT wrapped_key AS w FROM tokenseal_index_keys WHERE column_name = 'phone') AS x) WHERE column_name = 'email'").await;
        let error = keys.store(&db).await.find(None, "email", &"ada@example.org".into()).await.err();
        assert!(matches!(error, Some(StoreError::IndexKey { .. })), "{error:?}");
    }

    async fn an_outage_writes_no_value_without_its_index(db) {
        let keys = ready(&db).await;
        let store = keys.store(&db).await;
        keys.faults().always(Fault::Fail(ErrorClass::Unavailable));
        let error = put(&store, 1, "ada@example.org").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", told(&error));
        assert_eq!(indexes(&db).await.len(), 0);
    }

    async fn index_keys_are_rewrapped_and_counted(db) {
        let keys = ready(&db).await;
        let store = keys.store(&db).await;
        put(&store, 1, "ada@example.org").await.unwrap();
        let usage = token_store::status::key_use(&store).await.unwrap();
        assert_eq!(usage.keys.iter().map(|key| (&*key.key_id, key.values)).collect::<Vec<_>>(), [("memory:1", 3)], "one value and two keys");
        let before = db.table("tokenseal_index_keys", &["wrapped_key"]).await;
        keys.memory().rotate();
        let outcome = rewrap(&store, &RewrapOptions::default(), &StopFlag::default(), |_| {}).await;
        assert_eq!((outcome.report.index_keys, outcome.report.rewrapped), (2, 1), "{outcome:?}");
        assert_ne!(db.table("tokenseal_index_keys", &["wrapped_key"]).await, before);
        let usage = token_store::status::key_use(&store).await.unwrap();
        assert_eq!(usage.keys.iter().map(|key| (&*key.key_id, key.values)).collect::<Vec<_>>(), [("memory:2", 3)]);
        assert_eq!(found(&keys.store(&db).await, "email", "ADA@example.org").await, ["id=1"]);
        let again = rewrap(&store, &RewrapOptions::default(), &StopFlag::default(), |_| {}).await;
        assert_eq!((again.report.index_keys, again.report.rewrapped), (0, 0));
    }
}

#[tokio::test]
async fn a_search_leaves_an_event_without_the_value() {
    let db = Sql::sqlite().await;
    let store = ready(&db).await.store(&db).await.with_actor("alice");
    put(&store, 1, "ada@example.org").await.unwrap();
    let ear = Ear::open();
    found(&store, "email", "ada@example.org").await;
    found(&store, "email", "bob@example.org").await;
    let events = ear.audit();
    let searched: Vec<_> =
        events.iter().filter(|event| event.field("event") == audit::TOKEN_SEARCHED).collect();
    let told: Vec<_> = searched
        .iter()
        .map(|event| [event.field("actor"), event.field("outcome"), event.field("column")])
        .collect();
    assert_eq!(told, [["alice", "ok", "email"], ["alice", "not_found", "email"]]);
    assert!(events.iter().all(|event| !format!("{event:?}").contains("example.org")));
}

#[tokio::test]
async fn keys_of_two_profiles_in_one_database_never_agree() {
    let db = Sql::sqlite().await;
    let mut keys = ready(&db).await;
    put(&keys.store(&db).await, 1, "ada@example.org").await.unwrap();
    let first = indexes(&db).await;
    // A table is indexed under the keys of one profile at a time.
    db.execute("UPDATE users SET email_index = NULL").await;
    keys.profile = Keys::toml(&profile(INDEXES).replace("\"crm\"", "\"shop\"")).profile;
    let store = keys.store(&db).await;
    store
        .put(
            &TokenKey::from_values(["1"]),
            NewToken::new().column("email", Some(SecretString::from("ada@example.org"))),
        )
        .await
        .unwrap();
    assert_ne!(indexes(&db).await, first);
    assert_eq!(index_keys(&db).await.len(), 4);
}

/// The number of index scans and of sequential scans of the table, by sessions that have ended.
async fn scans(db: &Sql) -> (u64, u64) {
    let sql = "SELECT (SELECT idx_scan::text FROM pg_stat_user_indexes WHERE indexrelname = 'tokenseal_users_email_index_unique'), \
               (SELECT seq_scan::text FROM pg_stat_user_tables WHERE relname = 'users')";
    let row = db.rows(sql).await.remove(0);
    let number = |index: usize| row[index].as_ref().unwrap().parse().unwrap();
    (number(0), number(1))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_up_in_a_large_table_reads_its_database_index_alone() {
    let db = Sql::postgres(test_support::part!(postgres)).await;
    let keys = ready(&db).await;
    let store = keys.store(&db).await;
    put(&store, 1, "ada@example.org").await.unwrap();
    // A session reports its work at its end.
    store.database().close().await;
    db.execute(
        "INSERT INTO users (id, email, email_index, v) SELECT n, 'kms:v2:x', 'k1:' || md5(n::text) || md5('x' || n), 2 \
         FROM generate_series(2, 100000) AS n; ANALYZE users",
    )
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (indexed, sequential) = scans(&db).await;
    let store = keys.store(&db).await;
    assert_eq!(found(&store, "email", "ADA@example.org").await, ["id=1"]);
    assert_eq!(found(&store, "email", "none@example.org").await, [] as [&str; 0]);
    store.database().close().await;
    eventually("both look-ups read the index", async || scans(&db).await.0 >= indexed + 2).await;
    assert_eq!(scans(&db).await.1, sequential, "scans of the whole table");
}
