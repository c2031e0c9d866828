//! Transit of OpenBao or Vault as the key service.

use std::sync::Arc;

use envelope_core::KeyProvider;
use kms_provider::Vault;
use kms_provider::uri::TransitKey;

use super::Load;
use super::watch::Watch;
use crate::error::ConnectError;
use crate::settings::{Settings, SettingsError};

pub(super) fn open(
    settings: &Settings,
    key: &TransitKey,
    further: &[String],
    load: Load,
    watch: &Watch,
) -> Result<Arc<dyn KeyProvider>, ConnectError> {
    // A key as it is stored next to a value names its version, which makes no difference here.
    let allowed = further.iter().map(|key| TransitKey::parse_stored(key).map(|(key, _)| key));
    let allowed: Vec<TransitKey> = allowed.collect::<Option<_>>().ok_or_else(|| {
        let hint = "name keys of Transit only, as vault:<mount>/<key>";
        SettingsError::of("KMS_ALLOWED_KEYS", "names a key of another kind than KMS_KEY_ID", hint)
    })?;
    let vault = Vault::connect(settings.vault()?.clone(), key.clone(), allowed)?;
    Ok(watch.resilient(Arc::new(vault), load.of_one_attempt()))
}
