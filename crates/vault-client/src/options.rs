//! Where the server is, and how to log in to it.

use std::path::PathBuf;
use std::time::Duration;

use url::{Host, Url};

use crate::auth::Auth;
use crate::error::VaultError;

/// How long making a connection may take.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a call may take, connection and answer included.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer that is read, in bytes. A KV value has at most 1 MiB (OpenBao, `max_request_size` apart).
pub(crate) const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// Where the server is, and how to log in to it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VaultOptions {
    /// `https://host:8200`; `http://` only for the loopback interface. `VAULT_ADDR`.
    pub address: String,
    /// The namespace of every call. `VAULT_NAMESPACE`.
    pub namespace: Option<String>,
    /// A PEM file of certificate authorities, used instead of those of the system. `VAULT_CACERT`.
    pub ca_file: Option<PathBuf>,
    /// How to get a token.
    pub auth: Auth,
    /// How long a call may take, connection and answer included.
    pub timeout: Duration,
}

impl VaultOptions {
    /// A server without namespaces whose certificate the system trusts.
    #[must_use]
    pub fn new(address: impl Into<String>, auth: Auth) -> Self {
        Self { address: address.into(), namespace: None, ca_file: None, auth, timeout: CALL_TIMEOUT }
    }

    /// Whether the address can be used.
    ///
    /// # Errors
    /// [`VaultError::Misconfigured`].
    pub fn check(&self) -> Result<(), VaultError> {
        self.base().map(drop)
    }

    /// The server's address, checked.
    pub(crate) fn base(&self) -> Result<Url, VaultError> {
        let wrong = |why| Err(VaultError::Misconfigured { what: why });
        let Ok(url) = Url::parse(self.address.trim()) else {
            return wrong("the server's address is not a URL such as https://host:8200");
        };
        let local = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => return wrong("the server's address names no host"),
        };
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return wrong(
                "the server's address has a user, a password or a query, which has no meaning there",
            );
        }
        match url.scheme() {
            "https" => Ok(url),
            "http" if local => Ok(url),
            "http" => wrong("the server's address is http://, which would send the token unencrypted"),
            _ => wrong("the server's address is neither https:// nor http://"),
        }
    }
}
