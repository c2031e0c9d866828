//! Why a provider gave no token.

use oauth2::basic::{BasicErrorResponse, BasicErrorResponseType};
use secrets_cache::typed::ReadError;
use token_store::StoreError;

/// Why a provider gave no token. No text of the provider is in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderError {
    /// The profile has no such provider.
    #[error("profile has no provider {name:?}")]
    NoProvider {
        /// The name in the row, or in the profile.
        name: String,
    },
    /// The row names no provider.
    #[error("row names no provider")]
    Unnamed,
    /// The provider's name was not read.
    #[error("provider of the row was not read")]
    Store(#[source] Box<StoreError>),
    /// The provider's `token_url` is no address.
    #[error("token_url of provider {name:?} cannot be parsed")]
    TokenUrl {
        /// The provider.
        name: String,
    },
    /// This process has no secrets of its own.
    #[error("client secret cannot be read: this process was connected without secrets")]
    NoSecrets,
    /// The client's secret was not read.
    #[error("client secret was not read")]
    Secret(#[source] Box<ReadError>),
    /// No connection to the provider.
    #[error("provider cannot be reached")]
    Unreachable,
    /// The connection broke before the whole answer was there, or the answer is longer than 64 KiB.
    #[error("connection to the provider broke")]
    Broken,
    /// The provider answered with a status that is neither success nor a refusal of OAuth. Redirects are not followed.
    #[error("provider answered with status {status}")]
    Status {
        /// The status.
        status: u16,
    },
    /// The provider refuses.
    #[error("provider refuses: {code}")]
    Refused {
        /// The error code of RFC 6749, section 5.2; `other` for one that is not in it.
        code: &'static str,
    },
    /// The provider's answer is not one of OAuth 2.0.
    #[error("answer of the provider is not understood")]
    NotUnderstood,
}

impl ProviderError {
    pub(super) fn refused(code: &str) -> Self {
        const CODES: [&str; 6] = [
            "invalid_client",
            "invalid_grant",
            "invalid_request",
            "invalid_scope",
            "unauthorized_client",
            "unsupported_grant_type",
        ];
        Self::Refused { code: CODES.into_iter().find(|known| *known == code).unwrap_or("other") }
    }
}

/// Whether it is the refresh token that is refused. Some providers have words of their own for it.
pub(super) fn is_about_token(refusal: &BasicErrorResponse) -> bool {
    match refusal.error() {
        BasicErrorResponseType::InvalidGrant => true,
        // GitHub.
        BasicErrorResponseType::Extension(code) => code == "bad_refresh_token",
        _ => false,
    }
}
