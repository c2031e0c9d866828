//! Audit events of the wiring itself: settings, secrets and the key service.

use token_store::audit::TARGET;

/// The settings were read, and a program or service begins to work with them.
pub const CONFIGURATION_LOADED: &str = "configuration_loaded";
/// A source of secrets was opened.
pub const SECRETS_MANAGER_INITIALIZED: &str = "secrets_manager_initialized";
/// The key service could not be opened, or a request to it failed; `outcome` is the class.
pub const KMS_ERROR: &str = "kms_error";
/// A local keyring got a new active key.
pub const DATA_KEY_ROTATED: &str = "data_key_rotated";

/// Emits [`CONFIGURATION_LOADED`].
pub fn configuration_loaded(actor: &str, profile: &str) {
    tracing::info!(target: TARGET, event = CONFIGURATION_LOADED, actor, profile, outcome = "ok");
}

/// Emits [`SECRETS_MANAGER_INITIALIZED`].
pub fn secrets_manager_initialized(actor: &str, source: &str) {
    tracing::info!(target: TARGET, event = SECRETS_MANAGER_INITIALIZED, actor, source, outcome = "ok");
}

/// Emits [`KMS_ERROR`].
pub fn kms_error(operation: &str, key: &str, class: &str) {
    tracing::warn!(target: TARGET, event = KMS_ERROR, operation, key, outcome = class);
}

/// Emits [`DATA_KEY_ROTATED`].
pub fn data_key_rotated(actor: &str, key: &str) {
    tracing::info!(target: TARGET, event = DATA_KEY_ROTATED, actor, key, outcome = "ok");
}
