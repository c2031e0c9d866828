//! A rollback leaves every token readable with the key of the time before the key service, and with nothing else.

use envelope_core::format::direct_aes;
use envelope_core::format::pulseplan_local::{Envelope, MasterKey, derive_user_key};
use token_store::error::Needed;
use token_store::{TokenKey, WriteFormat};

use crate::migration_moves_every_row::{assert_all_read, mixture};
use crate::support::{
    Keys, MASTER_KEY, assert_access, counts, direct_key, distribution, migrate, pulseplan_row, shown,
    user_id, vod_rows,
};

on_each_database! {
    async fn to_direct_aes(db) {
        let truth = mixture(&db, 12).await;
        for keys in [Keys::new("vod-tender"), Keys::new("vod-tender").v3()] {
            let store = keys.store(&db).await;
            migrate(&store, WriteFormat::KmsEnvelope).await;
            let report = migrate(&store, WriteFormat::DirectAes).await;
            assert_eq!((report.migrated, report.failed), (12, 0));
            assert_eq!(distribution(&store).await, [(Some(1), "direct-aes".into(), Some("default".into()), 12)]);
            for (row, (_, access, refresh)) in vod_rows(&db).await.iter().zip(&truth) {
                for (text, token) in [(&row[2], access), (&row[3], refresh)] {
                    let opened = text.as_ref().map(|text| direct_aes::open(&direct_key(), text).unwrap());
                    assert!(shown(opened.as_ref()) == token.as_deref());
                }
            }
        }
        let mut alone = Keys::new("vod-tender");
        alone.key_service = false;
        assert_all_read(&alone.store(&db).await, &truth).await;
        assert_eq!(counts(&migrate(&alone.store(&db).await, WriteFormat::DirectAes).await)[..3], [12, 0, 12]);
    }

    async fn of_plaintext_rows_as_well(db) {
        let truth = mixture(&db, 6).await;
        let mut keys = Keys::new("vod-tender");
        keys.key_service = false;
        let store = keys.store(&db).await;
        let report = migrate(&store, WriteFormat::DirectAes).await;
        assert_eq!((report.migrated, report.already), (3, 3));
        assert_all_read(&store, &truth).await;
    }

    async fn to_pulseplans_own_keys(db) {
        let mut keys = Keys::new("pulseplan");
        keys.user_key_version = Some(3);
        let mut ids = Vec::new();
        for user in 1..4 {
            let token = format!("token {user}");
            ids.push(pulseplan_row(&db, user, user, &token, "").await.0);
        }
        let store = keys.store(&db).await;
        migrate(&store, WriteFormat::KmsEnvelope).await;
        let report = migrate(&store, WriteFormat::PulseplanLocal).await;
        assert_eq!((report.migrated, report.failed), (3, 0));
        let master = MasterKey::from_variable(MASTER_KEY).unwrap();
        for (user, row) in (1..).zip(db.table("oauth_tokens", &["id", "access_token", "refresh_token"]).await) {
            let text = row[1].as_ref().unwrap();
            assert!(text.starts_with("v3:") && row[2].as_deref() == Some(""), "{row:?}");
            let envelope = Envelope::parse(text).unwrap();
            let key = derive_user_key(master.writing(), &user_id(user), envelope.version());
            assert_eq!(shown(Some(&envelope.open(&key).unwrap())), Some(format!("token {user}").as_str()));
        }
        keys.key_service = false;
        assert_access(&keys.store(&db).await, TokenKey::from_values([&ids[0]]), "token 1").await;
        assert_eq!(counts(&migrate(&keys.store(&db).await, WriteFormat::PulseplanLocal).await)[..3], [3, 0, 3]);
    }

    async fn a_rollback_without_its_key_names_what_is_needed_and_writes_nothing(db) {
        mixture(&db, 4).await;
        let mut keys = Keys::new("vod-tender");
        migrate(&keys.store(&db).await, WriteFormat::KmsEnvelope).await;
        let before = vod_rows(&db).await;
        keys.direct = false;
        let report = migrate(&keys.store(&db).await, WriteFormat::DirectAes).await;
        assert_eq!((report.migrated, report.failed), (0, 4));
        assert_eq!(report.failures[0].needed, Some(Needed::DirectKey), "{}", report.failures[0].error);
        assert_eq!(vod_rows(&db).await, before);
    }
}
