//! The forms that tokens are written in.

use crate::marks::Version;

/// The form that a token is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteFormat {
    /// An envelope whose data key the key service wrapped: version 2.
    KmsEnvelope,
    /// Direct AES under `ENCRYPTION_KEY`: version 1.
    DirectAes,
    /// PulsePlan's per-user keys under `TOKEN_ENCRYPTION_KEY`.
    PulseplanLocal,
    /// The token itself: version 0.
    Plaintext,
}

impl WriteFormat {
    /// The number in `encryption_version`.
    #[must_use]
    pub fn version(self) -> i32 {
        Version::from(self).number()
    }

    /// The text in `encryption_method`; none for plaintext.
    #[must_use]
    pub fn method(self) -> Option<&'static str> {
        match self {
            Self::Plaintext => None,
            Self::DirectAes => Some("direct-aes"),
            Self::PulseplanLocal => Some("pulseplan-local"),
            Self::KmsEnvelope => Some("kms-envelope"),
        }
    }
}
