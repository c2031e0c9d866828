//! The gradual migration: a row that is read in an older form is sealed again in the background, without
//! delaying the read.

use envelope_core::ErrorClass;
use test_support::faults::Fault;
use token_store::{NewToken, TokenKey};

use crate::support::{
    Keys, VodRow, assert_access, both, create_vod_tender, eventually, insert_vod, vod_rows,
};

fn key(channel: &str) -> TokenKey {
    TokenKey::new("twitch", channel)
}

on_each_database! {
    async fn an_old_row_is_sealed_anew_once_and_counted(db) {
        create_vod_tender(&db).await;
        insert_vod(&db, &VodRow::plain("plain", "a", "b")).await;
        insert_vod(&db, &VodRow::direct("direct", "c", "d")).await;
        let keys = Keys::new("vod-tender");
        let store = keys.store(&db).await.with_reseal_on_read();
        for (channel, tokens) in [("plain", ("a", "b")), ("direct", ("c", "d"))] {
            let resealed = store.resealed_rows();
            assert_eq!(both(&store.get(&key(channel)).await.unwrap()), (Some(tokens.0), Some(tokens.1)));
            eventually("the row is sealed again", async || store.resealed_rows() == resealed + 1).await;
            assert_eq!(both(&store.get(&key(channel)).await.unwrap()), (Some(tokens.0), Some(tokens.1)));
        }
        assert!(vod_rows(&db).await.iter().all(|row| row[4].as_deref() == Some("2")));
        let calls = keys.faults().calls("generate");
        for _ in 0..3 {
            store.get(&key("plain")).await.unwrap();
        }
        assert_eq!((store.resealed_rows(), calls, keys.faults().calls("generate")), (2, 4, 4));
    }

    async fn without_being_asked_a_read_changes_nothing(db) {
        create_vod_tender(&db).await;
        insert_vod(&db, &VodRow::plain("plain", "a", "b")).await;
        let keys = Keys::new("vod-tender");
        let before = db.fingerprint("oauth_tokens").await;
        assert_access(&keys.store(&db).await, key("plain"), "a").await;
        assert_eq!((keys.faults().total_calls(), db.fingerprint("oauth_tokens").await), (0, before));
    }

    async fn an_outage_fails_no_read_and_writes_nothing(db) {
        create_vod_tender(&db).await;
        insert_vod(&db, &VodRow::plain("plain", "a", "b")).await;
        let keys = Keys::new("vod-tender");
        let store = keys.store(&db).await.with_reseal_on_read();
        for class in [ErrorClass::Unavailable, ErrorClass::Denied] {
            keys.faults().always_for("generate", Fault::Fail(class));
            let calls = keys.faults().calls("generate");
            assert_access(&store, key("plain"), "a").await;
            keys.faults().wait_for_calls("generate", calls + 1).await;
            keys.faults().heal();
        }
        // A key service that never answers holds up no read either.
        keys.faults().always_for("generate", Fault::Hang);
        let calls = keys.faults().calls("generate");
        assert_access(&store, key("plain"), "a").await;
        keys.faults().wait_for_calls("generate", calls + 1).await;
        keys.faults().heal();
        assert_eq!(vod_rows(&db).await[0][2].as_deref(), Some("a"));
        assert_eq!(store.resealed_rows(), 0);
    }

    async fn a_refresh_meanwhile_is_not_overwritten(db) {
        create_vod_tender(&db).await;
        insert_vod(&db, &VodRow::plain("plain", "a", "b")).await;
        let keys = Keys::new("vod-tender");
        let store = keys.store(&db).await.with_reseal_on_read();
        keys.faults().next_for("generate", 1, Fault::Hold);
        assert_access(&store, key("plain"), "a").await;
        keys.faults().wait_for_calls("generate", 1).await;
        store.put(&key("plain"), NewToken::new().access_token("refreshed").refresh_token("too")).await.unwrap();
        let theirs = vod_rows(&db).await;
        keys.faults().heal();
        // The held call, the two of the write, and the resealing's second value.
        keys.faults().wait_for_calls("generate", 4).await;
        assert_access(&store, key("plain"), "refreshed").await;
        assert_eq!((vod_rows(&db).await, store.resealed_rows()), (theirs, 0));
    }
}
