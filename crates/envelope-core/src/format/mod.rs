//! The stored formats: one module each, and the rules that distinguish them.

pub mod autonomous;
pub mod bound;
pub mod direct_aes;
pub mod kms_envelope;
pub mod node_json;
pub mod pulseplan_kms;
pub mod pulseplan_local;

mod detection;

use std::fmt;

pub(crate) use detection::claimed;
pub use detection::{detect, has_strong_mark};

/// Longest plaintext that is sealed, in bytes: one MiB.
pub const MAX_PLAINTEXT_LEN: usize = 1 << 20;

/// How a stored text was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Format {
    /// The value itself, readable (version 0).
    Plaintext,
    /// AES-256-GCM under one configured key (version 1); it has no mark of its own.
    DirectAes,
    /// A data key wrapped by the key service, as text: `kms:v2:…` (version 2), in either spelling.
    KmsEnvelope,
    /// PulsePlan: a key derived per user from a local master key, `v<n>:<iv>:<tag>:<ciphertext>`.
    PulseplanLocal,
    /// PulsePlan: encrypted by KMS itself, a JSON object with or without `kms:` before it.
    PulseplanKms,
    /// The autonomous platform: base64 of `v1|<wrapped key>|<nonce>|<ciphertext>`.
    Autonomous,
    /// The autonomous platform in development: base64 of `dev|<Fernet token>`.
    AutonomousDev,
    /// Node KMSService: a JSON envelope that names its data key.
    NodeJson,
    /// This project's bound envelope, `kms:v3:…` (version 2 as well).
    BoundEnvelope,
}

impl Format {
    /// Every format.
    const ALL: [Self; 9] = [
        Self::Plaintext,
        Self::DirectAes,
        Self::KmsEnvelope,
        Self::PulseplanLocal,
        Self::PulseplanKms,
        Self::Autonomous,
        Self::AutonomousDev,
        Self::NodeJson,
        Self::BoundEnvelope,
    ];

    /// The format of a [`name`](Self::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The name used in reports and profiles.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::DirectAes => "direct-aes",
            Self::KmsEnvelope => "kms-envelope",
            Self::PulseplanLocal => "pulseplan-local",
            Self::PulseplanKms => "pulseplan-kms",
            Self::Autonomous => "autonomous",
            Self::AutonomousDev => "autonomous-dev",
            Self::NodeJson => "node-json",
            Self::BoundEnvelope => "bound-envelope",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The defect of a text that should be in a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// It does not begin with the format's mark, or has another number of parts.
    #[error("does not have the format's mark and parts")]
    Shape,
    /// A part is not standard base64 with padding, in its one canonical spelling.
    #[error("a part is not canonical base64")]
    Base64,
    /// A part is not lower-case hexadecimal.
    #[error("a part is not lower-case hexadecimal")]
    Hex,
    /// It is not the JSON object that the format is.
    #[error("not the JSON object of this format")]
    Json,
    /// It ends before its fields do.
    #[error("too short")]
    TooShort,
    /// It continues after its last field, or a field is over its limit.
    #[error("too long")]
    TooLong,
    /// A version that this program does not know.
    #[error("unknown version")]
    UnknownVersion,
    /// A suite or flag that this program does not know.
    #[error("unknown suite or flag")]
    UnknownSuite,
    /// The wrapped data key is empty or over its limit.
    #[error("wrapped data key has an impossible length")]
    WrappedKeyLength,
    /// It would be an envelope but for white space around it.
    #[error("white space around an envelope")]
    WhiteSpace,
    /// It carries no mark, but would be an envelope if a character of its mark were mended.
    #[error("looks like an envelope whose mark is damaged")]
    DamagedMark,
    /// The row's version says one thing and the text another.
    #[error("text contradicts the row's encryption version")]
    ContradictsVersion,
}
