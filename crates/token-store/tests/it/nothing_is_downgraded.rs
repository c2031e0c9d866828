//! A contradiction is an error, and a key service that fails never leads to a weaker form.

use std::error::Error;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use envelope_core::format::direct_aes;
use envelope_core::{Binding, EnvelopeFormat, ErrorClass, Writing};
use test_support::faults::Fault;
use token_store::migration::{self, Ended, StopFlag};
use token_store::{NewToken, StoreError, TokenKey, WriteFormat};

use crate::support::{
    Keys, Sql, VodRow, carry_out, create_vod_tender, direct_key, insert_vod, shown, to, told, vod_rows,
};

/// Failures of a key service after which a write must not have happened in any form.
const FAILURES: [ErrorClass; 8] = [
    ErrorClass::Unavailable,
    ErrorClass::Timeout,
    ErrorClass::Throttled,
    ErrorClass::Denied,
    ErrorClass::Disabled,
    ErrorClass::PendingDeletion,
    ErrorClass::NotFound,
    ErrorClass::Misconfigured,
];

/// Envelopes of this row's access token, in each of their spellings.
async fn envelopes(keys: &Keys) -> Vec<String> {
    let cell = Binding::new("oauth_tokens", "access_token").key("provider", "twitch").key("channel", "one");
    let bound = keys.sealer().seal("token", &cell).await.unwrap().text;
    let plain = keys.sealer().with_writing(Writing::UnboundV2).seal("token", &cell).await.unwrap().text;
    let v3 = keys.sealer().with_writing(EnvelopeFormat::V3).seal("token", &cell).await.unwrap().text;
    vec![STANDARD.encode(&bound), bound, plain, v3]
}

/// Checks that a row with this text in this version is not read, written, moved or shown.
async fn assert_refused(db: &Sql, keys: &Keys, version: Option<i32>, text: &str) {
    db.execute("DELETE FROM oauth_tokens").await;
    insert_vod(db, &VodRow { version, ..VodRow::plain("one", text, "") }).await;
    let before = vod_rows(db).await;
    let (store, key) = (keys.store(db).await, TokenKey::new("twitch", "one"));

    let error = store.get(&key).await.unwrap_err();
    assert_eq!(error.class(), "malformed", "{version:?} {text:.20}");
    let put = store.put(&key, NewToken::new().refresh_token("new")).await.unwrap_err();
    assert_eq!(put.class(), "malformed", "{version:?} {text:.20}");
    for error in [&error, &put] {
        assert!(!told(error).contains(text), "{}", told(error));
    }

    for format in [WriteFormat::KmsEnvelope, WriteFormat::DirectAes] {
        let already = matches!((version, format), (Some(2), WriteFormat::KmsEnvelope));
        let report = carry_out(&store, &to(format, 10)).await;
        assert_eq!((report.failed, report.migrated), (1, 0), "{version:?} {text:.20} already {already}");
        assert_eq!(report.failures[0].row, "provider=twitch,channel=one");
        assert!(!format!("{:?}", report.failures).contains(text));
    }
    assert_eq!(vod_rows(db).await, before);
}

on_each_database! {
    async fn a_row_marked_2_whose_text_is_no_envelope_is_never_returned(db) {
        create_vod_tender(&db).await;
        let keys = Keys::new("vod-tender");
        let texts = [
            "gho_16C7e42F292c6912E7710c838347Ae178B4a",
            "kms:v2",
            "kms:v2:",
            "kms:v2:AAAA",
            "kms:v9:AAAA:AAAA",
            "KMS:V2:AAAA:AAAA",
            " kms:v2:AAAA:AAAA",
            "{\"v\":1}",
            &direct_aes::seal(&direct_key(), "token"),
        ];
        for text in texts {
            assert_refused(&db, &keys, Some(2), text).await;
        }
    }

    async fn a_row_marked_1_or_0_that_holds_an_envelope_is_never_returned(db) {
        create_vod_tender(&db).await;
        let keys = Keys::new("vod-tender");
        for text in envelopes(&keys).await {
            for version in [None, Some(0), Some(1)] {
                assert_refused(&db, &keys, version, &text).await;
                // Nor is one that was truncated.
                assert_refused(&db, &keys, version, &text[..text.len() - 7]).await;
            }
        }
    }

    async fn a_row_marked_1_whose_text_is_plain_is_never_returned(db) {
        create_vod_tender(&db).await;
        let store = Keys::new("vod-tender").store(&db).await;
        for (number, text) in ["raw token", "cmF3IHRva2Vu", "%%%%", "AAECAwQFBgcICQoLDA0ODxAREhM="].into_iter().enumerate() {
            let channel = number.to_string();
            insert_vod(&db, &VodRow { version: Some(1), ..VodRow::plain(&channel, text, "") }).await;
            let error = store.get(&TokenKey::new("twitch", channel)).await.unwrap_err();
            assert!(!told(&error).contains(text), "{}", told(&error));
        }
    }

    async fn a_key_service_that_fails_leaves_the_table_as_it_was(db) {
        create_vod_tender(&db).await;
        let keys = Keys::new("vod-tender");
        insert_vod(&db, &VodRow::plain("plain", "a", "b")).await;
        insert_vod(&db, &VodRow::direct("direct", "c", "d")).await;
        let store = keys.store(&db).await;
        store.put(&TokenKey::new("twitch", "sealed"), NewToken::new().access_token("e")).await.unwrap();
        let before = db.fingerprint("oauth_tokens").await;
        for class in FAILURES {
            keys.faults().always_for("generate", Fault::Fail(class));
            for channel in ["plain", "direct", "sealed", "new"] {
                let error = store.put(&TokenKey::new("twitch", channel), NewToken::new().access_token("new")).await;
                let error = error.expect_err("a write without a key service");
                assert!(matches!(error, StoreError::Seal { .. }), "{error:?}");
                assert_eq!(error.class(), class.label());
            }
            let ended = migration::run(&store, &to(WriteFormat::KmsEnvelope, 10), &StopFlag::default(), |_| {}).await;
            assert_eq!((ended.report.migrated, ended.report.failed), (0, 0), "{class}");
            match ended.ended_by {
                Some(Ended::KeyService(error)) => assert_eq!(error.class(), class),
                other => panic!("{class}: {other:?}"),
            }
            assert_eq!(db.fingerprint("oauth_tokens").await, before, "{class}");
            keys.faults().heal();
        }
    }

    async fn a_key_service_that_does_not_unwrap_gives_no_token_and_loses_none(db) {
        create_vod_tender(&db).await;
        let keys = Keys::new("vod-tender");
        keys.store(&db).await.put(&TokenKey::new("twitch", "one"), NewToken::new().access_token("e")).await.unwrap();
        let before = vod_rows(&db).await;
        let cold = keys.decorated(|inner| inner);
        let store = cold.store(&db).await;
        for class in FAILURES {
            cold.faults().always_for("unwrap", Fault::Fail(class));
            let error = store.get(&TokenKey::new("twitch", "one")).await.unwrap_err();
            assert_eq!(error.class(), class.label());
            assert!(error.source().is_some());
            // Where nothing opens, the key service has to be fixed; where one token's key is gone, that token
            // stays as it is, and blocks no other write.
            let put = store.put(&TokenKey::new("twitch", "one"), NewToken::new().refresh_token("r")).await;
            let one_key = [ErrorClass::Disabled, ErrorClass::PendingDeletion, ErrorClass::NotFound].contains(&class);
            assert_eq!(put.is_ok(), one_key, "{class}: {put:?}");
            cold.faults().heal();
        }
        assert_eq!(vod_rows(&db).await[0][2], before[0][2]);
    }

    async fn the_fallback_is_chosen_used_in_outages_only_marked_and_healed(db) {
        create_vod_tender(&db).await;
        let keys = Keys::new("vod-tender");
        let store = keys.store_with(&db, keys.cipher().with_local_fallback()).await;
        for class in FAILURES {
            keys.faults().always_for("generate", Fault::Fail(class));
            let written = store.put(&TokenKey::new("twitch", class.label()), NewToken::new().access_token("t")).await;
            let may = matches!(class, ErrorClass::Unavailable | ErrorClass::Timeout);
            assert_eq!(written.is_ok(), may, "{class}");
            keys.faults().heal();
        }
        assert_eq!(store.fallback_writes(), 2);
        let marks: Vec<_> = vod_rows(&db).await.into_iter().map(|row| (row[4].clone(), row[5].clone())).collect();
        assert_eq!(marks, vec![(Some("1".into()), Some("direct-aes-fallback".into())); 2]);
        let status = crate::support::distribution(&store).await;
        assert_eq!(status, [(Some(1), "direct-aes-fallback".into(), Some("default".into()), 2)]);
        assert_eq!(carry_out(&store, &to(WriteFormat::KmsEnvelope, 10)).await.migrated, 2);
        let healed = store.get(&TokenKey::new("twitch", "timeout")).await.unwrap();
        assert_eq!((shown(healed.access_token()), healed.encryption_version()), (Some("t"), Some(2)));
    }
}
