//! The floor: weaker values are not read, moved, re-sealed or verified, unless a run allows it.

use std::sync::Arc;

use envelope_core::format::node_json;
use envelope_core::{BindingPolicy, EncryptionContext, Purpose};
use token_store::migration::{self, RewrapOptions, StopFlag};
use token_store::profile::Source;
use token_store::{Floor, NewToken, PlaintextPolicy, TokenKey, WriteFormat};

use crate::support::{Keys, Sql, VodRow, assert_access, create_vod_tender, insert_vod, migrate, verified};

fn key(channel: &str) -> TokenKey {
    TokenKey::new("twitch", channel)
}

/// One row of each form: plaintext, direct AES, an unbound envelope, a bound one of version 2 and one of version 3.
async fn one_of_each(db: &Sql) -> Keys {
    create_vod_tender(db).await;
    insert_vod(db, &VodRow::plain("plain", "a", "b")).await;
    insert_vod(db, &VodRow::direct("direct", "c", "d")).await;
    let mut keys = Keys::new("vod-tender").policy(BindingPolicy::Off);
    let token = |text: &str| NewToken::new().access_token(text.to_owned());
    keys.store(db).await.put(&key("unbound"), token("e")).await.unwrap();
    keys.policy = BindingPolicy::AcceptUnbound;
    keys.store(db).await.put(&key("bound"), token("f")).await.unwrap();
    let keys = keys.v3();
    keys.store(db).await.put(&key("bound3"), token("g")).await.unwrap();
    keys
}

const READ: [(&str, &str, Floor); 5] = [
    ("plain", "a", Floor::Any),
    ("direct", "c", Floor::Any),
    ("unbound", "e", Floor::Envelope),
    ("bound", "f", Floor::Bound),
    ("bound3", "g", Floor::Bound),
];

on_each_database! {
    async fn a_read_refuses_what_is_below_and_says_so_and_verify_fails_it(db) {
        let keys = one_of_each(&db).await;
        for floor in [Floor::Any, Floor::Envelope, Floor::Bound] {
            let store = keys.store_with(&db, keys.cipher().with_read_floor(floor)).await;
            let mut below = 0;
            for (channel, token, reaches) in READ {
                if reaches >= floor {
                    assert_access(&store, key(channel), token).await;
                } else {
                    let error = store.get(&key(channel)).await.unwrap_err();
                    assert_eq!(error.class(), "below_floor", "{channel} under {floor}");
                    // The legacy rows have two tokens each.
                    below += if reaches == Floor::Any { 2 } else { 1 };
                }
            }
            let report = verified(&store).await;
            assert_eq!((report.below_floor, report.failed), (below, below), "{floor}: {report:?}");
            assert!(report.found_problems());
            assert!(report.failures.iter().all(|failure| failure.class == "below_floor"));
            let status = token_store::status::status(&store).await.unwrap();
            assert_eq!((status.floor, status.below_floor), (floor, if floor == Floor::Any { 0 } else { 2 }));
        }
    }

    async fn require_and_forbid_together_are_the_highest_floor_whatever_the_settings_say(db) {
        let mut keys = one_of_each(&db).await;
        (keys.policy, keys.plaintext) = (BindingPolicy::Require, PlaintextPolicy::Forbid);
        let store = keys.store_with(&db, keys.cipher().with_read_floor(Floor::Any)).await;
        assert_eq!(store.cipher().floor(), Floor::Bound);
        for (channel, token, reaches) in READ {
            match reaches {
                Floor::Bound => assert_access(&store, key(channel), token).await,
                _ => {
                    let class = store.get(&key(channel)).await.unwrap_err().class();
                    assert!(["plaintext_forbidden", "below_floor", "unbound"].contains(&class), "{class}");
                }
            }
        }
        let report = verified(&store).await;
        assert_eq!((report.ok, report.checked), (2, 7), "only the bound envelopes open");
        assert!(report.found_problems());
    }

    async fn nothing_below_is_moved_or_sealed_again_unless_the_run_says_so(db) {
        let mut keys = one_of_each(&db).await;
        keys.profile.floor = Floor::Bound;
        let before = db.fingerprint("oauth_tokens").await;
        let store = keys.store(&db).await.with_reseal_on_read();
        let report = migrate(&store, WriteFormat::KmsEnvelope).await;
        // "bound" is of version 2 and moves to version 3, which is written now.
        assert_eq!((report.failed, report.migrated), (3, 1), "{report:?}");
        assert!(report.failures.iter().all(|failure| failure.class == "below_floor"), "{report:?}");
        for channel in ["plain", "direct", "unbound"] {
            store.get(&key(channel)).await.unwrap_err();
        }
        assert_eq!(store.resealed_rows(), 0);
        let after = db.fingerprint("oauth_tokens").await;
        assert_ne!(before, after);

        // A write to one token of such a row does not carry the other one over.
        let kept = store.put(&key("direct"), NewToken::new().access_token("new")).await;
        assert!(kept.is_err(), "{kept:?}");
        assert_eq!(db.fingerprint("oauth_tokens").await, after);

        let store = keys.store_with(&db, keys.cipher().with_reading_below_floor()).await;
        let report = migrate(&store, WriteFormat::KmsEnvelope).await;
        assert_eq!((report.failed, report.migrated, report.already), (0, 3, 2), "{report:?}");
        let strict = keys.store(&db).await;
        for (channel, token, _) in READ {
            assert_access(&strict, key(channel), token).await;
        }
        assert!(!verified(&strict).await.found_problems());
    }

    async fn a_rewrap_leaves_unbound_envelopes_alone_under_the_highest_floor(db) {
        let mut keys = one_of_each(&db).await;
        keys.memory().rotate();
        keys.profile.floor = Floor::Bound;
        let rewrap = async |store: &token_store::TokenStore| {
            migration::rewrap(store, &RewrapOptions::default(), &StopFlag::default(), |_| {}).await.report
        };
        let report = rewrap(&keys.store(&db).await).await;
        assert_eq!((report.rewrapped, report.failed), (2, 1), "{report:?}");
        let store = keys.store_with(&db, keys.cipher().with_reading_below_floor()).await;
        let report = rewrap(&store).await;
        assert_eq!((report.rewrapped, report.failed), (1, 0), "{report:?}");
    }

    async fn a_format_below_the_floor_is_not_opened_at_all(db) {
        let keys = one_of_each(&db).await;
        let store = keys.store_with(&db, keys.cipher().with_read_floor(Floor::Bound)).await;
        let calls = keys.faults().calls("unwrap");
        store.get(&key("direct")).await.unwrap_err();
        assert_eq!(keys.faults().calls("unwrap"), calls);
    }

    async fn a_secret_of_the_local_store_does_not_open_as_a_token(db) {
        // The row's key is the secret's name: that is what values of both kinds are bound to.
        db.execute("CREATE TABLE crm (id text PRIMARY KEY, tok text)").await;
        let mut keys = Keys::toml("name = \"crm\"\n[context]\nApplication = \"crm\"\n[[tables]]\nname = \"crm\"\nkey = [\"id\"]\ntokens = [\"tok\"]\n");
        let directory = tempfile::tempdir().unwrap();
        let ring = kms_provider::Keyring::init(directory.path().join("keys.json"), &crate::support::direct_key()).unwrap();
        let ring: Arc<dyn node_json::DataKeyRing> = Arc::new(ring);
        let name = Some(&b"DATABASE_URL"[..]);
        let row = TokenKey::from_values(["DATABASE_URL"]);
        let secret = node_json::seal(&*ring, Purpose::Secret, name, b"value", 7);
        let old = node_json::seal_unlabelled(&*ring, name, b"value", 7);
        db.insert("crm", &[("id", Some("DATABASE_URL")), ("tok", Some(&secret))]).await;
        let cipher = |keys: &Keys| keys.cipher().with_data_key_ring(ring.clone());
        for sources in [vec![], vec![Source::NodeJson]] {
            keys.profile.sources = sources.clone();
            let store = keys.store_with(&db, cipher(&keys)).await;
            db.run("UPDATE crm SET tok = $1", &[Some(&secret)]).await;
            let class = store.get(&row).await.unwrap_err().class();
            let expected = if sources.is_empty() { "not_a_source" } else { "context_mismatch_or_corrupt" };
            assert_eq!(class, expected);
            // One from before values carried their purpose opens only where the profile names the format.
            db.run("UPDATE crm SET tok = $1", &[Some(&old)]).await;
            match store.get(&row).await {
                Ok(_) => assert!(!sources.is_empty()),
                Err(error) => assert_eq!((error.class(), sources.len()), ("not_a_source", 0)),
            }
        }
        // A ring that remembers a store without such values accepts none any more.
        let labelled = |ring: &Arc<dyn node_json::DataKeyRing>| {
            ring.ledger().unwrap().update(&mut |stores| {
                let mut record = envelope_core::ledger::StoreRecord::new("id", "/srv/secrets.db");
                (record.labelled, record.resealed) = (true, true);
                stores.push(record);
            })
        };
        labelled(&ring).unwrap();
        let store = keys.store_with(&db, cipher(&keys)).await;
        assert_eq!(store.get(&row).await.unwrap_err().class(), "unlabelled");
    }

    async fn a_value_replayed_from_a_backup_into_another_tenants_row_does_not_open_under_require_and_forbid(db) {
        // An envelope of the autonomous platform is bound to nothing: this one was sealed for the row "mine".
        db.execute("CREATE TABLE slack_connection (id text PRIMARY KEY, org_id text, access_token text, refresh_token text)").await;
        let mut keys = Keys::new("autonomous");
        let generated = keys.provider().generate(&EncryptionContext::empty()).await.unwrap();
        let text = autonomous(&generated.key.0, generated.wrapped.bytes(), "token");
        db.insert("slack_connection", &[("id", Some("yours")), ("org_id", Some("other")), ("access_token", Some(&text))]).await;
        let row = TokenKey::from_values(["yours"]).in_table("slack_connection");
        assert!(keys.store(&db).await.get(&row).await.is_ok(), "under the default policy it opens: it binds nothing");
        (keys.policy, keys.plaintext) = (BindingPolicy::Require, PlaintextPolicy::Forbid);
        let store = keys.store(&db).await;
        assert_eq!(store.get(&row).await.unwrap_err().class(), "below_floor");
        let report = verified(&store).await;
        assert_eq!((report.failed, report.below_floor, report.ok), (1, 1, 0));
        let report = migrate(&store, WriteFormat::KmsEnvelope).await;
        assert_eq!((report.failed, report.migrated), (1, 0), "it is not made a bound one of the wrong row");
    }
}

/// A value in the format of the autonomous platform.
fn autonomous(key: &envelope_core::DataKey, wrapped: &[u8], token: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    // nonce, ciphertext and tag as in direct AES under the data key.
    let sealed = STANDARD.decode(envelope_core::format::direct_aes::seal(key, token)).unwrap();
    let parts = [
        "v1".to_owned(),
        STANDARD.encode(wrapped),
        STANDARD.encode(&sealed[..12]),
        STANDARD.encode(&sealed[12..]),
    ];
    STANDARD.encode(parts.join("|"))
}
