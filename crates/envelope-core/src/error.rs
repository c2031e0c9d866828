//! Why a value was not sealed, or did not open.

use crate::context::ContextError;
use crate::format::{Format, FormatError};
use crate::key::WrappedLengthError;
use crate::provider::{ErrorClass, KeyError};

/// What a form of value is sealed and opened with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Needed {
    /// A key service.
    KeyService,
    /// The key for direct AES.
    DirectKey,
    /// The master key that users' keys are derived from.
    UserKeys,
    /// A local keyring.
    Keyring,
}

impl std::fmt::Display for Needed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::KeyService => "a key service",
            Self::DirectKey => "the key for direct AES",
            Self::UserKeys => "the master key of users' keys",
            Self::Keyring => "a local keyring",
        })
    }
}

/// Why a stored value did not open. No variant carries plaintext, key material or the stored text.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The text is not what its row or its mark says it is.
    #[error("stored value is malformed")]
    Malformed(#[from] FormatError),
    /// Authentication failed. Deliberately one answer for a wrong key, a wrong context, a wrong commitment
    /// and a damaged value, so that nothing can be learnt by trying.
    #[error("value does not open: wrong key, wrong encryption context, or damaged")]
    NotAuthentic,
    /// The value was sealed without its row's identity, and the configuration demands bound values.
    #[error("value is not bound to its row, and unbound values are refused")]
    UnboundRefused,
    /// The value is weaker than what is read here.
    #[error("value is of the form {format}, and the floor is {floor}")]
    BelowFloor {
        /// The format of the stored value.
        format: Format,
        /// The weakest form that is read.
        floor: &'static str,
    },
    /// The value is in a format that is read only where the deployment says that its rows may have it.
    #[error("value is of the form {format}, which the profile does not name among its sources")]
    SourceRefused {
        /// The format of the stored value.
        format: Format,
    },
    /// The value does not say which purpose it was sealed for, and such values are no longer accepted here.
    #[error("value does not carry its purpose, and such values are refused here")]
    UnlabelledRefused,
    /// The key that the value was sealed with is not configured.
    #[error("reading {format} values needs {needed}")]
    MissingKey {
        /// The format of the stored value.
        format: Format,
        /// What must be configured.
        needed: Needed,
    },
    /// A readable token, and the configuration forbids reading such.
    #[error("value is plaintext, and plaintext is forbidden")]
    PlaintextRefused,
    /// The value names a data key that the ring does not have.
    #[error("data key {id:?} is not in the key ring")]
    UnknownDataKey {
        /// The id in the value: a claim, and never longer than 256 bytes.
        id: Box<str>,
    },
    /// A development token where none is accepted: in production, or without the development key.
    #[error("value is a development token, and no development key is accepted here")]
    DevelopmentToken,
    /// The opened bytes are not UTF-8 text.
    #[error("opened value is not UTF-8 text")]
    NotText,
    /// The row's identity does not make an encryption context.
    #[error("row identity does not make an encryption context")]
    Context(#[from] ContextError),
    /// The key service did not answer, or refused.
    #[error("key service did not unwrap the data key")]
    Key(#[source] KeyError),
}

impl OpenError {
    /// The labels that no [`ErrorClass`] has, for counters that must exist at zero.
    pub const OWN_CLASSES: [&'static str; 6] = [
        "malformed",
        "unbound",
        "missing_key",
        "plaintext_forbidden",
        "unknown_data_key",
        "development_token",
    ];

    /// The label of this kind of failure in metrics, logs and reports.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::NotText | Self::Context(_) => "malformed",
            Self::NotAuthentic => ErrorClass::ContextMismatchOrCorrupt.label(),
            Self::UnboundRefused => "unbound",
            Self::BelowFloor { .. } => "below_floor",
            Self::SourceRefused { .. } => "not_a_source",
            Self::UnlabelledRefused => "unlabelled",
            Self::MissingKey { .. } => "missing_key",
            Self::PlaintextRefused => "plaintext_forbidden",
            Self::UnknownDataKey { .. } => "unknown_data_key",
            Self::DevelopmentToken => "development_token",
            Self::Key(error) => error.class().label(),
        }
    }

    /// What is not configured, where that is the cause.
    #[must_use]
    pub fn needed(&self) -> Option<Needed> {
        match self {
            Self::MissingKey { needed, .. } => Some(*needed),
            _ => None,
        }
    }

    /// The key service's own error, where it was the cause.
    #[must_use]
    pub fn key_error(&self) -> Option<&KeyError> {
        match self {
            Self::Key(error) => Some(error),
            _ => None,
        }
    }
}

impl From<KeyError> for OpenError {
    fn from(error: KeyError) -> Self {
        match error.class() {
            ErrorClass::ContextMismatchOrCorrupt => Self::NotAuthentic,
            _ => Self::Key(error),
        }
    }
}

impl From<WrappedLengthError> for OpenError {
    fn from(_: WrappedLengthError) -> Self {
        Self::Malformed(FormatError::WrappedKeyLength)
    }
}

/// Why a value was not sealed. Nothing was written in a weaker form instead.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The plaintext is over the limit.
    #[error("value is {actual} bytes long, over {limit}")]
    TooLong {
        /// Length of the plaintext, in bytes.
        actual: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The row's identity does not make an encryption context.
    #[error("row identity does not make an encryption context")]
    Context(#[from] ContextError),
    /// The key service did not answer, or refused.
    #[error("key service did not make a data key")]
    Key(#[from] KeyError),
}

impl SealError {
    /// The label of this kind of failure in metrics, logs and reports.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "too_long",
            Self::Context(_) => "malformed",
            Self::Key(error) => error.class().label(),
        }
    }
}

/// Version 3 envelopes were asked for, and values without binding: that version binds every value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("version 3 envelopes bind every value to its row, and binding is off")]
pub struct UnboundV3;
