//! AWS Secrets Manager as a source.

mod convert;
mod failure;
mod rotation;
mod swap;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::primitives::Blob;
use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType, Tag};
use tracing::instrument::{WithDispatch, WithSubscriber};
use tracing::subscriber::NoSubscriber;

use self::failure::Asked;
pub use self::rotation::{NewVersion, Standing};
use super::{ListPage, ListRequest, NewSecret, Replaces, SecretSource, Stored, unsupported};
use crate::error::{self, SourceError, Unfit};
use crate::name::SecretName;
use crate::secret::{Secret, SecretMetadata, Stage};
use crate::value::SecretValue;

/// Most names that `BatchGetSecretValue` takes (`SecretIdList` in its reference).
const BATCH: usize = 20;
/// Longest value, in bytes (`SecretString` in the `CreateSecret` reference).
const MAX_VALUE_LEN: usize = 65_536;
/// Most secrets on a page of `ListSecrets` (`MaxResults` in its reference).
const PAGE: usize = 100;

pub(crate) const ID: &str = "secretsmanager";

/// Secrets in AWS Secrets Manager.
///
/// It needs `secretsmanager:GetSecretValue`, and `BatchGetSecretValue` to fetch several at once; for
/// [`rotate_if`](SecretSource::rotate_if) also `PutSecretValue`, `UpdateSecretVersionStage` and `DescribeSecret`. Expiry and rotation
/// policies are refused: the service has no expiry, and its rotation runs in a Lambda function of your own.
pub struct SecretsManager {
    client: Client,
}

impl SecretsManager {
    /// Uses a client. Its retries come before those of the cache.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    async fn batch(&self, names: &[SecretName]) -> Result<Vec<Result<Secret, SourceError>>, SourceError> {
        let mut found = HashMap::new();
        let mut token = None;
        loop {
            let request = self.client.batch_get_secret_value().set_next_token(token);
            let request = request.set_secret_id_list(Some(names.iter().map(SecretName::to_string).collect()));
            let answer = quiet(request.send()).await.map_err(|e| failure::of_many(error::GET_MANY, e))?;
            for value in answer.secret_values() {
                for id in [value.name(), value.arn()].into_iter().flatten() {
                    found.insert(id.to_owned(), Ok(value.clone()));
                }
            }
            for refused in answer.errors() {
                let id = refused.secret_id().unwrap_or_default().to_owned();
                found.insert(
                    id,
                    Err((refused.error_code().map(Into::into), refused.message().map(Into::into))),
                );
            }
            token = answer.next_token().map(Into::into);
            if token.is_none() {
                break;
            }
        }
        let mut answers = Vec::with_capacity(names.len());
        for name in names {
            answers.push(match found.remove(name.as_str()) {
                Some(Ok(value)) if value.secret_string().is_none() && value.secret_binary().is_none() => {
                    // Not every answer to a batch carries binary values.
                    self.get(name, &Stage::Current).await
                }
                Some(Ok(value)) => convert::from_batch(name, value),
                Some(Err((code, message))) => Err(failure::of_entry(
                    &Asked { operation: error::GET_MANY, name, stage: Some(&Stage::Current) },
                    code,
                    message,
                )),
                // Neither a value nor an error: only the secret's own answer says why.
                None => self.get(name, &Stage::Current).await,
            });
        }
        Ok(answers)
    }

    async fn create(&self, secret: &NewSecret) -> Result<Stored, SourceError> {
        let asked = Asked { operation: error::PUT, name: &secret.name, stage: None };
        let (text, binary) = payload(&secret.value);
        let tags = secret.tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
        let tags: Vec<Tag> = tags.collect();
        let request = self.client.create_secret().name(secret.name.as_str());
        let request = request.set_secret_string(text).set_secret_binary(binary);
        let request = request.set_tags((!tags.is_empty()).then_some(tags));
        let answer = quiet(request.send()).await.map_err(|e| failure::of_write(&asked, e))?;
        Ok(Stored::new(answer.version_id().unwrap_or_default(), true))
    }

    /// Gives a secret that has no current version a value. It needs no right to create secrets.
    async fn fill(&self, secret: &NewSecret) -> Result<Stored, SourceError> {
        let stored = self.swap(&secret.name, &secret.value, None, error::PUT).await?;
        self.tag(secret).await.map(|()| stored)
    }

    /// Stores a secret that is not there yet, or has no current version.
    async fn store_new(&self, secret: &NewSecret) -> Result<Stored, SourceError> {
        let conflict = match self.create(secret).await {
            Err(conflict @ SourceError::Conflict { .. }) => conflict,
            outcome => return outcome,
        };
        match self.get(&secret.name, &Stage::Current).await {
            Ok(there) if there.value.same_as(&secret.value) => {
                self.tag(secret).await.map(|()| Stored::as_before(there.version))
            }
            // Made by other means, for instance by Terraform, and still without a value: it is there, or `create` had made it.
            Err(SourceError::NoSuchStage { .. } | SourceError::NotFound { .. }) => self.fill(secret).await,
            Err(error) if error.is_outage() => Err(error),
            _ => Err(conflict),
        }
    }

    /// The current version, if it has this value: a new version of the same value would take the label of the previous one.
    async fn version_with(
        &self,
        name: &SecretName,
        value: &SecretValue,
    ) -> Result<Option<String>, SourceError> {
        let there = replaceable(self.get(name, &Stage::Current).await)?;
        Ok(there.filter(|there| there.value.same_as(value)).map(|there| there.version))
    }

    async fn put_version(
        &self,
        name: &SecretName,
        value: &SecretValue,
        stage: &Stage,
        operation: &'static str,
    ) -> Result<Stored, SourceError> {
        let (text, binary) = payload(value);
        let request = self.client.put_secret_value().secret_id(name.as_str());
        let request = request.set_secret_string(text).set_secret_binary(binary).version_stages(stage.label());
        let asked = Asked { operation, name, stage: None };
        let answer = quiet(request.send()).await.map_err(|e| failure::of_write(&asked, e))?;
        Ok(Stored::new(answer.version_id().unwrap_or_default(), false))
    }

    async fn tag(&self, secret: &NewSecret) -> Result<(), SourceError> {
        if secret.tags.is_empty() {
            return Ok(());
        }
        let tags = secret.tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
        let request =
            self.client.tag_resource().secret_id(secret.name.as_str()).set_tags(Some(tags.collect()));
        let asked = Asked { operation: error::PUT, name: &secret.name, stage: None };
        request.send().await.map_err(|e| failure::of_write(&asked, e))?;
        Ok(())
    }
}

/// The version that a new value replaces, as far as it can be read. A value for a secret that is scheduled for deletion would not
/// be served.
fn replaceable(current: Result<Secret, SourceError>) -> Result<Option<Secret>, SourceError> {
    match current {
        Err(scheduled @ SourceError::PendingDeletion { .. }) => Err(scheduled),
        current => super::readable(current),
    }
}

#[async_trait]
impl SecretSource for SecretsManager {
    fn id(&self) -> Arc<str> {
        ID.into()
    }

    fn keeps_schedule(&self) -> bool {
        false
    }

    /// The limits of the `CreateSecret` reference.
    fn check(&self, name: &SecretName, value: &SecretValue) -> Result<(), SourceError> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "/_+=.@-".contains(c);
        let reason = match value.len() {
            0 => Unfit::Empty,
            _ if !name.as_str().chars().all(is_allowed) => Unfit::NameCharacter,
            actual if actual > MAX_VALUE_LEN => Unfit::TooLong { actual, limit: MAX_VALUE_LEN },
            _ => return Ok(()),
        };
        Err(SourceError::Unfit { name: name.clone(), reason })
    }

    async fn get(&self, name: &SecretName, stage: &Stage) -> Result<Secret, SourceError> {
        // The stage is always said: without one, some implementations answer with an old version.
        let request = self.client.get_secret_value().secret_id(name.as_str()).version_stage(stage.label());
        let asked = Asked { operation: error::GET, name, stage: Some(stage) };
        let answer = quiet(request.send()).await.map_err(|e| failure::of(&asked, e))?;
        convert::from_get(name, answer)
    }

    async fn get_many(&self, names: &[SecretName]) -> Result<Vec<Result<Secret, SourceError>>, SourceError> {
        let mut answers = Vec::with_capacity(names.len());
        for batch in names.chunks(BATCH) {
            match self.batch(batch).await {
                Ok(found) => answers.extend(found),
                // One name that the service refuses fails a batch as a whole.
                Err(SourceError::Invalid { .. }) => {
                    for name in batch {
                        answers.push(self.get(name, &Stage::Current).await);
                    }
                }
                // The other batches' values are not thrown away.
                Err(error) => answers.extend(batch.iter().map(|_| Err(error.clone()))),
            }
        }
        Ok(answers)
    }

    async fn describe(&self, name: &SecretName) -> Result<SecretMetadata, SourceError> {
        let asked = Asked { operation: error::DESCRIBE, name, stage: None };
        let request = self.client.describe_secret().secret_id(name.as_str());
        let answer = request.send().await.map_err(|e| failure::of(&asked, e))?;
        Ok(convert::from_description(name, &answer))
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, SourceError> {
        let limit = i32::try_from(request.limit.clamp(1, PAGE)).unwrap_or(1);
        let mut call = self.client.list_secrets().max_results(limit).set_next_token(request.cursor.clone());
        if !request.prefix.is_empty() {
            call = call.filters(filter(FilterNameStringType::Name, &request.prefix));
        }
        for (name, value) in &request.tags {
            call = call.filters(filter(FilterNameStringType::TagKey, name));
            call = call.filters(filter(FilterNameStringType::TagValue, value));
        }
        let answer = call.send().await.map_err(|e| failure::of_many(error::LIST, e))?;
        // The service matches tag names and values apart from each other, so the pairs are checked here.
        let secrets = answer.secret_list().iter().filter_map(convert::from_list);
        let secrets = secrets.filter(|secret| request.matches(secret)).collect();
        Ok(ListPage::new(secrets, answer.next_token().map(Into::into)))
    }

    async fn put(&self, secret: &NewSecret) -> Result<Stored, SourceError> {
        self.check(&secret.name, &secret.value)?;
        if secret.expires.is_some() {
            return Err(unsupported(self.id(), "let a secret expire"));
        }
        if secret.rotation.is_some() {
            return Err(unsupported(self.id(), "keep a rotation policy without a rotation function"));
        }
        if secret.stage == Stage::Current {
            let there = self.get(&secret.name, &Stage::Current).await;
            let has_no_value = matches!(there, Err(SourceError::NoSuchStage { .. }));
            if let Some(there) = replaceable(there)?.filter(|there| there.holds(&secret.value)) {
                return self.tag(secret).await.map(|()| Stored::as_before(there.version));
            }
            match &secret.replaces {
                Replaces::Anything => {}
                Replaces::Nothing if has_no_value => return self.fill(secret).await,
                Replaces::Nothing => return self.store_new(secret).await,
                Replaces::Version(version) => {
                    let stored = self.swap(&secret.name, &secret.value, Some(version), error::PUT).await?;
                    return self.tag(secret).await.map(|()| stored);
                }
            }
        }
        match self.put_version(&secret.name, &secret.value, &secret.stage, error::PUT).await {
            Ok(stored) => self.tag(secret).await.map(|()| stored),
            Err(SourceError::NotFound { .. }) if secret.stage == Stage::Current => self.create(secret).await,
            Err(error) => Err(error),
        }
    }

    async fn rotate(&self, name: &SecretName, value: &SecretValue) -> Result<Stored, SourceError> {
        self.check(name, value)?;
        match self.version_with(name, value).await? {
            Some(version) => Ok(Stored::as_before(version)),
            None => self.put_version(name, value, &Stage::Current, error::ROTATE).await,
        }
    }

    async fn rotate_if(
        &self,
        name: &SecretName,
        value: &SecretValue,
        version: &str,
    ) -> Result<Stored, SourceError> {
        self.check(name, value)?;
        match self.version_with(name, value).await? {
            Some(there) if there == version => Ok(Stored::as_before(there)),
            _ => self.swap(name, value, Some(version), error::ROTATE).await,
        }
    }

    async fn promote(&self, name: &SecretName) -> Result<Stored, SourceError> {
        let known = self.describe(name).await?;
        let version_under = |stage: &Stage| {
            let missing = || SourceError::NoSuchStage { name: name.clone(), stage: stage.clone() };
            known.version(stage).map(|version| version.version.clone()).ok_or_else(missing)
        };
        let (pending, current) = (version_under(&Stage::Pending)?, version_under(&Stage::Current)?);
        let asked = Asked { operation: error::PROMOTE, name, stage: None };
        let request = self.client.update_secret_version_stage().secret_id(name.as_str());
        let request = request.version_stage(Stage::Current.label());
        let request = request.move_to_version_id(&pending).remove_from_version_id(current);
        request.send().await.map_err(|e| failure::of_write(&asked, e))?;
        let request = self.client.update_secret_version_stage().secret_id(name.as_str());
        let request = request.version_stage(Stage::Pending.label()).remove_from_version_id(&pending);
        request.send().await.map_err(|e| failure::of_write(&asked, e))?;
        Ok(Stored::new(pending, false))
    }

    /// Deletes a secret; for the service's default recovery window of 30 days it can be restored.
    async fn delete(&self, name: &SecretName) -> Result<(), SourceError> {
        let asked = Asked { operation: error::DELETE, name, stage: None };
        let request = self.client.delete_secret().secret_id(name.as_str());
        request.send().await.map_err(|e| failure::of(&asked, e))?;
        Ok(())
    }
}

/// Keeps the SDK's own log lines away from every subscriber: at level TRACE it writes whole answers into them.
fn quiet<F: Future>(call: F) -> WithDispatch<F> {
    call.with_subscriber(NoSubscriber::new())
}

fn filter(key: FilterNameStringType, value: &str) -> Filter {
    Filter::builder().key(key).values(value).build()
}

fn payload(value: &SecretValue) -> (Option<String>, Option<Blob>) {
    match value.expose_text() {
        Some(text) => (Some(text.to_owned()), None),
        None => (None, Some(Blob::new(value.expose_bytes()))),
    }
}
