//! Changing the store: each function is one transaction.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use rand::Rng;
use sqlx::{Row, Sqlite, SqliteConnection, Transaction};

use super::read::now_ms;
use super::sealing::{self, Sealed};
use super::{LocalStore, rows};
use crate::error::{self, SourceError};
use crate::name::SecretName;
use crate::secret::{RotationPolicy, Stage};
use crate::source::{NewSecret, Stored};
use crate::value::SecretValue;

pub(super) async fn put(store: &LocalStore, secret: &NewSecret) -> Result<Stored, SourceError> {
    let sealed = seal(store, secret)?;
    let mut transaction = begin(store, error::PUT).await?;
    let stored = insert(&mut transaction, secret, &sealed).await.map_err(failed(error::PUT))?;
    commit(transaction, error::PUT).await?;
    Ok(stored)
}

pub(super) async fn put_all(
    store: &LocalStore,
    mut secrets: BoxStream<'_, Result<NewSecret, SourceError>>,
) -> Result<u64, SourceError> {
    let mut transaction = begin(store, error::PUT).await?;
    let mut stored = 0;
    while let Some(secret) = secrets.next().await {
        let secret = secret?;
        let sealed = seal(store, &secret)?;
        insert(&mut transaction, &secret, &sealed).await.map_err(failed(error::PUT))?;
        stored += 1;
    }
    commit(transaction, error::PUT).await?;
    Ok(stored)
}

pub(super) async fn rotate(
    store: &LocalStore,
    name: &SecretName,
    value: &SecretValue,
) -> Result<Stored, SourceError> {
    let secret = NewSecret::new(name.clone(), value.duplicate());
    let sealed = sealing::seal(&*store.ring, name, value, error::ROTATE)?;
    let mut transaction = begin(store, error::ROTATE).await?;
    // Asked inside the transaction: a secret deleted a moment ago must not come back.
    let known = find(&mut transaction, name).await.map_err(failed(error::ROTATE))?;
    known.ok_or_else(|| SourceError::NotFound { name: name.clone() })?;
    let stored = insert(&mut transaction, &secret, &sealed).await.map_err(failed(error::ROTATE))?;
    commit(transaction, error::ROTATE).await?;
    Ok(stored)
}

pub(super) async fn promote(store: &LocalStore, name: &SecretName) -> Result<Stored, SourceError> {
    let failed = failed(error::PROMOTE);
    let mut transaction = begin(store, error::PROMOTE).await?;
    let known = find(&mut transaction, name).await.map_err(&failed)?;
    let id = known.ok_or_else(|| SourceError::NotFound { name: name.clone() })?;
    let pending = sqlx::query("SELECT version FROM versions WHERE secret = ? AND stage = ?")
        .bind(id)
        .bind(Stage::Pending.label().to_owned())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(&failed)?;
    let missing = || SourceError::NoSuchStage { name: name.clone(), stage: Stage::Pending };
    let version: String = pending.ok_or_else(missing)?.get(0);
    retire_current(&mut transaction, id, now_ms()).await.map_err(&failed)?;
    sqlx::query("UPDATE versions SET stage = ? WHERE secret = ? AND stage = ?")
        .bind(Stage::Current.label().to_owned())
        .bind(id)
        .bind(Stage::Pending.label().to_owned())
        .execute(&mut *transaction)
        .await
        .map_err(&failed)?;
    commit(transaction, error::PROMOTE).await?;
    Ok(Stored::new(version, false))
}

pub(super) async fn delete(store: &LocalStore, name: &SecretName) -> Result<(), SourceError> {
    let mut transaction = begin(store, error::DELETE).await?;
    let query = sqlx::query("DELETE FROM secrets WHERE name = ?").bind(name.as_str());
    let deleted = query.execute(&mut *transaction).await.map_err(failed(error::DELETE))?;
    commit(transaction, error::DELETE).await?;
    match deleted.rows_affected() {
        0 => Err(SourceError::NotFound { name: name.clone() }),
        _ => Ok(()),
    }
}

pub(super) async fn begin(
    store: &LocalStore,
    operation: &'static str,
) -> Result<Transaction<'static, Sqlite>, SourceError> {
    // Immediate: a transaction that reads first and writes later would fail, not wait, when another wrote between.
    store.pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed(operation))
}

pub(super) async fn commit(
    transaction: Transaction<'static, Sqlite>,
    operation: &'static str,
) -> Result<(), SourceError> {
    transaction.commit().await.map_err(failed(operation))
}

pub(super) fn failed(operation: &'static str) -> impl Fn(sqlx::Error) -> SourceError {
    move |error| SourceError::storage(operation, error)
}

fn seal(store: &LocalStore, secret: &NewSecret) -> Result<Sealed, SourceError> {
    if !matches!(secret.stage, Stage::Current | Stage::Pending) {
        return Err(SourceError::Invalid { operation: error::PUT, cause: Some(Arc::new(UnfitStage)) });
    }
    sealing::seal(&*store.ring, &secret.name, &secret.value, error::PUT)
}

async fn insert(
    connection: &mut SqliteConnection,
    secret: &NewSecret,
    sealed: &Sealed,
) -> Result<Stored, sqlx::Error> {
    let now = now_ms();
    let before = find(connection, &secret.name).await?;
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
    Ok(Stored::new(version, before.is_none()))
}

async fn find(connection: &mut SqliteConnection, name: &SecretName) -> Result<Option<i64>, sqlx::Error> {
    let query = sqlx::query("SELECT id FROM secrets WHERE name = ?").bind(name.as_str());
    Ok(query.fetch_optional(connection).await?.map(|row| row.get(0)))
}

async fn create(connection: &mut SqliteConnection, name: &SecretName, now: i64) -> Result<i64, sqlx::Error> {
    let query = "INSERT INTO secrets (name, created_ms, changed_ms) VALUES (?1, ?2, ?2) RETURNING id";
    Ok(sqlx::query(query).bind(name.as_str()).bind(now).fetch_one(connection).await?.get(0))
}

/// Makes the current version the previous one, and lets a time to live begin anew for the value that follows.
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
    let query = "UPDATE secrets SET expires_ms = ?1 + expires_ms - changed_ms, changed_ms = ?1 WHERE id = ?2";
    sqlx::query(query).bind(now).bind(id).execute(connection).await?;
    Ok(())
}

async fn drop_stage(connection: &mut SqliteConnection, id: i64, stage: &Stage) -> Result<(), sqlx::Error> {
    let query = sqlx::query("DELETE FROM versions WHERE secret = ? AND stage = ?");
    query.bind(id).bind(stage.label().to_owned()).execute(connection).await?;
    Ok(())
}

async fn describe(connection: &mut SqliteConnection, id: i64, secret: &NewSecret) -> Result<(), sqlx::Error> {
    if let Some(expires) = secret.expires {
        let query = sqlx::query("UPDATE secrets SET expires_ms = ? WHERE id = ?");
        query.bind(rows::milliseconds(expires)).bind(id).execute(&mut *connection).await?;
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
    let mut bytes = [0; 16];
    rand::rng().fill_bytes(&mut bytes);
    hex::encode(bytes)
}

/// Values are stored as current or as pending.
#[derive(Debug, thiserror::Error)]
#[error("a value is stored under AWSCURRENT or AWSPENDING")]
struct UnfitStage;
