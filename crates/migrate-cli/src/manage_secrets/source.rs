//! Where the secrets are: `--source`, opened.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_sdk_secretsmanager::config::timeout::TimeoutConfig;
use kms_provider::KeyUri;
use kms_provider::keyring::Keyring;
#[cfg(feature = "metrics")]
use kms_provider::metrics::emf::EmfSample;
use secrets_cache::local::LocalStore;
use secrets_cache::metrics::Metrics;
use secrets_cache::source::audited::Audited;
use secrets_cache::source::dotenv::Dotenv;
use secrets_cache::source::memory::MemorySource;
use secrets_cache::source::prefixed::Prefixed;
use secrets_cache::source::secrets_manager::SecretsManager;
use secrets_cache::{Environment, SecretSource};

pub(super) use secrets_cache::source::SourceUri;

use super::Options;
use super::failure::Failure;
use crate::services::{master_key, open_keyring};
use crate::settings::{self, Settings};

/// Who is named in audit events.
const ACTOR: &str = "manage-secrets";

/// What becomes of a local store that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IfMissing {
    /// It is a mistake.
    Fail,
    /// It is made, as something is put into it.
    Create,
    /// It counts as empty: a dry run makes nothing.
    Pretend,
}

/// A source that is open: audited, counted, and kept to the prefix.
pub(super) struct Opened {
    pub(super) source: Arc<dyn SecretSource>,
    pub(super) metrics: Arc<Metrics>,
    /// The local store itself, for what only it can do.
    local: Option<LocalStore>,
}

impl Opened {
    pub(super) async fn open(
        settings: &Settings,
        options: &Options,
        if_missing: IfMissing,
    ) -> Result<Self, Failure> {
        let mut local = None;
        let source: Arc<dyn SecretSource> = match &options.source {
            SourceUri::SecretsManager => Arc::new(secrets_manager().await?),
            SourceUri::Local(path) if if_missing == IfMissing::Pretend && !path.exists() => {
                Arc::new(MemorySource::new())
            }
            SourceUri::Local(path) => {
                let store = open_local(settings, path, if_missing).await?;
                local = Some(store.clone());
                Arc::new(store)
            }
            SourceUri::Dotenv(path) => Arc::new(Dotenv::open(path, environment(settings.environment))?),
        };
        let metrics = options.common.telemetry.register(Metrics::register);
        #[cfg(feature = "metrics")]
        {
            let reads = metrics.clone();
            let sample = move || EmfSample::default().with_secret_reads(reads.reads());
            options.common.telemetry.print_emf(settings, sample);
        }
        let audited = Audited::new(source, ACTOR).with_metrics(metrics.clone());
        let source: Arc<dyn SecretSource> =
            match options.prefix.as_deref().filter(|prefix| !prefix.is_empty()) {
                Some(prefix) => Arc::new(Prefixed::new(Arc::new(audited), prefix)?),
                None => Arc::new(audited),
            };
        Ok(Self { source, metrics, local })
    }

    /// The local store, for a command that only it has.
    pub(super) fn local(&self) -> Result<&LocalStore, Failure> {
        self.local.as_ref().ok_or_else(|| {
            Failure::usage("this command is for a local store", "add --source local:<file.db>")
        })
    }

    /// Closes a local store, so that all of it is in its one file.
    pub(super) async fn close(&self) {
        if let Some(store) = &self.local {
            store.close().await;
        }
    }

    pub(super) fn local_if_any(&self) -> Option<&LocalStore> {
        self.local.as_ref()
    }
}

fn environment(environment: settings::Environment) -> Environment {
    match environment {
        settings::Environment::Development => Environment::Development,
        settings::Environment::Staging => Environment::Staging,
        settings::Environment::Production => Environment::Production,
    }
}

async fn secrets_manager() -> Result<SecretsManager, Failure> {
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    if config.region().is_none() {
        return Err(Failure::usage(
            "no AWS Region is configured",
            "set AWS_REGION, or choose another --source",
        ));
    }
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(3))
        .operation_attempt_timeout(Duration::from_secs(10))
        .operation_timeout(Duration::from_secs(30))
        .build();
    let client = aws_sdk_secretsmanager::config::Builder::from(&config).timeout_config(timeouts).build();
    Ok(SecretsManager::new(aws_sdk_secretsmanager::Client::from_conf(client)))
}

async fn open_local(settings: &Settings, path: &Path, if_missing: IfMissing) -> Result<LocalStore, Failure> {
    let exists = path.exists();
    if !exists && if_missing != IfMissing::Create {
        let hint = "the first `set`, `import` or `restore` makes one; check the path after local:";
        return Err(Failure::usage(format!("there is no store {}", path.display()), hint));
    }
    let keyring = match &settings.key {
        Some(KeyUri::Keyring(file)) => open_keyring(settings, file)?,
        _ => own_keyring(settings, path, exists)?,
    };
    let ring = Arc::new(keyring);
    Ok(match if_missing {
        IfMissing::Create => LocalStore::open_or_create(path, ring).await?,
        IfMissing::Fail | IfMissing::Pretend => LocalStore::open(path, ring).await?,
    })
}

/// The keyring beside the store. It is made together with the store, and never for one that exists: values under
/// a keyring that was lost do not come back by making another.
fn own_keyring(settings: &Settings, store: &Path, store_exists: bool) -> Result<Keyring, Failure> {
    let file = LocalStore::keyring_beside(store);
    let master = master_key(settings)?;
    if !store_exists && !file.exists() {
        return Ok(Keyring::init(file, master).map_err(crate::exit::CliError::from)?);
    }
    Ok(open_keyring(settings, &file)?)
}
