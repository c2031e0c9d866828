//! The ways to a token.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use zeroize::Zeroizing;

use crate::error::VaultError;

/// Where Kubernetes mounts the token of a pod's service account.
const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// The longest token that is read from a file, in bytes: a service account's is about 1,200.
const MAX_TOKEN: u64 = 16 * 1024;

/// How to get a token.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Auth {
    /// This token. It is renewed while the server allows it, and cannot be replaced after that.
    Token(SecretString),
    /// The token in this file, which is read again when the server refuses the earlier one.
    TokenFile(PathBuf),
    /// A login by AppRole.
    AppRole {
        /// The role's id.
        role_id: String,
        /// The secret id that belongs to it.
        secret_id: SecretId,
        /// Where the method is mounted below `auth/`.
        mount: String,
    },
    /// A login as a Kubernetes service account.
    Kubernetes {
        /// The role.
        role: String,
        /// The file with the service account's token, read at every login.
        token_file: PathBuf,
        /// Where the method is mounted below `auth/`.
        mount: String,
    },
}

/// A secret id of an AppRole.
#[derive(Clone, Debug)]
pub enum SecretId {
    /// This one.
    Value(SecretString),
    /// The one in this file, read at every login.
    File(PathBuf),
}

/// The request of a login.
pub(crate) struct Login {
    pub(crate) path: String,
    pub(crate) body: Zeroizing<Vec<u8>>,
    pub(crate) method: &'static str,
}

impl Auth {
    /// AppRole at its usual mount.
    #[must_use]
    pub fn app_role(role_id: impl Into<String>, secret_id: SecretId) -> Self {
        Self::AppRole { role_id: role_id.into(), secret_id, mount: "approle".into() }
    }

    /// Kubernetes at its usual mount, with the token that Kubernetes mounts into every pod.
    #[must_use]
    pub fn kubernetes(role: impl Into<String>) -> Self {
        Self::Kubernetes {
            role: role.into(),
            token_file: SERVICE_ACCOUNT_TOKEN.into(),
            mount: "kubernetes".into(),
        }
    }

    /// The token, where none has to be asked for.
    pub(crate) fn given(&self) -> Result<Option<SecretString>, VaultError> {
        match self {
            Self::Token(token) => Ok(Some(token.clone())),
            Self::TokenFile(file) => read(file, "the file of the token").map(Some),
            Self::AppRole { .. } | Self::Kubernetes { .. } => Ok(None),
        }
    }

    /// The login, where there is one.
    pub(crate) fn login(&self) -> Result<Option<Login>, VaultError> {
        let (mount, method, body) = match self {
            Self::Token(_) | Self::TokenFile(_) => return Ok(None),
            Self::AppRole { role_id, secret_id, mount } => {
                let secret_id = match secret_id {
                    SecretId::Value(value) => value.clone(),
                    SecretId::File(file) => read(file, "the file of the secret id")?,
                };
                let body = json!({ "role_id": role_id, "secret_id": secret_id.expose_secret() });
                (mount, "AppRole", body)
            }
            Self::Kubernetes { role, token_file, mount } => {
                let jwt = read(token_file, "the token of the service account")?;
                (mount, "Kubernetes", json!({ "role": role, "jwt": jwt.expose_secret() }))
            }
        };
        let body = Zeroizing::new(body.to_string().into_bytes());
        Ok(Some(Login { path: format!("auth/{mount}/login"), body, method }))
    }
}

fn read(path: &Path, what: &'static str) -> Result<SecretString, VaultError> {
    let failed = |source| VaultError::File { what, source };
    let mut text = Zeroizing::new(String::new());
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_TOKEN).read_to_string(&mut text).map_err(failed)?;
    match text.trim() {
        "" => Err(VaultError::Misconfigured { what: "a file that should hold a token is empty" }),
        token => Ok(SecretString::from(token)),
    }
}
