//! Opening a database by its address.

use std::time::Duration;

use super::{Database, Pool};
use crate::error::StoreError;

/// How long a statement that writes may take before the database gives it up. PostgreSQL only: SQLite waits ten seconds
/// for another writer, and has no other limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// How long it waits for a lock that another transaction holds.
    pub lock: Duration,
    /// How long it runs in all.
    pub statement: Duration,
}

impl Default for Timeouts {
    /// Five seconds for a lock, a minute for a statement.
    fn default() -> Self {
        Self { lock: Duration::from_secs(5), statement: Duration::from_secs(60) }
    }
}

impl Timeouts {
    /// Other times; zero means no limit.
    #[must_use]
    pub fn new(lock: Duration, statement: Duration) -> Self {
        Self { lock, statement }
    }
}

impl Database {
    /// Connects to `postgres://…` or `sqlite://file.db`. A SQLite file must exist; its journal mode is left as it is.
    ///
    /// # Errors
    /// [`StoreError::Address`] for another kind of address or a parameter that is not known, [`StoreError::Database`]
    /// if nothing answers.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::open(url, false, Timeouts::default()).await
    }

    /// Connects so that nothing can be written: a SQLite file is opened read-only, and every transaction of PostgreSQL
    /// is read-only.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_read_only(url: &str) -> Result<Self, StoreError> {
        Self::open(url, true, Timeouts::default()).await
    }

    /// Connects with other limits of time for statements that write.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_with(url: &str, timeouts: Timeouts) -> Result<Self, StoreError> {
        Self::open(url, false, timeouts).await
    }

    /// Connects so that nothing can be written, with other limits of time.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_read_only_with(url: &str, timeouts: Timeouts) -> Result<Self, StoreError> {
        Self::open(url, true, timeouts).await
    }

    /// Works on a pool that exists: `sqlx::PgPool`, `sqlx::SqlitePool` or `sqlx::MySqlPool`.
    ///
    /// Its settings are the caller's. The pool may lead through a pooler such as pgbouncer: every statement of the store
    /// is in a transaction, and none is prepared for later. On MariaDB and MySQL a write is refused where the session is
    /// not in a strict `sql_mode` or its character set is not utf8mb4.
    pub fn from_pool(pool: impl Into<Self>) -> Self {
        pool.into()
    }

    #[cfg_attr(
        not(any(feature = "postgres", feature = "mysql")),
        allow(
            unreachable_code,
            unused_variables,
            reason = "SQLite has no such limits, and a build without a database opens none"
        )
    )]
    async fn open(url: &str, read_only: bool, timeouts: Timeouts) -> Result<Self, StoreError> {
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        let pool: Pool = match scheme {
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => {
                Pool::Postgres(super::postgres::connect(url, read_only, timeouts).await?)
            }
            #[cfg(feature = "sqlite")]
            "sqlite" => Pool::Sqlite(super::sqlite::connect(url, read_only).await?),
            #[cfg(feature = "mysql")]
            "mysql" | "mariadb" => Pool::MySql(super::mysql::connect(url, read_only, timeouts).await?),
            "" => return Err(address("it is none of postgres://…, mysql://… and sqlite://…")),
            other => return Err(address(format!("this build has no support for {other}://"))),
        };
        Ok(Self { pool })
    }
}

#[cfg(feature = "postgres")]
impl From<sqlx::PgPool> for Database {
    fn from(pool: sqlx::PgPool) -> Self {
        Self { pool: Pool::Postgres(super::postgres::of_pool(pool)) }
    }
}

#[cfg(feature = "sqlite")]
impl From<sqlx::SqlitePool> for Database {
    fn from(pool: sqlx::SqlitePool) -> Self {
        Self { pool: Pool::Sqlite(super::sqlite::of_pool(pool)) }
    }
}

#[cfg(feature = "mysql")]
impl From<sqlx::MySqlPool> for Database {
    fn from(pool: sqlx::MySqlPool) -> Self {
        Self { pool: Pool::MySql(super::mysql::of_pool(pool)) }
    }
}

/// An address that cannot be used. The reason never quotes the address, which may hold a password.
pub(super) fn address(reason: impl Into<String>) -> StoreError {
    StoreError::Address { reason: reason.into() }
}

/// The parameters after the question mark, decoded; `None` if there are none.
pub(super) fn parameters(url: &str) -> impl Iterator<Item = (String, String)> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let query = query.split('#').next().unwrap_or_default();
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name.to_owned(), value.to_owned())
    });
    pairs.collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::parameters;

    #[test]
    fn the_parameters_of_an_address_are_found() {
        let found: Vec<_> = parameters("postgres://u:p%3F@h/db?sslmode=require&schema=app#x").collect();
        assert_eq!(found, [("sslmode".into(), "require".into()), ("schema".into(), "app".into())]);
        assert_eq!(parameters("sqlite://t.db").count(), 0);
    }
}
