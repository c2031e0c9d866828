//! The event that AWS Secrets Manager sends for each step of a rotation.

use secrets_cache::SecretName;
use secrets_cache::source::secrets_manager::NewVersion;
use serde::{Deserialize, Serialize};

use super::error::RotationError;

/// The longest event, in bytes; a whole one has less than a kilobyte.
pub(super) const MAX_LEN: usize = 64 * 1024;

/// A step of a rotation, in the order in which the service asks for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::enum_variant_names, reason = "the names of the service")]
pub(super) enum Step {
    /// A new password becomes the pending version.
    CreateSecret,
    /// It is set in the database.
    SetSecret,
    /// It is tried.
    TestSecret,
    /// It becomes the current version.
    FinishSecret,
}

/// An event: which step, of which secret, for which version.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) step: Step,
    pub(super) version: NewVersion,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "Step")]
    step: Step,
    #[serde(rename = "SecretId")]
    secret: String,
    #[serde(rename = "ClientRequestToken")]
    token: String,
}

impl Event {
    /// Reads an event as the service sends it.
    pub(super) fn parse(text: &[u8]) -> Result<Self, RotationError> {
        let raw: Raw = serde_json::from_slice(text).map_err(|_| RotationError::Event)?;
        // `ClientRequestToken` in the reference of `PutSecretValue`: 32 to 64 characters.
        let is_token = (32..=64).contains(&raw.token.len())
            && raw.token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !is_token {
            return Err(RotationError::Event);
        }
        let secret = SecretName::new(&raw.secret).map_err(|_| RotationError::Event)?;
        Ok(Self { step: raw.step, version: NewVersion { secret, token: raw.token } })
    }
}
