//! Opening a database by its address.

use super::options::OpenOptions;
use super::{Database, Pool};
use crate::error::StoreError;

impl Database {
    /// Connects to `postgres://…`, `mysql://…` or `sqlite://file.db`. A SQLite file must exist; its journal mode is left
    /// as it is.
    ///
    /// # Errors
    /// [`StoreError::Address`] for another kind of address or a parameter that is not known, [`StoreError::Database`]
    /// if nothing answers.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::open(url, OpenOptions::default()).await
    }

    /// Connects so that nothing can be written: a SQLite file is opened read-only, and every transaction of PostgreSQL
    /// is read-only.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_read_only(url: &str) -> Result<Self, StoreError> {
        Self::open(url, OpenOptions::default().read_only(true)).await
    }

    /// Works on a pool that exists: `sqlx::PgPool`, `sqlx::SqlitePool` or `sqlx::MySqlPool`.
    ///
    /// Its settings are the caller's. The pool may lead through a pooler such as pgbouncer: every statement of the store
    /// is in a transaction, and none is prepared for later. On MariaDB and MySQL a write is refused where the session is
    /// not in a strict `sql_mode` or its character set is not utf8mb4.
    pub fn from_pool(pool: impl Into<Self>) -> Self {
        pool.into()
    }

    /// Connects with other options.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    #[cfg_attr(
        not(any(feature = "postgres", feature = "sqlite", feature = "mysql")),
        allow(unreachable_code, unused_variables, reason = "a build without a database opens none")
    )]
    pub async fn open(url: &str, options: OpenOptions) -> Result<Self, StoreError> {
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        let pool: Pool = match scheme {
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => Pool::Postgres(super::postgres::connect(url, options).await?),
            #[cfg(feature = "sqlite")]
            "sqlite" => Pool::Sqlite(super::sqlite::connect(url, options).await?),
            #[cfg(feature = "mysql")]
            "mysql" | "mariadb" => Pool::MySql(super::mysql::connect(url, options).await?),
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
