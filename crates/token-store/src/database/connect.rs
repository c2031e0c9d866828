//! Opening a database by its address.

use sqlx::ConnectOptions as _;
#[cfg(feature = "postgres")]
use sqlx::Connection as _;

use super::{Database, Pool, WAIT};
use crate::error::{DatabaseError, StoreError};

impl Database {
    /// Connects to `postgres://…` or `sqlite://file.db`. A SQLite file must exist; its journal mode is left as it is.
    ///
    /// # Errors
    /// [`StoreError::Address`] for another kind of address, [`StoreError::Database`] if nothing answers.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::open(url, false).await
    }

    /// Connects so that nothing can be written: a SQLite file is opened read-only, PostgreSQL is told that every
    /// transaction is.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_read_only(url: &str) -> Result<Self, StoreError> {
        Self::open(url, true).await
    }

    async fn open(url: &str, read_only: bool) -> Result<Self, StoreError> {
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        match scheme {
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => open_postgres(url, read_only).await,
            #[cfg(feature = "sqlite")]
            "sqlite" => open_sqlite(url, read_only).await,
            "" => Err(StoreError::Address { reason: "it is neither postgres://… nor sqlite://…".into() }),
            other => Err(StoreError::Address { reason: format!("this build has no support for {other}://") }),
        }
    }
}

// Both pools are without idle timeout and lifetime. With either, sqlx 0.9 keeps a task that walks `num_idle`
// connections; that number can be read between a `pop` and the `add` it belongs to, wrapped around, and the task then
// never ends, nor does the runtime that it keeps busy.

#[cfg(feature = "postgres")]
async fn open_postgres(url: &str, read_only: bool) -> Result<Database, StoreError> {
    let mut options: sqlx::postgres::PgConnectOptions = url.parse().map_err(address)?;
    if read_only {
        options = options.options([("default_transaction_read_only", "on")]);
    }
    let options = options.disable_statement_logging();
    // A pool keeps trying and then only says that time ran out; one connection says what is wrong, at once.
    let first = tokio::time::timeout(WAIT, sqlx::PgConnection::connect_with(&options)).await;
    let first = first.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(unreachable)?;
    let _ = first.close().await;
    let pool = sqlx::postgres::PgPoolOptions::new()
        .max_connections(8)
        .acquire_timeout(WAIT)
        .idle_timeout(None)
        .max_lifetime(None);
    Ok(Database { pool: Pool::Postgres(pool.connect_lazy_with(options)) })
}

#[cfg(feature = "sqlite")]
async fn open_sqlite(url: &str, read_only: bool) -> Result<Database, StoreError> {
    let options: sqlx::sqlite::SqliteConnectOptions = url.parse().map_err(address)?;
    let options = options.read_only(read_only).create_if_missing(false).busy_timeout(WAIT);
    let pool = sqlx::sqlite::SqlitePoolOptions::new()
        .max_connections(4)
        .acquire_timeout(WAIT)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options.disable_statement_logging())
        .await
        .map_err(unreachable)?;
    Ok(Database { pool: Pool::Sqlite(pool) })
}

fn address(error: sqlx::Error) -> StoreError {
    // The parser's own message may quote the address, and with it a password.
    let _ = error;
    StoreError::Address { reason: "it cannot be parsed".into() }
}

fn unreachable(error: sqlx::Error) -> StoreError {
    let mut error = DatabaseError::from(error);
    error.unreachable = true;
    StoreError::Database(error)
}
