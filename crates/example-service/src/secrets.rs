//! The service's own secrets: a source that the configuration names, read through a cache.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kms_provider::{KeyUri, Keyring};
use prometheus_client::registry::Registry;
use secrecy::SecretString;
use secrets_cache::inventory::Inventory;
use secrets_cache::local::LocalStore;
use secrets_cache::metrics::Metrics;
use secrets_cache::source::SourceUri;
use secrets_cache::source::audited::Audited;
use secrets_cache::source::dotenv::Dotenv;
use secrets_cache::source::environment::EnvironmentVariables;
use secrets_cache::source::prefixed::Prefixed;
use secrets_cache::source::secrets_manager::SecretsManager;
use secrets_cache::{SecretSource, SecretsCache, SourceError};

use crate::ACTOR;
use crate::config::Config;

/// What the OAuth provider knows this service by.
const CLIENT_SECRET: &str = "OAUTH_CLIENT_SECRET";
/// How often what is due for rotation is counted: it changes by the day.
const INVENTORY_EVERY: Duration = Duration::from_secs(300);

/// The service's secrets. Cheap to clone.
#[derive(Clone)]
pub struct Secrets {
    cache: SecretsCache,
    /// Counted on its own, since the cache reads and does not list.
    inventory: Arc<Audited>,
    metrics: Arc<Metrics>,
}

impl Secrets {
    /// Opens the source, and makes sure that what the service needs is there.
    ///
    /// # Errors
    /// Says what is missing, and what to do.
    pub async fn connect(config: &Config, registry: &mut Registry) -> anyhow::Result<Self> {
        let source = source(config).await.context("SECRETS_SOURCE")?;
        let metrics = Metrics::register(registry);
        let cache = SecretsCache::builder(source.clone()).actor(ACTOR).metrics(metrics.clone()).build();
        let inventory = Arc::new(Audited::new(source, ACTOR).with_metrics(metrics.clone()));
        let secrets = Self { cache, inventory, metrics };
        let needed = secrets.client_secret().await;
        needed.context("OAUTH_CLIENT_SECRET is neither in the environment nor where SECRETS_SOURCE says")?;
        Ok(secrets)
    }

    /// The client secret: from memory, and from the source again when it has become old.
    ///
    /// # Errors
    /// If it cannot be fetched, or is no text.
    pub async fn client_secret(&self) -> anyhow::Result<SecretString> {
        Ok(self.cache.read(CLIENT_SECRET).await?)
    }

    /// What is counted about them.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Counts what there is, has expired and is due for rotation, again and again.
    pub async fn take_inventory_forever(self) {
        loop {
            match Inventory::take(&*self.inventory).await {
                Ok(inventory) => self.metrics.observe(&inventory),
                // The environment has no list of what in it is secret.
                Err(SourceError::Unsupported { .. }) => return,
                Err(error) => {
                    tracing::warn!(
                        class = error.class(),
                        hint = error.hint(),
                        "secrets could not be counted"
                    );
                }
            }
            tokio::time::sleep(INVENTORY_EVERY).await;
        }
    }
}

async fn source(config: &Config) -> anyhow::Result<Arc<dyn SecretSource>> {
    let source: Arc<dyn SecretSource> = match &config.secrets {
        None => Arc::new(EnvironmentVariables::new()),
        Some(SourceUri::SecretsManager) => {
            let aws = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
            Arc::new(SecretsManager::new(aws_sdk_secretsmanager::Client::new(&aws)))
        }
        Some(SourceUri::Local(path)) => {
            Arc::new(LocalStore::open(path, Arc::new(keyring(config, path)?)).await?)
        }
        Some(SourceUri::Dotenv(path)) => Arc::new(Dotenv::open(path, config.environment)?),
    };
    Ok(match &config.secrets_prefix {
        Some(prefix) => Arc::new(Prefixed::new(source, prefix)?),
        None => source,
    })
}

/// A local store's keyring, as `manage-secrets` finds it: the one that `KMS_KEY_ID` names, or the one beside the store.
fn keyring(config: &Config, store: &Path) -> anyhow::Result<Keyring> {
    let master = config.master_key.as_ref().context("KMS_MASTER_KEY is not set")?;
    let file = match &config.key {
        Some(KeyUri::Keyring(file)) => file.clone(),
        _ => LocalStore::keyring_beside(store),
    };
    Ok(Keyring::open(file, master)?)
}
