//! The forms that tokens are written in, and the marks that are stored with them.

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
        match self {
            Self::Plaintext => 0,
            Self::DirectAes | Self::PulseplanLocal => 1,
            Self::KmsEnvelope => 2,
        }
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

/// What a row's version column says about its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoredVersion {
    /// 0, or nothing: programs of before the column existed left it empty.
    Plaintext,
    /// 1.
    DirectAes,
    /// 2.
    Envelope,
    /// Anything else.
    Unknown,
}

impl StoredVersion {
    /// Reads the column.
    pub(crate) fn of(column: Option<&str>) -> Self {
        match column {
            None | Some("0") => Self::Plaintext,
            Some("1") => Self::DirectAes,
            Some("2") => Self::Envelope,
            Some(_) => Self::Unknown,
        }
    }

    /// Whether values of this form are in such a row.
    pub(crate) fn is_of(self, format: WriteFormat) -> bool {
        self == match format.version() {
            0 => Self::Plaintext,
            1 => Self::DirectAes,
            _ => Self::Envelope,
        }
    }
}
