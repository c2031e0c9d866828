//! Reading from the store.

use std::collections::HashMap;

use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row};
use time::OffsetDateTime;

use super::{ID, LocalStore, rows, sealing};
use crate::error::{self, SourceError};
use crate::inventory::Inventory;
use crate::name::SecretName;
use crate::secret::{Secret, SecretMetadata, Stage};
use crate::source::{ListPage, ListRequest};

const STATUS: &str = "count what is in the store";

/// What the store holds, without any value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStatus {
    /// Secrets and versions, expired and due.
    pub inventory: Inventory,
    /// Expired secrets that were cleaned up since the store was made.
    pub cleaned_up: u64,
    /// Versions by the data key that they are sealed under.
    pub keys: Vec<KeyUse>,
}

/// How many versions are sealed under a data key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyUse {
    /// The data key.
    pub key_id: String,
    /// Whether it is the one that new values are sealed under.
    pub active: bool,
    /// Versions under it.
    pub versions: u64,
}

impl LocalStore {
    /// Counts what is in the store.
    ///
    /// # Errors
    /// [`SourceError::Storage`].
    pub async fn status(&self) -> Result<StoreStatus, SourceError> {
        let failed = |error| SourceError::storage(STATUS, error);
        let query = "SELECT count(*) AS secrets, (SELECT count(*) FROM versions) AS versions, \
                     count(*) FILTER (WHERE expires_ms <= ?1) AS expired, \
                     count(*) FILTER (WHERE changed_ms + every_ms <= ?1) AS due, \
                     (SELECT coalesce(sum(value), 0) FROM counters WHERE name = 'cleaned_up') AS cleaned_up \
                     FROM secrets";
        let row = sqlx::query(query).bind(now_ms()).fetch_one(&self.pool).await.map_err(failed)?;
        let count = |column| row.get::<i64, _>(column).unsigned_abs();
        let inventory = Inventory {
            secrets: count("secrets"),
            versions: count("versions"),
            expired: count("expired"),
            due: count("due"),
        };
        let query = "SELECT key_id, count(*) AS versions FROM versions GROUP BY key_id ORDER BY key_id";
        let keys = sqlx::query(query).fetch_all(&self.pool).await.map_err(failed)?;
        let active = self.ring.active().0;
        let key = |row: &SqliteRow| {
            let key_id: String = row.get("key_id");
            KeyUse {
                active: key_id == active,
                versions: row.get::<i64, _>("versions").unsigned_abs(),
                key_id,
            }
        };
        Ok(StoreStatus { inventory, cleaned_up: count("cleaned_up"), keys: keys.iter().map(key).collect() })
    }
}

const VALUE: &str = "SELECT s.name, s.expires_ms, v.version, v.stage, v.is_binary, v.created_ms, v.until_ms, \
                     e.envelope FROM secrets s LEFT JOIN versions v ON v.secret = s.id AND v.stage = ?1 \
                     LEFT JOIN envelopes e ON e.version = v.id";

pub(super) async fn get(store: &LocalStore, name: &SecretName, stage: &Stage) -> Result<Secret, SourceError> {
    let query = sqlx::query(AssertSqlSafe(format!("{VALUE} WHERE s.name = ?2")));
    let row = query.bind(stage.label()).bind(name.as_str()).fetch_optional(&store.pool).await;
    let row = row.map_err(|error| SourceError::storage(error::GET, error))?;
    secret(store, name, stage, row.as_ref())
}

pub(super) async fn get_many(
    store: &LocalStore,
    names: &[SecretName],
) -> Result<Vec<Result<Secret, SourceError>>, SourceError> {
    let query = format!("{VALUE} WHERE s.name IN (SELECT value FROM json_each(?2))");
    let wanted = serde_json::json!(names.iter().map(SecretName::as_str).collect::<Vec<_>>()).to_string();
    let query = sqlx::query(AssertSqlSafe(query)).bind(Stage::Current.label().to_owned()).bind(wanted);
    let found = query.fetch_all(&store.pool).await.map_err(|e| SourceError::storage(error::GET_MANY, e))?;
    let found: HashMap<&str, &SqliteRow> = found.iter().map(|row| (row.get("name"), row)).collect();
    let answer = |name: &SecretName| secret(store, name, &Stage::Current, found.get(name.as_str()).copied());
    Ok(names.iter().map(answer).collect())
}

pub(super) async fn describe(store: &LocalStore, name: &SecretName) -> Result<SecretMetadata, SourceError> {
    let failed = |error| SourceError::storage(error::DESCRIBE, error);
    let mut connection = store.pool.acquire().await.map_err(failed)?;
    let query = format!("SELECT {} FROM secrets s WHERE s.name = ?", rows::COLUMNS);
    let query = sqlx::query(AssertSqlSafe(query)).bind(name.as_str());
    let row = query.fetch_optional(&mut *connection).await.map_err(failed)?;
    let row = row.ok_or_else(|| SourceError::NotFound { name: name.clone() })?;
    let page = vec![rows::metadata(&row)?];
    let mut page = rows::complete(&mut connection, page).await.map_err(failed)?;
    page.pop().ok_or_else(|| SourceError::NotFound { name: name.clone() })
}

pub(super) async fn list(store: &LocalStore, request: &ListRequest) -> Result<ListPage, SourceError> {
    let failed = |error| SourceError::storage(error::LIST, error);
    // A transaction, so that a page's secrets, versions and tags are of one moment.
    let mut transaction = store.pool.begin().await.map_err(failed)?;
    // Names order by their bytes, and U+10FFFF is the greatest that a name can go on with.
    let query = format!(
        "SELECT {} FROM secrets s WHERE s.name > ?1 AND s.name >= ?2 AND s.name < ?2 || char(1114111) \
         AND NOT EXISTS (SELECT 1 FROM json_each(?3) wanted WHERE NOT EXISTS \
            (SELECT 1 FROM tags t WHERE t.secret = s.id AND t.name = wanted.key AND t.value = wanted.value)) \
         ORDER BY s.name LIMIT ?4",
        rows::COLUMNS
    );
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
    let page: Vec<(i64, SecretMetadata)> = found.iter().map(rows::metadata).collect::<Result<_, _>>()?;
    let next = page.last().filter(|_| page.len() == limit).map(|(_, last)| last.name.to_string());
    Ok(ListPage::new(rows::complete(&mut transaction, page).await.map_err(failed)?, next))
}

fn secret(
    store: &LocalStore,
    name: &SecretName,
    stage: &Stage,
    row: Option<&SqliteRow>,
) -> Result<Secret, SourceError> {
    let row = row.ok_or_else(|| SourceError::NotFound { name: name.clone() })?;
    let now = now_ms();
    let expires: Option<i64> = row.get("expires_ms");
    if let Some(at) = expires.filter(|&at| at <= now) {
        return Err(SourceError::Expired { name: name.clone(), at: rows::time(at) });
    }
    let missing = || SourceError::NoSuchStage { name: name.clone(), stage: stage.clone() };
    let version: String = row.get::<Option<_>, _>("version").ok_or_else(missing)?;
    if row.get::<Option<i64>, _>("until_ms").is_some_and(|until| until <= now) {
        return Err(missing());
    }
    let envelope = row.get::<Option<&str>, _>("envelope").unwrap_or_default();
    let value = sealing::open(&*store.ring, name, envelope, row.get("is_binary"))?;
    Ok(Secret::new(name.clone(), value, ID)
        .with_version(version, vec![stage.clone()])
        .with_times(Some(rows::time(row.get("created_ms"))), expires.map(rows::time)))
}

pub(super) fn now_ms() -> i64 {
    rows::milliseconds(OffsetDateTime::now_utc())
}
