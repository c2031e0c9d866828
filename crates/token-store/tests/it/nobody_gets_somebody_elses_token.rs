//! A value that was copied does not open, the cache being warm: neither in another row, column or table, nor for
//! another user or tenant. Where an older format cannot bind, verification says so.

use std::sync::Arc;

use envelope_core::format::pulseplan_local::{MasterKey, derive_user_key, seal};
use envelope_core::{EncryptionContext, OpenError};
use token_store::{NewToken, StoreError, TokenKey};

use crate::support::{
    Keys, MASTER_KEY, OneDataKey, Sql, VodRow, assert_access, create_vod_tender, create_vod_tender_named,
    insert_vod, pulseplan_row, told, user_id, verified,
};

/// Two tables of the same shape, whose rows belong to tenants.
const TWO_TABLES: &str = r#"
    name = "two"
    [context]
    Application = "two"
    [[tables]]
    name = "first"
    key = ["id"]
    owner = ["tenant"]
    tokens = ["access_token", "refresh_token"]
    [[tables]]
    name = "second"
    key = ["id"]
    owner = ["tenant"]
    tokens = ["access_token", "refresh_token"]
"#;

/// Both envelopes; version 3 once with a data key a value and once with one data key for all of them.
fn variants(profile: &str) -> [(&'static str, Keys); 3] {
    let keys = || match profile {
        "vod-tender" => Keys::new(profile),
        toml => Keys::toml(toml),
    };
    let shared =
        keys().v3().decorated(|inner| Arc::new(kms_provider::Caching::new(Arc::new(OneDataKey::new(inner)))));
    [("v2", keys()), ("v3", keys().v3()), ("v3 with a shared data key", shared)]
}

#[track_caller]
fn assert_not_authentic(outcome: Result<token_store::Token, StoreError>, what: &str) {
    match outcome {
        Err(StoreError::Open { source: OpenError::NotAuthentic, .. }) => {}
        Err(error) => panic!("{what}: {}", told(&error)),
        Ok(_) => panic!("{what}: opens"),
    }
}

async fn two_tables(db: &Sql, store_keys: &Keys) -> token_store::TokenStore {
    for table in ["first", "second"] {
        db.execute(&format!("DROP TABLE IF EXISTS {table}")).await;
        db.execute(&format!(
            "CREATE TABLE {table} (id text PRIMARY KEY, tenant text, access_token text, refresh_token text)"
        ))
        .await;
    }
    store_keys.store(db).await
}

on_each_database! {
    async fn a_value_copied_to_another_row_or_column_does_not_open(db) {
        create_vod_tender(&db).await;
        let copies = [
            ("another channel", "UPDATE oauth_tokens SET access_token = (SELECT access_token FROM oauth_tokens WHERE channel = 'one' AND provider = 'twitch') WHERE channel = 'two'", ("twitch", "two")),
            ("another provider", "UPDATE oauth_tokens SET access_token = (SELECT access_token FROM oauth_tokens WHERE channel = 'one' AND provider = 'twitch') WHERE provider = 'kick'", ("kick", "one")),
            ("another column", "UPDATE oauth_tokens SET refresh_token = access_token WHERE channel = 'one' AND provider = 'twitch'", ("twitch", "one")),
        ];
        for (variant, keys) in variants("vod-tender") {
            for (what, copy, (provider, channel)) in copies {
                db.execute("DELETE FROM oauth_tokens").await;
                let store = keys.store(&db).await;
                for (provider, channel) in [("twitch", "one"), ("twitch", "two"), ("kick", "one")] {
                    let new = NewToken::new().access_token(format!("{provider}/{channel}")).refresh_token("refresh");
                    store.put(&TokenKey::new(provider, channel), new).await.unwrap();
                    assert_access(&store, TokenKey::new(provider, channel), &format!("{provider}/{channel}")).await;
                }
                db.execute(copy).await;
                let read = store.get(&TokenKey::new(provider, channel)).await;
                assert_not_authentic(read, &format!("{variant}: {what}"));
                let report = verified(&store).await;
                assert_eq!((report.failed, report.ok), (1, 5), "{variant}: {what}");
            }
        }
    }

    async fn a_value_copied_to_another_table_or_tenant_does_not_open(db) {
        let copies = [
            ("another table", "INSERT INTO second SELECT * FROM first", "second"),
            ("another tenant", "UPDATE first SET tenant = 'b'", "first"),
            ("no tenant", "UPDATE first SET tenant = NULL", "first"),
            ("an empty tenant", "UPDATE first SET tenant = ''", "first"),
        ];
        for (variant, keys) in variants(TWO_TABLES) {
            for (what, copy, table) in copies {
                let store = two_tables(&db, &keys).await;
                let key = TokenKey::from_values(["1"]).in_table("first");
                store.put(&key, NewToken::new().access_token("token").plain("tenant", "a")).await.unwrap();
                assert_access(&store, key.clone(), "token").await;
                db.execute(copy).await;
                let read = store.get(&key.in_table(table)).await;
                assert_not_authentic(read, &format!("{variant}: {what}"));
            }
        }
    }

    async fn a_row_is_made_for_the_owner_that_its_key_names_and_for_no_other(db) {
        let store = two_tables(&db, &Keys::toml(TWO_TABLES)).await;
        let key = || TokenKey::from_values(["1"]).in_table("first").owned_by("tenant", "a");
        let token = || NewToken::new().access_token("token");
        for token in [token().plain("tenant", "b"), token().plain_null("tenant"), token().plain("tenant", "a").plain("tenant", "b")] {
            let refused = store.put(&key(), token).await;
            assert!(matches!(&refused, Err(StoreError::NotPlain { column, .. }) if column == "tenant"), "{refused:?}");
        }
        assert!(db.table("first", &["id"]).await.is_empty());
        store.put(&key(), token().plain("tenant", "a")).await.unwrap();
        assert_access(&store, key(), "token").await;
    }

    async fn names_cannot_be_shifted_between_the_parts_of_a_key(db) {
        create_vod_tender(&db).await;
        for (variant, keys) in variants("vod-tender") {
            db.execute("DELETE FROM oauth_tokens").await;
            let store = keys.store(&db).await;
            store.put(&TokenKey::new("ab", "c"), NewToken::new().access_token("token")).await.unwrap();
            assert_access(&store, TokenKey::new("ab", "c"), "token").await;
            for (provider, channel) in [("a", "bc"), ("abc", ""), ("", "abc"), ("ab", "C"), ("ab ", "c")] {
                db.run("UPDATE oauth_tokens SET provider = $1, channel = $2", &[Some(provider), Some(channel)]).await;
                let read = store.get(&TokenKey::new(provider, channel)).await;
                assert_not_authentic(read, &format!("{variant}: {provider}|{channel}"));
            }
        }
    }

    async fn a_pulseplan_local_row_copied_to_another_user_does_not_open(db) {
        let master = MasterKey::from_variable(MASTER_KEY).unwrap();
        let version = std::num::NonZeroU32::new(2).unwrap();
        let sealed = seal(&derive_user_key(master.writing(), &user_id(1), version), version, "token");
        let (own, _) = pulseplan_row(&db, 1, 1, &sealed, "").await;
        let (copy, _) = pulseplan_row(&db, 2, 2, &sealed, "").await;
        let mut keys = Keys::new("pulseplan");
        keys.user_key_version = Some(2);
        let store = keys.store(&db).await;
        for _ in 0..2 {
            assert_access(&store, TokenKey::from_values([&own]), "token").await;
            assert_not_authentic(store.get(&TokenKey::from_values([&copy])).await, "another user");
        }
        let report = verified(&store).await;
        assert_eq!((report.legacy, report.failed), (1, 1), "such a row is not bound to itself, and is said to be legacy");
    }

    async fn a_pulseplan_kms_row_copied_to_another_user_is_refused_with_its_inner_context_intact(db) {
        let keys = Keys::new("pulseplan");
        let (first, second) = (user_id(1), user_id(2));
        let envelope = |claimed: &str| {
            let pairs = [("user_id", first.as_str()), ("service", "pulseplan"), ("data_type", "auth_token")];
            let blob = keys.memory().encrypt_direct(b"token", &EncryptionContext::new(pairs).unwrap());
            format!(
                r#"kms:{{"ciphertext": "{}", "key_id": "memory:1", "encryption_context": {{"user_id": "{claimed}", "service": "pulseplan", "data_type": "auth_token"}}, "algorithm": "KMS", "encrypted_at": "2025-10-30T12:00:00.123456"}}"#,
                base64::Engine::encode(&base64::engine::general_purpose::STANDARD, blob)
            )
        };
        let (own, _) = pulseplan_row(&db, 1, 1, &envelope(&first), "").await;
        let (intact, _) = pulseplan_row(&db, 2, 2, &envelope(&first), "").await;
        let (edited, _) = pulseplan_row(&db, 3, 2, &envelope(&second), "").await;
        let store = keys.store(&db).await;
        assert_access(&store, TokenKey::from_values([&own]), "token").await;
        let calls = keys.faults().calls("decrypt");
        assert_not_authentic(store.get(&TokenKey::from_values([&intact])).await, "inner context intact");
        assert_eq!(keys.faults().calls("decrypt"), calls, "the key service is not even asked");
        assert_not_authentic(store.get(&TokenKey::from_values([&edited])).await, "inner context edited");
        let report = verified(&store).await;
        assert_eq!((report.legacy, report.failed), (1, 2));
    }

    async fn a_migrated_pulseplan_row_is_bound_to_its_user_and_itself(db) {
        for keys in [Keys::new("pulseplan"), Keys::new("pulseplan").v3()] {
            db.execute("DROP TABLE IF EXISTS oauth_tokens").await;
            let (own, _) = pulseplan_row(&db, 1, 1, "token", "refresh").await;
            let (other, _) = pulseplan_row(&db, 2, 2, "other", "refresh").await;
            let store = keys.store(&db).await;
            crate::support::migrate(&store, token_store::WriteFormat::KmsEnvelope).await;
            assert_access(&store, TokenKey::from_values([&own]), "token").await;
            db.execute("UPDATE oauth_tokens SET access_token = (SELECT access_token FROM oauth_tokens WHERE service_type LIKE '00000001%') WHERE service_type LIKE '00000002%'").await;
            assert_not_authentic(store.get(&TokenKey::from_values([&other])).await, "another user's row");
            let user = db.either("'00000000-0000-4000-9000-0000000000aa'::uuid", "'00000000-0000-4000-9000-0000000000aa'");
            db.execute(&format!("UPDATE oauth_tokens SET user_id = {user} WHERE service_type LIKE '00000001%'")).await;
            assert_not_authentic(store.get(&TokenKey::from_values([&own])).await, "the row given to another user");
        }
    }

    async fn where_a_format_cannot_bind_verification_says_legacy(db) {
        create_vod_tender(&db).await;
        insert_vod(&db, &VodRow::direct("one", "token", "refresh")).await;
        let copy = VodRow { channel: "two".into(), ..VodRow::direct("one", "token", "") };
        insert_vod(&db, &copy).await;
        let store = Keys::new("vod-tender").store(&db).await;
        assert_access(&store, TokenKey::new("twitch", "two"), "token").await;
        let report = verified(&store).await;
        assert_eq!((report.checked, report.ok, report.legacy, report.failed), (3, 3, 3, 0));
    }

    async fn tables_of_one_name_prefix_do_not_share_tokens(db) {
        create_vod_tender_named(&db, "oauth_tokens_old").await;
        create_vod_tender(&db).await;
        let store = Keys::new("vod-tender").store(&db).await;
        let error = store.get(&TokenKey::new("a", "b").in_table("oauth_tokens_old")).await.unwrap_err();
        assert!(matches!(error, StoreError::NoTable { .. }), "a table that the profile does not name: {error:?}");
        let error = store.get(&TokenKey::from_values(["a"])).await.unwrap_err();
        assert!(matches!(error, StoreError::KeyLength { expected: 2, actual: 1, .. }), "{error:?}");
    }
}
