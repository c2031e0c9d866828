//! A decorator that writes an audit event and a count for every request to a source.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::{ListPage, ListRequest, NewSecret, SecretSource, Stored};
use crate::audit::{self, Record};
use crate::error::SourceError;
use crate::metrics::{GET, Metrics};
use crate::name::SecretName;
use crate::secret::{Secret, SecretMetadata, Stage};
use crate::value::SecretValue;

/// Audits a source on behalf of an actor. [`SecretsCache`](crate::SecretsCache) has it built in.
pub struct Audited {
    source: Arc<dyn SecretSource>,
    actor: Arc<str>,
    metrics: Option<Arc<Metrics>>,
}

impl Audited {
    /// `actor` is the caller: the name of the service or of the operator.
    #[must_use]
    pub fn new(source: Arc<dyn SecretSource>, actor: impl Into<Arc<str>>) -> Self {
        Self { source, actor: actor.into(), metrics: None }
    }

    /// Counts as well.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Arc<Metrics>) -> Self {
        metrics.begin(&self.source.id());
        self.metrics = Some(metrics);
        self
    }

    pub(crate) fn actor(&self) -> &str {
        &self.actor
    }

    fn count<T>(&self, operation: &'static str, outcome: Result<&T, &SourceError>) {
        if let Some(metrics) = &self.metrics {
            metrics.access(&self.source.id(), operation, outcome.err());
        }
    }

    fn fetched(&self, name: &SecretName, stage: &Stage, outcome: &Result<Secret, SourceError>) {
        self.count(GET, outcome.as_ref());
        match outcome {
            Ok(secret) => {
                let record = Record::of(name).by(&self.actor).stage(stage);
                audit::done(audit::SECRET_RETRIEVED, record.version(&secret.version).source(&secret.source));
                if let Some(metrics) = &self.metrics {
                    metrics.fetched(secret);
                }
            }
            Err(error) => {
                let source = self.source.id();
                audit::failed(Record::of(name).by(&self.actor).stage(stage).source(&source), error);
            }
        }
    }

    fn changed(
        &self,
        event: &'static str,
        operation: &'static str,
        name: &SecretName,
        outcome: Result<&Stored, &SourceError>,
    ) {
        self.count(operation, outcome);
        let source = self.source.id();
        let record = Record::of(name).by(&self.actor).source(&source);
        match outcome {
            Ok(stored) => audit::done(event, record.version(&stored.version)),
            Err(error) => audit::failed(record, error),
        }
    }
}

#[async_trait]
impl SecretSource for Audited {
    fn id(&self) -> Arc<str> {
        self.source.id()
    }

    fn own_name(&self, name: &SecretName) -> SecretName {
        self.source.own_name(name)
    }

    fn keeps_schedule(&self) -> bool {
        self.source.keeps_schedule()
    }

    fn is_transactional(&self) -> bool {
        self.source.is_transactional()
    }

    fn check(&self, name: &SecretName, value: &SecretValue) -> Result<(), SourceError> {
        self.source.check(name, value)
    }

    async fn get(&self, name: &SecretName, stage: &Stage) -> Result<Secret, SourceError> {
        let outcome = self.source.get(name, stage).await;
        self.fetched(name, stage, &outcome);
        outcome
    }

    async fn get_many(&self, names: &[SecretName]) -> Result<Vec<Result<Secret, SourceError>>, SourceError> {
        let outcome = self.source.get_many(names).await;
        match &outcome {
            Ok(answers) => {
                for (name, answer) in names.iter().zip(answers) {
                    self.fetched(name, &Stage::Current, answer);
                }
            }
            Err(error) => {
                for name in names {
                    self.fetched(name, &Stage::Current, &Err(error.clone()));
                }
            }
        }
        outcome
    }

    async fn describe(&self, name: &SecretName) -> Result<SecretMetadata, SourceError> {
        let outcome = self.source.describe(name).await;
        self.count("describe", outcome.as_ref());
        outcome
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, SourceError> {
        let outcome = self.source.list(request).await;
        self.count("list", outcome.as_ref());
        outcome
    }

    async fn put(&self, secret: &NewSecret) -> Result<Stored, SourceError> {
        let outcome = self.source.put(secret).await;
        self.changed(audit::SECRET_STORED, "put", &secret.name, outcome.as_ref());
        outcome
    }

    async fn put_all(
        &self,
        secrets: BoxStream<'_, Result<NewSecret, SourceError>>,
    ) -> Result<u64, SourceError> {
        let mut names = Vec::new();
        let seen = secrets.inspect(|secret| names.extend(secret.as_ref().ok().map(|new| new.name.clone())));
        let outcome = self.source.put_all(seen.boxed()).await;
        self.count("put_all", outcome.as_ref());
        if outcome.is_ok() {
            // Only now is it certain that none of them was rolled back.
            let source = self.source.id();
            for name in &names {
                audit::done(audit::SECRET_STORED, Record::of(name).by(&self.actor).source(&source));
            }
        }
        outcome
    }

    async fn rotate(&self, name: &SecretName, value: &SecretValue) -> Result<Stored, SourceError> {
        let outcome = self.source.rotate(name, value).await;
        self.changed(audit::SECRET_ROTATED, "rotate", name, outcome.as_ref());
        outcome
    }

    async fn rotate_if(
        &self,
        name: &SecretName,
        value: &SecretValue,
        version: &str,
    ) -> Result<Stored, SourceError> {
        let outcome = self.source.rotate_if(name, value, version).await;
        self.changed(audit::SECRET_ROTATED, "rotate", name, outcome.as_ref());
        outcome
    }

    async fn promote(&self, name: &SecretName) -> Result<Stored, SourceError> {
        let outcome = self.source.promote(name).await;
        self.changed(audit::SECRET_ROTATED, "promote", name, outcome.as_ref());
        outcome
    }

    async fn delete(&self, name: &SecretName) -> Result<(), SourceError> {
        let outcome = self.source.delete(name).await;
        self.count("delete", outcome.as_ref());
        let source = self.source.id();
        let record = Record::of(name).by(&self.actor).source(&source);
        match &outcome {
            Ok(()) => audit::done(audit::SECRET_DELETED, record),
            Err(error) => audit::failed(record, error),
        }
        outcome
    }
}
