//! A made-up OAuth provider: it takes its time, gives a new pair of tokens for a refresh token, and revokes all tokens of
//! a sign-in when one is used twice, as RFC 9700, section 4.14.2, asks for.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokenseal::secrecy::{ExposeSecret as _, SecretString};
use tokenseal::token_store::refresh::{GrantError, Granted};

/// Whom tokens are refreshed at.
#[derive(Clone)]
pub struct OAuthProvider {
    latency: Duration,
    lifetime: Duration,
    memory: Arc<Mutex<Memory>>,
}

struct Memory {
    /// Random, so that no token of an earlier run is taken for one of this.
    run: u64,
    issued: u64,
    /// The sign-in of every refresh token that was seen, and whether it was exchanged.
    tokens: HashMap<String, (u64, bool)>,
    revoked: HashSet<u64>,
}

/// Why the provider gives nothing.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OAuthError(&'static str);

impl OAuthProvider {
    /// A provider that answers after `latency`, with tokens that live for `lifetime`.
    #[must_use]
    pub fn new(latency: Duration, lifetime: Duration) -> Self {
        let run = RandomState::new().build_hasher().finish();
        let memory = Memory { run, issued: 0, tokens: HashMap::new(), revoked: HashSet::new() };
        Self { latency, lifetime, memory: Arc::new(Mutex::new(memory)) }
    }

    /// Takes a refresh token of a client that shows its secret, and gives new ones. A refresh token that it has not seen
    /// is one of a new sign-in.
    ///
    /// # Errors
    /// [`GrantError::NotSpent`] for a client without a secret, [`GrantError::Rejected`] for a refresh token that is empty
    /// or revoked.
    pub async fn refresh(
        &self,
        client_secret: &SecretString,
        refresh_token: Option<&SecretString>,
    ) -> Result<Granted, GrantError<OAuthError>> {
        tokio::time::sleep(self.latency).await;
        if client_secret.expose_secret().is_empty() {
            return Err(GrantError::NotSpent(OAuthError("invalid_client")));
        }
        let refresh_token = refresh_token.map(SecretString::expose_secret).filter(|token| !token.is_empty());
        let granted = refresh_token.and_then(|token| self.exchange(token));
        granted.ok_or(GrantError::Rejected(OAuthError("invalid_grant")))
    }

    fn exchange(&self, refresh_token: &str) -> Option<Granted> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.issued += 1;
        let number = memory.issued;
        let (sign_in, is_spent) = *memory.tokens.entry(refresh_token.to_owned()).or_insert((number, false));
        if is_spent {
            memory.revoked.insert(sign_in);
        }
        if memory.revoked.contains(&sign_in) {
            return None;
        }
        let run = memory.run;
        let next = format!("example-refresh-{run:016x}-{number:06}");
        memory.tokens.insert(refresh_token.to_owned(), (sign_in, true));
        memory.tokens.insert(next.clone(), (sign_in, false));
        let granted = Granted::new(format!("example-access-{run:016x}-{number:06}"));
        Some(granted.refresh_token(next).expires_in(self.lifetime))
    }
}
