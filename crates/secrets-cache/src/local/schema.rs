//! The file: how it is made and recognized.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use sqlx::{Row, SqliteConnection, SqlitePool};

use super::head::bucket;
use crate::error::SourceError;

const OPEN: &str = "open the store";
/// "TKSL", so that `file` and this program can distinguish a store from other SQLite files.
const APPLICATION_ID: i64 = 0x544b_534c;
const VERSION: i64 = 2;
/// The version without seals.
const UNSEALED: i64 = 1;

const SCHEMA: &str = "
CREATE TABLE secrets (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_ms INTEGER NOT NULL,
    changed_ms INTEGER NOT NULL,
    expires_ms INTEGER,
    every_ms INTEGER,
    grace_ms INTEGER
) STRICT;
CREATE INDEX secrets_by_expiry ON secrets (expires_ms) WHERE expires_ms IS NOT NULL;
CREATE TABLE versions (
    id INTEGER PRIMARY KEY,
    secret INTEGER NOT NULL REFERENCES secrets (id) ON DELETE CASCADE,
    version TEXT NOT NULL,
    stage TEXT NOT NULL,
    is_binary INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    until_ms INTEGER,
    UNIQUE (secret, stage),
    UNIQUE (secret, version)
) STRICT;
CREATE INDEX versions_by_key ON versions (key_id, id);
CREATE INDEX versions_by_end ON versions (until_ms) WHERE until_ms IS NOT NULL;
CREATE TABLE envelopes (
    version INTEGER PRIMARY KEY REFERENCES versions (id) ON DELETE CASCADE,
    envelope TEXT NOT NULL
) STRICT;
CREATE TABLE tags (
    secret INTEGER NOT NULL REFERENCES secrets (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (secret, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
";

/// The additions of version 2 to version 1: a seal for every secret, and the head.
const SEALS: &str = "
ALTER TABLE secrets ADD COLUMN bucket INTEGER;
ALTER TABLE secrets ADD COLUMN seal BLOB;
ALTER TABLE secrets ADD COLUMN seal_key TEXT;
CREATE INDEX secrets_by_bucket ON secrets (bucket, name);
CREATE INDEX secrets_by_seal_key ON secrets (seal_key);
CREATE TABLE digests (bucket INTEGER PRIMARY KEY, digest BLOB NOT NULL) STRICT;
CREATE TABLE store (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    labelled INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    seal BLOB NOT NULL
) STRICT;
";

/// Creates an empty file that only its owner may read, unless the file exists.
///
/// SQLite gives its own side files the same permissions.
pub(super) fn create_file(path: &Path) -> Result<(), SourceError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(SourceError::storage(OPEN, error)),
    }
}

/// Refuses a file that is not a store, without writing to it. An empty file becomes a store with the
/// first change.
pub(super) async fn recognized(pool: SqlitePool) -> Result<SqlitePool, SourceError> {
    found(&pool).await?;
    Ok(pool)
}

/// The kind of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing yet.
    Empty,
    /// A store of the version without seals.
    Unsealed,
    /// A store.
    Sealed,
}

/// Returns the kind of the file, as it is at one moment: another process may be making its tables.
async fn found(pool: &SqlitePool) -> Result<Kind, SourceError> {
    let mut moment = pool.begin().await.map_err(storage)?;
    let found = kind(&mut moment).await?;
    moment.rollback().await.map_err(storage)?;
    Ok(found)
}

/// Returns the kind of the file. Within a transaction, since it takes several queries.
pub(super) async fn kind(connection: &mut SqliteConnection) -> Result<Kind, SourceError> {
    let mut numbers = [0; 3];
    let queries = ["PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_schema"];
    for (number, query) in numbers.iter_mut().zip(queries) {
        *number = sqlx::query(query).fetch_one(&mut *connection).await.map_err(storage)?.get(0);
    }
    match numbers {
        [APPLICATION_ID, VERSION, _] => Ok(Kind::Sealed),
        [APPLICATION_ID, UNSEALED, _] => Ok(Kind::Unsealed),
        [0, 0, 0] => Ok(Kind::Empty),
        [APPLICATION_ID, version, _] => Err(SourceError::storage(OPEN, Unknown::Version(version))),
        _ => Err(SourceError::storage(OPEN, Unknown::File)),
    }
}

/// Whether the file was made and never filled.
pub(super) async fn is_empty(pool: &SqlitePool) -> Result<bool, SourceError> {
    Ok(found(pool).await? == Kind::Empty)
}

/// Makes the tables of the first version in an empty file, and returns whether it was empty. Within a transaction, so that of
/// two processes that open a new file one makes the tables and the other finds them.
pub(super) async fn prepare(connection: &mut SqliteConnection) -> Result<bool, SourceError> {
    let is_new = kind(connection).await? == Kind::Empty;
    if is_new {
        sqlx::raw_sql(SCHEMA).execute(&mut *connection).await.map_err(storage)?;
        let marks = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {UNSEALED}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(marks)).execute(&mut *connection).await.map_err(storage)?;
    }
    Ok(is_new)
}

/// Brings a file of the first version to this one. Its secrets have no seals yet.
pub(super) async fn upgrade(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(SEALS).execute(&mut *connection).await?;
    for row in sqlx::query("SELECT id, name FROM secrets").fetch_all(&mut *connection).await? {
        let query = sqlx::query("UPDATE secrets SET bucket = ? WHERE id = ?");
        let query = query.bind(i64::from(bucket(row.get("name")))).bind(row.get::<i64, _>("id"));
        query.execute(&mut *connection).await?;
    }
    let mark = format!("PRAGMA user_version = {VERSION}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(mark)).execute(connection).await.map(drop)
}

/// A file that is not a store of this program.
#[derive(Debug, thiserror::Error)]
enum Unknown {
    #[error("the file is a SQLite database, but not a secret store")]
    File,
    #[error("the store has version {0} of the format, which this program does not know")]
    Version(i64),
}

pub(super) fn storage(error: sqlx::Error) -> SourceError {
    SourceError::storage(OPEN, error)
}
