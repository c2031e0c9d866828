//! Every stored format's sample vectors open from a table of the system that wrote them.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use envelope_core::format::autonomous::DevKey;
use envelope_core::format::node_json::DataKeyRing;
use envelope_core::format::pulseplan_local::MasterKey;
use envelope_core::provider::{GeneratedDataKey, KeyDescription};
use envelope_core::{DataKey, EncryptionContext, ErrorClass, KeyError, KeyProvider, Sealer, WrappedDataKey};
use secrecy::SecretSlice;
use test_support::vectors::{self, StoredFormat, Vector};
use token_store::profile::Source;
use token_store::{Database, Profile, StoreError, TokenCipher, TokenKey, TokenStore, UserKeys};

use crate::support::{Sql, VodRow, create_vod_tender, insert_vod, shown, told};

/// Stands for the key service that the vectors were made with: it knows their wrapped keys and blobs.
struct VectorService(Vec<Vector>);

impl VectorService {
    fn context(vector: &Vector) -> EncryptionContext {
        let user = vector.user_id.as_deref().unwrap_or_default();
        let pairs = match vector.format {
            StoredFormat::Autonomous => vec![],
            StoredFormat::PulseplanKms => {
                vec![("user_id", user), ("service", "pulseplan"), ("data_type", "auth_token")]
            }
            _ => vec![("Application", "vod-tender"), ("Purpose", "oauth-token")],
        };
        EncryptionContext::new(pairs).unwrap()
    }

    fn find(&self, bytes: &[u8], context: &EncryptionContext) -> Result<&Vector, KeyError> {
        let stored = STANDARD.encode(bytes);
        let knows = |vector: &&Vector| {
            let held = vector.wrapped_data_key.as_ref().or(vector.blob.as_ref());
            held == Some(&stored) && Self::context(vector) == *context
        };
        let refused =
            || KeyError::new(ErrorClass::ContextMismatchOrCorrupt, "no vector has this under this context");
        self.0.iter().find(knows).ok_or_else(refused)
    }
}

#[async_trait]
impl KeyProvider for VectorService {
    async fn generate(&self, _: &EncryptionContext) -> Result<GeneratedDataKey, KeyError> {
        Err(KeyError::new(ErrorClass::Denied, "only reads"))
    }

    async fn unwrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<Arc<DataKey>, KeyError> {
        Ok(Arc::new(self.find(wrapped.bytes(), context)?.require_data_key().parse().unwrap()))
    }

    async fn rewrap(&self, _: &WrappedDataKey, _: &EncryptionContext) -> Result<WrappedDataKey, KeyError> {
        Err(KeyError::new(ErrorClass::Denied, "only reads"))
    }

    async fn describe(&self) -> Result<KeyDescription, KeyError> {
        Err(KeyError::new(ErrorClass::Denied, "only reads"))
    }

    async fn decrypt(
        &self,
        ciphertext: &[u8],
        key_id: Option<&str>,
        context: &EncryptionContext,
    ) -> Result<SecretSlice<u8>, KeyError> {
        assert!(key_id.is_some_and(|id| id.starts_with("arn:")), "the value's key is passed on as a claim");
        Ok(self.find(ciphertext, context)?.plaintext.clone().into_bytes().into())
    }
}

struct Ring(Vec<Vector>);

impl DataKeyRing for Ring {
    fn data_key(&self, id: &str) -> Option<Arc<DataKey>> {
        let vector = self.0.iter().find(|vector| vector.data_key_id.as_deref() == Some(id))?;
        Some(Arc::new(vector.require_data_key().parse().unwrap()))
    }

    fn active(&self) -> (String, Arc<DataKey>) {
        unreachable!("nothing is sealed")
    }
}

/// A store that has the keys of one vector.
async fn store(db: &Sql, profile: Profile, vector: &Vector) -> TokenStore {
    let service = Arc::new(VectorService(vectors::all()));
    let sealer = Sealer::new(service, profile.base_context()).unwrap();
    store_with(db, profile, vector, sealer).await
}

async fn store_with(db: &Sql, profile: Profile, vector: &Vector, sealer: Sealer) -> TokenStore {
    let mut cipher = TokenCipher::new()
        .with_sealer(sealer)
        .with_data_key_ring(Arc::new(Ring(vectors::of(StoredFormat::NodeJson))));
    if let Some(key) = &vector.encryption_key {
        cipher = cipher.with_direct_key(key.parse().unwrap());
    }
    if let Some(key) = &vector.token_encryption_key {
        let master = MasterKey::from_variable(key).unwrap();
        cipher = cipher.with_user_keys(UserKeys::new(master, std::num::NonZeroU32::MIN));
    }
    if let Some(key) = &vector.dev_encryption_key {
        cipher = cipher.with_development_key(DevKey::from_variable(key).unwrap());
    }
    TokenStore::open(Database::connect(db.url()).await.unwrap(), profile, cipher).await.unwrap()
}

async fn assert_opens(store: &TokenStore, key: &TokenKey, vector: &Vector) {
    let read = store.get(key).await.unwrap_or_else(|error| panic!("{:?}: {}", vector.format, told(&error)));
    assert!(shown(read.access_token()) == Some(&vector.plaintext), "{:?}", vector.format);
}

/// The systems' tables, with ids of text so that those of the vectors fit.
async fn create_tables(db: &Sql) {
    create_vod_tender(db).await;
    db.execute("ALTER TABLE oauth_tokens RENAME TO vod_tokens").await;
    db.execute("CREATE TABLE oauth_tokens (id text PRIMARY KEY, user_id text NOT NULL, access_token text NOT NULL, refresh_token text)").await;
    db.execute("CREATE TABLE slack_connection (id text PRIMARY KEY, org_id text, access_token text, refresh_token text)").await;
}

on_each_database! {
    async fn rows_with_version_columns(db) {
        create_vod_tender(&db).await;
        let formats = [(StoredFormat::DirectAes, 1), (StoredFormat::KmsV2, 2), (StoredFormat::KmsV2Twice, 2)];
        for (format, version) in formats {
            for (number, vector) in vectors::of(format).into_iter().enumerate() {
                let channel = format!("{format:?} {number}");
                let row = VodRow { version: Some(version), ..VodRow::plain(&channel, &vector.stored, "") };
                insert_vod(&db, &row).await;
                let store = store(&db, Profile::load("vod-tender").unwrap(), &vector).await;
                assert_opens(&store, &TokenKey::new("twitch", channel), &vector).await;
            }
        }
    }

    async fn rows_of_pulseplan_and_of_the_node_service(db) {
        create_tables(&db).await;
        for format in [StoredFormat::PulseplanLocal, StoredFormat::PulseplanKms, StoredFormat::NodeJson] {
            for (number, vector) in vectors::of(format).into_iter().enumerate() {
                let id = format!("{format:?} {number}");
                let user = vector.user_id.as_ref().or(vector.aad.as_ref()).map_or("somebody", String::as_str);
                let cells = [("id", Some(id.as_str())), ("user_id", Some(user)), ("access_token", Some(&vector.stored))];
                db.insert("oauth_tokens", &cells).await;
                let mut profile = Profile::load("pulseplan").unwrap();
                if format == StoredFormat::NodeJson {
                    let store = store(&db, profile.clone(), &vector).await;
                    let refused = store.get(&TokenKey::from_values([&id])).await.unwrap_err();
                    assert_eq!(refused.class(), "not_a_source", "the profile does not name it");
                    profile.sources.push(Source::NodeJson);
                }
                let store = store(&db, profile, &vector).await;
                assert_opens(&store, &TokenKey::from_values([&id]), &vector).await;

                let anybody = format.eq(&StoredFormat::NodeJson) && vector.aad.is_none();
                db.run("UPDATE oauth_tokens SET user_id = 'somebody-else' WHERE id = $1", &[Some(&id)]).await;
                match store.get(&TokenKey::from_values([&id])).await {
                    Ok(_) => assert!(anybody, "{format:?} opens for another user"),
                    Err(error) => assert_eq!(error.class(), "context_mismatch_or_corrupt", "{}", told(&error)),
                }
            }
        }
    }

    async fn rows_of_the_autonomous_platform(db) {
        create_tables(&db).await;
        for format in [StoredFormat::Autonomous, StoredFormat::AutonomousDev] {
            for (number, vector) in vectors::of(format).into_iter().enumerate() {
                let id = format!("{format:?} {number}");
                db.insert("slack_connection", &[("id", Some(&id)), ("access_token", Some(&vector.stored))]).await;
                let store = store(&db, Profile::load("autonomous").unwrap(), &vector).await;
                assert_eq!(store.absent_tables(), ["gh_connection", "jira_connection", "confluence_connection"]);
                assert_opens(&store, &TokenKey::from_values([id]).in_table("slack_connection"), &vector).await;
            }
        }
    }

    async fn values_that_share_no_data_key_open_without_the_cache(db) {
        create_tables(&db).await;
        let cases = [
            (StoredFormat::PulseplanKms, "pulseplan", "oauth_tokens", "user_id"),
            (StoredFormat::Autonomous, "autonomous", "slack_connection", "org_id"),
        ];
        for (format, profile, table, owner) in cases {
            let vector = &vectors::of(format)[0];
            let user = vector.user_id.as_deref().unwrap_or("somebody");
            db.insert(table, &[("id", Some("1")), (owner, Some(user)), ("access_token", Some(&vector.stored))]).await;
            let profile = Profile::load(profile).unwrap();
            // The cached way knows no key at all.
            let sealer = Sealer::new(Arc::new(VectorService(vec![])), profile.base_context()).unwrap();
            let sealer = sealer.with_uncached(Arc::new(VectorService(vectors::all())));
            let store = store_with(&db, profile, vector, sealer).await;
            assert_opens(&store, &TokenKey::from_values(["1"]).in_table(table), vector).await;
        }
    }

    async fn a_development_token_without_its_key_is_reported_and_never_plaintext(db) {
        create_tables(&db).await;
        let vector = &vectors::of(StoredFormat::AutonomousDev)[0];
        db.insert("slack_connection", &[("id", Some("1")), ("access_token", Some(&vector.stored))]).await;
        let without = Vector { dev_encryption_key: None, ..vector.clone() };
        let store = store(&db, Profile::load("autonomous").unwrap(), &without).await;
        let error = store.get(&TokenKey::from_values(["1"]).in_table("slack_connection")).await.unwrap_err();
        assert_eq!(error.class(), "development_token");
        assert!(matches!(error, StoreError::Open { .. }));
    }
}
