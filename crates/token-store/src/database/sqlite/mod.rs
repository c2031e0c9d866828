//! SQLite.
//!
//! A column has an affinity and a collation, and each value a class of its own. Keys are therefore compared as they are
//! stored, in the collation of the index that makes them unique.

pub(super) mod columns;
pub(super) mod connect;
mod definition;
pub(super) mod errors;
pub(super) mod index;
pub(super) mod leases;
pub(super) mod made;
pub(super) mod obstacles;
pub(super) mod privileges;
pub(super) mod schema;
pub(super) mod select;
mod sql;
pub(super) mod swap;
pub(super) mod write;

use std::time::Duration;

use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Connection as _, Row as _, Sqlite, Transaction, TypeInfo as _, ValueRef as _};
use zeroize::Zeroizing;

use super::row::{Cell, Class, NoText};
use crate::error::DatabaseError;

pub(super) use connect::{connect, of_pool};
pub(super) use swap::Session;

/// How many transactions of one run write at once. A file has one writer at a time.
pub(super) const WRITERS: usize = 1;

const BEGIN: &str = "BEGIN IMMEDIATE";
/// How often that is tried where a connection is not usable.
const ROUNDS: usize = 50;

/// A pool of connections to a file.
#[derive(Clone)]
pub(crate) struct Connections {
    pool: sqlx::SqlitePool,
}

/// The parameters of a statement.
#[derive(Clone, Copy)]
pub(super) enum Param<'a> {
    Text(Option<&'a str>),
    Integer(i64),
    Real(f64),
}

impl<'a> Param<'a> {
    /// A part of a key, as it is stored.
    fn stored(text: &'a str, class: Class) -> Self {
        match class {
            Class::Text => Self::Text(Some(text)),
            Class::Integer(number) => Self::Integer(number),
            Class::Real(number) => Self::Real(number),
        }
    }
}

impl<'a> From<&'a str> for Param<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Some(text))
    }
}

impl Connections {
    async fn rows(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<SqliteRow>, DatabaseError> {
        Ok(bind(sql, params).fetch_all(&self.pool).await?)
    }

    /// Begins a transaction that writes, and so waits for its turn now and not in its middle.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, DatabaseError> {
        for _ in 1..ROUNDS {
            match self.pool.begin_with(BEGIN).await {
                Err(sqlx::Error::InvalidSavePointStatement) => self.close_ended().await,
                begun => return Ok(begun?),
            }
        }
        Ok(self.pool.begin_with(BEGIN).await?)
    }

    /// Closes connections whose transaction SQLite has ended itself, as on a full disk: the driver counts it as open for as long
    /// as they are.
    async fn close_ended(&self) {
        // The one that was just used comes back to the pool a little later.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let idle: Vec<_> = std::iter::from_fn(|| self.pool.try_acquire()).collect();
        for connection in idle.into_iter().filter(|connection| connection.is_in_transaction()) {
            let _ = connection.close().await;
        }
    }
}

fn bind(sql: &str, params: &[Param<'_>]) -> sqlx::query::Query<'static, Sqlite, SqliteArguments> {
    // Only identifiers from the profile, quoted, are ever put into the text; values are bound.
    let mut query = sqlx::query(AssertSqlSafe(sql.to_owned()));
    for param in params {
        query = match param {
            Param::Text(text) => query.bind(*text),
            Param::Integer(number) => query.bind(*number),
            Param::Real(number) => query.bind(*number),
        };
    }
    query
}

pub(super) async fn close(connections: &Connections) {
    connections.pool.close().await;
}

pub(super) async fn ping(connections: &Connections) -> Result<(), DatabaseError> {
    connections.rows("SELECT '1'", &[]).await.map(drop)
}

/// One column of a row that must be stored as text.
fn cell(row: &SqliteRow, index: usize) -> Cell {
    let Ok(value) = row.try_get_raw(index) else { return Ok(None) };
    if value.is_null() {
        return Ok(None);
    }
    let class = value.type_info().name().to_owned();
    match class.as_str() {
        "TEXT" => match row.try_get_unchecked::<&str, _>(index) {
            Ok(text) => Ok(Some(Zeroizing::new(text.to_owned()))),
            Err(_) => Err(NoText::NotUtf8),
        },
        "INTEGER" => Err(NoText::Stored { class: "INTEGER" }),
        "REAL" => Err(NoText::Stored { class: "REAL" }),
        _ => Err(NoText::Stored { class: "BLOB" }),
    }
}

/// A column that the statement casts to text.
fn text(row: &SqliteRow, index: usize) -> Option<String> {
    row.try_get_unchecked::<Option<String>, _>(index).ok().flatten()
}

fn integer(row: &SqliteRow, index: usize) -> i64 {
    row.try_get_unchecked::<Option<i64>, _>(index).ok().flatten().unwrap_or_default()
}
