//! Rows whose key the database makes: the values are sealed for the key that the row gets.

use std::collections::BTreeSet;

use token_store::{ErrorKind, NewToken, StoreError, TokenKey};

use crate::support::{Keys, Sql, profile_of, shown};

fn secret(value: &str) -> NewToken {
    NewToken::new().column("secret", Some(value.into()))
}

async fn opens_as(keys: &Keys, db: &Sql, key: &TokenKey, value: &str) {
    let row = keys.store(db).await.get_row(key).await.unwrap();
    assert_eq!(shown(row.token("secret").unwrap()), Some(value));
}

on_each_database! {
    async fn rows_get_numbers_that_no_other_row_had(db) {
        let key_column = match (db.is_postgres(), db.is_mariadb()) {
            (true, _) => "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
            (_, true) => "BIGINT AUTO_INCREMENT PRIMARY KEY",
            _ => "INTEGER PRIMARY KEY AUTOINCREMENT",
        };
        db.execute(&format!(
            "CREATE TABLE members (id {key_column}, tenant VARCHAR(20) NOT NULL, secret TEXT NOT NULL, note VARCHAR(20))"
        ))
        .await;
        let more = "owner = [\"tenant\"]\nplain = [\"note\"]";
        let keys = Keys::toml(&profile_of("members", &["id"], &["secret"], more));
        let store = keys.store(&db).await;
        let token = secret("first").plain("tenant", "a").plain("note", "beside it");
        let (first, written) = store.insert(None, token).await.unwrap();
        opens_as(&keys, &db, &first, "first").await;
        let row = store.get_row(&first).await.unwrap();
        assert_eq!((row.owner("tenant"), row.plain("note")), (Some("a"), Some("beside it")));
        assert_eq!(row.revision(), written.revision());

        let (last, _) = store.insert(Some("members"), secret("last").plain("tenant", "a")).await.unwrap();
        assert!(store.delete(&last).await.unwrap());
        let (next, _) = store.insert(None, secret("next").plain("tenant", "b")).await.unwrap();
        assert_ne!(next, last, "a number is not given twice");

        let writers = (0..6).map(|number| {
            let store = store.clone();
            tokio::spawn(async move {
                let value = format!("writer {number}");
                let (key, _) = store.insert(None, secret(&value).plain("tenant", "c")).await.unwrap();
                (key, value)
            })
        });
        let mut made = BTreeSet::from([format!("{first:?}"), format!("{next:?}")]);
        for writer in writers.collect::<Vec<_>>() {
            let (key, value) = writer.await.unwrap();
            opens_as(&keys, &db, &key, &value).await;
            assert!(made.insert(format!("{key:?}")));
        }
        assert_eq!(db.table("members", &["id"]).await.len(), made.len());
    }

    async fn a_default_of_the_key_column_is_asked_for(db) {
        let key_column = match (db.is_postgres(), db.is_mariadb()) {
            (true, _) => "UUID DEFAULT gen_random_uuid() PRIMARY KEY",
            (_, true) => "UUID DEFAULT uuid() PRIMARY KEY",
            _ => "TEXT DEFAULT (lower(hex(randomblob(16)))) NOT NULL PRIMARY KEY",
        };
        db.execute(&format!("CREATE TABLE members (id {key_column}, secret TEXT)")).await;
        let keys = Keys::toml(&profile_of("members", &["id"], &["secret"], ""));
        let store = keys.store(&db).await;
        let (one, _) = store.insert(None, secret("one")).await.unwrap();
        let (two, _) = store.insert(None, secret("two")).await.unwrap();
        assert_ne!(one, two);
        opens_as(&keys, &db, &one, "one").await;
        opens_as(&keys, &db, &two, "two").await;
    }

    async fn a_row_that_exists_is_never_changed_by_an_insert(db) {
        db.execute("CREATE TABLE members (id VARCHAR(20) NOT NULL PRIMARY KEY, secret TEXT)").await;
        let keys = Keys::toml(&profile_of("members", &["id"], &["secret"], ""));
        let store = keys.store(&db).await;
        let (key, _) = store.insert(None, secret("first").plain("id", "one")).await.unwrap();
        let error = store.insert(None, secret("second").plain("id", "one")).await.unwrap_err();
        assert!(matches!(error, StoreError::Exists { .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Conflict);
        opens_as(&keys, &db, &key, "first").await;

        let error = store.insert(None, secret("no key")).await.unwrap_err();
        assert!(matches!(error, StoreError::NoKeyMade { .. }), "{error}");
        assert_eq!(error.kind().http_status(), 400);
    }
}
