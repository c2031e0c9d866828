//! `allow`, `allow-read`, `forbid`: plaintext can first no longer be written, then no longer be read.

use envelope_core::OpenError;
use token_store::error::SealFailure;
use token_store::{NewToken, PlaintextPolicy, StoreError, TokenKey, WriteFormat};

use crate::support::{
    Keys, VodRow, assert_access, create_vod_tender, insert_vod, migrate, verified, vod_rows,
};

fn one() -> TokenKey {
    TokenKey::new("twitch", "one")
}

on_each_database! {
    async fn without_any_key_plaintext_is_written_only_where_it_is_allowed(db) {
        create_vod_tender(&db).await;
        let mut keys = Keys::new("vod-tender");
        (keys.key_service, keys.direct) = (false, false);
        let store = keys.store(&db).await;
        assert_eq!(store.write_format(), WriteFormat::Plaintext);
        store.put(&one(), NewToken::new().access_token("first")).await.unwrap();
        let row = &vod_rows(&db).await[0];
        assert_eq!((row[2].as_deref(), row[4].as_deref(), row[5].as_deref()), (Some("first"), Some("0"), Some("plaintext")));
        for policy in [PlaintextPolicy::AllowRead, PlaintextPolicy::Forbid] {
            keys.plaintext = policy;
            let store = keys.store(&db).await;
            for channel in ["one", "two"] {
                let new = NewToken::new().access_token("second").refresh_token("third");
                let error = store.put(&TokenKey::new("twitch", channel), new).await.unwrap_err();
                assert!(
                    matches!(error, StoreError::Seal { source: SealFailure::PlaintextForbidden, .. }),
                    "{error:?}"
                );
            }
            assert_eq!(vod_rows(&db).await.len(), 1);
        }
    }

    async fn plaintext_is_read_until_it_is_forbidden(db) {
        create_vod_tender(&db).await;
        insert_vod(&db, &VodRow::plain("one", "token", "")).await;
        let mut keys = Keys::new("vod-tender");
        for policy in [PlaintextPolicy::Allow, PlaintextPolicy::AllowRead] {
            keys.plaintext = policy;
            assert_access(&keys.store(&db).await, one(), "token").await;
        }
        keys.plaintext = PlaintextPolicy::Forbid;
        let store = keys.store(&db).await;
        let error = store.get(&one()).await.unwrap_err();
        assert!(matches!(error, StoreError::Open { source: OpenError::PlaintextRefused, .. }), "{error:?}");
        assert_eq!((verified(&store).await.plaintext, verified(&store).await.failed), (1, 0));
    }

    async fn with_a_key_service_every_policy_writes_envelopes(db) {
        create_vod_tender(&db).await;
        let mut keys = Keys::new("vod-tender");
        for policy in [PlaintextPolicy::Allow, PlaintextPolicy::AllowRead, PlaintextPolicy::Forbid] {
            keys.plaintext = policy;
            let store = keys.store(&db).await;
            store.put(&one(), NewToken::new().access_token("token").refresh_token("other")).await.unwrap();
            assert_access(&store, one(), "token").await;
            assert_eq!(vod_rows(&db).await[0][4].as_deref(), Some("2"));
        }
    }

    async fn a_forbidden_plaintext_row_can_be_replaced_as_a_whole_but_not_carried_over(db) {
        create_vod_tender(&db).await;
        let mut keys = Keys::new("vod-tender");
        keys.plaintext = PlaintextPolicy::Forbid;
        insert_vod(&db, &VodRow::plain("one", "token", "kept")).await;
        let store = keys.store(&db).await;
        store.put(&one(), NewToken::new().access_token("new")).await.unwrap_err();
        let report = migrate(&store, WriteFormat::KmsEnvelope).await;
        assert_eq!((report.failed, report.failures[0].class.as_str()), (1, "plaintext_forbidden"));
        store.put(&one(), NewToken::new().access_token("new").refresh_token("newer")).await.unwrap();
        assert_access(&store, one(), "new").await;
    }
}
