//! Reads and writes in the service's own transaction: rolled back and committed with it, and without the key service.

use envelope_core::ErrorClass;
use test_support::faults::Fault;
use token_store::{Database, ErrorKind, NewToken, StoreError, TokenKey, TokenStore};

use crate::support::{Keys, Sql, create_vod_tender, shown};

fn key(channel: &str) -> TokenKey {
    TokenKey::new("twitch", channel)
}

fn both(access: &str, refresh: &str) -> NewToken {
    NewToken::new().access_token(access).refresh_token(refresh)
}

/// Runs one body on each kind of database, with a pool that has one connection: a store that took a second one would
/// wait for itself.
macro_rules! in_each_kind_of_transaction {
    ($(async fn $name:ident($db:ident, $pool:ident) $body:block)+) => {
        $(mod $name {
            use super::*;

            #[tokio::test]
            async fn on_sqlite() {
                let $db = Sql::sqlite().await;
                let options = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1);
                let $pool = options.connect($db.url()).await.unwrap();
                $body
            }

            #[tokio::test]
            async fn on_postgresql() {
                let $db = Sql::postgres(test_support::part!(postgres)).await;
                let options = sqlx::postgres::PgPoolOptions::new().max_connections(1);
                let $pool = options.connect($db.url()).await.unwrap();
                $body
            }

            #[tokio::test]
            async fn on_mariadb() {
                let $db = Sql::mariadb(test_support::part!(mariadb)).await;
                let options = sqlx::mysql::MySqlPoolOptions::new().max_connections(1);
                let $pool = options.connect($db.url()).await.unwrap();
                $body
            }
        })+
    };
}

async fn store_on(database: Database, keys: &Keys) -> TokenStore {
    TokenStore::open(database, keys.profile.clone(), keys.cipher()).await.unwrap()
}

async fn access(store: &TokenStore, channel: &str) -> Option<String> {
    let token = store.get(&key(channel)).await.ok()?;
    shown(token.access_token()).map(ToOwned::to_owned)
}

async fn bookings(db: &Sql) -> usize {
    db.table("bookings", &["what"]).await.len()
}

in_each_kind_of_transaction! {
    async fn a_token_is_written_and_rolled_back_with_the_rest_of_the_transaction(db, pool) {
        create_vod_tender(&db).await;
        db.execute("CREATE TABLE bookings (what VARCHAR(20))").await;
        let keys = Keys::new("vod-tender").decorated(|without_cache| without_cache);
        let store = store_on(Database::from_pool(pool.clone()), &keys).await;
        store.put(&key("old"), both("old", "old")).await.unwrap();
        for channel in ["old", "new"] {
            for commit in [false, true] {
                let before = access(&store, channel).await;
                let prepared = store.prepare(&key(channel)).await.unwrap();
                keys.faults().always(Fault::Fail(ErrorClass::Unavailable));
                let mut transaction = pool.begin().await.unwrap();
                sqlx::query("INSERT INTO bookings VALUES ('a booking')").execute(&mut *transaction).await.unwrap();
                let written = store.put_in(&mut transaction, prepared, both("granted", "successor")).await.unwrap();
                assert_eq!(written.encryption_method.as_deref(), Some("kms-envelope"));
                keys.faults().heal();
                let seen = store.get_in(&mut transaction, &key(channel), &["access_token"]).await.unwrap();
                assert_eq!(shown(seen.token("access_token").unwrap()), Some("granted"));
                assert_eq!(seen.revision(), written.revision());
                match commit {
                    true => transaction.commit().await.unwrap(),
                    false => transaction.rollback().await.unwrap(),
                }
                let after = if commit { Some("granted".to_owned()) } else { before };
                assert_eq!(access(&store, channel).await, after, "{channel} {commit}");
            }
        }
        assert_eq!(bookings(&db).await, 2);
    }

    async fn a_token_that_is_not_set_is_carried_over_without_the_key_service(db, pool) {
        create_vod_tender(&db).await;
        let keys = Keys::new("vod-tender").decorated(|without_cache| without_cache);
        let store = store_on(Database::from_pool(pool.clone()), &keys).await;
        store.put(&key("one"), both("old", "keeps")).await.unwrap();
        let prepared = store.prepare(&key("one")).await.unwrap();
        keys.faults().always(Fault::Fail(ErrorClass::Unavailable));
        keys.faults().reset_calls();
        let mut transaction = pool.begin().await.unwrap();
        store.put_in(&mut *transaction, prepared, NewToken::new().access_token("granted")).await.unwrap();
        transaction.commit().await.unwrap();
        assert_eq!(keys.faults().total_calls(), 0);
        keys.faults().heal();
        let token = store.get(&key("one")).await.unwrap();
        assert_eq!(crate::support::both(&token), (Some("granted"), Some("keeps")));
    }

    async fn what_was_prepared_for_another_state_of_the_row_is_refused_and_the_transaction_goes_on(db, pool) {
        create_vod_tender(&db).await;
        db.execute("CREATE TABLE bookings (what VARCHAR(20))").await;
        let keys = Keys::new("vod-tender");
        let store = store_on(Database::from_pool(pool.clone()), &keys).await;
        let read = store.put(&key("one"), both("old", "old")).await.unwrap().revision();
        let prepared = store.prepare(&key("one")).await.unwrap();
        let late = store.prepare(&key("one")).await.unwrap();
        let gone = store.prepare(&key("one")).await.unwrap();
        store.put(&key("one"), both("theirs", "theirs")).await.unwrap();

        let mut transaction = pool.begin().await.unwrap();
        sqlx::query("INSERT INTO bookings VALUES ('a booking')").execute(&mut *transaction).await.unwrap();
        let kept = NewToken::new().access_token("mine");
        let error = store.put_in(&mut transaction, prepared, kept).await.unwrap_err();
        assert!(matches!(error, StoreError::NotPrepared { .. }), "{error}");
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Conflict, false));
        let error = store.put_in(&mut transaction, late, both("late", "late").if_revision(read)).await.unwrap_err();
        assert!(matches!(error, StoreError::Changed { .. }), "{error}");
        transaction.commit().await.unwrap();
        assert_eq!((access(&store, "one").await.as_deref(), bookings(&db).await), (Some("theirs"), 1));

        assert!(store.delete(&key("one")).await.unwrap());
        let mut transaction = pool.begin().await.unwrap();
        let error = store.put_in(&mut transaction, gone, both("a", "b")).await.unwrap_err();
        assert!(matches!(error, StoreError::Changed { .. }), "{error}");
        let error = store.get_in(&mut transaction, &key("one"), &["access_token"]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        transaction.commit().await.unwrap();
    }

    async fn a_store_works_on_the_pool_of_its_service(db, pool) {
        create_vod_tender(&db).await;
        let store = store_on(Database::from_pool(pool.clone()), &Keys::new("vod-tender")).await;
        store.put(&key("one"), both("access é", "refresh")).await.unwrap();
        assert_eq!(access(&store, "one").await.as_deref(), Some("access é"));
        assert!(store.delete(&key("one")).await.unwrap());
    }
}

#[tokio::test]
async fn a_transaction_of_another_kind_of_database_is_refused() {
    let (db, other) = (Sql::sqlite().await, Sql::postgres(test_support::part!(postgres)).await);
    create_vod_tender(&db).await;
    let store = Keys::new("vod-tender").store(&db).await;
    let pool = sqlx::PgPool::connect(other.url()).await.unwrap();
    let mut transaction = pool.begin().await.unwrap();
    let error = store.get_in(&mut transaction, &key("one"), &[]).await.unwrap_err();
    assert!(matches!(error, StoreError::OtherDatabase), "{error}");
    assert_eq!(error.kind().http_status(), 500);
}

/// A caller's own deferred constraint is not run early, and a malformed key does not end the caller's transaction.
#[tokio::test]
async fn a_transaction_of_postgresql_keeps_what_the_caller_has_deferred() {
    let db = Sql::postgres(test_support::part!(postgres)).await;
    create_vod_tender(&db).await;
    db.execute("CREATE TABLE parents (id integer PRIMARY KEY)").await;
    db.execute(
        "CREATE TABLE children (id integer PRIMARY KEY, parent integer REFERENCES parents DEFERRABLE INITIALLY DEFERRED)",
    )
    .await;
    let pool = sqlx::PgPool::connect(db.url()).await.unwrap();
    let keys = Keys::new("vod-tender");
    let store = store_on(Database::from_pool(pool.clone()), &keys).await;
    store.put(&key("one"), both("old", "old")).await.unwrap();
    for channel in ["one", "new"] {
        let prepared = store.prepare(&key(channel)).await.unwrap();
        let mut transaction = pool.begin().await.unwrap();
        sqlx::query("DELETE FROM children").execute(&mut *transaction).await.unwrap();
        sqlx::query("DELETE FROM parents").execute(&mut *transaction).await.unwrap();
        sqlx::query("INSERT INTO children VALUES (1, 1)").execute(&mut *transaction).await.unwrap();
        store.put_in(&mut transaction, prepared, both("granted", "successor")).await.unwrap();
        sqlx::query("INSERT INTO parents VALUES (1)").execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
        assert_eq!(access(&store, channel).await.as_deref(), Some("granted"));
    }

    let profile = crate::support::profile_of("members", &["id"], &["secret"], "");
    db.execute("CREATE TABLE members (id integer PRIMARY KEY, secret text)").await;
    let store = store_on(Database::from_pool(pool.clone()), &Keys::toml(&profile)).await;
    let mut transaction = pool.begin().await.unwrap();
    for malformed in ["x", "99999999999999999999", ""] {
        let key = TokenKey::from_values([malformed]);
        let error = store.get_in(&mut transaction, &key, &["secret"]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{malformed:?}");
    }
    sqlx::query("INSERT INTO parents VALUES (2)").execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn a_session_of_mariadb_that_would_cut_values_is_refused() {
    let db = Sql::mariadb(test_support::part!(mariadb)).await;
    create_vod_tender(&db).await;
    let pool = sqlx::MySqlPool::connect(db.url()).await.unwrap();
    let store = store_on(Database::from_pool(pool.clone()), &Keys::new("vod-tender")).await;
    for setting in ["SET SESSION sql_mode = ''", "SET NAMES latin1"] {
        let prepared = store.prepare(&key("one")).await.unwrap();
        let mut connection = pool.acquire().await.unwrap().detach();
        sqlx::raw_sql("START TRANSACTION").execute(&mut connection).await.unwrap();
        sqlx::raw_sql(setting).execute(&mut connection).await.unwrap();
        let error = store.put_in(&mut connection, prepared, both("a", "b")).await.unwrap_err();
        assert!(matches!(error, StoreError::Database(_)), "{setting}: {error}");
    }
}
