//! Why a token was not refreshed, or a lease not given.

use std::time::Duration;

use crate::error::StoreError;
use crate::kind::ErrorKind;

/// How a grant failed, as the caller's closure says it.
///
/// `?` makes [`Unknown`](Self::Unknown) of any error: nothing is lost by it, and a grant that was merely refused costs the
/// next attempt a wait.
#[derive(Debug, thiserror::Error)]
pub enum GrantError<E> {
    /// The provider refuses the refresh token itself: `invalid_grant`. Only the user can help.
    #[error("provider refuses the refresh token")]
    Rejected(#[source] E),
    /// The refresh token is certainly not spent: the provider was not reached, or refused for another reason.
    #[error("refresh token was not spent")]
    NotSpent(#[source] E),
    /// The refresh token may be spent: no answer, or one that is not understood.
    #[error("refresh token may be spent")]
    Unknown(#[source] E),
}

impl<E> From<E> for GrantError<E> {
    fn from(error: E) -> Self {
        Self::Unknown(error)
    }
}

/// Why no token was returned that is valid for long enough.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FreshError<E> {
    /// The row was not read or not written, or its data keys were not made. A failure before the grant spends nothing.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The row has no refresh token, or the provider refuses it: the user must sign in again.
    #[error("{table} {row}: only the user can renew the token")]
    NeedsConsent {
        /// The table.
        table: String,
        /// The row's key.
        row: String,
    },
    /// Earlier attempts failed, and the next one is not due yet.
    #[error("{table} {row}: refresh failed {attempts} times and is not tried again yet")]
    Paused {
        /// The table.
        table: String,
        /// The row's key.
        row: String,
        /// The attempts that failed since the last success.
        attempts: u32,
        /// When the next attempt is due.
        retry_in: Duration,
    },
    /// Another caller has been refreshing the token for all of the time that this one waited.
    #[error("{table} {row}: another caller is still refreshing the token")]
    Busy {
        /// The table.
        table: String,
        /// The row's key.
        row: String,
    },
    /// The grant failed.
    #[error("grant failed")]
    Grant(#[source] E),
    /// The provider spent the refresh token and gave no access token for it. The refresh token that it gave is stored.
    #[error("{table} {row}: provider gave no access token")]
    NoAccessToken {
        /// The table.
        table: String,
        /// The row's key.
        row: String,
    },
    /// The provider did not answer within the deadline of the request.
    #[error("provider did not answer within {} s", deadline.as_secs_f32())]
    Timeout {
        /// How long it was waited for.
        deadline: Duration,
    },
    /// The refresh was given up because the runtime ends.
    #[error("refresh was interrupted")]
    Interrupted,
}

impl<E> FreshError<E> {
    /// Whether only the user can help, by signing in again.
    #[must_use]
    pub fn needs_consent(&self) -> bool {
        matches!(self, Self::NeedsConsent { .. })
    }

    /// Whether the same call may succeed later, without any change.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::NeedsConsent { .. } => false,
            _ => true,
        }
    }

    /// The kind of failure; a token that needs consent is a conflict.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(error) => error.kind(),
            Self::NeedsConsent { .. } => ErrorKind::Conflict,
            _ => ErrorKind::Unavailable,
        }
    }

    /// When to try again, where that is known.
    #[must_use]
    pub fn retry_in(&self) -> Option<Duration> {
        match self {
            Self::Paused { retry_in, .. } => Some(*retry_in),
            _ => None,
        }
    }
}

/// Why a lease was not given, or is not one any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// The row was not read or not written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another holder has it, a late answer of the last one is awaited, or an attempt failed and the next is not due yet.
    #[error("{table} {row}: refresh token is leased")]
    Held {
        /// The table.
        table: String,
        /// The row's key.
        row: String,
        /// How long to wait before asking again: to the end of the lease, through the grace for a late answer, or through
        /// the pause. The holder may renew it.
        expires_in: Duration,
        /// The end of the lease itself, or of the pause, in milliseconds since 1970, by the database's clock. While a late
        /// answer is awaited, it is past.
        expires_at: i64,
    },
    /// The row has no refresh token, or the provider refuses it: the user must sign in again.
    #[error("{table} {row}: only the user can renew the token")]
    NeedsConsent {
        /// The table.
        table: String,
        /// The row's key.
        row: String,
    },
    /// The row does not hold the refresh token any more that the lease was given for: others have written since.
    #[error("{table} {row}: row does not hold the refresh token any more that was leased")]
    Lost {
        /// The table.
        table: String,
        /// The row's key.
        row: String,
    },
    /// The text is not the text of a lease.
    #[error("lease is malformed")]
    Malformed,
}

impl LeaseError {
    /// The kind of failure; a lease that another holds and one that is lost are conflicts.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(error) => error.kind(),
            Self::Malformed => ErrorKind::Invalid,
            _ => ErrorKind::Conflict,
        }
    }
}
