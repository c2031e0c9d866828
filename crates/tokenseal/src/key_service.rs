//! The key service that `KMS_KEY_ID` names, with pacing, metrics, cache and reuse around it in the order that is right.

mod allowed;
mod backend;
#[cfg(feature = "aws")]
mod caller;
mod load;
mod reporting;
#[cfg(feature = "vault")]
mod vault;
mod watch;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use envelope_core::format::node_json::DataKeyRing;
use envelope_core::{DataKey, ErrorClass, KeyProvider};
use kms_provider::keyring::Keyring;
use kms_provider::several::Member;
use kms_provider::{CacheOptions, Caching, Counting, KeyUri, Regions, Reuse, Several};

#[cfg(feature = "aws")]
pub use self::caller::{IdentityError, caller};
pub use self::load::Load;
use self::reporting::Reporting;
use self::watch::Watch;
use crate::audit::events;
use crate::error::ConnectError;
use crate::settings::{Settings, SettingsError};
use crate::telemetry::Telemetry;

/// A key service with everything around it, and the count of the calls that reach it.
pub struct KeyService {
    /// The sealer.
    pub provider: Arc<dyn KeyProvider>,
    /// The same without a cache, for a run that opens every value once.
    pub(crate) uncached: Option<Arc<dyn KeyProvider>>,
    /// The calls that reach the backend, and are paid for.
    pub calls: Arc<Counting>,
    /// The local keyring's data keys, which Node KMSService's envelopes name.
    pub ring: Option<Arc<dyn DataKeyRing>>,
    /// The Regions, where there are several.
    pub regions: Option<Arc<Regions>>,
}

impl KeyService {
    /// Opens the key service that the settings name, if they name one, and those that `KMS_ALLOWED_KEYS` names besides.
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
        let opened = Self::open_all(settings, uri, load, &watch).await;
        if let Err(error) = &opened {
            events::kms_error("open", &uri.redacted(), class(error));
        }
        let service = opened?;
        announce(settings, uri, service.calls.as_ref()).await;
        Ok(Some(service))
    }

    async fn open_all(
        settings: &Settings,
        uri: &KeyUri,
        load: Load,
        watch: &Watch,
    ) -> Result<Self, ConnectError> {
        let keys = allowed::sort(uri, &settings.allowed_keys)?;
        let current = backend::open(settings, uri, &keys.same, load, watch).await?;
        let (mut ring, regions) = (current.ring, current.regions);
        let mut others = Vec::new();
        for (other, further) in &keys.others {
            let opened = backend::open(settings, other, further, load, watch).await;
            let opened = opened.map_err(|error| allowed::not_opened(other, &error))?;
            ring = ring.or(opened.ring);
            others.push(Member::new(other, opened.provider));
        }
        let provider: Arc<dyn KeyProvider> = match others.is_empty() {
            true => current.provider,
            false => Arc::new(Several::new(Member::new(uri, current.provider), others)),
        };
        let provider = Arc::new(Reporting::new(provider, uri.redacted()));
        Ok(Self { ring, regions, ..Self::over(provider, settings, load, watch) })
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
        let cache = cached(paced, settings, load, watch);
        let uncached = load.is_every_row().then(|| cache.uncached());
        let provider: Arc<dyn KeyProvider> = match settings.reuse.is_off() {
            true => cache,
            false => Arc::new(Reuse::new(cache, settings.reuse)),
        };
        Self { provider, uncached, calls, ring: None, regions: None }
    }

    /// Asks the key service for its key before a long run, so that a missing key is reported once and not for every
    /// value. An identity that may not ask may still use the key.
    ///
    /// # Errors
    /// The answers of the key service.
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

/// Puts metrics and cache around a key service.
fn cached(inner: Arc<dyn KeyProvider>, settings: &Settings, load: Load, watch: &Watch) -> Arc<Caching> {
    let options = CacheOptions::default()
        .with_ttl(settings.cache_ttl)
        .with_max_entries(settings.cache_max)
        .with_remember_generated(load.reads_again());
    let cache = Arc::new(Caching::with_options(watch.metered(inner), options));
    watch.cache(&cache);
    cache
}

/// How long the first line of the log waits for the key's name.
const NAMED_WITHIN: Duration = Duration::from_secs(3);

/// The first line of the log about the key service, with the key that an alias refers to.
async fn announce(settings: &Settings, uri: &KeyUri, backend: &dyn KeyProvider) {
    if !tracing::enabled!(tracing::Level::INFO) {
        return;
    }
    let key = match uri {
        KeyUri::Aws(key) if !key.contains(":key/") => {
            let described = tokio::time::timeout(NAMED_WITHIN, backend.describe()).await;
            let described = described.ok().and_then(Result::ok);
            described.map_or_else(|| uri.clone(), |described| KeyUri::Aws(described.key_id))
        }
        uri => uri.clone(),
    };
    let key = if settings.short_accounts { key.redacted() } else { key.to_string() };
    tracing::info!(key, "KMS envelope encryption enabled");
}

/// The class of a failure to open a key service.
fn class(error: &ConnectError) -> &'static str {
    match error {
        ConnectError::Key(error) => error.class().label(),
        ConnectError::Keyring(_) => "keyring",
        _ => ErrorClass::Misconfigured.label(),
    }
}

/// Opens a local keyring with `KMS_MASTER_KEY`. A failure is an audit event.
///
/// # Errors
/// [`ConnectError::Settings`] without a master key, [`ConnectError::Keyring`] where it does not open.
pub fn open_keyring(settings: &Settings, path: &Path) -> Result<Keyring, ConnectError> {
    let opened = backend::keyring(settings, path);
    if let Err(error) = &opened {
        events::kms_error("open", &KeyUri::Keyring(path.into()).redacted(), class(error));
    }
    opened
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
