//! The file: how it is made, opened and recognized.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Row, SqlitePool};

use crate::error::SourceError;

const OPEN: &str = "open the store";
/// How long one process waits for another's transaction.
const BUSY: Duration = Duration::from_secs(15);
/// "TKSL", so that `file` and we ourselves can tell a store from other SQLite files.
const APPLICATION_ID: i64 = 0x544b_534c;
const VERSION: i64 = 1;

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

/// Makes an empty file that only its owner may read, unless there is one.
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

pub(super) async fn connect(path: &Path) -> Result<SqlitePool, SourceError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY)
        // What is deleted is overwritten, so that an old envelope does not outlive its data key in the file.
        .pragma("secure_delete", "ON");
    // No idle or lifetime limit: sqlx 0.9's task for them can spin for ever once its count of idle connections wraps.
    let pool = SqlitePoolOptions::new().max_connections(4).idle_timeout(None).max_lifetime(None);
    let pool = pool.acquire_timeout(BUSY * 2);
    let pool = loop_while_busy(|| pool.clone().connect_with(options.clone())).await.map_err(storage)?;
    prepare(&pool).await?;
    Ok(pool)
}

/// Switching a new file to its write-ahead log does not wait for another process that does the same.
async fn loop_while_busy<F>(connect: impl Fn() -> F) -> Result<SqlitePool, sqlx::Error>
where
    F: Future<Output = Result<SqlitePool, sqlx::Error>>,
{
    let mut attempts = 0;
    loop {
        match connect().await {
            Err(error) if is_busy(&error) && attempts < 50 => {
                attempts += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            outcome => return outcome,
        }
    }
}

async fn prepare(pool: &SqlitePool) -> Result<(), SourceError> {
    // Immediate, so that of two processes opening a new file one makes the tables and the other finds them.
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await.map_err(storage)?;
    let number = async |connection: &mut sqlx::SqliteConnection, query: &'static str| {
        sqlx::query(query).fetch_one(connection).await.map(|row| row.get::<i64, _>(0)).map_err(storage)
    };
    let application = number(&mut transaction, "PRAGMA application_id").await?;
    let version = number(&mut transaction, "PRAGMA user_version").await?;
    let tables = number(&mut transaction, "SELECT count(*) FROM sqlite_schema").await?;
    match (application, version, tables) {
        (APPLICATION_ID, VERSION, _) => return Ok(()),
        (0, 0, 0) => {}
        (APPLICATION_ID, version, _) => return Err(SourceError::storage(OPEN, Unknown::Version(version))),
        _ => return Err(SourceError::storage(OPEN, Unknown::File)),
    }
    sqlx::raw_sql(SCHEMA).execute(&mut *transaction).await.map_err(storage)?;
    let marks = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(marks)).execute(&mut *transaction).await.map_err(storage)?;
    transaction.commit().await.map_err(storage)
}

/// A file that is not a store of this program.
#[derive(Debug, thiserror::Error)]
enum Unknown {
    #[error("the file is a SQLite database, but not a secret store")]
    File,
    #[error("the store has version {0} of the format, which this program does not know")]
    Version(i64),
}

fn is_busy(error: &sqlx::Error) -> bool {
    // SQLITE_BUSY and SQLITE_LOCKED, in any of their extended forms (the low byte of the code).
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
    code.is_some_and(|code| matches!(code & 0xff, 5 | 6))
}

fn storage(error: sqlx::Error) -> SourceError {
    SourceError::storage(OPEN, error)
}
