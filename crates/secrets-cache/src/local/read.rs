//! Reading from the store.

use std::collections::HashMap;

use envelope_core::format::node_json::Accepted;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};
use time::OffsetDateTime;

use super::record::{Record, Version};
use super::trust::Trust;
use super::{ID, LocalStore, rows, sealing};
use crate::error::{self, SourceError};
use crate::name::SecretName;
use crate::secret::{Secret, SecretMetadata, Stage};
use crate::source::{ListPage, ListRequest};

pub(super) async fn get(store: &LocalStore, name: &SecretName, stage: &Stage) -> Result<Secret, SourceError> {
    let failed = |error| SourceError::storage(error::GET, error);
    let known = store.remembered()?;
    // A transaction, so that a secret and the data that it is checked against are of one moment.
    let mut transaction = store.begin().await.map_err(failed)?;
    let trust = Trust::read(store, &mut transaction, &known).await?;
    let record = find(&mut transaction, name, &trust).await.map_err(failed)?;
    if let Some(record) = &record {
        trust.check(record, name)?;
    }
    trust.check_absence_or_presence(&mut transaction, name).await?;
    secret(store, name, stage, record.as_ref(), trust.accepted())
}

pub(super) async fn get_many(
    store: &LocalStore,
    names: &[SecretName],
) -> Result<Vec<Result<Secret, SourceError>>, SourceError> {
    let failed = |error| SourceError::storage(error::GET_MANY, error);
    let known = store.remembered()?;
    let mut transaction = store.begin().await.map_err(failed)?;
    let trust = Trust::read(store, &mut transaction, &known).await?;
    let wanted = serde_json::json!(names.iter().map(SecretName::as_str).collect::<Vec<_>>()).to_string();
    let query = "SELECT id FROM secrets WHERE name IN (SELECT value FROM json_each(?))";
    let ids = sqlx::query(query).bind(wanted).fetch_all(&mut *transaction).await.map_err(failed)?;
    let ids: Vec<i64> = ids.iter().map(|row| row.get(0)).collect();
    let records = Record::load(&mut transaction, &ids, trust.has_seals()).await.map_err(failed)?;
    trust.check_buckets(&mut transaction, names).await?;
    let records: HashMap<&str, &Record> = records.iter().map(|record| (&*record.name, record)).collect();
    let answer = |name: &SecretName| {
        let record = records.get(name.as_str()).copied();
        record.map_or(Ok(()), |record| trust.check(record, name))?;
        secret(store, name, &Stage::Current, record, trust.accepted())
    };
    Ok(names.iter().map(answer).collect())
}

pub(super) async fn describe(store: &LocalStore, name: &SecretName) -> Result<SecretMetadata, SourceError> {
    let failed = |error| SourceError::storage(error::DESCRIBE, error);
    let known = store.remembered()?;
    let mut transaction = store.begin().await.map_err(failed)?;
    let trust = Trust::read(store, &mut transaction, &known).await?;
    let record = find(&mut transaction, name, &trust).await.map_err(failed)?;
    if let Some(record) = &record {
        trust.check(record, name)?;
    }
    trust.check_absence_or_presence(&mut transaction, name).await?;
    rows::metadata(&record.ok_or_else(|| SourceError::NotFound { name: name.clone() })?)
}

pub(super) async fn list(store: &LocalStore, request: &ListRequest) -> Result<ListPage, SourceError> {
    let failed = |error| SourceError::storage(error::LIST, error);
    let known = store.remembered()?;
    let mut transaction = store.begin().await.map_err(failed)?;
    let trust = Trust::read(store, &mut transaction, &known).await?;
    if request.cursor.is_none() {
        trust.check_all(&mut transaction).await?;
    }
    // Names order by their bytes, and U+10FFFF is the greatest next character of a name.
    let query = "SELECT s.id, s.name FROM secrets s WHERE s.name > ?1 AND s.name >= ?2 AND s.name < ?2 || char(1114111) \
         AND NOT EXISTS (SELECT 1 FROM json_each(?3) wanted WHERE NOT EXISTS \
            (SELECT 1 FROM tags t WHERE t.secret = s.id AND t.name = wanted.key AND t.value = wanted.value)) \
         ORDER BY s.name LIMIT ?4";
    let limit = request.limit.max(1);
    let tags = serde_json::json!(request.tags).to_string();
    let found = sqlx::query(AssertSqlSafe(query))
        .bind(request.cursor.clone().unwrap_or_default())
        .bind(request.prefix.clone())
        .bind(tags)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&mut *transaction)
        .await
        .map_err(failed)?;
    let ids: Vec<i64> = found.iter().map(|row: &SqliteRow| row.get("id")).collect();
    let next = found.last().filter(|_| found.len() == limit).map(|last| last.get::<String, _>("name"));
    let records = Record::load(&mut transaction, &ids, trust.has_seals()).await.map_err(failed)?;
    let listed = |record: &Record| -> Result<SecretMetadata, SourceError> {
        let mut secret = rows::metadata(record)?;
        secret.is_authentic = trust.is_authentic(record);
        Ok(secret)
    };
    Ok(ListPage::new(records.iter().map(listed).collect::<Result<_, _>>()?, next))
}

async fn find(
    connection: &mut SqliteConnection,
    name: &SecretName,
    trust: &Trust<'_>,
) -> Result<Option<Record>, sqlx::Error> {
    let query = sqlx::query("SELECT id FROM secrets WHERE name = ?").bind(name.as_str());
    let Some(row) = query.fetch_optional(&mut *connection).await? else {
        return Ok(None);
    };
    let records = Record::load(connection, &[row.get(0)], trust.has_seals()).await?;
    Ok(records.into_iter().next())
}

fn secret(
    store: &LocalStore,
    name: &SecretName,
    stage: &Stage,
    record: Option<&Record>,
    accepted: Accepted,
) -> Result<Secret, SourceError> {
    let record = record.ok_or_else(|| SourceError::NotFound { name: name.clone() })?;
    let now = now_ms();
    if let Some(at) = record.expires_ms.filter(|&at| at <= now) {
        return Err(SourceError::Expired { name: name.clone(), at: rows::time(at) });
    }
    let served = |version: &&Version| version.until_ms.is_none_or(|until| until > now);
    let version = record.version(stage.label()).filter(served);
    let version =
        version.ok_or_else(|| SourceError::NoSuchStage { name: name.clone(), stage: stage.clone() })?;
    let value = sealing::open(&*store.ring, name, &version.envelope, version.is_binary, accepted)?;
    Ok(Secret::new(name.clone(), value, ID)
        .with_version(version.version.clone(), vec![stage.clone()])
        .with_times(Some(rows::time(version.created_ms)), record.expires_ms.map(rows::time)))
}

pub(super) fn now_ms() -> i64 {
    rows::milliseconds(OffsetDateTime::now_utc())
}
