//! Changing the store: each function is one transaction.

use std::sync::Arc;
use std::time::Duration;

use envelope_core::random;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use sqlx::{Row, SqliteConnection};
use time::OffsetDateTime;

use super::present::{self, Current};
use super::read::now_ms;
use super::record::Record;
use super::sealing::{self, Sealed};
use super::writing::{Writing, failed};
use super::{Imported, LocalStore, OtherValue, rows};
use crate::error::{self, SourceError};
use crate::name::SecretName;
use crate::secret::{RotationPolicy, Stage};
use crate::source::{NewSecret, Replaces, Stored};
use crate::value::SecretValue;

/// A value that is current already makes no new version, so that the one before it stays the previous one.
pub(super) async fn put(store: &LocalStore, secret: &NewSecret) -> Result<Stored, SourceError> {
    let sealed = seal(store, secret)?;
    let mut writing = Writing::begin(store, error::PUT).await?;
    let stored = put_one(store, &mut writing, secret, &sealed, error::PUT).await?;
    writing.commit().await?;
    Ok(stored)
}

async fn put_one(
    store: &LocalStore,
    writing: &mut Writing<'_>,
    secret: &NewSecret,
    sealed: &Sealed,
    operation: &'static str,
) -> Result<Stored, SourceError> {
    if secret.stage == Stage::Current {
        let known = writing.find(&secret.name).await?;
        if let Some(known) = &known
            && let Ok(Current::Same { version }) = present::compare(store, writing, known, secret)
        {
            keep(writing, known, secret).await?;
            return Ok(Stored::as_before(version));
        }
        let current = known.as_ref().and_then(|known| known.version(Stage::Current.label()));
        if !secret.replaces.allows(current.map(|current| current.version.as_str())) {
            return Err(SourceError::Conflict { name: secret.name.clone() });
        }
    }
    insert(writing, secret, sealed, operation).await
}

pub(super) async fn put_all(
    store: &LocalStore,
    mut secrets: BoxStream<'_, Result<NewSecret, SourceError>>,
) -> Result<u64, SourceError> {
    let mut writing = Writing::begin(store, error::PUT).await?;
    let mut stored = 0;
    while let Some(secret) = secrets.next().await {
        let secret = secret?;
        let sealed = seal(store, &secret)?;
        match secret.replaces {
            Replaces::Anything => insert(&mut writing, &secret, &sealed, error::PUT).await?,
            _ => put_one(store, &mut writing, &secret, &sealed, error::PUT).await?,
        };
        stored += 1;
    }
    if stored > 0 {
        writing.commit().await?;
    }
    Ok(stored)
}

pub(super) async fn rotate(
    store: &LocalStore,
    name: &SecretName,
    value: &SecretValue,
) -> Result<Stored, SourceError> {
    let secret = NewSecret::new(name.clone(), value.duplicate());
    let sealed = sealing::seal(&*store.ring, name, value, error::ROTATE)?;
    let mut writing = Writing::begin(store, error::ROTATE).await?;
    // Asked inside the transaction: a secret deleted a moment ago must not come back.
    let known = writing.find(name).await?;
    known.ok_or_else(|| SourceError::NotFound { name: name.clone() })?;
    let stored = put_one(store, &mut writing, &secret, &sealed, error::ROTATE).await?;
    writing.commit().await?;
    Ok(stored)
}

/// As [`rotate`], while this version is the current one.
pub(super) async fn rotate_if(
    store: &LocalStore,
    name: &SecretName,
    value: &SecretValue,
    version: &str,
) -> Result<Stored, SourceError> {
    let secret = NewSecret::new(name.clone(), value.duplicate());
    let sealed = sealing::seal(&*store.ring, name, value, error::ROTATE)?;
    let mut writing = Writing::begin(store, error::ROTATE).await?;
    let known = writing.find(name).await?;
    let known = known.ok_or_else(|| SourceError::NotFound { name: name.clone() })?;
    if known.version(Stage::Current.label()).is_none_or(|current| current.version != version) {
        return Err(SourceError::Conflict { name: name.clone() });
    }
    let stored = put_one(store, &mut writing, &secret, &sealed, error::ROTATE).await?;
    writing.commit().await?;
    Ok(stored)
}

/// Stores a value that comes from elsewhere, unless it is there; over another one only on request.
pub(super) async fn take_over(
    store: &LocalStore,
    secret: &NewSecret,
    other: OtherValue,
) -> Result<Imported, SourceError> {
    let sealed = seal(store, secret)?;
    let mut writing = Writing::begin(store, error::PUT).await?;
    if let Some(known) = writing.find(&secret.name).await? {
        match (present::compare(store, &writing, &known, secret), other) {
            (Ok(Current::Same { version }), _) => return Ok(Imported::Unchanged { version }),
            (Ok(Current::None), _) | (_, OtherValue::Replace) => {}
            (Ok(Current::Other), OtherValue::Keep) => {
                return Err(SourceError::Conflict { name: secret.name.clone() });
            }
            (Err(error), OtherValue::Keep) => return Err(error),
        }
    }
    let stored = insert(&mut writing, secret, &sealed, error::PUT).await?;
    writing.commit().await?;
    Ok(Imported::Stored(stored))
}

pub(super) async fn promote(store: &LocalStore, name: &SecretName) -> Result<Stored, SourceError> {
    let failed = failed(error::PROMOTE);
    let mut writing = Writing::begin(store, error::PROMOTE).await?;
    let known = writing.find(name).await?.ok_or_else(|| SourceError::NotFound { name: name.clone() })?;
    let missing = || SourceError::NoSuchStage { name: name.clone(), stage: Stage::Pending };
    let version = known.version(Stage::Pending.label()).ok_or_else(missing)?.version.clone();
    retire_current(writing.connection(), known.id, now_ms()).await.map_err(&failed)?;
    sqlx::query("UPDATE versions SET stage = ? WHERE secret = ? AND stage = ?")
        .bind(Stage::Current.label().to_owned())
        .bind(known.id)
        .bind(Stage::Pending.label().to_owned())
        .execute(writing.connection())
        .await
        .map_err(&failed)?;
    writing.seal(known.id).await?;
    writing.commit().await?;
    Ok(Stored::new(version, false))
}

/// Deletes a secret, also one whose seal does not hold: it is the way out where only one is not as it was.
pub(super) async fn delete(store: &LocalStore, name: &SecretName) -> Result<(), SourceError> {
    let mut writing = Writing::begin(store, error::DELETE).await?;
    let id = writing.id_of(name).await?.ok_or_else(|| SourceError::NotFound { name: name.clone() })?;
    writing.check_bucket(name).await?;
    let query = sqlx::query("DELETE FROM secrets WHERE id = ?").bind(id);
    query.execute(writing.connection()).await.map_err(failed(error::DELETE))?;
    writing.removed(name.as_str());
    writing.commit().await
}

fn seal(store: &LocalStore, secret: &NewSecret) -> Result<Sealed, SourceError> {
    if !matches!(secret.stage, Stage::Current | Stage::Pending) {
        return Err(SourceError::Invalid { operation: error::PUT, cause: Some(Arc::new(UnfitStage)) });
    }
    let is_too_long = |time: Duration| time > RotationPolicy::LONGEST;
    let latest = OffsetDateTime::now_utc() + RotationPolicy::LONGEST;
    if secret.expires.is_some_and(|at| at > latest)
        || secret.rotation.is_some_and(|policy| is_too_long(policy.every) || is_too_long(policy.grace))
    {
        return Err(SourceError::Invalid { operation: error::PUT, cause: Some(Arc::new(UnfitTime)) });
    }
    sealing::seal(&*store.ring, &secret.name, &secret.value, error::PUT)
}

async fn insert(
    writing: &mut Writing<'_>,
    secret: &NewSecret,
    sealed: &Sealed,
    operation: &'static str,
) -> Result<Stored, SourceError> {
    let before = writing.find(&secret.name).await?.map(|record| record.id);
    let inserted = insert_rows(writing.connection(), secret, sealed, before).await;
    let (id, version) = inserted.map_err(failed(operation))?;
    writing.seal(id).await?;
    Ok(Stored::new(version, before.is_none()))
}

async fn insert_rows(
    connection: &mut SqliteConnection,
    secret: &NewSecret,
    sealed: &Sealed,
    before: Option<i64>,
) -> Result<(i64, String), sqlx::Error> {
    let now = now_ms();
    let id = match before {
        Some(id) => id,
        None => create(connection, &secret.name, now).await?,
    };
    match secret.stage {
        Stage::Current => retire_current(connection, id, now).await?,
        _ => drop_stage(connection, id, &secret.stage).await?,
    }
    let version = new_version();
    let row = sqlx::query(
        "INSERT INTO versions (secret, version, stage, is_binary, key_id, created_ms) \
         VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
    )
    .bind(id)
    .bind(version.clone())
    .bind(secret.stage.label().to_owned())
    .bind(sealed.is_binary)
    .bind(sealed.key_id.clone())
    .bind(now)
    .fetch_one(&mut *connection)
    .await?;
    let query = sqlx::query("INSERT INTO envelopes (version, envelope) VALUES (?, ?)");
    query.bind(row.get::<i64, _>(0)).bind(sealed.envelope.clone()).execute(&mut *connection).await?;
    describe(connection, id, secret).await?;
    Ok((id, version))
}

/// Leaves the versions of a secret as they are. A time to live begins again, as with a new value.
async fn keep(writing: &mut Writing<'_>, known: &Record, secret: &NewSecret) -> Result<(), SourceError> {
    let failed = failed(error::PUT);
    if secret.expires.is_some() || known.expires_ms.is_some() {
        restart(writing.connection(), known.id, now_ms()).await.map_err(&failed)?;
    }
    describe(writing.connection(), known.id, secret).await.map_err(&failed)?;
    writing.seal(known.id).await
}

/// The time to live is the one between the last change and the expiry. Where there is none, because a secret was stored
/// after its time, a value that follows does not expire: it would never be served.
async fn restart(connection: &mut SqliteConnection, id: i64, now: i64) -> Result<(), sqlx::Error> {
    let query = "UPDATE secrets SET changed_ms = ?1, expires_ms = \
                 CASE WHEN expires_ms > changed_ms THEN ?1 + expires_ms - changed_ms END WHERE id = ?2";
    sqlx::query(query).bind(now).bind(id).execute(connection).await?;
    Ok(())
}

async fn create(connection: &mut SqliteConnection, name: &SecretName, now: i64) -> Result<i64, sqlx::Error> {
    let query = "INSERT INTO secrets (name, created_ms, changed_ms) VALUES (?1, ?2, ?2) RETURNING id";
    Ok(sqlx::query(query).bind(name.as_str()).bind(now).fetch_one(connection).await?.get(0))
}

/// Makes the current version the previous one, and restarts the time to live for the value that follows.
async fn retire_current(connection: &mut SqliteConnection, id: i64, now: i64) -> Result<(), sqlx::Error> {
    drop_stage(connection, id, &Stage::Previous).await?;
    sqlx::query(
        "UPDATE versions SET stage = ?1, until_ms = ?2 + \
         coalesce((SELECT grace_ms FROM secrets WHERE id = ?3), ?4) WHERE secret = ?3 AND stage = ?5",
    )
    .bind(Stage::Previous.label().to_owned())
    .bind(now)
    .bind(id)
    .bind(rows::duration_ms(RotationPolicy::DEFAULT_GRACE))
    .bind(Stage::Current.label().to_owned())
    .execute(&mut *connection)
    .await?;
    restart(connection, id, now).await
}

async fn drop_stage(connection: &mut SqliteConnection, id: i64, stage: &Stage) -> Result<(), sqlx::Error> {
    let query = sqlx::query("DELETE FROM versions WHERE secret = ? AND stage = ?");
    query.bind(id).bind(stage.label().to_owned()).execute(connection).await?;
    Ok(())
}

async fn describe(connection: &mut SqliteConnection, id: i64, secret: &NewSecret) -> Result<(), sqlx::Error> {
    if let Some(expires) = secret.expires {
        // With a time to live of its own, the last change was so long before the expiry.
        let changed = secret.lifetime.and_then(|lifetime| expires.checked_sub(lifetime.try_into().ok()?));
        let query = "UPDATE secrets SET expires_ms = ?1, changed_ms = min(changed_ms, coalesce(?2, changed_ms)) \
                     WHERE id = ?3";
        let query = sqlx::query(query).bind(rows::milliseconds(expires));
        query.bind(changed.map(rows::milliseconds)).bind(id).execute(&mut *connection).await?;
    }
    if let Some(policy) = secret.rotation {
        let query = sqlx::query("UPDATE secrets SET every_ms = ?, grace_ms = ? WHERE id = ?");
        let query = query.bind(rows::duration_ms(policy.every)).bind(rows::duration_ms(policy.grace));
        query.bind(id).execute(&mut *connection).await?;
    }
    for (name, value) in &secret.tags {
        let query = "INSERT INTO tags (secret, name, value) VALUES (?, ?, ?) \
                     ON CONFLICT (secret, name) DO UPDATE SET value = excluded.value";
        let query = sqlx::query(query).bind(id).bind(name.clone()).bind(value.clone());
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// A random version name, as long as a UUID's.
fn new_version() -> String {
    hex::encode(random::bytes::<16>())
}

/// A time beyond every use, which would overflow when it is added to another.
#[derive(Debug, thiserror::Error)]
#[error("an expiry or a rotation policy may be a hundred years long at most")]
struct UnfitTime;

/// Values are stored as current or as pending.
#[derive(Debug, thiserror::Error)]
#[error("a value is stored under AWSCURRENT or AWSPENDING")]
struct UnfitStage;
