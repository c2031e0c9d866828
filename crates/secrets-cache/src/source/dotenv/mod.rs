//! Secrets in a `.env` file, for development and tests only.

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
        if environment == Environment::Production {
            return Err(SourceError::DevelopmentOnly { source_id: ID.into() });
        }
        Ok(Self {
            settings: read(path.as_ref())?.into_iter().map(|entry| (entry.name, entry.value)).collect(),
        })
    }

    /// The setting of this name, or the one that is another spelling of it: `TEST_SECRET` is `test-secret`.
    fn find(&self, name: &SecretName) -> Option<&SecretString> {
        let spelled =
            || self.settings.iter().find(|(there, _)| there.is_spelling_of(name)).map(|(_, value)| value);
        self.settings.get(name).or_else(spelled)
    }
}

#[async_trait]
impl SecretSource for Dotenv {
    fn id(&self) -> Arc<str> {
        ID.into()
    }

    async fn get(&self, name: &SecretName, stage: &Stage) -> Result<Secret, SourceError> {
        let value = self.find(name).ok_or_else(|| SourceError::NotFound { name: name.clone() })?;
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
        Some(first) => Err(SourceError::storage(
            READ,
            LineError { path: path.into(), line: first.line, doubt: first.doubt },
        )),
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

/// A line that is not a setting.
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
