//! The key service that `KMS_KEY_ID` names, with pacing, metrics, cache and reuse around it in the order that is right.

#[cfg(feature = "aws")]
mod caller;
mod load;
#[cfg(feature = "vault")]
mod vault;
mod watch;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use envelope_core::format::node_json::DataKeyRing;
use envelope_core::{DataKey, ErrorClass, KeyProvider};
use kms_provider::keyring::Keyring;
use kms_provider::{CacheOptions, Caching, Counting, KeyUri, Regions, Reuse};

#[cfg(feature = "aws")]
pub use self::caller::{IdentityError, caller};
pub use self::load::Load;
use self::watch::Watch;
use crate::error::ConnectError;
use crate::settings::{Settings, SettingsError};
use crate::telemetry::Telemetry;

/// A key service with everything around it, and the count of the calls that reach it.
pub struct KeyService {
    /// What seals and opens.
    pub provider: Arc<dyn KeyProvider>,
    /// The calls that reach the backend, and are paid for.
    pub calls: Arc<Counting>,
    /// The local keyring's data keys, which Node KMSService's envelopes name.
    pub ring: Option<Arc<dyn DataKeyRing>>,
    /// The Regions, where there are several.
    pub regions: Option<Arc<Regions>>,
}

impl KeyService {
    /// Opens the key service that the settings name, if they name one.
    ///
    /// # Errors
    /// [`ConnectError`] naming the variable that is missing or wrong.
    pub async fn open(
        settings: &Settings,
        load: Load,
        telemetry: &Telemetry,
    ) -> Result<Option<Self>, ConnectError> {
        let watch = Watch::register(settings, telemetry);
        let Some(uri) = &settings.key else { return Ok(None) };
        let mut ring: Option<Arc<dyn DataKeyRing>> = None;
        let mut regions = None;
        let backend: Arc<dyn KeyProvider> = match uri {
            KeyUri::Keyring(path) => {
                let keyring = Arc::new(open_keyring(settings, path)?);
                ring = Some(keyring.clone());
                watch.guarded_in_service(keyring, load)
            }
            KeyUri::Aws(key_id) => aws(settings, key_id, load, &watch).await?,
            KeyUri::AwsRegions(keys) => {
                regions.insert(aws_regions(settings, keys, load, &watch).await?).clone()
            }
            #[cfg(feature = "vault")]
            KeyUri::Vault(key) => vault::open(settings, key, load, &watch)?,
            other => {
                return Err(SettingsError::of(
                    "KMS_KEY_ID",
                    format_args!("names {other}, which this build does not support"),
                    "set it to an AWS KMS key, to vault:<mount>/<key> or to keyring:<file>",
                )
                .into());
            }
        };
        tracing::info!(key = %uri.redacted(), "KMS envelope encryption enabled");
        Ok(Some(Self { ring, regions, ..Self::over(backend, settings, load, &watch) }))
    }

    /// Puts the same parts around a key service that the caller brings.
    pub(crate) fn around(
        backend: Arc<dyn KeyProvider>,
        settings: &Settings,
        load: Load,
        telemetry: &Telemetry,
    ) -> Self {
        let watch = Watch::register(settings, telemetry);
        Self::over(watch.guarded_in_service(backend, load), settings, load, &watch)
    }

    fn over(backend: Arc<dyn KeyProvider>, settings: &Settings, load: Load, watch: &Watch) -> Self {
        let calls = Arc::new(Counting::new(backend));
        let paced: Arc<dyn KeyProvider> = match load.rate() {
            Some(rate) => Arc::new(kms_provider::Pacing::new(calls.clone(), rate)),
            None => calls.clone(),
        };
        Self { provider: decorate(paced, settings, load, watch), calls, ring: None, regions: None }
    }

    /// Asks the key service for its key before a long run, so that a missing key is reported once and not for every
    /// value. An identity that may not ask may still use the key.
    ///
    /// # Errors
    /// What the key service answers.
    pub async fn check(&self) -> Result<(), ConnectError> {
        match self.calls.describe().await {
            Err(error) if error.class() != ErrorClass::Denied => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for KeyService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyService").field("calls", &self.calls).finish_non_exhaustive()
    }
}

/// Puts metrics, cache and reuse around a key service.
fn decorate(
    inner: Arc<dyn KeyProvider>,
    settings: &Settings,
    load: Load,
    watch: &Watch,
) -> Arc<dyn KeyProvider> {
    let options = CacheOptions::default()
        .with_ttl(settings.cache_ttl)
        .with_max_entries(settings.cache_max)
        .with_remember_generated(load.reads_again());
    let cache = Arc::new(Caching::with_options(watch.metered(inner), options));
    watch.cache(&cache);
    if settings.reuse.is_off() { cache } else { Arc::new(Reuse::new(cache, settings.reuse)) }
}

/// Opens a local keyring with `KMS_MASTER_KEY`.
///
/// # Errors
/// [`ConnectError::Settings`] without a master key, [`ConnectError::Keyring`] where it does not open.
pub fn open_keyring(settings: &Settings, path: &Path) -> Result<Keyring, ConnectError> {
    Ok(Keyring::open(path, master_key(settings)?)?)
}

/// `KMS_MASTER_KEY`.
///
/// # Errors
/// [`SettingsError`] where it is not set.
pub fn master_key(settings: &Settings) -> Result<&DataKey, SettingsError> {
    settings.master_key.as_ref().ok_or_else(|| {
        SettingsError::of(
            "KMS_MASTER_KEY",
            "is not set",
            "set it to the key that the keyring was made with; for a new keyring, `openssl rand -base64 32` makes one",
        )
    })
}

/// One Region has no circuit in a run over all rows: a run that meets an outage ends with a report, and no one waits for
/// its next try. Throttling slows a run down instead.
#[cfg(feature = "aws")]
async fn aws(
    settings: &Settings,
    key_id: &str,
    load: Load,
    watch: &Watch,
) -> Result<Arc<dyn KeyProvider>, ConnectError> {
    let Some(options) = load.in_one_region() else {
        return Ok(Arc::new(kms_provider::Aws::connect(key_id, &settings.allowed_keys).await?));
    };
    let aws = kms_provider::Aws::connect_without_retries(key_id, &settings.allowed_keys).await?;
    Ok(watch.resilient(Arc::new(aws), options))
}

/// Each of several Regions has a circuit: one that is down is passed over, and not waited for at every call.
#[cfg(feature = "aws")]
async fn aws_regions(
    settings: &Settings,
    keys: &[String],
    load: Load,
    watch: &Watch,
) -> Result<Arc<Regions>, ConnectError> {
    let guarded = |aws| watch.resilient(Arc::new(aws), load.in_each_region());
    Ok(Arc::new(Regions::connect(keys, &settings.allowed_keys, guarded).await?))
}

#[cfg(not(feature = "aws"))]
async fn aws(
    _settings: &Settings,
    key_id: &str,
    _load: Load,
    _watch: &Watch,
) -> Result<Arc<dyn KeyProvider>, ConnectError> {
    Err(no_aws(key_id))
}

#[cfg(not(feature = "aws"))]
async fn aws_regions(
    _settings: &Settings,
    keys: &[String],
    _load: Load,
    _watch: &Watch,
) -> Result<Arc<Regions>, ConnectError> {
    Err(no_aws(&keys.join(",")))
}

#[cfg(not(feature = "aws"))]
fn no_aws(key: &str) -> ConnectError {
    SettingsError::of(
        "KMS_KEY_ID",
        format_args!("names {key}, and this build has no AWS KMS"),
        "build with the feature `aws`, or set KMS_KEY_ID=keyring:<file>",
    )
    .into()
}
