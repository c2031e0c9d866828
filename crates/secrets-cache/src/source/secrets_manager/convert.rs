//! From the service's answers to secrets.

use std::collections::HashMap;

use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueOutput;
use aws_sdk_secretsmanager::primitives::{Blob, DateTime};
use aws_sdk_secretsmanager::types::{SecretListEntry, SecretValueEntry, Tag};
use time::OffsetDateTime;

use super::ID;
use crate::error::SourceError;
use crate::name::SecretName;
use crate::secret::{Secret, SecretMetadata, Stage, VersionMetadata};
use crate::value::SecretValue;

pub(super) fn from_get(name: &SecretName, answer: GetSecretValueOutput) -> Result<Secret, SourceError> {
    let value = value(name, answer.secret_string, answer.secret_binary)?;
    Ok(Secret::new(name.clone(), value, ID)
        .with_version(answer.version_id.unwrap_or_default(), stages(answer.version_stages.as_deref()))
        .with_times(time(answer.created_date.as_ref()), None))
}

pub(super) fn from_batch(name: &SecretName, answer: SecretValueEntry) -> Result<Secret, SourceError> {
    let value = value(name, answer.secret_string, answer.secret_binary)?;
    Ok(Secret::new(name.clone(), value, ID)
        .with_version(answer.version_id.unwrap_or_default(), stages(answer.version_stages.as_deref()))
        .with_times(time(answer.created_date.as_ref()), None))
}

pub(super) fn from_description(name: &SecretName, answer: &DescribeSecretOutput) -> SecretMetadata {
    let mut secret = SecretMetadata::new(name.clone());
    secret.versions = versions(answer.version_ids_to_stages());
    secret.created = time(answer.created_date());
    secret.changed = time(answer.last_changed_date());
    secret.rotate_by = time(answer.next_rotation_date());
    secret.tags = tags(answer.tags());
    secret
}

pub(super) fn from_list(entry: &SecretListEntry) -> Option<SecretMetadata> {
    let mut secret = SecretMetadata::new(SecretName::new(entry.name()?).ok()?);
    secret.versions = versions(entry.secret_versions_to_stages());
    secret.created = time(entry.created_date());
    secret.changed = time(entry.last_changed_date());
    secret.rotate_by = time(entry.next_rotation_date());
    secret.tags = tags(entry.tags());
    Some(secret)
}

fn value(name: &SecretName, text: Option<String>, binary: Option<Blob>) -> Result<SecretValue, SourceError> {
    match (text, binary) {
        (Some(text), _) => Ok(SecretValue::text(text)),
        (None, Some(bytes)) => Ok(SecretValue::binary(bytes.into_inner())),
        (None, None) => Err(SourceError::NoSuchStage { name: name.clone(), stage: Stage::Current }),
    }
}

fn versions(ids: Option<&HashMap<String, Vec<String>>>) -> Vec<VersionMetadata> {
    let ids = ids.into_iter().flatten();
    let mut versions: Vec<VersionMetadata> =
        ids.map(|(id, labels)| VersionMetadata::new(id, stages(Some(labels)), None)).collect();
    versions.sort_by(|a, b| {
        let key =
            |version: &VersionMetadata| (!version.stages.contains(&Stage::Current), version.stages.clone());
        key(a).cmp(&key(b))
    });
    versions
}

fn stages(labels: Option<&[String]>) -> Vec<Stage> {
    labels.unwrap_or_default().iter().map(|label| Stage::from(label.as_str())).collect()
}

fn tags(tags: &[Tag]) -> std::collections::BTreeMap<String, String> {
    let pair = |tag: &Tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()));
    tags.iter().filter_map(pair).collect()
}

fn time(at: Option<&DateTime>) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(at?.as_nanos()).ok()
}
