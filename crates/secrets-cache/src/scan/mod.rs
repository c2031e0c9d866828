//! Finding secrets that were left in files.

mod baseline;
mod blocks;
mod collect;
mod dotenv;
mod entries;
mod files;
mod forms;
mod inline;
mod kind;
mod lines;
mod literal;
mod pairs;
mod settings;
mod shapes;
mod shown;
mod values;

use std::fmt;
use std::path::{Path, PathBuf};

pub use baseline::Baseline;
pub use files::{Reason, Unread};

use self::collect::Secret;

/// Looks for secrets in files. It reports where one is and of what kind, and never shows it.
#[derive(Debug)]
pub struct Scanner {
    baseline: Baseline,
    use_ignore_files: bool,
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new(Baseline::default())
    }
}

impl Scanner {
    /// Passes over what a baseline accepts.
    #[must_use]
    pub fn new(baseline: Baseline) -> Self {
        Self { baseline, use_ignore_files: true }
    }

    /// Also reads what `.gitignore` files exclude.
    #[must_use]
    pub fn with_ignored_files(mut self) -> Self {
        self.use_ignore_files = false;
        self
    }

    /// Looks through files and directories.
    ///
    /// A file that is named is always read. In directories, every text file is read that no `.gitignore` excludes, and
    /// every `.env` even if one does; version control, dependencies and build output are passed over, and links are not
    /// followed. A file that was not read is in the report.
    pub fn scan<P: AsRef<Path>>(&self, paths: impl IntoIterator<Item = P>) -> ScanReport {
        let mut report = ScanReport::default();
        for path in paths {
            let path = path.as_ref();
            let listing = files::list(path, self.use_ignore_files);
            report.ignored += listing.ignored;
            report.unread.extend(listing.unread);
            for file in listing.files.into_iter().filter(|file| !self.baseline.is_itself(file)) {
                let named = file == path;
                match files::read(&file, named) {
                    Ok(text) => self.scan_text(&file, &text, &mut report),
                    Err(reason) => report.unread.push(Unread::new(file, reason, named)),
                }
            }
        }
        report
    }

    /// Looks through content that is not in a file, such as that of git's index, under the path that it will have. It counts
    /// as named, so that it is read even if it is not all text.
    pub fn scan_content(&self, path: &Path, content: &[u8], report: &mut ScanReport) {
        match files::text(content, true) {
            Some(text) => self.scan_text(path, &text, report),
            None => report.unread.push(Unread::new(path, Reason::Binary, true)),
        }
    }

    fn scan_text(&self, path: &Path, text: &str, report: &mut ScanReport) {
        report.files += 1;
        for secret in collect::secrets(path, text) {
            let finding = self.finding(path, &secret);
            match self.baseline.accepts(&finding) {
                true => report.accepted += 1,
                false => report.findings.push(finding),
            }
        }
    }

    fn finding(&self, path: &Path, secret: &Secret<'_>) -> Finding {
        Finding {
            path: shown::path(path),
            line: secret.number,
            rule: secret.rule,
            name: secret.name.map(Into::into),
            masked: mask(secret.prefix, secret.value),
            fingerprint: self.baseline.fingerprint(secret.rule, secret.value),
        }
    }
}

/// The findings of a scan.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ScanReport {
    /// Secrets.
    pub findings: Vec<Finding>,
    /// Findings that the baseline accepts.
    pub accepted: u64,
    /// Files read.
    pub files: u64,
    /// Files that were not read.
    pub unread: Vec<Unread>,
    /// Files that a `.gitignore` excludes.
    pub ignored: u64,
}

/// A secret in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The file. A token in its name is replaced by `***`.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The rule that recognized it, such as `github-token`.
    pub rule: &'static str,
    /// The name of the setting, where there is one that cannot be a secret itself.
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

/// Why a baseline cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// A path cannot be read or written.
    #[error("cannot use {}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// The reason.
        #[source]
        cause: std::io::Error,
    },
    /// A file cannot be replaced.
    #[error("the baseline cannot be written")]
    File(#[from] durable_file::FileError),
    /// A file is not a baseline.
    #[error("{} is not a baseline of this program", path.display())]
    Baseline {
        /// The path.
        path: PathBuf,
    },
}

fn mask(prefix: &str, value: &str) -> String {
    let prefix = if value.starts_with(prefix) { prefix } else { "" };
    format!("{prefix}*** ({} characters)", value.chars().count())
}
