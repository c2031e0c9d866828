//! A write sets value and version columns in one statement, and keeps every token that it was not asked to change.

use std::sync::Arc;

use envelope_core::ErrorClass;
use envelope_core::format::direct_aes;
use test_support::faults::Fault;
use token_store::{NewToken, StoreError, TokenKey, TokenStore};

use crate::support::{
    Keys, Meddling, Sql, VodRow, assert_access, both, create_vod_tender, direct_key, insert_vod,
    pulseplan_row, shown, user_id, vod_rows,
};

fn one() -> TokenKey {
    TokenKey::new("twitch", "one")
}

/// Many token columns in one row.
const WIDE: &str = r#"
    name = "wide"
    [context]
    Application = "wide"
    [[tables]]
    name = "wide"
    key = ["id"]
    tokens = ["t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8", "t9"]
    [tables.version]
    version = "v"
    method = "m"
    key_id = "k"
"#;

async fn create_wide(db: &Sql) {
    let columns: Vec<String> = (0..10).map(|n| format!("t{n} text")).collect();
    db.execute(&format!(
        "CREATE TABLE wide (id bigint PRIMARY KEY, {}, v integer, m text, k text)",
        columns.join(", ")
    ))
    .await;
}

async fn marks(db: &Sql) -> Vec<(Option<String>, Option<String>, Option<String>)> {
    vod_rows(db).await.into_iter().map(|row| (row[4].clone(), row[5].clone(), row[6].clone())).collect()
}

fn sealed_marks() -> (Option<String>, Option<String>, Option<String>) {
    (Some("2".into()), Some("kms-envelope".into()), Some("memory:1".into()))
}

on_each_database! {
    async fn a_new_row_has_its_tokens_and_its_marks(db) {
        create_vod_tender(&db).await;
        let store = Keys::new("vod-tender").store(&db).await;
        store.put(&one(), NewToken::new().access_token("a").refresh_token("r")).await.unwrap();
        assert_eq!(marks(&db).await, [sealed_marks()]);
        let row = &vod_rows(&db).await[0];
        assert!(row[2].as_ref().unwrap().starts_with("kms:v2:") && row[3].as_ref().unwrap().starts_with("kms:v2:"));
        assert_eq!(both(&store.get(&one()).await.unwrap()), (Some("a"), Some("r")));
        store.put(&TokenKey::new("twitch", "two"), NewToken::new()).await.unwrap();
        assert_eq!(both(&store.get(&TokenKey::new("twitch", "two")).await.unwrap()), (None, None));
    }

    async fn one_column_is_changed_and_the_other_stays_readable_in_every_version(db) {
        create_vod_tender(&db).await;
        let store = Keys::new("vod-tender").store(&db).await;
        insert_vod(&db, &VodRow::plain("plain", "old", "kept")).await;
        insert_vod(&db, &VodRow { version: None, ..VodRow::plain("unmarked", "old", "kept") }).await;
        insert_vod(&db, &VodRow::direct("direct", "old", "kept")).await;
        store.put(&TokenKey::new("twitch", "sealed"), NewToken::new().access_token("old").refresh_token("kept")).await.unwrap();
        for channel in ["plain", "unmarked", "direct", "sealed"] {
            let key = TokenKey::new("twitch", channel);
            store.put(&key, NewToken::new().access_token("new")).await.unwrap();
            assert_eq!(both(&store.get(&key).await.unwrap()), (Some("new"), Some("kept")), "{channel}");
        }
        assert_eq!(marks(&db).await, vec![sealed_marks(); 4]);
        for column in vod_rows(&db).await.iter().flat_map(|row| [row[2].clone(), row[3].clone()]) {
            assert!(column.unwrap().starts_with("kms:v2:"), "no token of a row remains in an older form");
        }
    }

    async fn without_a_key_service_direct_aes_is_written(db) {
        create_vod_tender(&db).await;
        let mut keys = Keys::new("vod-tender");
        keys.key_service = false;
        insert_vod(&db, &VodRow::plain("one", "old", "kept")).await;
        let store = keys.store(&db).await;
        store.put(&one(), NewToken::new().access_token("new")).await.unwrap();
        assert_eq!(marks(&db).await, [(Some("1".into()), Some("direct-aes".into()), Some("default".into()))]);
        let row = &vod_rows(&db).await[0];
        for (text, token) in [(&row[2], "new"), (&row[3], "kept")] {
            let opened = direct_aes::open(&direct_key(), text.as_ref().unwrap()).unwrap();
            assert_eq!(shown(Some(&opened)), Some(token));
        }
    }

    async fn a_token_can_be_set_to_null_and_to_the_empty_text(db) {
        create_vod_tender(&db).await;
        let store = Keys::new("vod-tender").store(&db).await;
        store.put(&one(), NewToken::new().access_token("a").refresh_token("r")).await.unwrap();
        store.put(&one(), NewToken::new().column("access_token", None).refresh_token("")).await.unwrap();
        assert_eq!(both(&store.get(&one()).await.unwrap()), (None, Some("")));
        let row = &vod_rows(&db).await[0];
        assert_eq!((row[2].as_deref(), row[3].as_deref()), (None, Some("")));
    }

    async fn plain_columns_are_set_and_returned_as_they_are(db) {
        create_vod_tender(&db).await;
        let store = Keys::new("vod-tender").store(&db).await;
        let new = NewToken::new().access_token("a").plain("expires_at", "2030-05-06 07:08:09+00").plain("scope", "chat:read, 'x'");
        store.put(&one(), new).await.unwrap();
        db.execute("UPDATE oauth_tokens SET updated_at = '2001-01-01 00:00:00+00'").await;
        let read = store.get(&one()).await.unwrap();
        assert_eq!(read.plain("scope"), Some("chat:read, 'x'"));
        assert!(read.plain("expires_at").unwrap().starts_with("2030-05-06"), "{:?}", read.plain("expires_at"));
        store.put(&one(), NewToken::new().plain("scope", "none")).await.unwrap();
        let read = store.get(&one()).await.unwrap();
        assert_eq!((read.plain("scope"), shown(read.access_token())), (Some("none"), Some("a")));
        let updated = db.rows("SELECT CAST(updated_at AS text) FROM oauth_tokens").await;
        assert!(!updated[0][0].as_ref().unwrap().starts_with("2001"), "a write says when it was");
        let error = store.put(&one(), NewToken::new().plain("nonsense", "x")).await.unwrap_err();
        assert!(matches!(error, StoreError::NoColumns { .. }), "{error:?}");
        let error = store.put(&one(), NewToken::new().column("scope", Some("x".into()))).await.unwrap_err();
        assert!(matches!(error, StoreError::NoTokenColumn { .. }), "{error:?}");
    }

    async fn columns_that_hold_tokens_keys_and_marks_cannot_be_set_as_plain_ones(db) {
        create_vod_tender(&db).await;
        let store = Keys::new("vod-tender").store(&db).await;
        store.put(&one(), NewToken::new().access_token("a")).await.unwrap();
        let before = vod_rows(&db).await;
        let marks = ["encryption_version", "encryption_method", "encryption_key_id"];
        for column in marks.into_iter().chain(["access_token", "channel", "updated_at"]) {
            for channel in ["one", "two"] {
                let new = NewToken::new().refresh_token("r").plain(column, "0");
                let put = store.put(&TokenKey::new("twitch", channel), new).await;
                assert!(put.is_err(), "{column} was set past the store");
            }
        }
        assert_eq!(vod_rows(&db).await, before);
    }

    async fn a_row_does_not_change_hands_under_its_tokens(db) {
        let (id, _) = pulseplan_row(&db, 1, 1, "token", "refresh").await;
        let store = Keys::new("pulseplan").store(&db).await;
        let key = TokenKey::from_values([id]);
        store.put(&key, NewToken::new().access_token("new")).await.unwrap();
        let newer = || NewToken::new().access_token("newer");
        let error = store.put(&key, newer().plain("user_id", user_id(2))).await.unwrap_err();
        assert!(matches!(error, StoreError::NotPlain { .. }), "{error:?}");
        assert_access(&store, key.clone(), "new").await;
        store.put(&key, newer().plain("user_id", user_id(1))).await.unwrap();
        assert_access(&store, key, "newer").await;
    }

    async fn fifty_writers_of_different_columns_lose_nothing(db) {
        create_vod_tender(&db).await;
        let store = Keys::new("vod-tender").store(&db).await;
        let write = |row: usize, column: &'static str| {
            let store = store.clone();
            tokio::spawn(async move {
                let key = TokenKey::new("twitch", format!("channel-{row}"));
                store.put(&key, NewToken::new().column(column, Some(format!("{column} {row}").into()))).await
            })
        };
        for version in 0..3 {
            let channel = format!("channel-{version}");
            insert_vod(&db, &VodRow { version: Some(0), ..VodRow::plain(&channel, "old", "old") }).await;
        }
        let writers: Vec<_> = (0..25).flat_map(|row| [write(row, "access_token"), write(row, "refresh_token")]).collect();
        for writer in writers {
            writer.await.unwrap().unwrap();
        }
        for row in 0..25 {
            let read = store.get(&TokenKey::new("twitch", format!("channel-{row}"))).await.unwrap();
            let expected = (format!("access_token {row}"), format!("refresh_token {row}"));
            assert_eq!(both(&read), (Some(expected.0.as_str()), Some(expected.1.as_str())));
        }
    }

    async fn of_fifty_writers_of_one_row_whoever_is_told_it_is_done_has_done_it(db) {
        create_wide(&db).await;
        let store = Keys::toml(WIDE).store(&db).await;
        let key = || TokenKey::from_values(["7"]);
        let write = |store: TokenStore, column: String| {
            tokio::spawn(async move {
                let done = store.put(&key(), NewToken::new().column(&column, Some(format!("new {column}").into()))).await;
                (column, done)
            })
        };
        let writers: Vec<_> = (0..50).map(|n| write(store.clone(), format!("t{}", n % 10))).collect();
        let mut written = std::collections::BTreeSet::new();
        for writer in writers {
            match writer.await.unwrap() {
                (column, Ok(_)) => {
                    written.insert(column);
                }
                (_, Err(error)) => assert!(matches!(error, StoreError::Contended { .. }), "{error:?}"),
            }
        }
        let read = store.get(&key()).await.unwrap();
        assert!(!written.is_empty());
        for column in written {
            assert_eq!(shown(read.column(&column)), Some(format!("new {column}").as_str()));
        }
    }

    async fn a_row_that_others_keep_changing_is_contended_and_theirs(db) {
        create_vod_tender(&db).await;
        insert_vod(&db, &VodRow::plain("one", "old", "")).await;
        let (mut queue, mut keys) = (None, Keys::new("vod-tender"));
        keys = keys.decorated(|inner| {
            let (meddling, turns) = Meddling::new(inner);
            queue = Some(turns);
            Arc::new(meddling)
        });
        let store = keys.store(&db).await;
        let put = tokio::spawn(async move { store.put(&one(), NewToken::new().access_token("mine")).await });
        let (mut queue, mut turn) = (queue.unwrap(), 0);
        while let Some(done) = queue.recv().await {
            turn += 1;
            let theirs = format!("theirs {turn}");
            db.run("UPDATE oauth_tokens SET access_token = $1", &[Some(&theirs)]).await;
            done.send(()).unwrap();
            if put.is_finished() || turn == 8 {
                break;
            }
        }
        drop(queue);
        let error = put.await.unwrap().unwrap_err();
        assert!(matches!(error, StoreError::Contended { .. }), "{error:?}");
        let row = &vod_rows(&db).await[0];
        assert_eq!((row[2].as_deref(), row[4].as_deref()), (Some("theirs 8"), Some("0")));
    }

    async fn a_broken_token_stays_to_the_byte_while_the_other_is_replaced(db) {
        create_vod_tender(&db).await;
        let keys = Keys::new("vod-tender");
        let store = keys.store(&db).await;
        store.put(&one(), NewToken::new().access_token("old").refresh_token("lost")).await.unwrap();
        let stored = vod_rows(&db).await[0][3].clone().unwrap();
        for broken in [stored.replace("kms:v2:", "kms:v2:AAAA"), "kms:v2:AAAA".into(), "no envelope".into()] {
            db.run("UPDATE oauth_tokens SET refresh_token = $1", &[Some(&broken)]).await;
            store.put(&one(), NewToken::new().access_token("new")).await.unwrap();
            let row = &vod_rows(&db).await[0];
            assert_eq!((row[3].as_deref(), row[4].as_deref()), (Some(broken.as_str()), Some("2")));
            store.get(&one()).await.unwrap_err();
            // Also where the written form needs no key of its own.
            store.put(&one(), NewToken::new().column("access_token", None)).await.unwrap();
            assert_eq!((&vod_rows(&db).await[0][3], &marks(&db).await[0]), (&Some(broken), &sealed_marks()));
            store.put(&one(), NewToken::new().access_token("new")).await.unwrap();
        }
        // A value that was only misplaced opens again when it is put back.
        db.run("UPDATE oauth_tokens SET refresh_token = $1", &[Some(&stored)]).await;
        assert_eq!(both(&store.get(&one()).await.unwrap()), (Some("new"), Some("lost")));
        store.put(&one(), NewToken::new().refresh_token("found")).await.unwrap();
        assert_eq!(both(&store.get(&one()).await.unwrap()), (Some("new"), Some("found")));
    }

    async fn a_broken_token_stops_a_write_that_would_change_how_it_reads(db) {
        create_vod_tender(&db).await;
        let keys = Keys::new("vod-tender");
        let store = keys.store(&db).await;
        insert_vod(&db, &VodRow { refresh: Some("AAAA".into()), ..VodRow::direct("one", "old", "") }).await;
        let before = vod_rows(&db).await;
        let error = store.put(&one(), NewToken::new().access_token("new")).await.unwrap_err();
        assert!(matches!(&error, StoreError::KeptToken { column, .. } if column == "refresh_token"), "{error:?}");
        assert!(error.to_string().contains("write it first"), "{error}");
        assert_eq!(vod_rows(&db).await, before);
        store.put(&one(), NewToken::new().access_token("new").column("refresh_token", None)).await.unwrap();
        assert_eq!(both(&store.get(&one()).await.unwrap()), (Some("new"), None));

        // The same version, and another key: the broken text would be looked for under the wrong one.
        let broken = "kms:v2:AAAA:AAAA";
        db.run("UPDATE oauth_tokens SET refresh_token = $1", &[Some(broken)]).await;
        keys.memory().rotate();
        let before = vod_rows(&db).await;
        let error = store.put(&one(), NewToken::new().access_token("new")).await.unwrap_err();
        assert!(matches!(error, StoreError::KeptToken { .. }), "{error:?}");
        assert_eq!(vod_rows(&db).await, before);

        // Another version, which has no key next to it: the broken text would be taken for direct AES.
        let falling_back = keys.store_with(&db, keys.cipher().with_local_fallback()).await;
        keys.faults().next_for("generate", 1, Fault::Fail(ErrorClass::Unavailable));
        let error = falling_back.put(&one(), NewToken::new().access_token("new")).await.unwrap_err();
        assert!(matches!(error, StoreError::KeptToken { .. }), "{error:?}");
        assert_eq!(vod_rows(&db).await, before);
    }

    async fn where_the_text_alone_decides_a_broken_token_always_stays(db) {
        let (id, _) = pulseplan_row(&db, 1, 1, "readable", "v9:00:00:00").await;
        let store = Keys::new("pulseplan").store(&db).await;
        let key = TokenKey::from_values([&id]);
        let before = db.table("oauth_tokens", &["refresh_token"]).await;
        store.put(&key, NewToken::new().access_token("new")).await.unwrap();
        assert_eq!(db.table("oauth_tokens", &["refresh_token"]).await, before);
        store.put(&key, NewToken::new().refresh_token("new too")).await.unwrap();
        assert_eq!(both(&store.get(&key).await.unwrap()), (Some("new"), Some("new too")));
    }

    async fn a_refresh_by_others_during_a_write_is_kept(db) {
        create_vod_tender(&db).await;
        insert_vod(&db, &VodRow::plain("one", "old", "old refresh")).await;
        let (mut queue, mut keys) = (None, Keys::new("vod-tender"));
        keys = keys.decorated(|inner| {
            let (meddling, turns) = Meddling::new(inner);
            queue = Some(turns);
            Arc::new(meddling)
        });
        let store = keys.store(&db).await;
        let put = tokio::spawn({
            let store = store.clone();
            async move { store.put(&one(), NewToken::new().access_token("mine")).await }
        });
        let mut queue = queue.unwrap();
        let turn = queue.recv().await.unwrap();
        db.execute("UPDATE oauth_tokens SET refresh_token = 'new refresh'").await;
        drop(queue);
        turn.send(()).unwrap();
        put.await.unwrap().unwrap();
        assert_eq!(both(&store.get(&one()).await.unwrap()), (Some("mine"), Some("new refresh")));
        assert_eq!(marks(&db).await, [sealed_marks()]);
    }

    async fn keys_of_numbers_and_uuids_are_given_as_text(db) {
        create_wide(&db).await;
        let store = Keys::toml(WIDE).store(&db).await;
        for id in ["1", "10", "9", "-3"] {
            store.put(&TokenKey::from_values([id]), NewToken::new().column("t0", Some(id.into()))).await.unwrap();
        }
        for id in ["1", "10", "9", "-3"] {
            let read = store.get(&TokenKey::from_values([id])).await.unwrap();
            assert_eq!(shown(read.column("t0")), Some(id));
        }
        let first = store.list(None, None, 2).await.unwrap();
        assert_eq!([&first[0].key[0], &first[1].key[0]], ["-3", "1"]);
        let rest = store.list(None, Some(&TokenKey::from_values(["1"])), 5).await.unwrap();
        assert_eq!(rest.iter().map(|row| row.key[0].as_str()).collect::<Vec<_>>(), ["9", "10"], "in the order of numbers");
        assert_access_of_uuid(&db).await;
    }
}

async fn assert_access_of_uuid(db: &Sql) {
    let (id, _) = pulseplan_row(db, 5, 1, "token", "refresh").await;
    let store = Keys::new("pulseplan").store(db).await;
    assert_access(&store, TokenKey::from_values([id]), "token").await;
}
