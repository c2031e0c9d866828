//! A service needs more than `get` and `put`: its own pool, its own statements, many rows, some columns, and
//! a write that cannot fail for the key service.

use std::time::Duration;

use envelope_core::ErrorClass;
use futures_util::StreamExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use test_support::faults::Fault;
use token_store::{Database, ErrorKind, NewToken, OpenOptions, StoredText, TokenKey, TokenStore};

use crate::support::{Keys, Sql, VodRow, create_vod_tender, eventually, insert_vod, shown};

fn key(channel: &str) -> TokenKey {
    TokenKey::new("twitch", channel)
}

fn both(access: &str, refresh: &str) -> NewToken {
    NewToken::new().access_token(access).refresh_token(refresh)
}

/// Changes the end of a stored text.
async fn damage(db: &Sql, channel: &str, column: &str) {
    let rows = db.table("oauth_tokens", &["channel", column]).await;
    let text =
        rows.iter().find(|row| row[0].as_deref() == Some(channel)).and_then(|row| row[1].clone()).unwrap();
    let damaged = format!("{}AAAAAAA=", &text[..text.len() - 8]);
    let sql = format!("UPDATE oauth_tokens SET {column} = $1 WHERE channel = $2");
    db.run(&sql, &[Some(&damaged), Some(channel)]).await;
}

async fn works_on(database: Database, db: &Sql) {
    create_vod_tender(db).await;
    let keys = Keys::new("vod-tender");
    let store = TokenStore::open(database, keys.profile.clone(), keys.cipher()).await.unwrap();
    store.put(&key("one"), both("access", "refresh")).await.unwrap();
    let token = store.get(&key("one")).await.unwrap();
    assert_eq!(shown(token.access_token()), Some("access"));
    assert!(store.delete(&key("one")).await.unwrap());
}

#[tokio::test]
async fn a_store_works_on_the_sqlite_pool_of_its_service() {
    let db = Sql::sqlite().await;
    works_on(Database::from_pool(sqlx::SqlitePool::connect(db.url()).await.unwrap()), &db).await;
}

/// On a full disk, SQLite ends a transaction itself, and the driver does not notice it.
#[tokio::test]
async fn a_transaction_that_sqlite_has_ended_itself_stops_no_later_write() {
    let db = Sql::sqlite().await;
    create_vod_tender(&db).await;
    let keys = Keys::new("vod-tender");
    let pool = sqlx::SqlitePool::connect(db.url()).await.unwrap();
    let store = TokenStore::open(Database::from_pool(pool.clone()), keys.profile.clone(), keys.cipher())
        .await
        .unwrap();
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut transaction = pool.begin().await.unwrap();
        sqlx::query("ROLLBACK").execute(&mut *transaction).await.unwrap();
        held.push(transaction);
    }
    drop(held);
    for access in ["1", "2", "3", "4"] {
        store.put(&key("one"), both(access, "refresh")).await.unwrap();
        assert_eq!(shown(store.get(&key("one")).await.unwrap().access_token()), Some(access));
    }
}

#[tokio::test]
async fn a_store_works_on_the_postgresql_pool_of_its_service() {
    let db = Sql::postgres(test_support::part!(postgres)).await;
    works_on(Database::from_pool(sqlx::PgPool::connect(db.url()).await.unwrap()), &db).await;
}

on_each_database! {
    async fn only_the_columns_that_are_asked_for_are_opened_and_paid_for(db) {
        create_vod_tender(&db).await;
        let keys = Keys::new("vod-tender").decorated(|without_cache| without_cache);
        let store = keys.store(&db).await;
        store.put(&key("one"), both("access", "refresh")).await.unwrap();
        damage(&db, "one", "refresh_token").await;
        keys.faults().reset_calls();
        let mut row = store.get_columns(&key("one"), &["access_token"]).await.unwrap();
        assert_eq!(keys.faults().calls("unwrap"), 1);
        assert_eq!(shown(row.token("access_token").unwrap()), Some("access"));
        assert!(row.token("refresh_token").unwrap().is_none(), "it was not asked for");
        assert_eq!(row.take("access_token").unwrap().unwrap().expose_secret(), "access");
        assert_eq!((row.encryption_version(), row.encryption_method()), (Some(2), Some("kms-envelope")));

        let row = store.get_columns(&key("one"), &["access_token", "refresh_token"]).await.unwrap();
        assert_eq!(shown(row.token("access_token").unwrap()), Some("access"));
        let error = row.token("refresh_token").unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unopenable, false));

        let error = store.get_columns(&key("one"), &["scope"]).await.unwrap_err();
        assert_eq!(error.kind().http_status(), 400);
        let error = store.get_columns(&key("two"), &["access_token"]).await.unwrap_err();
        assert_eq!(error.kind().http_status(), 404);
    }

    async fn a_stream_opens_every_row_in_order_and_a_broken_one_spoils_no_other(db) {
        const ROWS: usize = 1_203;
        create_vod_tender(&db).await;
        let keys = Keys::new("vod-tender").v3().decorated(|inner| {
            std::sync::Arc::new(kms_provider::Caching::new(std::sync::Arc::new(crate::support::OneDataKey::new(inner))))
        });
        let store = keys.store(&db).await;
        let channel = |number: usize| format!("{number:05}");
        for number in 0..ROWS {
            match number % 3 {
                0 => insert_vod(&db, &VodRow::plain(&channel(number), &format!("access {number}"), "r")).await,
                1 => insert_vod(&db, &VodRow::direct(&channel(number), &format!("access {number}"), "r")).await,
                _ => {
                    let token = both(&format!("access {number}"), "r");
                    store.put(&key(&channel(number)), token).await.map(drop).unwrap();
                }
            }
        }
        damage(&db, &channel(1_001), "access_token").await;
        let columns = ["access_token"];
        let mut number = 0;
        let mut rows = std::pin::pin!(store.rows(None, &columns).unwrap());
        while let Some(row) = rows.next().await {
            let row = row.unwrap();
            assert_eq!(row.key(), ["twitch".to_owned(), channel(number)]);
            match row.token("access_token") {
                Ok(token) => assert_eq!(shown(token), Some(format!("access {number}").as_str())),
                Err(error) => assert_eq!((number, error.kind()), (1_001, ErrorKind::Unopenable)),
            }
            number += 1;
        }
        assert_eq!(number, ROWS);

        let wanted = [7, 3, 9_999, 5];
        let many = store.get_many(wanted.map(|number| key(&channel(number))), &columns);
        let many: Vec<_> = many.collect().await;
        let texts = many.iter().map(|row| row.as_ref().ok().and_then(|row| shown(row.token("access_token").ok()?)));
        assert_eq!(texts.collect::<Vec<_>>(), [Some("access 7"), Some("access 3"), None, Some("access 5")]);
    }

    async fn the_reader_of_a_list_writes_through_the_same_single_connection(db) {
        const ROWS: usize = 1_203;
        create_vod_tender(&db).await;
        let values = (0..ROWS).map(|number| format!("('twitch', '{number:05}', 'access {number}', 'r', 0)"));
        let columns = "provider, channel, access_token, refresh_token, encryption_version";
        let values = values.collect::<Vec<_>>().join(", ");
        db.execute(&format!("INSERT INTO oauth_tokens ({columns}) VALUES {values}")).await;
        let keys = Keys::new("vod-tender");
        let options = OpenOptions::default().max_connections(1).acquire_timeout(Duration::from_secs(5));
        let database = Database::open(db.url(), options).await.unwrap();
        let store = TokenStore::open(database, keys.profile.clone(), keys.cipher()).await.unwrap();
        let (columns, mut seen) = (["access_token"], 0);
        let mut rows = std::pin::pin!(store.rows(None, &columns).unwrap());
        while let Some(row) = rows.next().await {
            let row = row.unwrap();
            assert_eq!(shown(row.token("access_token").unwrap()), Some(format!("access {seen}").as_str()));
            if seen % 100 == 0 {
                let again = NewToken::new().access_token("changed").if_revision(row.revision());
                store.put(&key(&row.key()[1]), again).await.unwrap();
            }
            seen += 1;
        }
        assert_eq!(seen, ROWS);
        let changed = db.rows("SELECT channel FROM oauth_tokens WHERE encryption_version = 2").await;
        assert_eq!(changed.len(), ROWS.div_ceil(100));
    }

    async fn texts_of_the_services_own_statements_open_and_are_sealed(db) {
        create_vod_tender(&db).await;
        let keys = Keys::new("vod-tender");
        let store = keys.store(&db).await;
        insert_vod(&db, &VodRow::plain("plain", "access p", "refresh p")).await;
        insert_vod(&db, &VodRow::direct("direct", "access d", "refresh d")).await;
        store.put(&key("sealed"), both("access s", "refresh s")).await.unwrap();
        let columns = ["channel", "access_token", "encryption_version", "encryption_key_id"];
        for row in db.table("oauth_tokens", &columns).await {
            let [Some(channel), Some(text), version, key_id] = &row[..] else { panic!("{row:?}") };
            let version = version.as_ref().map(|version| version.parse().unwrap());
            let stored = StoredText::marked(text, version, key_id.as_deref());
            let opened = store.open_text(&key(channel), "access_token", stored).await.unwrap();
            assert_eq!(opened.expose_secret(), format!("access {}", &channel[..1]));
            if channel == "sealed" {
                let moved = store.open_text(&key("plain"), "access_token", stored).await.unwrap_err();
                assert_eq!(moved.kind(), ErrorKind::Unopenable);
                assert!(store.open_text(&key(channel), "refresh_token", stored).await.is_err());
            }
        }
        let value = SecretString::from("written by the service");
        let sealed = store.seal_text(&key("sealed"), "access_token", &value).await.unwrap();
        let version = sealed.encryption_version.to_string();
        db.run(
            "UPDATE oauth_tokens SET access_token = $1, encryption_version = CAST($2 AS integer), \
             encryption_key_id = $3 WHERE channel = 'sealed'",
            &[Some(&sealed.text), Some(&version), sealed.encryption_key_id.as_deref()],
        )
        .await;
        let token = store.get(&key("sealed")).await.unwrap();
        assert_eq!(shown(token.access_token()), Some("written by the service"));
        assert_eq!(shown(token.refresh_token()), Some("refresh s"));
    }

    async fn what_was_prepared_is_written_while_the_key_service_is_away(db) {
        create_vod_tender(&db).await;
        let keys = Keys::new("vod-tender").decorated(|without_cache| without_cache);
        let store = keys.store(&db).await;
        store.put(&key("one"), both("old", "old")).await.unwrap();
        let away = || keys.faults().always(Fault::Fail(ErrorClass::Unavailable));

        // The key service is unavailable before the grant: nothing is spent.
        away();
        let error = store.prepare(&key("one")).await.unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, true));

        // It becomes unavailable during the grant: the provider's tokens are written, into an old row and a
        // new one.
        for channel in ["one", "new"] {
            keys.faults().heal();
            let prepared = store.prepare(&key(channel)).await.unwrap();
            away();
            keys.faults().reset_calls();
            store.put_prepared(prepared, both("granted", "successor")).await.unwrap();
            assert_eq!(keys.faults().total_calls(), 0, "{channel}");
            keys.faults().heal();
            let token = store.get(&key(channel)).await.unwrap();
            let tokens = (shown(token.access_token()), shown(token.refresh_token()));
            assert_eq!(tokens, (Some("granted"), Some("successor")), "{channel}");
        }
    }

    async fn a_prepared_write_carries_over_what_others_wrote_meanwhile(db) {
        create_vod_tender(&db).await;
        let keys = Keys::new("vod-tender");
        let store = keys.store(&db).await;
        store.put(&key("one"), both("old access", "old refresh")).await.unwrap();
        let prepared = store.prepare(&key("one")).await.unwrap();
        store.put(&key("one"), both("theirs", "their refresh")).await.unwrap();
        store.put_prepared(prepared, NewToken::new().access_token("mine")).await.unwrap();
        let token = store.get(&key("one")).await.unwrap();
        let tokens = (shown(token.access_token()), shown(token.refresh_token()));
        assert_eq!(tokens, (Some("mine"), Some("their refresh")));
    }
}

/// A write that waits for a lock keeps its connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_opens_as_many_connections_as_it_may_and_waits_for_one_as_long_as_it_may() {
    let db = Sql::postgres(test_support::part!(postgres)).await;
    create_vod_tender(&db).await;
    let (keys, key) = (Keys::new("vod-tender"), TokenKey::new("twitch", "one"));
    keys.store(&db).await.put(&key, NewToken::new().access_token("old")).await.unwrap();
    for connections in [1, 2] {
        let options =
            OpenOptions::default().max_connections(connections).acquire_timeout(Duration::from_millis(200));
        let database = Database::open(db.url(), options).await.unwrap();
        let store = TokenStore::open(database, keys.profile.clone(), keys.cipher()).await.unwrap();
        let pool = sqlx::PgPool::connect(db.url()).await.unwrap();
        let mut lock = pool.begin().await.unwrap();
        sqlx::query("SELECT 1 FROM oauth_tokens FOR UPDATE").execute(&mut *lock).await.unwrap();
        let (its_store, its_key) = (store.clone(), key.clone());
        let write =
            tokio::spawn(async move { its_store.put(&its_key, NewToken::new().access_token("new")).await });
        const WAITING: &str = "SELECT pid::text FROM pg_stat_activity \
                               WHERE datname = current_database() AND wait_event_type = 'Lock'";
        eventually("the write waits", async || db.rows(WAITING).await.len() == 1).await;
        let read = store.get(&key).await.map(drop).map_err(|error| error.kind());
        assert_eq!(read, if connections == 1 { Err(ErrorKind::Unavailable) } else { Ok(()) });
        lock.rollback().await.unwrap();
        write.await.unwrap().unwrap();
    }
}
