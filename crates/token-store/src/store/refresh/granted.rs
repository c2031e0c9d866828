//! Tokens that a provider granted for a refresh token.

use std::fmt;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

/// A new access token, and what came with it.
pub struct Granted {
    pub(super) access: SecretString,
    pub(super) refresh: Option<SecretString>,
    pub(super) expires_in: Option<Duration>,
    pub(super) plain: Vec<(String, String)>,
}

impl Granted {
    /// A new access token. The refresh token stays, unless [`refresh_token`](Self::refresh_token) says otherwise.
    ///
    /// An empty one is none: the refresh has failed, but the refresh token that came with it is written.
    #[must_use]
    pub fn new(access_token: impl Into<SecretString>) -> Self {
        Self { access: access_token.into(), refresh: None, expires_in: None, plain: Vec::new() }
    }

    /// Whether the provider gave an access token at all.
    pub(super) fn has_access(&self) -> bool {
        !self.access.expose_secret().trim().is_empty()
    }

    /// The refresh token that replaces the one that was spent. An empty one is none: the one before stays.
    #[must_use]
    pub fn refresh_token(mut self, token: impl Into<SecretString>) -> Self {
        self.refresh = Some(token.into()).filter(|token| !token.expose_secret().trim().is_empty());
        self
    }

    /// How long the access token lives, from the request on.
    #[must_use]
    pub fn expires_in(mut self, lifetime: Duration) -> Self {
        self.expires_in = Some(lifetime);
        self
    }

    /// Sets a plain column next to the tokens, such as a scope.
    #[must_use]
    pub fn plain(mut self, column: impl Into<String>, value: impl Into<String>) -> Self {
        self.plain.push((column.into(), value.into()));
        self
    }
}

impl fmt::Debug for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Granted").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_refresh_token_replaces_none() {
        for empty in ["", " ", "\n"] {
            assert!(Granted::new("a").refresh_token(empty).refresh.is_none());
        }
        assert!(Granted::new("a").refresh_token("r").refresh.is_some());
    }
}
