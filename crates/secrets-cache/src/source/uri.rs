//! The setting that selects a source, as one text: `secretsmanager`, `local:<file.db>`, `dotenv:<file>`,
//! `vault:<mount/path>` or `vault-lease:<mount>/creds`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The source that a setting names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceUri {
    /// AWS Secrets Manager.
    SecretsManager,
    /// The encrypted local store in a file.
    Local(PathBuf),
    /// A `.env` file, for development and tests.
    Dotenv(PathBuf),
    /// KV version 2 of OpenBao or Vault, below a path that begins with its mount.
    Vault(String),
    /// Dynamic credentials of OpenBao or Vault, below a path such as `database/creds`.
    VaultLease(String),
}

impl SourceUri {
    /// Whether a variable of this name opens the source: a source that holds it cannot be opened with it.
    #[must_use]
    pub fn is_opened_by(&self, variable: &str) -> bool {
        let variable = variable.to_ascii_uppercase().replace(['-', '.'], "_");
        let variable = variable.strip_suffix("_FILE").unwrap_or(&variable);
        match self {
            Self::SecretsManager => variable.starts_with("AWS_"),
            Self::Local(_) => matches!(variable, "KMS_MASTER_KEY" | "KMS_KEY_ID" | "TOKEN_ENCRYPTION_KEY_ID"),
            Self::Dotenv(_) => false,
            Self::Vault(_) | Self::VaultLease(_) => variable.starts_with("VAULT_"),
        }
    }
}

impl FromStr for SourceUri {
    type Err = SourceUriError;

    fn from_str(text: &str) -> Result<Self, SourceUriError> {
        match text.split_once(':') {
            None if text == "secretsmanager" => Ok(Self::SecretsManager),
            Some(("local", path)) if !path.is_empty() => Ok(Self::Local(path.into())),
            Some(("dotenv", path)) if !path.is_empty() => Ok(Self::Dotenv(path.into())),
            Some(("vault", path)) if !path.trim_matches('/').is_empty() => Ok(Self::Vault(path.into())),
            Some(("vault-lease", path)) if !path.trim_matches('/').is_empty() => {
                Ok(Self::VaultLease(path.into()))
            }
            _ => Err(SourceUriError),
        }
    }
}

impl fmt::Display for SourceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SecretsManager => f.write_str("secretsmanager"),
            Self::Local(path) => write!(f, "local:{}", path.display()),
            Self::Dotenv(path) => write!(f, "dotenv:{}", path.display()),
            Self::Vault(path) => write!(f, "vault:{path}"),
            Self::VaultLease(path) => write!(f, "vault-lease:{path}"),
        }
    }
}

/// A text names no source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be one of secretsmanager, local:<file.db>, dotenv:<file>, vault:<mount/path>, vault-lease:<mount>/creds"
)]
pub struct SourceUriError;
