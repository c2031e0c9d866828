//! Finding secrets that were left in files.

mod baseline;
mod files;
mod rules;

use std::fmt;
use std::path::{Path, PathBuf};

pub use baseline::Baseline;

/// Looks for secrets in files. It tells where one is and of what kind, and never shows it.
#[derive(Debug, Default)]
pub struct Scanner {
    baseline: Baseline,
}

impl Scanner {
    /// Passes over what a baseline accepts.
    #[must_use]
    pub fn new(baseline: Baseline) -> Self {
        Self { baseline }
    }

    /// Looks through files and directories.
    ///
    /// A file that is named is always read. In directories the files whose names are like `.env` are read, and
    /// files of the usual configuration formats; in the latter only the shapes of known tokens count, since every
    /// second value in them looks random. Version control, dependencies and build output are passed over, links
    /// are not followed.
    ///
    /// # Errors
    /// [`ScanError`] for a path that cannot be read.
    pub fn scan<P: AsRef<Path>>(&self, paths: impl IntoIterator<Item = P>) -> Result<ScanReport, ScanError> {
        let mut report = ScanReport::default();
        for path in paths {
            for file in files::find(path.as_ref())? {
                self.scan_file(&file, &mut report)?;
            }
        }
        Ok(report)
    }

    fn scan_file(&self, path: &Path, report: &mut ScanReport) -> Result<(), ScanError> {
        let Some(text) = files::read(path)? else {
            return Ok(());
        };
        report.files += 1;
        let is_env = files::is_env_like(path);
        for (number, line) in text.lines().enumerate() {
            for hit in rules::find(line, is_env) {
                let fingerprint = self.baseline.fingerprint(hit.rule, hit.value);
                let finding = Finding {
                    path: path.to_owned(),
                    line: number + 1,
                    rule: hit.rule,
                    name: hit.name.map(Into::into),
                    masked: mask(hit.prefix, hit.value),
                    fingerprint,
                };
                match self.baseline.accepts(&finding) {
                    true => report.accepted += 1,
                    false => report.findings.push(finding),
                }
            }
        }
        Ok(())
    }
}

/// What a scan found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ScanReport {
    /// Secrets.
    pub findings: Vec<Finding>,
    /// Findings that the baseline accepts.
    pub accepted: u64,
    /// Files read.
    pub files: u64,
}

/// A secret in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// What it was recognized by, such as `github-token`.
    pub rule: &'static str,
    /// The name of the setting, where there is one.
    pub name: Option<String>,
    /// The public part of a token's shape, and the length of the whole.
    pub masked: String,
    /// A salted hash, for a baseline.
    pub fingerprint: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.rule)?;
        if let Some(name) = &self.name {
            write!(f, " in {name}")?;
        }
        write!(f, ": {}", self.masked)
    }
}

/// Why a scan did not come to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// A path cannot be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// A baseline is not one.
    #[error("{} is not a baseline of this program", path.display())]
    Baseline {
        /// The path.
        path: PathBuf,
    },
}

fn mask(prefix: &str, value: &str) -> String {
    format!("{prefix}*** ({} characters)", value.chars().count())
}
