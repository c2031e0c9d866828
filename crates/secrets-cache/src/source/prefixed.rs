//! A decorator that keeps a program's secrets under one prefix, such as `gaara-store/prod/`.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::{ListPage, ListRequest, NewSecret, SecretSource, Stored};
use crate::error::SourceError;
use crate::name::{NameError, SecretName};
use crate::secret::{Secret, SecretMetadata, Stage};
use crate::value::SecretValue;

/// Adds a prefix to every name in requests, and removes it in results.
///
/// Names outside the prefix are neither listed nor reachable. Errors keep the whole name, which is the one to look
/// for in the source.
pub struct Prefixed {
    source: Arc<dyn SecretSource>,
    prefix: Box<str>,
}

impl Prefixed {
    /// Keeps to a prefix. It must end in a separator, such as `/`: without one, prefix and name run together.
    ///
    /// # Errors
    /// [`NameError`] if no name can begin so.
    pub fn new(source: Arc<dyn SecretSource>, prefix: &str) -> Result<Self, NameError> {
        if prefix.ends_with(char::is_alphanumeric) {
            return Err(NameError::Prefix);
        }
        SecretName::new(&format!("{prefix}x"))?;
        Ok(Self { source, prefix: prefix.into() })
    }

    fn inside(&self, name: &SecretName) -> Result<SecretName, SourceError> {
        Ok(SecretName::new(&format!("{}{name}", self.prefix))?)
    }

    fn outside(&self, mut secret: SecretMetadata) -> Option<SecretMetadata> {
        secret.name = SecretName::new(secret.name.as_str().strip_prefix(&*self.prefix)?).ok()?;
        Some(secret)
    }
}

#[async_trait]
impl SecretSource for Prefixed {
    fn id(&self) -> Arc<str> {
        self.source.id()
    }

    /// Without the prefix, which the source may spell in its own way.
    fn own_name(&self, name: &SecretName) -> SecretName {
        let own = self.inside(name).map(|inside| self.source.own_name(&inside));
        let rest = own.ok().and_then(|own| {
            let rest = own.as_str().get(self.prefix.len()..)?;
            SecretName::new(rest).ok()
        });
        rest.unwrap_or_else(|| name.clone())
    }

    fn keeps_schedule(&self) -> bool {
        self.source.keeps_schedule()
    }

    fn is_transactional(&self) -> bool {
        self.source.is_transactional()
    }

    fn check(&self, name: &SecretName, value: &SecretValue) -> Result<(), SourceError> {
        self.source.check(&self.inside(name)?, value)
    }

    async fn get(&self, name: &SecretName, stage: &Stage) -> Result<Secret, SourceError> {
        let mut secret = self.source.get(&self.inside(name)?, stage).await?;
        secret.name = name.clone();
        Ok(secret)
    }

    async fn get_many(&self, names: &[SecretName]) -> Result<Vec<Result<Secret, SourceError>>, SourceError> {
        let inside: Vec<SecretName> = names.iter().map(|name| self.inside(name)).collect::<Result<_, _>>()?;
        let mut answers = self.source.get_many(&inside).await?;
        for (answer, name) in answers.iter_mut().zip(names) {
            if let Ok(secret) = answer {
                secret.name = name.clone();
            }
        }
        Ok(answers)
    }

    async fn describe(&self, name: &SecretName) -> Result<SecretMetadata, SourceError> {
        let mut secret = self.source.describe(&self.inside(name)?).await?;
        secret.name = name.clone();
        Ok(secret)
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, SourceError> {
        let mut inside = request.clone();
        inside.prefix.insert_str(0, &self.prefix);
        let page = self.source.list(&inside).await?;
        Ok(ListPage::new(
            page.secrets.into_iter().filter_map(|secret| self.outside(secret)).collect(),
            page.next,
        ))
    }

    async fn put(&self, secret: &NewSecret) -> Result<Stored, SourceError> {
        self.source.put(&secret.renamed(self.inside(&secret.name)?)).await
    }

    async fn put_all(
        &self,
        secrets: BoxStream<'_, Result<NewSecret, SourceError>>,
    ) -> Result<u64, SourceError> {
        let inside = secrets.map(|secret| {
            let mut secret = secret?;
            secret.name = self.inside(&secret.name)?;
            Ok(secret)
        });
        self.source.put_all(inside.boxed()).await
    }

    async fn rotate(&self, name: &SecretName, value: &SecretValue) -> Result<Stored, SourceError> {
        self.source.rotate(&self.inside(name)?, value).await
    }

    async fn rotate_if(
        &self,
        name: &SecretName,
        value: &SecretValue,
        version: &str,
    ) -> Result<Stored, SourceError> {
        self.source.rotate_if(&self.inside(name)?, value, version).await
    }

    async fn promote(&self, name: &SecretName) -> Result<Stored, SourceError> {
        self.source.promote(&self.inside(name)?).await
    }

    async fn delete(&self, name: &SecretName) -> Result<(), SourceError> {
        self.source.delete(&self.inside(name)?).await
    }
}
