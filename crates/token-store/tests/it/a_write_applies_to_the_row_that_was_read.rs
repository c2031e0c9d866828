//! Revisions: constant while a row is, another after every change of it, and a condition of writes and deletions.

use token_store::{ErrorKind, NewToken, Revision, StoreError, TokenKey, TokenStore};

use crate::support::{Keys, Sql, VodRow, create_vod_tender, insert_vod, shown};

fn key(channel: &str) -> TokenKey {
    TokenKey::new("twitch", channel)
}

fn both(access: &str, refresh: &str) -> NewToken {
    NewToken::new().access_token(access).refresh_token(refresh)
}

async fn revision(store: &TokenStore, channel: &str) -> Revision {
    store.get(&key(channel)).await.unwrap().revision()
}

async fn set(db: &Sql, column: &str, value: &str) {
    let sql = format!("UPDATE oauth_tokens SET {column} = $1 WHERE channel = 'one'");
    db.run(&sql, &[Some(value)]).await;
}

on_each_database! {
    async fn a_revision_is_the_same_in_every_process_until_the_row_changes(db) {
        create_vod_tender(&db).await;
        let keys = Keys::new("vod-tender");
        let store = keys.store(&db).await;
        let written = store.put(&key("one"), both("access", "refresh")).await.unwrap().revision();
        let other = keys.store(&db).await;
        assert_eq!(revision(&store, "one").await, written);
        assert_eq!(revision(&other, "one").await, written);
        for columns in [&["access_token"][..], &[], &["refresh_token", "access_token"]] {
            assert_eq!(other.get_columns(&key("one"), columns).await.unwrap().revision(), written);
        }
        assert_eq!(other.get_row(&key("one")).await.unwrap().revision(), written);
        set(&db, "scope", "another").await;
        assert_eq!(revision(&other, "one").await, written, "a plain column is no part of it");

        let mut seen = vec![written];
        seen.push(store.put(&key("one"), both("access", "refresh")).await.unwrap().revision());
        assert_eq!(revision(&other, "one").await, seen[1]);
        for (column, value) in [
            ("encryption_key_id", "another"),
            ("encryption_method", "another"),
            ("refresh_token", ""),
        ] {
            set(&db, column, value).await;
            seen.push(other.get_columns(&key("one"), &[]).await.unwrap().revision());
        }
        db.run("UPDATE oauth_tokens SET refresh_token = NULL WHERE channel = 'one'", &[]).await;
        seen.push(other.get_columns(&key("one"), &[]).await.unwrap().revision());
        for (index, one) in seen.iter().enumerate() {
            assert!(!seen[..index].contains(one), "{index}");
        }
    }

    async fn rows_in_older_forms_have_revisions_that_do_not_name_their_tokens(db) {
        create_vod_tender(&db).await;
        let keys = Keys::new("vod-tender");
        let store = keys.store(&db).await;
        insert_vod(&db, &VodRow::plain("one", "access", "refresh")).await;
        insert_vod(&db, &VodRow::plain("two", "access", "refresh")).await;
        insert_vod(&db, &VodRow::direct("direct", "access", "refresh")).await;
        let one = revision(&store, "one").await;
        assert_eq!(revision(&store, "one").await, one);
        assert_eq!(revision(&keys.store(&db).await, "one").await, one);
        assert_ne!(revision(&store, "two").await, one, "equal tokens of two rows");
        assert_ne!(revision(&store, "direct").await, one);
        let written = store.put(&key("one"), both("access", "refresh").if_revision(one.as_str())).await.unwrap();
        assert_ne!(written.revision(), one, "the same tokens, sealed");
        assert_eq!(revision(&store, "one").await, written.revision());
    }

    async fn a_write_at_another_revision_is_a_conflict_and_changes_nothing(db) {
        create_vod_tender(&db).await;
        let store = Keys::new("vod-tender").store(&db).await;
        let first = store.put(&key("one"), both("first", "refresh")).await.unwrap().revision();
        let mine = both("mine", "refresh").if_revision(first.clone());
        let second = store.put(&key("one"), mine).await.unwrap().revision();
        assert_ne!(first, second);
        for stale in [first.clone(), Revision::from("nonsense"), Revision::from("")] {
            let error = store.put(&key("one"), both("late", "late").if_revision(stale)).await.unwrap_err();
            assert!(matches!(error, StoreError::Changed { .. }), "{error}");
            assert_eq!((error.kind(), error.kind().http_status()), (ErrorKind::Conflict, 409));
            assert!(!error.is_retryable(), "the same call fails again");
        }
        assert_eq!(shown(store.get(&key("one")).await.unwrap().access_token()), Some("mine"));

        let error = store.put(&key("new"), both("a", "b").if_revision(first.clone())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert_eq!(store.get(&key("new")).await.unwrap_err().kind(), ErrorKind::NotFound, "no row is made");

        let prepared = store.prepare(&key("one")).await.unwrap();
        let late = both("late", "late").if_revision(first);
        assert_eq!(store.put_prepared(prepared, late).await.unwrap_err().kind(), ErrorKind::Conflict);
        let prepared = store.prepare(&key("one")).await.unwrap();
        store.put_prepared(prepared, both("in time", "refresh").if_revision(second)).await.unwrap();
        assert_eq!(shown(store.get(&key("one")).await.unwrap().access_token()), Some("in time"));
    }

    async fn of_many_writers_at_one_revision_one_writes(db) {
        create_vod_tender(&db).await;
        let store = Keys::new("vod-tender").store(&db).await;
        let read = store.put(&key("one"), both("old", "old")).await.unwrap().revision();
        let writers = (0..8).map(|number| {
            let (store, read) = (store.clone(), read.clone());
            tokio::spawn(async move {
                let token = format!("writer {number}");
                store.put(&key("one"), both(&token, "refresh").if_revision(read)).await.map(|_| token)
            })
        });
        let mut won = Vec::new();
        for writer in writers.collect::<Vec<_>>() {
            match writer.await.unwrap() {
                Ok(token) => won.push(token),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
            }
        }
        assert_eq!(won.len(), 1);
        assert_eq!(shown(store.get(&key("one")).await.unwrap().access_token()), Some(won[0].as_str()));
    }

    async fn a_deletion_at_another_revision_leaves_the_row(db) {
        create_vod_tender(&db).await;
        let store = Keys::new("vod-tender").store(&db).await;
        let first = store.put(&key("one"), both("first", "refresh")).await.unwrap().revision();
        store.put(&key("two"), both("other", "refresh")).await.unwrap();
        let second = store.put(&key("one"), both("second", "refresh")).await.unwrap().revision();
        let error = store.delete_if_revision(&key("one"), &first).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(store.get(&key("one")).await.is_ok());
        assert!(store.delete_if_revision(&key("one"), &second).await.unwrap());
        assert!(!store.delete_if_revision(&key("one"), &second).await.unwrap(), "it is gone");
        assert!(store.get(&key("two")).await.is_ok(), "no other row is");
    }

    async fn a_damaged_token_spoils_no_other_of_its_row(db) {
        create_vod_tender(&db).await;
        let store = Keys::new("vod-tender").store(&db).await;
        store.put(&key("one"), both("access", "refresh")).await.unwrap();
        set(&db, "refresh_token", "kms:v2:AAAA:damaged").await;
        let row = store.get_row(&key("one")).await.unwrap();
        assert_eq!(shown(row.token("access_token").unwrap()), Some("access"));
        let error = row.token("refresh_token").unwrap_err();
        assert_eq!(error.kind().http_status(), 422);
        assert!(store.get(&key("one")).await.is_err(), "all or nothing");
    }
}
