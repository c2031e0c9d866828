//! `BINDING`: `accept-unbound`, `require`, `off`, and how unbound rows become bound.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use envelope_core::format::kms_envelope;
use envelope_core::{BindingPolicy, EncryptionContext, OpenError};
use token_store::{NewToken, StoreError, TokenKey, WriteFormat};

use crate::support::{
    Keys, Sql, assert_access, carry_out, counts, create_vod_tender, to, verified, vod_rows,
};

fn key(channel: &str) -> TokenKey {
    TokenKey::new("twitch", channel)
}

/// A row that another program wrote: under the plain context, and once more with its text encoded twice.
async fn write_unbound(db: &Sql, keys: &mut Keys) {
    keys.policy = BindingPolicy::Off;
    let store = keys.store(db).await;
    for channel in ["unbound", "twice"] {
        store
            .put(&key(channel), NewToken::new().access_token(channel).refresh_token("refresh"))
            .await
            .unwrap();
    }
    let row = vod_rows(db).await.into_iter().find(|row| row[1].as_deref() == Some("twice")).unwrap();
    let twice = STANDARD.encode(row[2].as_ref().unwrap());
    db.run("UPDATE oauth_tokens SET access_token = $1 WHERE channel = 'twice'", &[Some(&twice)]).await;
    keys.policy = BindingPolicy::AcceptUnbound;
}

on_each_database! {
    async fn off_writes_the_plain_context_that_other_programs_present(db) {
        create_vod_tender(&db).await;
        let keys = Keys::new("vod-tender").policy(BindingPolicy::Off);
        let store = keys.store(&db).await;
        store.put(&key("one"), NewToken::new().access_token("token")).await.unwrap();
        let row = &vod_rows(&db).await[0];
        let mut envelope = kms_envelope::Envelope::parse(row[2].as_ref().unwrap()).unwrap();
        let wrapped = envelope.wrapped_data_key(row[6].as_deref()).unwrap();
        let context = EncryptionContext::new([("Application", "vod-tender"), ("Purpose", "oauth-token")]).unwrap();
        let opened = envelope.open(&keys.provider().unwrap(&wrapped, &context).await.unwrap()).unwrap();
        assert_eq!(secrecy::ExposeSecret::expose_secret(&opened), "token");
        assert_access(&store, key("one"), "token").await;
        let report = verified(&store).await;
        assert_eq!((report.checked, report.unbound), (1, 0), "where nothing is to be bound, nothing is missed");
    }

    async fn bound_rows_stand_under_their_whole_identity(db) {
        create_vod_tender(&db).await;
        let keys = Keys::new("vod-tender");
        let channelless = TokenKey::new("twitch", "");
        keys.store(&db).await.put(&channelless, NewToken::new().access_token("token")).await.unwrap();
        let row = &vod_rows(&db).await[0];
        let mut envelope = kms_envelope::Envelope::parse(row[2].as_ref().unwrap()).unwrap();
        let wrapped = envelope.wrapped_data_key(row[6].as_deref()).unwrap();
        // A pair whose value would be empty is left out.
        let pairs = [
            ("Application", "vod-tender"),
            ("Purpose", "oauth-token"),
            ("table", "oauth_tokens"),
            ("column", "access_token"),
            ("provider", "twitch"),
        ];
        let key = keys.provider().unwrap(&wrapped, &EncryptionContext::new(pairs).unwrap()).await.unwrap();
        assert_eq!(secrecy::ExposeSecret::expose_secret(&envelope.open(&key).unwrap()), "token");
    }

    async fn unbound_rows_are_read_unless_they_are_refused(db) {
        create_vod_tender(&db).await;
        let mut keys = Keys::new("vod-tender");
        write_unbound(&db, &mut keys).await;
        for policy in [BindingPolicy::AcceptUnbound, BindingPolicy::Off] {
            keys.policy = policy;
            let store = keys.store(&db).await;
            assert_access(&store, key("unbound"), "unbound").await;
            assert_access(&store, key("twice"), "twice").await;
        }
        keys.policy = BindingPolicy::Require;
        let store = keys.store(&db).await;
        for channel in ["unbound", "twice"] {
            // Twice: the cache is warm for the plain context, and must make no difference.
            for _ in 0..2 {
                let error = store.get(&key(channel)).await.unwrap_err();
                assert!(matches!(error, StoreError::Open { source: OpenError::UnboundRefused, .. }), "{error:?}");
            }
        }
    }

    async fn verification_finds_unbound_rows_and_a_rebind_heals_them(db) {
        create_vod_tender(&db).await;
        let mut keys = Keys::new("vod-tender");
        write_unbound(&db, &mut keys).await;
        let store = keys.store(&db).await;
        store.put(&key("bound"), NewToken::new().access_token("bound").refresh_token("refresh")).await.unwrap();
        let report = verified(&store).await;
        assert_eq!((report.checked, report.ok, report.unbound, report.failed), (6, 6, 4, 0));
        assert!(report.found_problems());
        assert!(report.findings.iter().all(|finding| finding.class == "unbound" && finding.row != "provider=twitch,channel=bound"));

        let before = vod_rows(&db).await;
        let plain = carry_out(&store, &to(WriteFormat::KmsEnvelope, 2)).await;
        assert_eq!(counts(&plain), [3, 0, 3, 0, 0, 0], "without rebind, an envelope is an envelope");
        assert_eq!(vod_rows(&db).await, before);

        let mut rebind = to(WriteFormat::KmsEnvelope, 2);
        rebind.rebind = true;
        rebind.run.dry_run = true;
        let predicted = carry_out(&store, &rebind).await;
        assert_eq!(vod_rows(&db).await, before);
        rebind.run.dry_run = false;
        let done = carry_out(&store, &rebind).await;
        assert_eq!(counts(&done), [3, 2, 1, 0, 0, 4]);
        assert_eq!(counts(&predicted), counts(&done));
        let untouched = |rows: &[Vec<Option<String>>]| rows.iter().find(|row| row[1].as_deref() == Some("bound")).cloned();
        assert_eq!(untouched(&vod_rows(&db).await), untouched(&before));

        assert!(!verified(&store).await.found_problems());
        keys.policy = BindingPolicy::Require;
        let strict = keys.store(&db).await;
        for channel in ["unbound", "twice", "bound"] {
            assert_access(&strict, key(channel), channel).await;
        }
        assert_eq!(counts(&carry_out(&strict, &rebind).await), [3, 0, 3, 0, 0, 0], "a second run writes nothing");
    }

    async fn a_copied_unbound_row_opens_where_it_is_accepted_and_not_once_it_is_refused(db) {
        create_vod_tender(&db).await;
        let mut keys = Keys::new("vod-tender");
        write_unbound(&db, &mut keys).await;
        db.execute("UPDATE oauth_tokens SET channel = 'copied' WHERE channel = 'unbound'").await;
        assert_access(&keys.store(&db).await, key("copied"), "unbound").await;
        keys.policy = BindingPolicy::Require;
        keys.store(&db).await.get(&key("copied")).await.unwrap_err();
    }
}
