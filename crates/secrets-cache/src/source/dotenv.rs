//! Secrets in a `.env` file, for development and tests only.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use dotenvor::ParseErrorKind;
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::{ListPage, ListRequest, SecretSource};
use crate::error::SourceError;
use crate::name::SecretName;
use crate::secret::{Secret, SecretMetadata, Stage};
use crate::value::SecretValue;
use envelope_core::Environment;

const ID: &str = "dotenv";
const READ: &str = "read the .env file";

/// A `.env` file, read once. Nothing in it is expanded: `$` stands for itself.
pub struct Dotenv {
    settings: BTreeMap<SecretName, SecretString>,
}

impl Dotenv {
    /// Reads a file.
    ///
    /// # Errors
    /// [`SourceError::DevelopmentOnly`] in production, [`SourceError::Storage`] if the file cannot be read or is
    /// no `.env` file; the cause tells the line, never its text.
    pub fn open(path: impl AsRef<Path>, environment: Environment) -> Result<Self, SourceError> {
        if environment == Environment::Production {
            return Err(SourceError::DevelopmentOnly { source_id: ID.into() });
        }
        Ok(Self {
            settings: read(path.as_ref())?.into_iter().map(|entry| (entry.name, entry.value)).collect(),
        })
    }
}

#[async_trait]
impl SecretSource for Dotenv {
    fn id(&self) -> Arc<str> {
        ID.into()
    }

    async fn get(&self, name: &SecretName, stage: &Stage) -> Result<Secret, SourceError> {
        let value = self.settings.get(name).ok_or_else(|| SourceError::NotFound { name: name.clone() })?;
        if *stage != Stage::Current {
            return Err(SourceError::NoSuchStage { name: name.clone(), stage: stage.clone() });
        }
        Ok(Secret::new(name.clone(), SecretValue::text(value.clone()), ID))
    }

    async fn describe(&self, name: &SecretName) -> Result<SecretMetadata, SourceError> {
        match self.settings.contains_key(name) {
            true => Ok(SecretMetadata::new(name.clone())),
            false => Err(SourceError::NotFound { name: name.clone() }),
        }
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, SourceError> {
        let all = self.settings.keys().cloned().map(SecretMetadata::new);
        Ok(ListPage::new(all.filter(|secret| request.matches(secret)).collect(), None))
    }
}

/// A setting in a `.env` file.
#[derive(Debug)]
#[non_exhaustive]
pub struct DotenvEntry {
    /// Its name.
    pub name: SecretName,
    /// Its value.
    pub value: SecretString,
    /// The line that it begins on, from 1.
    pub line: u32,
    /// Whether an unquoted `#` directly behind other text ended the value: a comment to this grammar, but perhaps
    /// meant as a part of the value.
    pub cut_at_hash: bool,
}

/// Reads a `.env` file in whatever environment, to move its settings elsewhere.
///
/// Of a name that stands twice the last value counts. Nothing is expanded.
///
/// # Errors
/// [`SourceError::Storage`] if the file cannot be read or is no `.env` file, [`SourceError::Name`] for a name that
/// no secret can have.
pub fn read(path: &Path) -> Result<Vec<DotenvEntry>, SourceError> {
    parse(path, &text(path)?)
}

/// Reads a `.env` file as [`read`] does, but with every setting of a name that stands several times, in the order of
/// the lines.
///
/// # Errors
/// As [`read`].
pub fn read_every_setting(path: &Path) -> Result<Vec<DotenvEntry>, SourceError> {
    let text = text(path)?;
    let mut settings = Vec::new();
    let mut rest = text.as_str();
    // The parser keeps the last of a name only, so settings are taken off the end, one after the other.
    while let Some(last) = parse(path, rest)?.into_iter().max_by_key(|entry| entry.line) {
        let lines_before = rest.split_inclusive('\n').take((last.line as usize).saturating_sub(1));
        rest = &rest[..lines_before.map(str::len).sum()];
        settings.push(last);
    }
    settings.reverse();
    Ok(settings)
}

/// The text of a file, with the line breaks that the parser counts.
fn text(path: &Path) -> Result<Zeroizing<String>, SourceError> {
    let bytes = fs::read(path).map_err(|cause| {
        SourceError::storage(READ, FileError { path: path.into(), cause: cause.to_string() })
    })?;
    let bytes = Zeroizing::new(bytes);
    let text = std::str::from_utf8(&bytes).map_err(|_| FileError::failure(path, "not UTF-8 text"))?;
    // A byte-order mark is what some editors put before UTF-8.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = Zeroizing::new(text.replace("\r\n", "\n"));
    Ok(Zeroizing::new(text.replace('\r', "\n")))
}

fn parse(path: &Path, text: &str) -> Result<Vec<DotenvEntry>, SourceError> {
    let entries = dotenvor::parse_str(text).map_err(|error| match error {
        dotenvor::Error::Parse(error) => {
            FileError::failure(path, &format!("line {}: {}", error.line, problem(&error.kind)))
        }
        _ => FileError::failure(path, "not a .env file"),
    })?;
    let lines: Vec<&str> = text.lines().collect();
    let mut read = Vec::with_capacity(entries.len());
    for entry in entries {
        let first = (entry.line as usize).checked_sub(1).and_then(|line| lines.get(line));
        read.push(DotenvEntry {
            name: SecretName::new(&entry.key)?,
            value: SecretString::from(entry.value),
            line: entry.line,
            cut_at_hash: first.is_some_and(|line| is_cut_at_hash(line)),
        });
    }
    Ok(read)
}

fn is_cut_at_hash(line: &str) -> bool {
    let Some((_, value)) = line.split_once('=') else {
        return false;
    };
    let value = value.trim_start();
    !value.starts_with(['\'', '"', '`'])
        && value.split_once('#').is_some_and(|(before, _)| before.ends_with(|c: char| !c.is_whitespace()))
}

fn problem(kind: &ParseErrorKind) -> &'static str {
    match kind {
        ParseErrorKind::InvalidSyntax => "not `NAME=value`, or text behind a closing quote",
        ParseErrorKind::MissingKey => "no name before `=`",
        ParseErrorKind::InvalidKey => "a name may have letters, digits, `_`, `.` and `-`",
        ParseErrorKind::UnterminatedQuote => "a quote is not closed",
    }
}

/// A file that is not what it should be, and why.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}", path.display())]
struct FileError {
    path: PathBuf,
    cause: String,
}

impl FileError {
    fn failure(path: &Path, cause: &str) -> SourceError {
        SourceError::storage(READ, Self { path: path.into(), cause: cause.into() })
    }
}
