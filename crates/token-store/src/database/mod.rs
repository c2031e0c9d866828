//! The two databases behind one narrow interface: statements in, rows of text out.

mod connect;
pub(crate) mod layout;
pub(crate) mod rows;

use std::time::Duration;

use sqlx::{AssertSqlSafe, Row as _};
use zeroize::Zeroizing;

use crate::error::{DatabaseError, StoreError};

/// Text that may be a readable token: wiped when dropped.
pub(crate) type Text = Zeroizing<String>;
/// A row as the statements here ask for it: every column cast to text.
pub(crate) type TextRow = Vec<Option<Text>>;

/// How long a statement waits for a connection, or a busy SQLite file for its turn.
const WAIT: Duration = Duration::from_secs(10);

/// A pool of connections to PostgreSQL or SQLite.
#[derive(Clone)]
pub struct Database {
    pool: Pool,
}

#[derive(Clone)]
enum Pool {
    #[cfg(feature = "postgres")]
    Postgres(sqlx::PgPool),
    #[cfg(feature = "sqlite")]
    Sqlite(sqlx::SqlitePool),
}

/// Which SQL is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Postgres,
    Sqlite,
}

/// What a statement is given.
pub(crate) enum Param<'a> {
    Text(Option<&'a str>),
    /// A `text[]`; PostgreSQL only.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "only PostgreSQL has arrays"))]
    Texts(Vec<Option<&'a str>>),
}

impl<'a> From<&'a str> for Param<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Some(text))
    }
}

impl Database {
    pub(crate) fn dialect(&self) -> Dialect {
        match self.pool {
            #[cfg(feature = "postgres")]
            Pool::Postgres(_) => Dialect::Postgres,
            #[cfg(feature = "sqlite")]
            Pool::Sqlite(_) => Dialect::Sqlite,
        }
    }

    /// Asks the database for an answer, so that a readiness check knows that it is there.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.rows("SELECT '1'", &[]).await?;
        Ok(())
    }

    /// Writes to a SQLite file in a transaction that is rolled back: the file stays as it is, byte for byte.
    pub(crate) async fn try_writing(&self) -> Result<(), DatabaseError> {
        match self.pool {
            #[cfg(feature = "postgres")]
            Pool::Postgres(_) => Ok(()),
            #[cfg(feature = "sqlite")]
            Pool::Sqlite(ref pool) => {
                let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
                let create = "CREATE TABLE \"written by a check and rolled back\" (x)";
                sqlx::query(create).execute(&mut *transaction).await?;
                Ok(transaction.rollback().await?)
            }
        }
    }

    /// Closes every connection.
    pub async fn close(&self) {
        match self.pool {
            #[cfg(feature = "postgres")]
            Pool::Postgres(ref pool) => pool.close().await,
            #[cfg(feature = "sqlite")]
            Pool::Sqlite(ref pool) => pool.close().await,
        }
    }

    /// Runs a query whose columns are all text.
    pub(crate) async fn rows(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<TextRow>, DatabaseError> {
        match self.pool {
            #[cfg(feature = "postgres")]
            Pool::Postgres(ref pool) => {
                let rows = bind_postgres(sql, params).fetch_all(pool).await?;
                rows.iter().map(|row| text_row(row.len(), |index| row.try_get(index))).collect()
            }
            #[cfg(feature = "sqlite")]
            Pool::Sqlite(ref pool) => {
                let rows = bind_sqlite(sql, params).fetch_all(pool).await?;
                rows.iter().map(|row| text_row(row.len(), |index| row.try_get(index))).collect()
            }
        }
    }

    /// Runs a statement, and tells how many rows it touched.
    pub(crate) async fn execute(&self, sql: &str, params: &[Param<'_>]) -> Result<u64, DatabaseError> {
        match self.pool {
            #[cfg(feature = "postgres")]
            Pool::Postgres(ref pool) => Ok(bind_postgres(sql, params).execute(pool).await?.rows_affected()),
            #[cfg(feature = "sqlite")]
            Pool::Sqlite(ref pool) => Ok(bind_sqlite(sql, params).execute(pool).await?.rows_affected()),
        }
    }
}

fn text_row(
    length: usize,
    mut get: impl FnMut(usize) -> Result<Option<String>, sqlx::Error>,
) -> Result<TextRow, DatabaseError> {
    (0..length).map(|index| Ok(get(index)?.map(Zeroizing::new))).collect()
}

#[cfg(feature = "postgres")]
fn bind_postgres(
    sql: &str,
    params: &[Param<'_>],
) -> sqlx::query::Query<'static, sqlx::Postgres, sqlx::postgres::PgArguments> {
    // Only identifiers from the profile, quoted, are ever put into the text; values are bound.
    let mut query = sqlx::query(AssertSqlSafe(sql.to_owned()));
    for param in params {
        query = match param {
            Param::Text(text) => query.bind(text.map(ToOwned::to_owned)),
            Param::Texts(texts) => query
                .bind(texts.iter().map(|text| text.map(ToOwned::to_owned)).collect::<Vec<Option<String>>>()),
        };
    }
    query
}

#[cfg(feature = "sqlite")]
fn bind_sqlite(
    sql: &str,
    params: &[Param<'_>],
) -> sqlx::query::Query<'static, sqlx::Sqlite, sqlx::sqlite::SqliteArguments> {
    let mut query = sqlx::query(AssertSqlSafe(sql.to_owned()));
    for param in params {
        query = match param {
            Param::Text(text) => query.bind(text.map(ToOwned::to_owned)),
            Param::Texts(_) => unreachable!("statements for SQLite are written without arrays"),
        };
    }
    query
}

/// Quotes an identifier; both databases take the same quotes.
pub(crate) fn quote(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}
