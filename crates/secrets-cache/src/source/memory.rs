//! A source that lives in memory, for tests and examples.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{ListPage, ListRequest, NewSecret, SecretSource, Stored};
use crate::error::SourceError;
use crate::name::SecretName;
use crate::secret::{Secret, SecretMetadata, Stage, VersionMetadata};
use crate::value::SecretValue;

/// Secrets in memory: a whole source, which forgets everything when it is dropped.
#[derive(Default)]
pub struct MemorySource {
    secrets: Mutex<BTreeMap<SecretName, Entry>>,
    counter: AtomicU64,
}

struct Entry {
    metadata: SecretMetadata,
    values: BTreeMap<String, SecretValue>,
}

impl MemorySource {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SecretName, Entry>> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_version(&self) -> String {
        format!("v{}", self.counter.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn store(&self, secrets: &mut BTreeMap<SecretName, Entry>, secret: &NewSecret) -> Stored {
        let now = OffsetDateTime::now_utc();
        let version = self.next_version();
        let created = !secrets.contains_key(&secret.name);
        let entry = secrets.entry(secret.name.clone()).or_insert_with(|| Entry {
            metadata: SecretMetadata::new(secret.name.clone()),
            values: BTreeMap::new(),
        });
        entry.values.insert(version.clone(), secret.value.duplicate());
        entry.metadata.created.get_or_insert(now);
        entry.describe(secret);
        let made = VersionMetadata::new(version.clone(), vec![], Some(now));
        entry.metadata.versions.insert(0, made);
        entry.enter_stage(&version, &secret.stage, now);
        Stored::new(version, created)
    }
}

#[async_trait]
impl SecretSource for MemorySource {
    fn id(&self) -> Arc<str> {
        "memory".into()
    }

    async fn get(&self, name: &SecretName, stage: &Stage) -> Result<Secret, SourceError> {
        let secrets = self.lock();
        let entry = secrets.get(name).ok_or_else(|| SourceError::NotFound { name: name.clone() })?;
        if let Some(at) = entry.metadata.expires.filter(|&at| at <= OffsetDateTime::now_utc()) {
            return Err(SourceError::Expired { name: name.clone(), at });
        }
        let missing = || SourceError::NoSuchStage { name: name.clone(), stage: stage.clone() };
        let version = entry.metadata.version(stage).ok_or_else(missing)?;
        let value = entry.values.get(&version.version).ok_or_else(missing)?.duplicate();
        Ok(Secret::new(name.clone(), value, self.id())
            .with_version(version.version.clone(), version.stages.clone())
            .with_times(version.created, entry.metadata.expires))
    }

    async fn describe(&self, name: &SecretName) -> Result<SecretMetadata, SourceError> {
        let found = self.lock().get(name).map(|entry| entry.metadata.clone());
        found.ok_or_else(|| SourceError::NotFound { name: name.clone() })
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, SourceError> {
        let after = |name: &SecretName| request.cursor.as_deref().is_none_or(|cursor| name.as_str() > cursor);
        let secrets = self.lock();
        let mut found = secrets
            .iter()
            .filter(|(name, entry)| after(name) && request.matches(&entry.metadata))
            .map(|(_, entry)| entry.metadata.clone());
        let page: Vec<SecretMetadata> = found.by_ref().take(request.limit.max(1)).collect();
        let next = found.next().and(page.last().map(|last| last.name.to_string()));
        Ok(ListPage::new(page, next))
    }

    async fn put(&self, secret: &NewSecret) -> Result<Stored, SourceError> {
        let mut secrets = self.lock();
        if secret.stage == Stage::Current {
            let entry = secrets.get_mut(&secret.name);
            let current = entry.as_ref().and_then(|entry| entry.metadata.version(&Stage::Current));
            let is_allowed = secret.replaces.allows(current.map(|current| current.version.as_str()));
            if let Some(entry) = entry
                && let Some(version) = entry.current_of(&secret.value)
            {
                entry.describe(secret);
                return Ok(Stored::as_before(version));
            }
            if !is_allowed {
                return Err(SourceError::Conflict { name: secret.name.clone() });
            }
        }
        Ok(self.store(&mut secrets, secret))
    }

    async fn rotate(&self, name: &SecretName, value: &SecretValue) -> Result<Stored, SourceError> {
        let mut secrets = self.lock();
        let entry = secrets.get(name).ok_or_else(|| SourceError::NotFound { name: name.clone() })?;
        if let Some(version) = entry.current_of(value) {
            return Ok(Stored::as_before(version));
        }
        Ok(self.store(&mut secrets, &NewSecret::new(name.clone(), value.duplicate())))
    }

    async fn rotate_if(
        &self,
        name: &SecretName,
        value: &SecretValue,
        version: &str,
    ) -> Result<Stored, SourceError> {
        let mut secrets = self.lock();
        let entry = secrets.get(name).ok_or_else(|| SourceError::NotFound { name: name.clone() })?;
        let current = entry.metadata.version(&Stage::Current);
        if current.is_none_or(|current| current.version != version) {
            return Err(SourceError::Conflict { name: name.clone() });
        }
        if let Some(version) = entry.current_of(value) {
            return Ok(Stored::as_before(version));
        }
        Ok(self.store(&mut secrets, &NewSecret::new(name.clone(), value.duplicate())))
    }

    async fn promote(&self, name: &SecretName) -> Result<Stored, SourceError> {
        let mut secrets = self.lock();
        let entry = secrets.get_mut(name).ok_or_else(|| SourceError::NotFound { name: name.clone() })?;
        let pending = entry.metadata.version(&Stage::Pending).map(|version| version.version.clone());
        let pending =
            pending.ok_or_else(|| SourceError::NoSuchStage { name: name.clone(), stage: Stage::Pending })?;
        entry.leave_stage(&Stage::Pending);
        entry.enter_stage(&pending, &Stage::Current, OffsetDateTime::now_utc());
        Ok(Stored::new(pending, false))
    }

    async fn delete(&self, name: &SecretName) -> Result<(), SourceError> {
        let removed = self.lock().remove(name);
        removed.map(drop).ok_or_else(|| SourceError::NotFound { name: name.clone() })
    }
}

impl Entry {
    /// The current version, if it has this value.
    fn current_of(&self, value: &SecretValue) -> Option<String> {
        let current = &self.metadata.version(&Stage::Current)?.version;
        self.values.get(current).filter(|there| there.same_as(value)).map(|_| current.clone())
    }

    fn describe(&mut self, secret: &NewSecret) {
        self.metadata.tags.extend(secret.tags.clone());
        self.metadata.expires = secret.expires.or(self.metadata.expires);
        let until_then = secret.expires.map(|at| at - OffsetDateTime::now_utc());
        let lifetime = secret.lifetime.or_else(|| until_then?.try_into().ok());
        self.metadata.lifetime = lifetime.or(self.metadata.lifetime);
        self.metadata.rotation = secret.rotation.or(self.metadata.rotation);
    }

    fn enter_stage(&mut self, version: &str, stage: &Stage, now: OffsetDateTime) {
        if *stage == Stage::Current {
            let before = self.metadata.version(&Stage::Current).map(|current| current.version.clone());
            if let Some(before) = before {
                self.leave_stage(&Stage::Previous);
                self.add_stage(&before, &Stage::Previous);
            }
            self.metadata.changed = Some(now);
            self.metadata.rotate_by = self.metadata.rotation.map(|policy| now + policy.every);
        }
        self.leave_stage(stage);
        self.add_stage(version, stage);
        let Self { metadata, values } = self;
        metadata.versions.retain(|version| !version.stages.is_empty());
        values.retain(|version, _| metadata.versions.iter().any(|kept| kept.version == *version));
    }

    fn add_stage(&mut self, version: &str, stage: &Stage) {
        let found = self.metadata.versions.iter_mut().find(|candidate| candidate.version == version);
        found.into_iter().for_each(|found| found.stages.push(stage.clone()));
    }

    fn leave_stage(&mut self, stage: &Stage) {
        self.metadata.versions.iter_mut().for_each(|version| version.stages.retain(|held| held != stage));
    }
}
