//! The meaning of a store's failure for the caller of a service.

use envelope_core::{KeyError, OpenError, SealError};

use crate::error::{SealFailure, StoreError};

/// The kind of a failure, by the action open to the caller of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request itself is wrong: an unknown column or key, a value that is too long or that the database
    /// refuses.
    Invalid,
    /// There is no such row.
    NotFound,
    /// Others changed the row meanwhile: read it again.
    Conflict,
    /// A stored value does not open. A wrong row, a wrong key and damage are one answer.
    Unopenable,
    /// The key service or the database does not respond, or refuses.
    Unavailable,
    /// The service is set up wrongly.
    Internal,
}

impl ErrorKind {
    /// The status of an HTTP response: 400, 404, 409, 422, 503 or 500.
    #[must_use]
    pub fn http_status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::Unopenable => 422,
            Self::Unavailable => 503,
            Self::Internal => 500,
        }
    }
}

impl StoreError {
    /// The kind of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        if let Some(error) = self.key_error() {
            return if error.class().is_outage() { ErrorKind::Unavailable } else { ErrorKind::Unopenable };
        }
        match self {
            Self::Database(error) if error.unreachable || error.is_transient() => ErrorKind::Unavailable,
            Self::KeyLength { .. }
            | Self::NotPlain { .. }
            | Self::NoTokenColumn { .. }
            | Self::NoIndex { .. }
            | Self::NotAValue { .. }
            | Self::KeyNotStorable { .. }
            | Self::NoKeyMade { .. }
            | Self::Altered { .. }
            | Self::Seal { source: SealFailure::Record(_), .. }
            | Self::Seal { source: SealFailure::Envelope(SealError::TooLong { .. }), .. } => {
                ErrorKind::Invalid
            }
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Contended { .. }
            | Self::Changed { .. }
            | Self::NotPrepared { .. }
            | Self::Exists { .. }
            | Self::NotUnique { .. } => ErrorKind::Conflict,
            Self::Open { .. } | Self::KeptToken { .. } | Self::Unreadable { .. } | Self::Ambiguous { .. } => {
                ErrorKind::Unopenable
            }
            _ => ErrorKind::Internal,
        }
    }

    /// Whether the same call may succeed later, without any change.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match (self, self.key_error()) {
            (_, Some(error)) => error.class().is_retryable(),
            (Self::Database(error), _) => error.unreachable || error.is_transient(),
            (Self::Contended { .. }, _) => true,
            _ => false,
        }
    }

    /// The key service's own error, where it was the cause.
    #[must_use]
    pub fn key_error(&self) -> Option<&KeyError> {
        match self {
            Self::Open { source, .. } | Self::KeptToken { source, .. } | Self::IndexKey { source, .. } => {
                OpenError::key_error(source)
            }
            Self::Seal { source: SealFailure::Envelope(SealError::Key(error)), .. } => Some(error),
            _ => None,
        }
    }
}
