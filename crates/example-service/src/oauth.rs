//! A made-up OAuth provider: it takes its time, and gives a new pair of tokens for a refresh token.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokenseal::secrecy::{ExposeSecret as _, SecretString};

/// Whom tokens are refreshed at.
#[derive(Clone)]
pub struct OAuthProvider {
    latency: Duration,
    issued: Arc<AtomicU64>,
}

/// A new pair of tokens.
pub struct Grant {
    /// For the provider's API.
    pub access_token: SecretString,
    /// For the next refresh.
    pub refresh_token: SecretString,
}

impl OAuthProvider {
    /// A provider that answers after `latency`.
    #[must_use]
    pub fn new(latency: Duration) -> Self {
        Self { latency, issued: Arc::default() }
    }

    /// Takes a refresh token of a client that shows its secret, and gives new ones.
    ///
    /// # Errors
    /// Where either is empty: what was read is none.
    pub async fn refresh(
        &self,
        client_secret: &SecretString,
        refresh_token: &SecretString,
    ) -> anyhow::Result<Grant> {
        tokio::time::sleep(self.latency).await;
        anyhow::ensure!(!client_secret.expose_secret().is_empty(), "invalid_client");
        anyhow::ensure!(!refresh_token.expose_secret().is_empty(), "invalid_grant");
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        Ok(Grant {
            access_token: format!("example-access-{number:012}").into(),
            refresh_token: format!("example-refresh-{number:012}").into(),
        })
    }
}
