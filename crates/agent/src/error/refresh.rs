//! Answers to a caller whose token was not refreshed, or who was given no lease.

use axum::http::StatusCode;
use tokenseal::oauth::ProviderError;
use tokenseal::token_store::refresh::{FreshError, LeaseError};

use super::ApiError;
use crate::model::rfc3339;

impl From<FreshError<ProviderError>> for ApiError {
    fn from(error: FreshError<ProviderError>) -> Self {
        match error {
            FreshError::Store(error) => error.into(),
            FreshError::NeedsConsent { .. } => Self::consent(),
            FreshError::Paused { retry_in, .. } => {
                let seconds = u32::try_from(retry_in.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
                Self::away("paused", "earlier refreshes failed").retried_after(seconds)
            }
            FreshError::Busy { .. } => Self::away("busy", "another caller is still refreshing the token"),
            FreshError::Grant(error) => {
                tracing::warn!(error = tokenseal::error::chain(&error), "the provider gave no token");
                Self::away("provider", format!("the provider gave no token: {error}"))
                    .with_hint("docs/refresh-once.md says how the profile names providers")
            }
            FreshError::NoAccessToken { .. } => {
                Self::away("provider", "the provider gave no access token for the refresh token")
            }
            FreshError::Timeout { .. } => Self::away("provider", "the provider does not answer"),
            _ => Self::away("interrupted", "the refresh was interrupted"),
        }
    }
}

impl From<LeaseError> for ApiError {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Store(error) => error.into(),
            LeaseError::Held { expires_at, expires_in, .. } => {
                let mut held =
                    Self::new(StatusCode::LOCKED, "leased", "another holder has the refresh token");
                held.expires = Some(rfc3339(expires_at));
                held.retried_after(u32::try_from(expires_in.as_secs()).unwrap_or(u32::MAX).saturating_add(1))
            }
            LeaseError::NeedsConsent { .. } => Self::consent(),
            LeaseError::Malformed => Self::malformed("the lease is not one of the agent"),
            _ => Self::new(
                StatusCode::CONFLICT,
                "lease_lost",
                "the row does not hold the leased refresh token any more",
            ),
        }
    }
}
