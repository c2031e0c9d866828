//! The key service, with everything around it that a service in production wants.

use std::sync::Arc;

use anyhow::Context as _;
use envelope_core::KeyProvider;
use kms_provider::keyring::Keyring;
use kms_provider::{Aws, Caching, KeyUri, KmsMetrics, Metered, Resilience};
use prometheus_client::registry::Registry;

use crate::config::Config;

/// Connects to the key service that the configuration names, if it names one.
///
/// # Errors
/// Names the variable that is missing or wrong.
pub async fn connect(
    config: &Config,
    prefix: &str,
    registry: &mut Registry,
) -> anyhow::Result<Option<Arc<dyn KeyProvider>>> {
    let Some(uri) = &config.key else {
        tracing::warn!("KMS_KEY_ID is not set: new tokens are not sealed under a key service");
        return Ok(None);
    };
    let backend: Arc<dyn KeyProvider> = match uri {
        KeyUri::Keyring(path) => {
            let master = config.master_key.as_ref().context("KMS_MASTER_KEY is not set")?;
            Arc::new(Keyring::open(path, master).context("KMS_KEY_ID")?)
        }
        KeyUri::Aws(key) => Arc::new(Aws::connect_without_retries(key, std::iter::empty::<String>()).await?),
        other => anyhow::bail!("KMS_KEY_ID: {other} is not supported"),
    };
    let resilience = Arc::new(Resilience::new(backend));
    let metrics = KmsMetrics::register(registry, prefix);
    let metered = Arc::new(Metered::new(resilience.clone(), metrics.clone()));
    let cache = Arc::new(Caching::new(metered));
    metrics.watch_resilience(&resilience);
    metrics.watch_cache(&cache);
    tracing::info!(key = %uri, "KMS envelope encryption enabled");
    Ok(Some(cache))
}
