//! Finding secrets that were left in files.

mod baseline;
mod files;
mod lines;
mod pairs;
mod settings;
mod shapes;
mod shown;
mod values;

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};

pub use baseline::Baseline;
pub use files::{Reason, Unread};

use self::lines::Lines;
use self::settings::Kind;

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

    /// Looks through content that is not in a file, such as that of git's index, under the path that it will have.
    pub fn scan_content(&self, path: &Path, content: &[u8], report: &mut ScanReport) {
        match files::text(content, false) {
            Some(text) => self.scan_text(path, &text, report),
            None => report.unread.push(Unread::new(path, Reason::Binary, false)),
        }
    }

    fn scan_text(&self, path: &Path, text: &str, report: &mut ScanReport) {
        report.files += 1;
        let kind = Kind::of(path);
        let lines = Lines::of(text);
        let tokens = shapes::find(text);
        // A token can have several lines, and each of them is left to it.
        let mut with_tokens: HashSet<usize> = HashSet::new();
        let mut hits: Vec<Hit<'_>> = Vec::new();
        for token in &tokens {
            let line = lines.at(token.at.start);
            with_tokens.extend(line..=lines.at(token.at.end.saturating_sub(1)));
            let name = settings::name_of(lines.texts[line]).and_then(|(name, at)| {
                let start = lines.starts[line];
                shown::name(name, &(start + at.start..start + at.end), &tokens)
            });
            let value = &text[token.at.clone()];
            hits.push(Hit {
                number: lines.number(line),
                rule: token.rule,
                prefix: token.prefix,
                name,
                value,
            });
        }
        let of_keys = shown::key_lines(&lines.texts);
        let is_setting = |line: &usize| !with_tokens.contains(line) && !of_keys[*line];
        for line in (0..lines.texts.len()).filter(is_setting) {
            let mut found = settings::find(lines.texts[line], kind);
            if found.is_empty() {
                found.extend(pairs::find(&lines.texts, line, kind));
            }
            hits.extend(found.into_iter().map(|f| Hit {
                number: lines.number(line),
                rule: f.rule,
                prefix: "",
                name: Some(f.name).filter(|name| !shown::is_like_secret(name)),
                value: f.value,
            }));
        }
        hits.sort_by_key(|hit| hit.number);
        for hit in hits {
            let finding = self.finding(path, &hit);
            match self.baseline.accepts(&finding) {
                true => report.accepted += 1,
                false => report.findings.push(finding),
            }
        }
    }

    fn finding(&self, path: &Path, hit: &Hit<'_>) -> Finding {
        Finding {
            path: shown::path(path),
            line: hit.number,
            rule: hit.rule,
            name: hit.name.map(Into::into),
            masked: mask(hit.prefix, hit.value),
            fingerprint: self.baseline.fingerprint(hit.rule, hit.value),
        }
    }
}

/// A secret in a text.
struct Hit<'a> {
    /// The number of the line, from 1.
    number: usize,
    rule: &'static str,
    /// The part of the value that every token of its kind has.
    prefix: &'static str,
    name: Option<&'a str>,
    value: &'a str,
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
