//! The sample vectors of every stored format.

use serde::Deserialize;

const FORMATS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../envelope-core/tests/vectors/formats.json"));

/// A stored text, its keys, and its plaintext.
///
/// Keys and wrapped keys are base64, as the programs that wrote the vectors configure them; which of them are
/// there depends on the format. The `require_…` methods are for the ones that a format always has.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    /// Which stored format this is.
    pub format: StoredFormat,
    /// The text as it is in the database.
    pub stored: String,
    /// The token.
    pub plaintext: String,
    /// `ENCRYPTION_KEY`: base64 of 32 bytes.
    pub encryption_key: Option<String>,
    /// The data key in the clear: base64 of 32 bytes.
    pub data_key: Option<String>,
    /// The data key as the key service returned it: base64.
    pub wrapped_data_key: Option<String>,
    /// `TOKEN_ENCRYPTION_KEY`, in either of its two readings.
    pub token_encryption_key: Option<String>,
    /// The user whose row this is.
    pub user_id: Option<String>,
    /// The answer of KMS `Encrypt` returned: base64.
    pub blob: Option<String>,
    /// `DEV_ENCRYPTION_KEY`: a Fernet key.
    pub dev_encryption_key: Option<String>,
    /// The id of the data key in its keyring.
    pub data_key_id: Option<String>,
    /// The additional authenticated data: text, or none.
    pub aad: Option<String>,
}

/// The formats that have vectors.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum StoredFormat {
    /// Direct AES.
    DirectAes,
    /// `kms:v2:…`.
    KmsV2,
    /// `kms:v2:…` in base64 once more.
    KmsV2Twice,
    /// PulsePlan's per-user local key.
    PulseplanLocal,
    /// PulsePlan's KMS direct JSON.
    PulseplanKms,
    /// The autonomous platform's envelope.
    Autonomous,
    /// The autonomous platform's development rows.
    AutonomousDev,
    /// The Node service's JSON envelope.
    NodeJson,
}

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

/// Every vector.
///
/// # Panics
/// The file is broken.
pub fn all() -> Vec<Vector> {
    let file: File = serde_json::from_str(FORMATS).expect("the vectors file parses");
    file.vectors
}

/// The vectors of one format; never none.
///
/// # Panics
/// The file is broken, or has no vector of the format.
pub fn of(format: StoredFormat) -> Vec<Vector> {
    let vectors: Vec<Vector> = all().into_iter().filter(|vector| vector.format == format).collect();
    assert!(!vectors.is_empty(), "there is no vector of {format:?}");
    vectors
}

impl Vector {
    /// The field, which every vector of the format has.
    ///
    /// # Panics
    /// It has not.
    pub fn require_encryption_key(&self) -> &str {
        self.require("encryption_key", &self.encryption_key)
    }

    /// The field, which every vector of the format has.
    ///
    /// # Panics
    /// It has not.
    pub fn require_data_key(&self) -> &str {
        self.require("data_key", &self.data_key)
    }

    /// The field, which every vector of the format has.
    ///
    /// # Panics
    /// It has not.
    pub fn require_wrapped_data_key(&self) -> &str {
        self.require("wrapped_data_key", &self.wrapped_data_key)
    }

    /// The field, which every vector of the format has.
    ///
    /// # Panics
    /// It has not.
    pub fn require_user_id(&self) -> &str {
        self.require("user_id", &self.user_id)
    }

    fn require<'a>(&self, name: &str, value: &'a Option<String>) -> &'a str {
        value.as_deref().unwrap_or_else(|| panic!("a vector of {:?} lacks {name}", self.format))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_vectors() {
        use StoredFormat::*;
        let formats =
            [DirectAes, KmsV2, KmsV2Twice, PulseplanLocal, PulseplanKms, Autonomous, AutonomousDev, NodeJson];
        let count: usize = formats.into_iter().map(|format| of(format).len()).sum();
        assert_eq!(count, all().len());
    }
}
