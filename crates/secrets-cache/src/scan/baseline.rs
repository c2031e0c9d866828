//! Findings that were looked at and accepted.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rand::Rng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Finding, ScanError};

const VERSION: u32 = 1;
/// Bytes of a hash that are kept.
const FINGERPRINT_LEN: usize = 16;

/// A file of accepted findings: where they are, and a salted hash of each.
///
/// It is meant for values that are no secrets. A short secret could be guessed from its hash by trying.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    version: u32,
    salt: String,
    accepted: BTreeSet<Accepted>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Accepted {
    path: PathBuf,
    rule: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    fingerprint: String,
}

impl Default for Baseline {
    fn default() -> Self {
        let mut salt = [0; 16];
        rand::rng().fill_bytes(&mut salt);
        Self { version: VERSION, salt: hex::encode(salt), accepted: BTreeSet::new() }
    }
}

impl Baseline {
    /// Reads a baseline.
    ///
    /// # Errors
    /// [`ScanError`].
    pub fn load(path: &Path) -> Result<Self, ScanError> {
        let text = fs::read_to_string(path).map_err(|cause| ScanError::Io { path: path.into(), cause })?;
        match serde_json::from_str::<Self>(&text) {
            Ok(baseline) if baseline.version == VERSION => Ok(baseline),
            _ => Err(ScanError::Baseline { path: path.into() }),
        }
    }

    /// Writes the baseline.
    ///
    /// # Errors
    /// [`ScanError`].
    pub fn save(&self, path: &Path) -> Result<(), ScanError> {
        let text =
            serde_json::to_string_pretty(self).map_err(|_| ScanError::Baseline { path: path.into() })?;
        fs::write(path, text + "\n").map_err(|cause| ScanError::Io { path: path.into(), cause })
    }

    /// Accepts findings of a scan that was made with this baseline.
    pub fn accept(&mut self, findings: &[Finding]) {
        self.accepted.extend(findings.iter().map(|finding| Accepted {
            path: finding.path.clone(),
            rule: finding.rule.to_owned(),
            name: finding.name.clone(),
            fingerprint: finding.fingerprint.clone(),
        }));
    }

    pub(super) fn accepts(&self, finding: &Finding) -> bool {
        let is_same = |accepted: &Accepted| {
            accepted.path == finding.path
                && accepted.rule == finding.rule
                && accepted.fingerprint == finding.fingerprint
        };
        self.accepted.iter().any(is_same)
    }

    pub(super) fn fingerprint(&self, rule: &str, value: &str) -> String {
        let hash =
            Sha256::new().chain_update(&self.salt).chain_update(rule).chain_update([0]).chain_update(value);
        hex::encode(&hash.finalize()[..FINGERPRINT_LEN])
    }
}
