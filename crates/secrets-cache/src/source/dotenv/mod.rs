//! Secrets in a `.env` file, for development and tests only.

mod block;
mod doubt;
mod grammar;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use durable_file::{Content, Links};
use envelope_core::Environment;
use secrecy::SecretString;

pub use self::doubt::Doubt;
pub use self::grammar::{DotenvEntry, DotenvFile, Unreadable};

use super::{ListPage, ListRequest, SecretSource};
use crate::error::SourceError;
use crate::name::SecretName;
use crate::secret::{Secret, SecretMetadata, Stage};
use crate::value::SecretValue;

const ID: &str = "dotenv";
const READ: &str = "read the .env file";
/// Longest file that is read, in bytes.
pub const MAX_FILE_LEN: u64 = 16 << 20;

/// A `.env` file, read once. Nothing in it is expanded: `$` is kept as it is.
pub struct Dotenv {
    settings: BTreeMap<SecretName, SecretString>,
}

impl Dotenv {
    /// Reads a file.
    ///
    /// # Errors
    /// [`SourceError::DevelopmentOnly`] in production, [`SourceError::Storage`] if the file cannot be read or has a line
    /// that is not a setting; the cause names the line, never its text.
    pub fn open(path: impl AsRef<Path>, environment: Environment) -> Result<Self, SourceError> {
        Ok(Self::of(entries(path.as_ref(), environment)?))
    }

    /// Reads a file only if every value is unambiguous: otherwise a program could get a truncated value, or
    /// another one than other readers of the file.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`SourceError::Storage`] naming the first line in [`Doubt`].
    pub fn open_undoubted(path: impl AsRef<Path>, environment: Environment) -> Result<Self, SourceError> {
        let path = path.as_ref();
        let entries = entries(path, environment)?;
        match entries.iter().find_map(|entry| Some((entry.line, entry.doubt?))) {
            Some((line, doubt)) => Err(line_error(path, line, doubt)),
            None => Ok(Self::of(entries)),
        }
    }

    fn of(entries: Vec<DotenvEntry>) -> Self {
        Self { settings: entries.into_iter().map(|entry| (entry.name, entry.value)).collect() }
    }

    /// The setting of this name, or the one that is another spelling of it, as for a variable of the environment:
    /// `TEST_SECRET` is `test-secret` and `test_secret`.
    fn find(&self, name: &SecretName) -> Option<(&SecretName, &SecretString)> {
        let spelled = |spelling: &String| self.settings.get_key_value(spelling.as_str());
        let in_any_case = || self.settings.iter().find(|(there, _)| there.is_spelling_of(name));
        name.spellings().iter().find_map(spelled).or_else(in_any_case)
    }
}

#[async_trait]
impl SecretSource for Dotenv {
    fn id(&self) -> Arc<str> {
        ID.into()
    }

    /// The name in the file, or the variable that it would be.
    fn own_name(&self, name: &SecretName) -> SecretName {
        let unknown = || SecretName::new(&name.variable().to_ascii_uppercase());
        let own = self.find(name).map(|(own, _)| Ok(own.clone())).unwrap_or_else(unknown);
        own.unwrap_or_else(|_| name.clone())
    }

    async fn get(&self, name: &SecretName, stage: &Stage) -> Result<Secret, SourceError> {
        let (_, value) = self.find(name).ok_or_else(|| SourceError::NotFound { name: name.clone() })?;
        if *stage != Stage::Current {
            return Err(SourceError::NoSuchStage { name: name.clone(), stage: stage.clone() });
        }
        Ok(Secret::new(name.clone(), SecretValue::text(value.clone()), ID))
    }

    async fn describe(&self, name: &SecretName) -> Result<SecretMetadata, SourceError> {
        match self.find(name).is_some() {
            true => Ok(SecretMetadata::new(name.clone())),
            false => Err(SourceError::NotFound { name: name.clone() }),
        }
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, SourceError> {
        let all = self.settings.keys().cloned().map(SecretMetadata::new);
        Ok(ListPage::new(all.filter(|secret| request.matches(secret)).collect(), None))
    }
}

fn entries(path: &Path, environment: Environment) -> Result<Vec<DotenvEntry>, SourceError> {
    match environment {
        Environment::Production => Err(SourceError::DevelopmentOnly { source_id: ID.into() }),
        _ => read(path),
    }
}

/// Reads a `.env` file in any environment, to move its settings elsewhere.
///
/// If a name is given several times, each setting is returned, and the last one counts. Nothing is expanded.
///
/// # Errors
/// [`SourceError::Storage`] if the file cannot be read or has a line that is not a setting.
pub fn read(path: &Path) -> Result<Vec<DotenvEntry>, SourceError> {
    let content = Content::read(path, Links::Follow, MAX_FILE_LEN)
        .map_err(|cause| SourceError::storage(READ, cause))?;
    let file = DotenvFile::parse(text(&content)?);
    match file.unreadable.first() {
        None => Ok(file.entries),
        Some(first) => Err(line_error(path, first.line, first.doubt)),
    }
}

/// The content of a file as text.
///
/// # Errors
/// [`SourceError::Storage`] if it is not UTF-8.
pub fn text(content: &Content) -> Result<&str, SourceError> {
    let not_text = |_| SourceError::storage(READ, NotText { path: content.path().into() });
    std::str::from_utf8(content.bytes()).map_err(not_text)
}

fn line_error(path: &Path, line: u32, doubt: Doubt) -> SourceError {
    SourceError::storage(READ, LineError { path: path.into(), line, doubt })
}

/// A line that is not a setting, or one whose value is in doubt.
#[derive(Debug, thiserror::Error)]
#[error("{}: line {line}: {doubt}", path.display())]
struct LineError {
    path: PathBuf,
    line: u32,
    doubt: Doubt,
}

/// A file that is not UTF-8 text.
#[derive(Debug, thiserror::Error)]
#[error("{}: not UTF-8 text", path.display())]
struct NotText {
    path: PathBuf,
}
