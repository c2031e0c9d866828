//! Key services with a switchboard, and ciphers and stores made from them.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use envelope_core::format::pulseplan_local::MasterKey;
use envelope_core::provider::{GeneratedDataKey, KeyDescription};
use envelope_core::{
    BindingPolicy, DataKey, EncryptionContext, EnvelopeFormat, ErrorClass, KeyError, KeyProvider, Sealer,
    WrappedDataKey, Writing,
};
use kms_provider::{Caching, Memory};
use test_support::faults::{Faults, FaultyProvider};
use test_support::sql::Sql;
use token_store::{Database, PlaintextPolicy, Profile, TokenCipher, TokenStore, UserKeys};

/// `ENCRYPTION_KEY` of the tests.
pub(crate) const DIRECT_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// `TOKEN_ENCRYPTION_KEY` of the tests.
pub(crate) const MASTER_KEY: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

pub(crate) fn direct_key() -> DataKey {
    DIRECT_KEY.parse().unwrap()
}

/// All settings of a store; a test changes those that it is about.
pub(crate) struct Keys {
    faulty: Arc<FaultyProvider<Memory>>,
    provider: Arc<dyn KeyProvider>,
    pub(crate) key_service: bool,
    pub(crate) direct: bool,
    pub(crate) user_key_version: Option<u32>,
    pub(crate) policy: BindingPolicy,
    pub(crate) format: EnvelopeFormat,
    pub(crate) plaintext: PlaintextPolicy,
    pub(crate) profile: Profile,
}

impl Keys {
    /// A key service in memory with a cache, `ENCRYPTION_KEY`, and the profile of this name.
    pub(crate) fn new(profile: &str) -> Self {
        Self::with_profile(Profile::load(profile).unwrap())
    }

    /// The same, for a profile in TOML.
    pub(crate) fn toml(profile: &str) -> Self {
        Self::with_profile(Profile::from_toml(profile).unwrap())
    }

    fn with_profile(profile: Profile) -> Self {
        let faulty = Arc::new(FaultyProvider::new(Memory::new()));
        Self {
            provider: Arc::new(Caching::new(faulty.clone())),
            faulty,
            key_service: true,
            direct: true,
            user_key_version: None,
            policy: BindingPolicy::default(),
            format: EnvelopeFormat::default(),
            plaintext: PlaintextPolicy::default(),
            profile,
        }
    }

    /// Puts something between the cache's place and the key service.
    pub(crate) fn decorated(
        mut self,
        decorate: impl FnOnce(Arc<dyn KeyProvider>) -> Arc<dyn KeyProvider>,
    ) -> Self {
        self.provider = decorate(self.faulty.clone());
        self
    }

    pub(crate) fn v3(mut self) -> Self {
        self.format = EnvelopeFormat::V3;
        self
    }

    pub(crate) fn policy(mut self, policy: BindingPolicy) -> Self {
        self.policy = policy;
        self
    }

    pub(crate) fn memory(&self) -> &Memory {
        self.faulty.inner()
    }

    pub(crate) fn faults(&self) -> &Faults<ErrorClass> {
        self.faulty.faults()
    }

    pub(crate) fn provider(&self) -> &Arc<dyn KeyProvider> {
        &self.provider
    }

    pub(crate) fn sealer(&self) -> Sealer {
        let sealer = Sealer::new(self.provider.clone(), self.profile.base_context()).unwrap();
        let writing = Writing::of(self.format, self.policy).unwrap();
        sealer.with_writing(writing).refusing_unbound(self.policy == BindingPolicy::Require)
    }

    pub(crate) fn cipher(&self) -> TokenCipher {
        let mut cipher = TokenCipher::new().with_plaintext_policy(self.plaintext);
        if self.key_service {
            cipher = cipher.with_sealer(self.sealer());
        }
        if self.direct {
            cipher = cipher.with_direct_key(direct_key());
        }
        if let Some(version) = self.user_key_version {
            let master = MasterKey::from_variable(MASTER_KEY).unwrap();
            cipher = cipher.with_user_keys(UserKeys::new(master, NonZeroU32::new(version).unwrap()));
        }
        cipher
    }

    /// A store of its own connections; several share the key service and the cache.
    pub(crate) async fn store(&self, db: &Sql) -> TokenStore {
        self.store_with(db, self.cipher()).await
    }

    pub(crate) async fn store_with(&self, db: &Sql, cipher: TokenCipher) -> TokenStore {
        let database = Database::connect(db.url()).await.unwrap();
        TokenStore::open(database, self.profile.clone(), cipher).await.unwrap()
    }
}

/// Gives out one data key a context, again and again, as a service does that reuses data keys.
pub(crate) struct OneDataKey {
    inner: Arc<dyn KeyProvider>,
    made: Mutex<HashMap<EncryptionContext, (Arc<DataKey>, WrappedDataKey)>>,
}

impl OneDataKey {
    pub(crate) fn new(inner: Arc<dyn KeyProvider>) -> Self {
        Self { inner, made: Mutex::default() }
    }
}

#[async_trait]
impl KeyProvider for OneDataKey {
    async fn generate(&self, context: &EncryptionContext) -> Result<GeneratedDataKey, KeyError> {
        let known = self.made.lock().unwrap().get(context).cloned();
        let (key, wrapped) = match known {
            Some(made) => made,
            None => {
                let made = self.inner.generate(context).await?;
                let made = (made.key.0, made.wrapped);
                self.made.lock().unwrap().entry(context.clone()).or_insert(made).clone()
            }
        };
        Ok(GeneratedDataKey::new(key, wrapped))
    }

    async fn unwrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<Arc<DataKey>, KeyError> {
        self.inner.unwrap(wrapped, context).await
    }

    async fn rewrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<WrappedDataKey, KeyError> {
        self.inner.rewrap(wrapped, context).await
    }

    async fn describe(&self) -> Result<KeyDescription, KeyError> {
        self.inner.describe().await
    }

    fn unwrap_cached(&self, wrapped: &WrappedDataKey, context: &EncryptionContext) -> Option<Arc<DataKey>> {
        self.inner.unwrap_cached(wrapped, context)
    }
}
