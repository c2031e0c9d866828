//! A reader gets its token from a row of every version.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use envelope_core::format::direct_aes;
use envelope_core::{Binding, EnvelopeFormat, OpenError, Writing};
use token_store::error::Needed;
use token_store::{StoreError, TokenKey};

use crate::support::{
    Keys, Sql, VodRow, both, create_vod_tender, direct_key, insert_vod, shown, told, vod_rows,
};

/// Tokens of the lengths and characters that occur: one byte, non-ASCII, what looks like syntax, 64 KiB.
fn tokens() -> Vec<String> {
    vec![
        "x".into(),
        "gho_16C7e42F292c6912E7710c838347Ae178B4a".into(),
        "tök€n-ünï-🔑 with spaces, 'quotes', \"more\" and a \\".into(),
        "{\"not\": \"an envelope\"}".into(),
        "y".repeat(64 * 1024),
    ]
}

/// Keys that would break a statement, a path or a list if they were not bound, quoted or escaped.
const KEYS: [(&str, &str); 6] = [
    ("twitch", "my-channel"),
    ("twitch", ""),
    ("тви, ч\\x", "café"),
    ("you\"tube", "ki'ck; DROP TABLE oauth_tokens; --"),
    ("a=b,c", "e\u{301}"),
    ("provider=twitch", "%_\u{1f511}"),
];

/// A row in one of the ways in which version 0, 1 or 2 occurs.
async fn row_of(kind: &str, keys: &Keys, key: (&str, &str), token: &str) -> VodRow {
    let plain = VodRow { provider: key.0.into(), ..VodRow::plain(key.1, token, token) };
    let cell = |column: &'static str| {
        Binding::new("oauth_tokens", column).key("provider", key.0).key("channel", key.1)
    };
    let mut sealer = keys.sealer();
    match kind {
        "plaintext" => return plain,
        "no version" => {
            return VodRow { version: None, ..plain };
        }
        "direct AES" => {
            let sealed = direct_aes::seal(&direct_key(), token);
            let (access, refresh) = (Some(sealed.clone()), Some(sealed));
            let (method, key_id) = (Some("direct".into()), Some("default".into()));
            return VodRow { access, refresh, version: Some(1), method, key_id, ..plain };
        }
        "plain context" | "twice encoded" => sealer = sealer.with_writing(Writing::UnboundV2),
        "version 3 envelope" => sealer = sealer.with_writing(EnvelopeFormat::V3),
        _ => {}
    }
    let (access, refresh) = (
        sealer.seal(token, &cell("access_token")).await.unwrap(),
        sealer.seal(token, &cell("refresh_token")).await.unwrap(),
    );
    let spelled = |text: String| {
        if kind == "twice encoded" { STANDARD.encode(text) } else { text }
    };
    VodRow {
        access: Some(spelled(access.text)),
        refresh: Some(spelled(refresh.text)),
        version: Some(2),
        method: Some("kms-envelope".into()),
        key_id: access.key_id,
        ..plain
    }
}

const KINDS: [&str; 7] = [
    "plaintext",
    "no version",
    "direct AES",
    "plain context",
    "twice encoded",
    "bound context",
    "version 3 envelope",
];

on_each_database! {
    async fn a_token_reads_in_every_version_length_and_alphabet(db) {
        create_vod_tender(&db).await;
        let keys = Keys::new("vod-tender");
        let store = keys.store(&db).await;
        for kind in KINDS {
            for (number, token) in tokens().into_iter().enumerate() {
                let (provider, channel) = KEYS[number];
                insert_vod(&db, &row_of(kind, &keys, (provider, channel), &token).await).await;
                let read = store.get(&TokenKey::new(provider, channel)).await;
                let read = read.unwrap_or_else(|error| panic!("{kind} {provider} {channel}: {}", told(&error)));
                assert!(both(&read) == (Some(&token), Some(&token)), "{kind} {provider} {channel}");
            }
            db.execute("DELETE FROM oauth_tokens").await;
        }
    }

    async fn a_row_is_found_by_any_key(db) {
        create_vod_tender(&db).await;
        let keys = Keys::new("vod-tender");
        let store = keys.store(&db).await;
        for (number, key) in KEYS.into_iter().enumerate() {
            insert_vod(&db, &row_of(KINDS[number], &keys, key, &format!("token {number}")).await).await;
        }
        for (number, (provider, channel)) in KEYS.into_iter().enumerate() {
            let read = store.get(&TokenKey::new(provider, channel)).await.unwrap();
            assert_eq!(shown(read.access_token()), Some(format!("token {number}").as_str()));
        }
        let missing = store.get(&TokenKey::new("TWITCH", "my-channel")).await.unwrap_err();
        assert!(matches!(missing, StoreError::NotFound { .. }), "{missing:?}");
    }

    async fn null_stays_null_and_empty_stays_empty_in_every_version(db) {
        create_vod_tender(&db).await;
        let keys = Keys::new("vod-tender");
        let store = keys.store(&db).await;
        for (number, version) in [None, Some(0), Some(1), Some(2)].into_iter().enumerate() {
            let channel = format!("channel-{number}");
            let row = VodRow { access: None, refresh: Some(String::new()), version, ..VodRow::plain(&channel, "", "") };
            insert_vod(&db, &row).await;
            let read = store.get(&TokenKey::new("twitch", channel)).await.unwrap();
            assert_eq!(both(&read), (None, Some("")));
            assert_eq!(read.encryption_version(), version.map(i64::from));
        }
    }

    async fn a_version_that_nobody_knows_is_an_error(db) {
        create_vod_tender(&db).await;
        let store = Keys::new("vod-tender").store(&db).await;
        for version in [-1, 3, 12] {
            let channel = version.to_string();
            insert_vod(&db, &VodRow { version: Some(version), ..VodRow::plain(&channel, "raw text", "") }).await;
            let error = store.get(&TokenKey::new("twitch", channel)).await.unwrap_err();
            assert_eq!(error.class(), "malformed");
            assert!(!told(&error).contains("raw text"), "{}", told(&error));
        }
    }

    async fn a_row_whose_key_is_not_configured_names_what_is_needed(db) {
        create_vod_tender(&db).await;
        let mut keys = Keys::new("vod-tender");
        insert_vod(&db, &VodRow::direct("one", "a", "b")).await;
        insert_vod(&db, &row_of("bound context", &keys, ("twitch", "two"), "c").await).await;
        (keys.direct, keys.key_service) = (false, false);
        let store = keys.store(&db).await;
        for (channel, wanted) in [("one", Needed::DirectKey), ("two", Needed::KeyService)] {
            match store.get(&TokenKey::new("twitch", channel)).await.unwrap_err() {
                StoreError::Open { source: OpenError::MissingKey { needed, .. }, .. } => assert_eq!(needed, wanted),
                other => panic!("{other:?}"),
            }
        }
    }

    async fn a_wrong_direct_key_is_an_error_and_not_a_token(db) {
        create_vod_tender(&db).await;
        insert_vod(&db, &VodRow::direct("one", "a", "b")).await;
        let keys = Keys::new("vod-tender");
        let cipher = keys.cipher().with_direct_key(envelope_core::DataKey::generate());
        let error = keys.store_with(&db, cipher).await.get(&TokenKey::new("twitch", "one")).await.unwrap_err();
        assert!(matches!(error, StoreError::Open { source: OpenError::NotAuthentic, .. }), "{error:?}");
    }

    async fn a_listing_names_rows_and_opens_nothing(db) {
        create_vod_tender(&db).await;
        let keys = Keys::new("vod-tender");
        for channel in ["a", "b,c", "d"] {
            insert_vod(&db, &VodRow::direct(channel, "token", "")).await;
        }
        let store = keys.store(&db).await;
        let first = store.list(None, None, 2).await.unwrap();
        assert_eq!(first.iter().map(|row| row.row.as_str()).collect::<Vec<_>>(), [
            "provider=twitch,channel=a",
            "provider=twitch,channel=b\\,c"
        ]);
        let after = TokenKey::from_values(first[1].key.clone());
        let rest = store.list(Some("oauth_tokens"), Some(&after), 10).await.unwrap();
        assert_eq!(rest.len(), 1);
        assert_eq!((rest[0].encryption_version, rest[0].encryption_method.as_deref()), (Some(1), Some("direct")));
        assert_eq!((store.count_rows().await.unwrap(), keys.faults().total_calls()), (3, 0));
    }

    async fn a_deleted_row_is_gone_and_no_other(db) {
        create_vod_tender(&db).await;
        for channel in ["a", "b"] {
            insert_vod(&db, &VodRow::plain(channel, "token", "")).await;
        }
        let store = Keys::new("vod-tender").store(&db).await;
        assert!(store.delete(&TokenKey::new("twitch", "a")).await.unwrap());
        assert!(!store.delete(&TokenKey::new("twitch", "a")).await.unwrap());
        assert_eq!(vod_rows(&db).await.len(), 1);
    }

    async fn reading_twice_within_the_caches_time_makes_one_call(db) {
        create_vod_tender(&db).await;
        let keys = Keys::new("vod-tender");
        for (channel, kind) in [("bound", "bound context"), ("plain", "plain context"), ("v3", "version 3 envelope")] {
            let mut row = row_of(kind, &keys, ("twitch", channel), "token").await;
            row.refresh = None;
            insert_vod(&db, &row).await;
        }
        // A cache of its own, which has not seen the keys being made.
        let keys = keys.decorated(|inner| std::sync::Arc::new(kms_provider::Caching::new(inner)));
        let store = keys.store(&db).await;
        for (channel, calls) in [("bound", 1), ("plain", 2), ("v3", 1)] {
            keys.faults().reset_calls();
            for _ in 0..3 {
                store.get(&TokenKey::new("twitch", channel)).await.unwrap();
            }
            assert_eq!(keys.faults().calls("unwrap"), calls, "{channel}");
        }
    }
}

#[tokio::test]
async fn a_store_is_shared_by_its_clones_and_by_tasks() {
    let db = Sql::sqlite().await;
    create_vod_tender(&db).await;
    insert_vod(&db, &VodRow::plain("one", "a", "b")).await;
    let store = Keys::new("vod-tender").store(&db).await;
    let readers = (0..20).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.get(&TokenKey::new("twitch", "one")).await.is_ok() })
    });
    for reader in readers.collect::<Vec<_>>() {
        assert!(reader.await.unwrap());
    }
}
