//! Puts a key service, a cipher and a store together from the settings.

mod load;
mod watch;

use std::sync::Arc;

use envelope_core::format::node_json::DataKeyRing;
use envelope_core::{ErrorClass, KeyProvider, Sealer};
use kms_provider::keyring::Keyring;
use kms_provider::{CacheOptions, Caching, Counting, KeyUri, Regions, Reuse};
use token_store::{Database, TokenCipher, TokenStore};

pub(crate) use self::load::Load;
use self::watch::Watch;
use crate::exit::CliError;
use crate::settings::Settings;
use crate::telemetry::{Readiness, Telemetry};

/// Who is named in audit events.
const ACTOR: &str = "migrate-tokens";

/// How the database is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    ReadOnly,
    ReadWrite,
}

/// A key service with everything around it, and the count of the calls that reach it.
pub(crate) struct KeyService {
    pub(crate) provider: Arc<dyn KeyProvider>,
    pub(crate) calls: Arc<Counting>,
    /// The local keyring's data keys, which Node KMSService's envelopes name.
    pub(crate) ring: Option<Arc<dyn DataKeyRing>>,
    /// The Regions, where there are several.
    pub(crate) regions: Option<Arc<Regions>>,
}

/// A store and the key service below it.
pub(crate) struct Services {
    pub(crate) store: TokenStore,
    pub(crate) calls: Option<Arc<Counting>>,
}

impl Services {
    /// Connects to everything that the settings name. Most commands start here.
    pub(crate) async fn connect(
        settings: Settings,
        access: Access,
        load: Load,
        telemetry: &Telemetry,
    ) -> Result<Self, CliError> {
        let database = database(&settings, access).await?;
        let key_service = key_service(&settings, load, telemetry).await?;
        let mut cipher = TokenCipher::new().with_plaintext_policy(settings.plaintext);
        let mut calls = None;
        let mut readiness = Readiness { database: Some(database.clone()), provider: None };
        if let Some(service) = key_service {
            let sealer = Sealer::new(service.provider, settings.profile.base_context())
                .map_err(|error| CliError::usage(format!("ENCRYPTION_CONTEXT: {error}")))?;
            let sealer = sealer.with_policy(settings.binding).with_format(settings.envelope);
            cipher =
                cipher.with_sealer(sealer.map_err(|error| CliError::usage(format!("BINDING: {error}")))?);
            readiness.provider = Some(service.calls.clone());
            calls = Some(service.calls);
            if let Some(ring) = service.ring {
                cipher = cipher.with_data_key_ring(ring);
            }
        }
        if settings.fallback {
            cipher = cipher.with_local_fallback();
        }
        if let Some(key) = settings.direct_key {
            cipher = cipher.with_direct_key(key);
        }
        if let Some(keys) = settings.user_keys {
            cipher = cipher.with_user_keys(keys);
        }
        if let Some(key) = settings.development_key {
            cipher = cipher.with_development_key(key);
        }
        let store = TokenStore::open(database, settings.profile, cipher).await?.with_actor(ACTOR);
        for table in store.absent_tables() {
            tracing::info!(table, "table does not exist here and is passed over");
        }
        telemetry.register(|registry| token_store::metrics::register(registry, &store));
        telemetry.set_ready(readiness);
        Ok(Self { store, calls })
    }

    /// Asks the key service for its key before a long run, so that a key that is gone is told once and not for every
    /// value. Who may not ask finds out by using it.
    pub(crate) async fn check_key(&self) -> Result<(), CliError> {
        let Some(calls) = &self.calls else { return Ok(()) };
        match calls.describe().await {
            Err(error) if error.class() != ErrorClass::Denied => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Calls made to the key service so far.
    pub(crate) fn kms_calls(&self) -> u64 {
        self.calls.as_ref().map_or(0, |calls| calls.counts().total())
    }
}

/// Opens the database that `DATABASE_URL` names.
pub(crate) async fn database(settings: &Settings, access: Access) -> Result<Database, CliError> {
    let Some(url) = &settings.database_url else {
        return Err(CliError::usage_with_hint(
            "DATABASE_URL is not set",
            "set it to postgres://user:password@host/database or sqlite://file.db",
        ));
    };
    let database = match access {
        Access::ReadOnly => Database::connect_read_only(url.trim()).await,
        Access::ReadWrite => Database::connect(url.trim()).await,
    };
    Ok(database?)
}

/// Opens the key service that `KMS_KEY_ID` names, if it is set.
pub(crate) async fn key_service(
    settings: &Settings,
    load: Load,
    telemetry: &Telemetry,
) -> Result<Option<KeyService>, CliError> {
    let Some(uri) = &settings.key else { return Ok(None) };
    let mut ring: Option<Arc<dyn DataKeyRing>> = None;
    let mut regions = None;
    let watch = Watch::register(settings, telemetry);
    let backend: Arc<dyn KeyProvider> = match uri {
        KeyUri::Keyring(path) => {
            let keyring = Arc::new(open_keyring(settings, path)?);
            ring = Some(keyring.clone());
            keyring
        }
        KeyUri::Aws(key_id) => aws(settings, key_id, load, &watch).await?,
        KeyUri::AwsRegions(keys) => regions.insert(aws_regions(settings, keys, load, &watch).await?).clone(),
        other => {
            return Err(CliError::usage(format!("KMS_KEY_ID: {other} is not supported by this build")));
        }
    };
    let calls = Arc::new(Counting::new(backend));
    let paced: Arc<dyn KeyProvider> = match load.rate() {
        Some(rate) => Arc::new(kms_provider::Pacing::new(calls.clone(), rate)),
        None => calls.clone(),
    };
    let provider = decorate(paced, settings, &watch);
    tracing::info!(key = %uri.redacted(), "KMS envelope encryption enabled");
    Ok(Some(KeyService { provider, calls, ring, regions }))
}

/// Puts metrics, cache and reuse around a key service.
fn decorate(inner: Arc<dyn KeyProvider>, settings: &Settings, watch: &Watch) -> Arc<dyn KeyProvider> {
    // What a program of one run seals, it does not read again.
    let options = CacheOptions::default()
        .with_ttl(settings.cache_ttl)
        .with_max_entries(settings.cache_max)
        .with_remember_generated(false);
    let cache = Arc::new(Caching::with_options(watch.metered(inner), options));
    watch.cache(&cache);
    if settings.reuse.is_off() { cache } else { Arc::new(Reuse::new(cache, settings.reuse)) }
}

/// Opens the local keyring with `KMS_MASTER_KEY`.
pub(crate) fn open_keyring(settings: &Settings, path: &std::path::Path) -> Result<Keyring, CliError> {
    Ok(Keyring::open(path, master_key(settings)?)?)
}

/// `KMS_MASTER_KEY`, or what to do without it.
pub(crate) fn master_key(settings: &Settings) -> Result<&envelope_core::DataKey, CliError> {
    settings.master_key.as_ref().ok_or_else(|| {
        CliError::usage_with_hint(
            "KMS_MASTER_KEY is not set",
            "set it to the key that the keyring was made with; for a new keyring, `openssl rand -base64 32` makes one",
        )
    })
}

/// One Region has no circuit: a run that meets an outage ends with a report, and nobody waits for its next try.
/// Throttling slows a run down instead.
#[cfg(feature = "aws")]
async fn aws(
    settings: &Settings,
    key_id: &str,
    load: Load,
    watch: &Watch,
) -> Result<Arc<dyn KeyProvider>, CliError> {
    let Some(options) = load.in_one_region() else {
        return Ok(Arc::new(kms_provider::Aws::connect(key_id, &settings.allowed_keys).await?));
    };
    let aws = kms_provider::Aws::connect_without_retries(key_id, &settings.allowed_keys).await?;
    Ok(watch.resilient(aws, options))
}

/// Each of several Regions has a circuit: one that is down is passed over, and not waited for at every call.
#[cfg(feature = "aws")]
async fn aws_regions(
    settings: &Settings,
    keys: &[String],
    load: Load,
    watch: &Watch,
) -> Result<Arc<Regions>, CliError> {
    let guarded = |aws| watch.resilient(aws, load.in_each_region());
    Ok(Arc::new(Regions::connect(keys, &settings.allowed_keys, guarded).await?))
}

#[cfg(not(feature = "aws"))]
async fn aws(
    _settings: &Settings,
    key_id: &str,
    _load: Load,
    _watch: &Watch,
) -> Result<Arc<dyn KeyProvider>, CliError> {
    Err(no_aws(key_id))
}

#[cfg(not(feature = "aws"))]
async fn aws_regions(
    _settings: &Settings,
    keys: &[String],
    _load: Load,
    _watch: &Watch,
) -> Result<Arc<Regions>, CliError> {
    Err(no_aws(&keys.join(",")))
}

#[cfg(not(feature = "aws"))]
fn no_aws(key: &str) -> CliError {
    let problem = format!("this build has no AWS KMS, which {key} is in");
    CliError::usage_with_hint(problem, "build with the feature `aws`, or set KMS_KEY_ID=keyring:<file>")
}
