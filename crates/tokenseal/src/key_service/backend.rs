//! Opening the key service that a key URI names.

use std::path::Path;
use std::sync::Arc;

use envelope_core::KeyProvider;
use envelope_core::format::node_json::DataKeyRing;
use kms_provider::keyring::Keyring;
use kms_provider::{KeyUri, Regions};

use super::watch::Watch;
use super::{Load, master_key};
use crate::error::ConnectError;
#[cfg(feature = "aws")]
use crate::settings::aws::check_readable;
use crate::settings::{Settings, SettingsError};

/// A key service, and what only some have.
pub(super) struct Backend {
    pub(super) provider: Arc<dyn KeyProvider>,
    pub(super) ring: Option<Arc<dyn DataKeyRing>>,
    pub(super) regions: Option<Arc<Regions>>,
}

impl From<Arc<dyn KeyProvider>> for Backend {
    fn from(provider: Arc<dyn KeyProvider>) -> Self {
        Self { provider, ring: None, regions: None }
    }
}

/// Opens a key service; `further` are keys of the same one whose data keys may be unwrapped, too.
pub(super) async fn open(
    settings: &Settings,
    uri: &KeyUri,
    further: &[String],
    load: Load,
    watch: &Watch,
) -> Result<Backend, ConnectError> {
    match uri {
        KeyUri::Keyring(path) => {
            let keyring = Arc::new(keyring(settings, path)?);
            let ring: Arc<dyn DataKeyRing> = keyring.clone();
            let provider = watch.guarded_in_service(keyring, load);
            Ok(Backend { provider, ring: Some(ring), regions: None })
        }
        KeyUri::Aws(key_id) => Ok(aws(further, key_id, load, watch).await?.into()),
        KeyUri::AwsRegions(keys) => {
            let regions = aws_regions(further, keys, load, watch).await?;
            Ok(Backend { provider: regions.clone(), ring: None, regions: Some(regions) })
        }
        #[cfg(feature = "vault")]
        KeyUri::Vault(key) => Ok(super::vault::open(settings, key, further, load, watch)?.into()),
        other => Err(SettingsError::of(
            "KMS_KEY_ID",
            format_args!("names {other}, which this build does not support"),
            "set it to an AWS KMS key, to vault:<mount>/<key> or to keyring:<file>",
        )
        .into()),
    }
}

pub(super) fn keyring(settings: &Settings, path: &Path) -> Result<Keyring, ConnectError> {
    Ok(Keyring::open(path, master_key(settings)?)?)
}

/// One Region has no circuit in a run over all rows: a run that meets an outage ends with a report, and no one waits for
/// its next try. Throttling slows a run down instead.
#[cfg(feature = "aws")]
async fn aws(
    further: &[String],
    key_id: &str,
    load: Load,
    watch: &Watch,
) -> Result<Arc<dyn KeyProvider>, ConnectError> {
    check_readable()?;
    let Some(options) = load.in_one_region() else {
        return Ok(Arc::new(kms_provider::Aws::connect(key_id, further).await?));
    };
    let aws = kms_provider::Aws::connect_without_retries(key_id, further).await?;
    Ok(watch.resilient(Arc::new(aws), options))
}

/// Each of several Regions has a circuit: one that is down is passed over, and not waited for at every call.
#[cfg(feature = "aws")]
async fn aws_regions(
    further: &[String],
    keys: &[String],
    load: Load,
    watch: &Watch,
) -> Result<Arc<Regions>, ConnectError> {
    check_readable()?;
    let guarded = |aws| watch.resilient(Arc::new(aws), load.in_each_region());
    Ok(Arc::new(Regions::connect(keys, further, guarded).await?))
}

#[cfg(not(feature = "aws"))]
async fn aws(
    _further: &[String],
    key_id: &str,
    _load: Load,
    _watch: &Watch,
) -> Result<Arc<dyn KeyProvider>, ConnectError> {
    Err(no_aws(key_id))
}

#[cfg(not(feature = "aws"))]
async fn aws_regions(
    _further: &[String],
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
