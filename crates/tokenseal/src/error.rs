//! Why nothing could be connected.

use envelope_core::KeyError;
use kms_provider::keyring::KeyringError;
#[cfg(feature = "secrets")]
use secrets_cache::SourceError;
use token_store::StoreError;

use crate::settings::SettingsError;

/// Why a service or a program could not be connected to its database, key service or secrets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A variable is missing or wrong, or names something that this build does not support.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The key service failed.
    #[error("key service failed")]
    Key(#[from] KeyError),
    /// The local keyring failed.
    #[error("keyring failed")]
    Keyring(#[from] KeyringError),
    /// The database or the store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The source of secrets failed.
    #[cfg(feature = "secrets")]
    #[error(transparent)]
    Secrets(#[from] SourceError),
}

/// An error and its causes in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
