//! Where secrets come from: a small, object-safe trait, one module per backend, one per decorator.

pub mod audited;
#[cfg(feature = "dotenv")]
pub mod dotenv;
pub mod environment;
pub mod layered;
pub mod memory;
pub mod prefixed;
#[cfg(feature = "secrets-manager")]
pub mod secrets_manager;
pub mod uri;
#[cfg(feature = "vault")]
pub mod vault;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use time::OffsetDateTime;

use crate::error::{self, SourceError};
use crate::name::SecretName;
use crate::secret::{RotationPolicy, Secret, SecretMetadata, Stage};
use crate::value::SecretValue;

pub use self::uri::SourceUri;

/// A place that holds secrets.
///
/// A backend implements `id`, `get` and every other method that it supports; the defaults of the others
/// return [`SourceError::Unsupported`].
#[async_trait]
pub trait SecretSource: Send + Sync {
    /// The name of the source in audit events, metrics and errors: `secretsmanager`, `local`, `dotenv`, ….
    fn id(&self) -> Arc<str>;

    /// The source's own spelling of a name: that of the secret which it returns for the name. Most sources know a secret by
    /// one name only.
    fn own_name(&self, name: &SecretName) -> SecretName {
        name.clone()
    }

    /// Whether its secrets can have an expiry and a rotation policy.
    fn keeps_schedule(&self) -> bool {
        true
    }

    /// Whether [`put_all`](Self::put_all) stores all values or none.
    fn is_transactional(&self) -> bool {
        false
    }

    /// Checks, without a call, whether the source can hold this value under this name.
    ///
    /// # Errors
    /// [`SourceError::Unfit`], with the reason.
    fn check(&self, name: &SecretName, value: &SecretValue) -> Result<(), SourceError> {
        let _ = (name, value);
        Ok(())
    }

    /// Fetches the version under a stage.
    async fn get(&self, name: &SecretName, stage: &Stage) -> Result<Secret, SourceError>;

    /// Fetches the current versions of several secrets, with as few calls as the source allows.
    ///
    /// Returns one result per name, in the order of `names`. If the call itself fails, nothing was fetched.
    async fn get_many(&self, names: &[SecretName]) -> Result<Vec<Result<Secret, SourceError>>, SourceError> {
        let mut answers = Vec::with_capacity(names.len());
        for name in names {
            answers.push(self.get(name, &Stage::Current).await);
        }
        Ok(answers)
    }

    /// Returns the metadata of a secret, without fetching its value.
    async fn describe(&self, name: &SecretName) -> Result<SecretMetadata, SourceError> {
        let _ = name;
        Err(unsupported(self.id(), error::DESCRIBE))
    }

    /// Returns the metadata of secrets, a page at a time, without fetching values.
    async fn list(&self, request: &ListRequest) -> Result<ListPage, SourceError> {
        let _ = request;
        Err(unsupported(self.id(), error::LIST))
    }

    /// Stores a value: a new secret, or a new version of the one that is there.
    ///
    /// The version that was current becomes the previous one. A value that is current already makes no new version, so that
    /// the previous one stays; tags, expiry and policy are set. Under [`Stage::Pending`] nothing else changes until
    /// [`promote`](Self::promote).
    async fn put(&self, secret: &NewSecret) -> Result<Stored, SourceError> {
        let _ = secret;
        Err(unsupported(self.id(), error::PUT))
    }

    /// Stores many values; a source that has transactions stores all of them or none.
    async fn put_all(
        &self,
        mut secrets: BoxStream<'_, Result<NewSecret, SourceError>>,
    ) -> Result<u64, SourceError> {
        let mut stored = 0;
        while let Some(secret) = secrets.next().await {
            self.put(&secret?).await?;
            stored += 1;
        }
        Ok(stored)
    }

    /// Gives an existing secret a new value. A value that is current already makes no new version, as with
    /// [`put`](Self::put): a repeated call, whose first answer was lost, must not take the previous one away.
    async fn rotate(&self, name: &SecretName, value: &SecretValue) -> Result<Stored, SourceError> {
        let _ = (name, value);
        Err(unsupported(self.id(), error::ROTATE))
    }

    /// Gives a secret a new value only while this version, as [`Secret::version`] names it, is the current one.
    ///
    /// The check and the change are one step, so that of several callers that read the same version one succeeds, and
    /// the others have changed nothing. A value that is current already makes no new version.
    ///
    /// # Errors
    /// [`SourceError::Conflict`] where another version is current.
    async fn rotate_if(
        &self,
        name: &SecretName,
        value: &SecretValue,
        version: &str,
    ) -> Result<Stored, SourceError> {
        let _ = (name, value, version);
        Err(unsupported(self.id(), error::ROTATE))
    }

    /// Makes the pending version the current one, and the current one the previous.
    async fn promote(&self, name: &SecretName) -> Result<Stored, SourceError> {
        let _ = name;
        Err(unsupported(self.id(), error::PROMOTE))
    }

    /// Deletes a secret with all its versions, recoverably where the source has a recovery window.
    async fn delete(&self, name: &SecretName) -> Result<(), SourceError> {
        let _ = name;
        Err(unsupported(self.id(), error::DELETE))
    }
}

/// A value to store.
#[derive(Debug)]
#[non_exhaustive]
pub struct NewSecret {
    /// Its name.
    pub name: SecretName,
    /// The value.
    pub value: SecretValue,
    /// [`Stage::Current`], or [`Stage::Pending`] for a rotation that is tried out first.
    pub stage: Stage,
    /// Tags to set; tags that are there already and not named stay.
    pub tags: BTreeMap<String, String>,
    /// When the secret stops being served. `None` keeps the current time.
    pub expires: Option<OffsetDateTime>,
    /// How often it needs a new value. `None` keeps the current interval.
    pub rotation: Option<RotationPolicy>,
    /// How long a value that follows without an expiry of its own lives. `None` means from now to `expires`.
    pub lifetime: Option<Duration>,
    /// What it may replace, for [`Stage::Current`].
    pub replaces: Replaces,
}

/// The current version that a new value may replace. The check and the change are one step.
///
/// A value that is current already replaces nothing, and is no conflict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Replaces {
    /// Any, or none.
    #[default]
    Anything,
    /// None: there must be no current version. Another value is a [`SourceError::Conflict`].
    Nothing,
    /// This one, as [`Secret::version`] names it. With another one the outcome is a [`SourceError::Conflict`].
    Version(String),
}

impl NewSecret {
    /// A value without anything else.
    #[must_use]
    pub fn new(name: SecretName, value: impl Into<SecretValue>) -> Self {
        Self {
            name,
            value: value.into(),
            stage: Stage::Current,
            tags: BTreeMap::new(),
            expires: None,
            rotation: None,
            lifetime: None,
            replaces: Replaces::Anything,
        }
    }

    /// Stores it only over this version, or only where there is none.
    #[must_use]
    pub fn replacing(mut self, replaces: Replaces) -> Self {
        self.replaces = replaces;
        self
    }

    /// Stores it under another stage than the current.
    #[must_use]
    pub fn at_stage(mut self, stage: Stage) -> Self {
        self.stage = stage;
        self
    }

    /// Adds a tag.
    #[must_use]
    pub fn with_tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(name.into(), value.into());
        self
    }

    /// Adds a time after which it is not served any more.
    #[must_use]
    pub fn with_expiry(mut self, expires: OffsetDateTime) -> Self {
        self.expires = Some(expires);
        self
    }

    /// Adds a rotation policy.
    #[must_use]
    pub fn with_rotation(mut self, policy: RotationPolicy) -> Self {
        self.rotation = Some(policy);
        self
    }

    pub(crate) fn renamed(&self, name: SecretName) -> Self {
        Self {
            name,
            value: self.value.duplicate(),
            stage: self.stage.clone(),
            tags: self.tags.clone(),
            expires: self.expires,
            rotation: self.rotation,
            lifetime: self.lifetime,
            replaces: self.replaces.clone(),
        }
    }
}

/// The result of storing a value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored {
    /// The new version, as the source names it.
    pub version: String,
    /// Whether the secret itself is new.
    pub created: bool,
    /// Whether the value was current before, so that no version was made.
    pub unchanged: bool,
}

impl Replaces {
    /// Whether a value may be stored over the version that is current, if there is one.
    pub(crate) fn allows(&self, current: Option<&str>) -> bool {
        match self {
            Self::Anything => true,
            Self::Nothing => current.is_none(),
            Self::Version(version) => current == Some(version.as_str()),
        }
    }
}

impl Stored {
    /// A new version.
    #[must_use]
    pub fn new(version: impl Into<String>, created: bool) -> Self {
        Self { version: version.into(), created, unchanged: false }
    }

    /// The version that has the value already.
    #[must_use]
    pub fn as_before(version: impl Into<String>) -> Self {
        Self { version: version.into(), created: false, unchanged: true }
    }
}

/// Which secrets to list.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListRequest {
    /// Only names that begin so.
    pub prefix: String,
    /// Only secrets that have all of these tags.
    pub tags: BTreeMap<String, String>,
    /// Where the page before ended.
    pub cursor: Option<String>,
    /// The most secrets to put on a page; a source may put fewer.
    pub limit: usize,
}

impl Default for ListRequest {
    fn default() -> Self {
        Self { prefix: String::new(), tags: BTreeMap::new(), cursor: None, limit: 1_000 }
    }
}

impl ListRequest {
    /// Only names that begin so.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Only secrets that have this tag.
    #[must_use]
    pub fn with_tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(name.into(), value.into());
        self
    }

    /// The most names on a page.
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// The page that follows the one which ended at `cursor`.
    #[must_use]
    pub fn after(mut self, cursor: Option<String>) -> Self {
        self.cursor = cursor;
        self
    }

    pub(crate) fn matches(&self, secret: &SecretMetadata) -> bool {
        secret.name.as_str().starts_with(&self.prefix)
            && self.tags.iter().all(|(name, value)| secret.tags.get(name) == Some(value))
    }
}

/// A page of secrets.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ListPage {
    /// The secrets.
    pub secrets: Vec<SecretMetadata>,
    /// The start of the next page; `None` if this is the last.
    pub next: Option<String>,
}

impl ListPage {
    /// A page, and where the next one begins.
    #[must_use]
    pub fn new(secrets: Vec<SecretMetadata>, next: Option<String>) -> Self {
        Self { secrets, next }
    }
}

/// Lists all pages.
///
/// # Errors
/// As [`SecretSource::list`].
pub async fn list_all(
    source: &dyn SecretSource,
    request: &ListRequest,
) -> Result<Vec<SecretMetadata>, SourceError> {
    let mut request = request.clone();
    let mut secrets = Vec::new();
    loop {
        let page = source.list(&request).await?;
        secrets.extend(page.secrets);
        match page.next {
            Some(next) => request.cursor = Some(next),
            None => return Ok(secrets),
        }
    }
}

/// The current version, as far as it can be read. Only an outage is an error: a caller that may store and not read stores
/// without a comparison.
#[cfg(any(feature = "secrets-manager", feature = "vault"))]
pub(crate) fn readable(current: Result<Secret, SourceError>) -> Result<Option<Secret>, SourceError> {
    match current {
        Ok(secret) => Ok(Some(secret)),
        Err(error) if error.is_outage() => Err(error),
        Err(_) => Ok(None),
    }
}

pub(crate) fn unsupported(source_id: Arc<str>, operation: &'static str) -> SourceError {
    SourceError::Unsupported { source_id, operation }
}
