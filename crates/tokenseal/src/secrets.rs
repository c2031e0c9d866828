//! A process's own secrets: the source that the settings or a command name, audited, counted and read through a cache.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "local-store")]
use kms_provider::KeyUri;
#[cfg(feature = "local-store")]
use kms_provider::keyring::{Keyring, KeyringError};
use secrets_cache::inventory::Inventory;
#[cfg(feature = "local-store")]
use secrets_cache::local::LocalStore;
use secrets_cache::metrics::Metrics;
use secrets_cache::source::SourceUri;
use secrets_cache::source::audited::Audited;
#[cfg(feature = "dotenv")]
use secrets_cache::source::dotenv::Dotenv;
use secrets_cache::source::environment::EnvironmentVariables;
use secrets_cache::source::memory::MemorySource;
use secrets_cache::source::prefixed::Prefixed;
#[cfg(feature = "secrets-manager")]
use secrets_cache::source::secrets_manager::SecretsManager;
#[cfg(feature = "vault")]
use secrets_cache::source::vault::{KvPath, KvPathError, VaultLeases};
use secrets_cache::{SecretSource, SecretsCache, SourceError};
#[cfg(feature = "vault")]
use vault_client::VaultClient;

use crate::audit::events;
use crate::error::ConnectError;
#[cfg(feature = "local-store")]
use crate::key_service::{master_key, open_keyring};
use crate::settings::{Settings, SettingsError};
use crate::telemetry::Telemetry;

/// How often secrets that are due for rotation are counted: the number changes by the day.
const INVENTORY_EVERY: Duration = Duration::from_secs(300);

/// The treatment of a local store that does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IfMissing {
    /// It is an error.
    #[default]
    Fail,
    /// It is created, as something is put into it.
    Create,
    /// It counts as empty.
    Pretend,
    /// It counts as empty, and what creates it must be there: a dry run fails where the run would.
    Rehearse,
}

/// A source that is open: audited, counted, and kept to a prefix.
#[derive(Clone)]
pub struct OpenSource {
    /// The source. Every access is an audit event.
    pub source: Arc<dyn SecretSource>,
    /// Its counters.
    pub metrics: Arc<Metrics>,
    /// The local store itself, for what only it can do.
    #[cfg(feature = "local-store")]
    pub local: Option<LocalStore>,
    /// Dynamic credentials, which end with the program.
    #[cfg(feature = "vault")]
    leases: Option<Arc<VaultLeases>>,
    /// The same source for a cache, which writes audit events of its own.
    unaudited: Arc<dyn SecretSource>,
}

impl OpenSource {
    /// Opens a source, with the key that the settings name where it is a local store.
    ///
    /// # Errors
    /// [`ConnectError`], naming each missing or wrong setting.
    pub async fn open(
        uri: Option<&SourceUri>,
        prefix: Option<&str>,
        actor: &str,
        if_missing: IfMissing,
        settings: &Settings,
        telemetry: &Telemetry,
    ) -> Result<Self, ConnectError> {
        #[cfg(feature = "local-store")]
        let mut local = None;
        #[cfg(feature = "vault")]
        let mut leases = None;
        let raw: Arc<dyn SecretSource> = match uri {
            None => Arc::new(EnvironmentVariables::new()),
            Some(SourceUri::SecretsManager) => secrets_manager().await?,
            Some(SourceUri::Local(path)) if if_missing == IfMissing::Pretend && !path.exists() => {
                Arc::new(MemorySource::new())
            }
            #[cfg(feature = "local-store")]
            Some(SourceUri::Local(path)) if if_missing == IfMissing::Rehearse && !path.exists() => {
                rehearse_local(settings, path)?;
                Arc::new(MemorySource::new())
            }
            #[cfg(feature = "local-store")]
            Some(SourceUri::Local(path)) => {
                Arc::new(local.insert(open_local(settings, path, if_missing).await?).clone())
            }
            #[cfg(not(feature = "local-store"))]
            Some(SourceUri::Local(_)) => return Err(unsupported("local-store")),
            Some(SourceUri::Dotenv(path)) => dotenv(path, settings)?,
            Some(SourceUri::Vault(path)) => vault(path, settings)?,
            #[cfg(feature = "vault")]
            Some(SourceUri::VaultLease(path)) => leases.insert(vault_leases(path, settings)?).clone(),
            #[cfg(not(feature = "vault"))]
            Some(SourceUri::VaultLease(_)) => return Err(unsupported("vault")),
        };
        events::secrets_manager_initialized(actor, &raw.id());
        let metrics = telemetry.register(Metrics::register);
        telemetry.watch_secrets(&metrics);
        let audited = Arc::new(Audited::new(raw.clone(), actor).with_metrics(metrics.clone()));
        Ok(Self {
            source: within(audited, prefix)?,
            metrics,
            #[cfg(feature = "local-store")]
            local,
            #[cfg(feature = "vault")]
            leases,
            unaudited: within(raw, prefix)?,
        })
    }

    /// Closes a local store, so that all of it is in its one file, and revokes leases.
    pub async fn close(&self) {
        #[cfg(feature = "vault")]
        if let Some(leases) = &self.leases
            && let Err(error) = leases.revoke_all().await
        {
            tracing::warn!(
                class = error.class(),
                "leases could not be revoked: the server ends them by their time"
            );
        }
        #[cfg(feature = "local-store")]
        if let Some(store) = &self.local {
            store.close().await;
        }
    }
}

/// A service's secrets. Cheap to clone; clones share the cache.
#[derive(Clone)]
pub struct Secrets {
    cache: SecretsCache,
    open: OpenSource,
}

impl Secrets {
    /// Opens the source that `SECRETS_SOURCE` names, or the environment.
    pub(crate) async fn connect(
        settings: &Settings,
        actor: &Arc<str>,
        telemetry: &Telemetry,
    ) -> Result<Self, ConnectError> {
        let (uri, prefix) = (settings.secrets.as_ref(), settings.secrets_prefix.as_deref());
        let open = OpenSource::open(uri, prefix, actor, IfMissing::Fail, settings, telemetry).await?;
        let cache = SecretsCache::builder(open.unaudited.clone()).actor(actor.clone());
        Ok(Self { cache: cache.metrics(open.metrics.clone()).build(), open })
    }

    /// The cache that secrets are read through.
    #[must_use]
    pub fn cache(&self) -> &SecretsCache {
        &self.cache
    }

    /// Their counters.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.open.metrics
    }

    /// Counts every five minutes how many secrets there are, have expired and are due for rotation. Returns at once for
    /// a source that cannot list.
    pub async fn take_inventory_forever(self) {
        loop {
            match Inventory::take(&*self.open.source).await {
                Ok(inventory) => self.open.metrics.observe(&inventory),
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

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

fn within(
    source: Arc<dyn SecretSource>,
    prefix: Option<&str>,
) -> Result<Arc<dyn SecretSource>, ConnectError> {
    Ok(match prefix.filter(|prefix| !prefix.is_empty()) {
        Some(prefix) => Arc::new(Prefixed::new(source, prefix).map_err(SourceError::from)?),
        None => source,
    })
}

#[cfg(feature = "dotenv")]
fn dotenv(path: &Path, settings: &Settings) -> Result<Arc<dyn SecretSource>, ConnectError> {
    Ok(Arc::new(Dotenv::open_undoubted(path, settings.environment)?))
}

#[cfg(not(feature = "dotenv"))]
fn dotenv(_path: &Path, _settings: &Settings) -> Result<Arc<dyn SecretSource>, ConnectError> {
    Err(unsupported("dotenv"))
}

#[cfg(feature = "secrets-manager")]
async fn secrets_manager() -> Result<Arc<dyn SecretSource>, ConnectError> {
    Ok(Arc::new(connect_secrets_manager().await?))
}

/// AWS Secrets Manager with the `AWS_*` variables, for what only it can do.
///
/// # Errors
/// [`ConnectError::Settings`] without a Region.
#[cfg(feature = "secrets-manager")]
pub async fn connect_secrets_manager() -> Result<SecretsManager, ConnectError> {
    use aws_sdk_secretsmanager::config::timeout::TimeoutConfig;

    crate::settings::aws::check_readable()?;
    let config = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
    if config.region().is_none() {
        return Err(SettingsError::of(
            "AWS_REGION",
            "is not set",
            "set it, or choose another source of secrets",
        )
        .into());
    }
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(3))
        .operation_attempt_timeout(Duration::from_secs(10))
        .operation_timeout(Duration::from_secs(30))
        .build();
    let client = aws_sdk_secretsmanager::config::Builder::from(&config).timeout_config(timeouts).build();
    Ok(SecretsManager::new(aws_sdk_secretsmanager::Client::from_conf(client)))
}

#[cfg(not(feature = "secrets-manager"))]
async fn secrets_manager() -> Result<Arc<dyn SecretSource>, ConnectError> {
    Err(unsupported("secrets-manager"))
}

#[cfg(not(all(
    feature = "dotenv",
    feature = "local-store",
    feature = "secrets-manager",
    feature = "vault"
)))]
fn unsupported(feature: &'static str) -> ConnectError {
    let hint = format!("build with the feature `{feature}`, or choose another source of secrets");
    SettingsError::of("SECRETS_SOURCE", "names a source that this build does not support", hint).into()
}

#[cfg(feature = "local-store")]
async fn open_local(
    settings: &Settings,
    path: &Path,
    if_missing: IfMissing,
) -> Result<LocalStore, ConnectError> {
    let exists = path.exists();
    if !exists && if_missing != IfMissing::Create {
        let problem = format!("does not exist: {}", path.display());
        let hint = "the first `set`, `import` or `restore` creates one; check the path after local:";
        return Err(SettingsError::of("local store", problem, hint).into());
    }
    let keyring = match &settings.key {
        Some(KeyUri::Keyring(file)) => open_keyring(settings, file)?,
        _ => own_keyring(settings, path, exists)?,
    };
    let ring = Arc::new(keyring);
    Ok(match if_missing {
        IfMissing::Create => LocalStore::open_or_create(path, ring).await?,
        IfMissing::Fail | IfMissing::Pretend | IfMissing::Rehearse => LocalStore::open(path, ring).await?,
    })
}

/// Opens what a new store is created with, and creates nothing.
#[cfg(feature = "local-store")]
fn rehearse_local(settings: &Settings, path: &Path) -> Result<(), ConnectError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(missing) = directory.filter(|directory| !directory.is_dir()) {
        let problem = format!("cannot be created: there is no directory {}", missing.display());
        return Err(SettingsError::of("local store", problem, "check the path after local:").into());
    }
    let beside = LocalStore::keyring_beside(path);
    match &settings.key {
        Some(KeyUri::Keyring(file)) => drop(open_keyring(settings, file)?),
        _ if beside.exists() => drop(open_keyring(settings, &beside)?),
        _ => {
            master_key(settings)?;
        }
    }
    Ok(())
}

/// The keyring next to the store. It is created together with the store, and never for one that exists: values under
/// a keyring that was lost do not come back by making another.
#[cfg(feature = "local-store")]
fn own_keyring(settings: &Settings, store: &Path, store_exists: bool) -> Result<Keyring, ConnectError> {
    let file = LocalStore::keyring_beside(store);
    let master = master_key(settings)?;
    if !store_exists && !file.exists() {
        match Keyring::init(&file, master) {
            // Another process was first.
            Err(KeyringError::Exists { .. }) => {}
            made => return Ok(made?),
        }
    }
    open_keyring(settings, &file)
}

#[cfg(feature = "vault")]
fn vault(path: &str, settings: &Settings) -> Result<Arc<dyn SecretSource>, ConnectError> {
    let (client, path) = vault_client(path, settings)?;
    Ok(Arc::new(secrets_cache::source::vault::VaultKv::new(client, path)))
}

#[cfg(feature = "vault")]
fn vault_leases(path: &str, settings: &Settings) -> Result<Arc<VaultLeases>, ConnectError> {
    let (client, path) = vault_client(path, settings)?;
    Ok(Arc::new(VaultLeases::new(client, path)))
}

#[cfg(feature = "vault")]
fn vault_client(path: &str, settings: &Settings) -> Result<(VaultClient, KvPath), ConnectError> {
    let problem = |problem: &dyn fmt::Display| {
        let hint = "see the section on OpenBao and Vault in docs/configuration.md";
        SettingsError::of("VAULT_ADDR", format_args!("cannot be used: {problem}"), hint)
    };
    let path = path.parse().map_err(|error: KvPathError| problem(&error))?;
    let client = VaultClient::new(settings.vault()?.clone()).map_err(|error| problem(&error))?;
    Ok((client, path))
}

#[cfg(not(feature = "vault"))]
fn vault(_path: &str, _settings: &Settings) -> Result<Arc<dyn SecretSource>, ConnectError> {
    Err(unsupported("vault"))
}
