//! How a cell is stored, by its row's version columns and its text, without opening it.

use envelope_core::format::{
    FormatError, direct_aes, has_strong_mark, node_json, pulseplan_kms, pulseplan_local,
};
use envelope_core::stored::Stored;
use envelope_core::{Format, OpenError, detect};

use super::TokenCipher;
use crate::database::layout::Layout;
use crate::database::row::StoredRow;
use crate::marks::Version;
use crate::profile::Unmarked;

/// How a row says that a cell is stored.
#[derive(Clone, Copy)]
pub(crate) enum Recorded<'a> {
    /// By its version columns.
    Version { version: Option<&'a str>, key_id: Option<&'a str> },
    /// Not at all: the text decides.
    Unmarked(Unmarked),
}

impl<'a> Recorded<'a> {
    /// A row's marks of its cells; `unmarked` is what its profile says of those that it says nothing of.
    pub(crate) fn of(row: &'a StoredRow, layout: &Layout, unmarked: Unmarked) -> Self {
        match layout.version() {
            Some(_) => Self::Version { version: row.version.as_deref(), key_id: row.key_id.as_deref() },
            None => Self::Unmarked(unmarked),
        }
    }
}

/// How many characters of an alphabet of base64 no text has by accident.
const ENCODED: usize = 24;

/// Whether a text with the mark of an envelope was one: then it is damaged, and not a token that begins like one.
fn is_broken_envelope(text: &str) -> bool {
    has_strong_mark(text) && !is_mere_words(text)
}

/// Whether a text has no part that could be base64 of an envelope, so that it is not one that was damaged.
fn is_mere_words(text: &str) -> bool {
    let is_encoded = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '-' | '_');
    text.split(|c| !is_encoded(c)).all(|part| part.len() < ENCODED)
}

/// Whether a text says that it is an envelope of some version, which may be a later one.
fn names_a_version(text: &str) -> bool {
    let version = text.split(':').nth(1).and_then(|part| part.strip_prefix(['v', 'V']));
    version.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

impl TokenCipher {
    /// Finds out how a cell is stored, without opening it.
    pub(crate) fn classify(text: &str, recorded: Recorded<'_>) -> Result<Format, OpenError> {
        Self::recognize(text, recorded).map(|stored| stored.format())
    }

    /// Finds out how a cell is stored, and parses it where it is an envelope.
    pub(crate) fn recognize<'a>(text: &'a str, recorded: Recorded<'_>) -> Result<Stored<'a>, OpenError> {
        let contradiction = Err(OpenError::Malformed(FormatError::ContradictsVersion));
        let plaintext = Ok(Stored::Other(Format::Plaintext));
        let direct_aes = Ok(Stored::Other(Format::DirectAes));
        match recorded {
            _ if text.is_empty() => plaintext,
            Recorded::Version { version, key_id } => match Version::read(version) {
                Some(Version::Plaintext) => match detect(text) {
                    Ok(Format::Plaintext) => plaintext,
                    Ok(_) => contradiction,
                    Err(_) if is_broken_envelope(text) => contradiction,
                    // A mark (`kms:`, a brace, three hexadecimal parts) on a text that is nothing of the kind: the column
                    // is believed.
                    Err(_) => plaintext,
                },
                Some(Version::DirectAes) if has_strong_mark(text) => contradiction,
                Some(Version::DirectAes) => direct_aes,
                Some(Version::Envelope) if !has_strong_mark(text) => contradiction,
                Some(Version::Envelope) => Ok(Stored::detect(text, key_id)?),
                None => Err(FormatError::UnknownVersion.into()),
            },
            Recorded::Unmarked(unmarked) => match (Stored::detect(text, None), unmarked) {
                (Ok(Stored::Other(Format::Plaintext)), Unmarked::DirectAes) => direct_aes,
                (Err(FormatError::UnknownVersion), Unmarked::Plaintext)
                    if is_mere_words(text) && !names_a_version(text) =>
                {
                    plaintext
                }
                (stored, _) => Ok(stored?),
            },
        }
    }

    /// Version, method and key of a text in a table without version columns.
    pub(crate) fn kind(text: &str, recorded: Recorded<'_>) -> (Option<i64>, String, Option<String>) {
        let Ok(format) = Self::classify(text, recorded) else {
            return (None, "malformed".into(), None);
        };
        let (version, key_id) = match format {
            Format::Plaintext => (Some(0), None),
            Format::DirectAes => (Some(1), Some(direct_aes::KEY_ID.into())),
            Format::KmsEnvelope | Format::BoundEnvelope => (Some(2), None),
            Format::PulseplanLocal => (
                None,
                pulseplan_local::Envelope::parse(text)
                    .ok()
                    .map(|envelope| format!("v{}", envelope.version())),
            ),
            Format::PulseplanKms => {
                (None, pulseplan_kms::Envelope::parse(text).ok().map(|envelope| envelope.key_id().to_owned()))
            }
            _ => (None, None),
        };
        (version, format.name().into(), key_id)
    }

    /// The key that a text needs to be opened: none for plaintext, an error where it is not known.
    pub(crate) fn needed_key(text: &str, recorded: Recorded<'_>) -> Result<Option<String>, ()> {
        let named = match recorded {
            Recorded::Version { key_id, .. } => key_id.filter(|id| !id.is_empty()).map(ToOwned::to_owned),
            Recorded::Unmarked(_) => None,
        };
        match Self::classify(text, recorded).map_err(|_| ())? {
            Format::Plaintext => Ok(None),
            Format::DirectAes => Ok(Some("ENCRYPTION_KEY".into())),
            Format::AutonomousDev => Ok(Some("DEV_ENCRYPTION_KEY".into())),
            Format::PulseplanLocal => {
                Ok(Self::kind(text, recorded).2.map(|v| format!("TOKEN_ENCRYPTION_KEY {v}")))
            }
            Format::PulseplanKms => Ok(Self::kind(text, recorded).2),
            Format::NodeJson => match node_json::Envelope::parse(text) {
                Ok(envelope) => Ok(Some(format!("keyring:{}", envelope.key_id()))),
                Err(_) => Err(()),
            },
            _ => named.map(Some).ok_or(()),
        }
    }
}
