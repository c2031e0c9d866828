//! Findings that were looked at and accepted.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Finding, ScanError};

const VERSION: u32 = 1;
/// Bytes of a hash that are kept.
const FINGERPRINT_LEN: usize = 16;

/// A file of accepted findings: where they are, and a salted hash of each.
///
/// Paths in it are relative to its own directory, so that the same file is known by every path that leads to it.
///
/// It is meant for values that are no secrets. A short secret could be guessed from its hash by trying.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    version: u32,
    salt: String,
    accepted: BTreeSet<Accepted>,
    /// The directory that paths are relative to.
    #[serde(skip)]
    directory: PathBuf,
    /// The file itself.
    #[serde(skip)]
    file: Option<PathBuf>,
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
        envelope_core::random::fill(&mut salt);
        Self {
            version: VERSION,
            salt: hex::encode(salt),
            accepted: BTreeSet::new(),
            directory: absolute(Path::new(".")),
            file: None,
        }
    }
}

impl Baseline {
    /// An empty baseline that is to be saved in this file.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self { directory: directory_of(path), file: Some(absolute(path)), ..Self::default() }
    }

    /// Reads a baseline.
    ///
    /// # Errors
    /// [`ScanError`].
    pub fn load(path: &Path) -> Result<Self, ScanError> {
        let unreadable = |cause| ScanError::Io { path: path.into(), cause };
        // A pipe would be waited for.
        if !path.metadata().map_err(unreadable)?.is_file() {
            return Err(ScanError::Baseline { path: path.into() });
        }
        let text = fs::read_to_string(path).map_err(unreadable)?;
        match serde_json::from_str::<Self>(&text) {
            Ok(baseline) if baseline.version == VERSION => {
                Ok(Self { directory: directory_of(path), file: Some(absolute(path)), ..baseline })
            }
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
        let readable = durable_file::Options::replace().with_new_mode(0o644);
        Ok(durable_file::write(path, &readable, (text + "\n").as_bytes())?)
    }

    /// Accepts findings of a scan that was made with this baseline.
    pub fn accept(&mut self, findings: &[Finding]) {
        let directory = self.directory.clone();
        self.accepted.extend(findings.iter().map(|finding| Accepted {
            path: relative(&directory, &finding.path),
            rule: finding.rule.to_owned(),
            name: finding.name.clone(),
            fingerprint: finding.fingerprint.clone(),
        }));
    }

    /// Whether a path leads to the baseline, whose hashes look like secrets.
    pub(super) fn is_itself(&self, path: &Path) -> bool {
        self.file.as_ref().is_some_and(|file| path.file_name() == file.file_name() && absolute(path) == *file)
    }

    pub(super) fn accepts(&self, finding: &Finding) -> bool {
        if self.accepted.is_empty() {
            return false;
        }
        let path = relative(&self.directory, &finding.path);
        let is_same = |accepted: &Accepted| {
            normal(&accepted.path) == path
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

fn directory_of(path: &Path) -> PathBuf {
    absolute(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

/// The real path, or at least an absolute one for a file that is not on the disk.
fn absolute(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    let name = path.file_name().map(PathBuf::from).unwrap_or_default();
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match parent.canonicalize() {
        Ok(parent) => parent.join(name),
        Err(_) => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
    }
}

/// A path from a directory on.
fn relative(directory: &Path, path: &Path) -> PathBuf {
    let path = absolute(path);
    let shared =
        directory.components().zip(path.components()).take_while(|(one, other)| one == other).count();
    let up = directory.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(path.components().skip(shared)).collect()
}

/// A path without `.`, as older baselines have it.
fn normal(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}
