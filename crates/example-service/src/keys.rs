//! The key service, with everything around it that a service in production wants.

use std::sync::Arc;

use anyhow::Context as _;
use envelope_core::KeyProvider;
use kms_provider::{Aws, Caching, KeyUri, Keyring, KmsMetrics, Metered, Regions, Resilience};

use crate::config::Config;

/// Connects to the key service that the configuration names, if it names one.
///
/// # Errors
/// Names the variable that is missing or wrong.
pub async fn connect(
    config: &Config,
    metrics: &Arc<KmsMetrics>,
) -> anyhow::Result<Option<Arc<dyn KeyProvider>>> {
    let Some(uri) = &config.key else {
        tracing::warn!("KMS_KEY_ID is not set: new tokens are not sealed under a key service");
        return Ok(None);
    };
    let guarded: Arc<dyn KeyProvider> = match uri {
        KeyUri::Keyring(path) => {
            let master = config.master_key.as_ref().context("KMS_MASTER_KEY is not set")?;
            guarded(Arc::new(Keyring::open(path, master).context("KMS_KEY_ID")?), metrics)
        }
        KeyUri::Aws(key) => {
            guarded(Arc::new(Aws::connect_without_retries(key, &[] as &[String]).await?), metrics)
        }
        // Each Region has a circuit of its own: one that is away is passed over.
        KeyUri::AwsRegions(keys) => {
            Arc::new(Regions::connect(keys, &[], |aws| guarded(Arc::new(aws), metrics)).await?)
        }
        other => anyhow::bail!("KMS_KEY_ID: {other} is not supported"),
    };
    tracing::info!(key = %uri.redacted(), "KMS envelope encryption enabled");
    Ok(Some(cached(guarded, metrics)))
}

/// Puts deadline, retries and a circuit around a key service.
#[must_use]
pub fn guarded(backend: Arc<dyn KeyProvider>, metrics: &KmsMetrics) -> Arc<dyn KeyProvider> {
    let resilience = Arc::new(Resilience::new(backend));
    metrics.watch_resilience(&resilience);
    resilience
}

/// Puts metrics and a cache around a key service.
#[must_use]
pub fn cached(guarded: Arc<dyn KeyProvider>, metrics: &Arc<KmsMetrics>) -> Arc<dyn KeyProvider> {
    let metered = Arc::new(Metered::new(guarded, metrics.clone()));
    let cache = Arc::new(Caching::new(metered));
    metrics.watch_cache(&cache);
    cache
}
