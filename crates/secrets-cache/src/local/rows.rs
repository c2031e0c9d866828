//! From the file's rows to what is known about secrets.

use std::collections::HashMap;
use std::time::Duration;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use time::OffsetDateTime;

use crate::error::SourceError;
use crate::name::SecretName;
use crate::secret::{RotationPolicy, SecretMetadata, Stage, VersionMetadata};

/// The columns that [`metadata`] reads.
pub(super) const COLUMNS: &str =
    "s.id, s.name, s.created_ms, s.changed_ms, s.expires_ms, s.every_ms, s.grace_ms";

pub(super) fn metadata(row: &SqliteRow) -> Result<(i64, SecretMetadata), SourceError> {
    let mut secret = SecretMetadata::new(SecretName::new(row.get("name"))?);
    secret.created = Some(time(row.get("created_ms")));
    let changed = time(row.get("changed_ms"));
    secret.changed = Some(changed);
    secret.expires = row.get::<Option<i64>, _>("expires_ms").map(time);
    secret.rotation = policy(row);
    secret.rotate_by = secret.rotation.map(|policy| changed + policy.every);
    Ok((row.get("id"), secret))
}

/// Adds versions and tags to a page of secrets; values are in a table that is not touched.
pub(super) async fn complete(
    connection: &mut SqliteConnection,
    page: Vec<(i64, SecretMetadata)>,
) -> Result<Vec<SecretMetadata>, sqlx::Error> {
    let ids = serde_json::json!(page.iter().map(|(id, _)| id).collect::<Vec<_>>()).to_string();
    let mut versions: HashMap<i64, Vec<VersionMetadata>> = HashMap::new();
    let query = "SELECT secret, version, stage, created_ms FROM versions \
                 WHERE secret IN (SELECT value FROM json_each(?)) ORDER BY secret, stage";
    for row in sqlx::query(query).bind(&ids).fetch_all(&mut *connection).await? {
        let stage = Stage::from(row.get::<&str, _>("stage"));
        let created = Some(time(row.get("created_ms")));
        let version = VersionMetadata::new(row.get::<String, _>("version"), vec![stage], created);
        versions.entry(row.get("secret")).or_default().push(version);
    }
    let mut tags: HashMap<i64, Vec<(String, String)>> = HashMap::new();
    let query = "SELECT secret, name, value FROM tags WHERE secret IN (SELECT value FROM json_each(?))";
    for row in sqlx::query(query).bind(&ids).fetch_all(&mut *connection).await? {
        tags.entry(row.get("secret")).or_default().push((row.get("name"), row.get("value")));
    }
    let complete = |(id, mut secret): (i64, SecretMetadata)| {
        secret.versions = versions.remove(&id).unwrap_or_default();
        secret.tags = tags.remove(&id).into_iter().flatten().collect();
        secret
    };
    Ok(page.into_iter().map(complete).collect())
}

pub(super) fn time(ms: i64) -> OffsetDateTime {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    at.unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

pub(super) fn milliseconds(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

pub(super) fn duration_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn policy(row: &SqliteRow) -> Option<RotationPolicy> {
    let duration =
        |column| row.get::<Option<i64>, _>(column).map(|ms| Duration::from_millis(ms.unsigned_abs()));
    let grace = duration("grace_ms").unwrap_or(RotationPolicy::DEFAULT_GRACE);
    duration("every_ms").map(|every| RotationPolicy { every, grace })
}
