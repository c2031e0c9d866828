//! The open file: for reading and writing, or for reading alone until it can be written again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqlitePool};
use tokio::sync::RwLock;

use super::schema::{recognized, storage};
use crate::error::SourceError;

/// How long one process waits for another's transaction.
const BUSY: Duration = Duration::from_secs(15);

/// A file that is open.
///
/// One that may not be written, or has no room to grow, is opened for reading alone. Every change then tries to open it
/// for writing, and a failure to do so is the failure of the change.
pub(super) struct File {
    path: PathBuf,
    opened: RwLock<Opened>,
}

#[derive(Clone)]
struct Opened {
    pool: SqlitePool,
    access: Access,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Writing,
    /// SQLite follows what others write.
    Reading,
    /// SQLite takes it that no other program writes.
    Alone,
}

impl File {
    pub(super) async fn open(path: &Path) -> Result<Self, SourceError> {
        let opened = Opened::open(path).await.map_err(storage)?;
        recognized(opened.pool.clone()).await?;
        Ok(Self { path: path.to_owned(), opened: RwLock::new(opened) })
    }

    /// Connections to read with.
    pub(super) async fn to_read(&self) -> Result<SqlitePool, sqlx::Error> {
        let opened = self.opened.read().await.clone();
        if opened.access != Access::Alone || !has_log(&self.path) {
            return Ok(opened.pool);
        }
        // Another program has begun to write.
        Ok(self.replace(Opened::open(&self.path).await?).await)
    }

    /// Connections to read and write with.
    pub(super) async fn to_write(&self) -> Result<SqlitePool, sqlx::Error> {
        let opened = self.opened.read().await.clone();
        if opened.access == Access::Writing {
            return Ok(opened.pool);
        }
        Ok(self.replace(Opened::to_write(&self.path).await?).await)
    }

    pub(super) async fn close(&self) {
        let opened = self.opened.read().await.clone();
        opened.pool.close().await;
    }

    /// Requests that are under way keep the connections that they have.
    async fn replace(&self, new: Opened) -> SqlitePool {
        let mut opened = self.opened.write().await;
        *opened = new;
        opened.pool.clone()
    }
}

impl Opened {
    async fn open(path: &Path) -> Result<Self, sqlx::Error> {
        let refused = match Self::to_write(path).await {
            Err(error) if !is_writable(path) || is_out_of_space(&error, path) => error,
            outcome => return outcome,
        };
        // The log and its index may be there, so that SQLite can follow what others write.
        if let Ok(pool) = pool().connect_with(options(path).read_only(true)).await
            && sqlx::query("SELECT count(*) FROM sqlite_schema").fetch_one(&pool).await.is_ok()
        {
            return Ok(Self { pool, access: Access::Reading });
        }
        if has_log(path) {
            return Err(refused);
        }
        // Without a log no program is writing, and SQLite need not make the files that coordinate with writers. A connection
        // serves one request, so that it never answers from pages that have been replaced since.
        let pool = pool().after_release(|_, _| Box::pin(async { Ok(false) }));
        let pool = pool.connect_with(options(path).read_only(true).immutable(true)).await?;
        Ok(Self { pool, access: Access::Alone })
    }

    async fn to_write(path: &Path) -> Result<Self, sqlx::Error> {
        let options = options(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            // Deleted data is overwritten, so that the file does not keep an old envelope longer than its data
            // key.
            .pragma("secure_delete", "ON");
        let pool = loop_while_busy(|| pool().connect_with(options.clone())).await?;
        Ok(Self { pool, access: Access::Writing })
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(false).foreign_keys(true);
    // The driver's own log quotes slow statements.
    options.busy_timeout(BUSY).disable_statement_logging()
}

fn pool() -> SqlitePoolOptions {
    // No idle or lifetime limit: sqlx 0.9's task for them can spin for ever once its count of idle connections wraps.
    let pool = SqlitePoolOptions::new().max_connections(4).idle_timeout(None).max_lifetime(None);
    // SQLite ends a transaction itself where the disk is full, and the driver counts it as open as long as its connection is.
    let pool = pool.before_acquire(|connection, _| Box::pin(async { Ok(!connection.is_in_transaction()) }));
    pool.acquire_timeout(BUSY * 2)
}

/// Whether this process may write the file, and make others next to it.
#[cfg(unix)]
fn is_writable(path: &Path) -> bool {
    [path, directory(path)].iter().all(|path| rustix::fs::access(*path, rustix::fs::Access::WRITE_OK).is_ok())
}

#[cfg(not(unix))]
fn is_writable(path: &Path) -> bool {
    std::fs::OpenOptions::new().write(true).open(path).is_ok()
}

/// Whether there is a write-ahead log with something in it.
fn has_log(path: &Path) -> bool {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    std::fs::metadata(name).is_ok_and(|log| log.len() > 0)
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

/// Whether a file could not grow, or be made where the file system has no room: SQLITE_FULL, SQLITE_IOERR_WRITE,
/// SQLITE_IOERR_TRUNCATE, SQLITE_IOERR_SHMOPEN, SQLITE_IOERR_SHMSIZE, and SQLITE_CANTOPEN, which has other causes as well.
fn is_out_of_space(error: &sqlx::Error, path: &Path) -> bool {
    match code(error) {
        Some(13 | 778 | 1546 | 4618 | 4874) => true,
        Some(code) => code & 0xff == 14 && has_no_room(path),
        None => false,
    }
}

#[cfg(unix)]
fn has_no_room(path: &Path) -> bool {
    let room = rustix::fs::statvfs(directory(path));
    // Some file systems have no limit on the number of files, and say 0 of 0.
    room.is_ok_and(|room| room.f_bavail == 0 || room.f_files > 0 && room.f_favail == 0)
}

#[cfg(not(unix))]
fn has_no_room(_path: &Path) -> bool {
    false
}

#[cfg(unix)]
fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn is_busy(error: &sqlx::Error) -> bool {
    // SQLITE_BUSY and SQLITE_LOCKED, in any of their extended forms.
    code(error).is_some_and(|code| matches!(code & 0xff, 5 | 6))
}

/// The extended code, whose low byte is the primary one.
fn code(error: &sqlx::Error) -> Option<u32> {
    error.as_database_error().and_then(|error| error.code()?.parse().ok())
}
