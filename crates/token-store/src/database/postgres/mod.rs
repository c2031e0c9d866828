//! PostgreSQL.
//!
//! No statement relies on settings of the session, because a pooler or a role may have changed them: tables, types,
//! functions and operators are named with their schemas, settings are made inside the transaction that needs them, and
//! a transaction that must not write is begun as read-only.

pub(super) mod columns;
pub(super) mod connect;
pub(super) mod errors;
pub(super) mod index;
mod index_lock;
pub(super) mod leases;
pub(super) mod made;
pub(super) mod obstacles;
pub(super) mod privileges;
pub(super) mod schema;
pub(super) mod select;
mod sql;
pub(super) mod swap;
pub(super) mod write;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{AssertSqlSafe, Postgres, Row as _, Transaction, ValueRef as _};
use zeroize::Zeroizing;

use super::options::Timeouts;
use super::row::{Cell, NoText};
use crate::error::DatabaseError;

pub(super) use connect::{connect, of_pool};
pub(super) use swap::Session;

/// How many transactions of one run write at once. While the server carries out one, the other is made ready and sent.
pub(super) const WRITERS: usize = 2;

/// A pool of connections, and what is known of them.
#[derive(Clone)]
pub(crate) struct Connections {
    pool: sqlx::PgPool,
    read_only: bool,
    /// Whether a pooler may give every transaction another connection of the server: then no statement may be outside
    /// of a transaction, and no prepared statement may outlive one.
    pooled: bool,
    timeouts: Timeouts,
}

/// The parameters of a statement.
pub(super) enum Param<'a> {
    Text(Option<&'a str>),
    Texts(Vec<Option<&'a str>>),
}

impl<'a> From<&'a str> for Param<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Some(text))
    }
}

impl Connections {
    /// Runs a query, in a transaction where one is needed.
    async fn rows(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<PgRow>, DatabaseError> {
        if !self.read_only && !self.pooled {
            return Ok(self.bind(sql, params).fetch_all(&self.pool).await?);
        }
        let mode = if self.read_only { " READ ONLY" } else { "" };
        let mut transaction = self.pool.begin_with(AssertSqlSafe(format!("BEGIN{mode}"))).await?;
        let rows = self.bind(sql, params).fetch_all(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(rows)
    }

    /// Begins a transaction that writes, within the limits of time. Each of its statements sees what is committed by then,
    /// whatever the session's default is: what a lock has waited for must be seen after it.
    async fn begin(&self) -> Result<Transaction<'static, Postgres>, DatabaseError> {
        let mode = if self.read_only { " READ ONLY" } else { "" };
        let sql = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED{mode}; SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {}",
            self.timeouts.lock.as_millis(),
            self.timeouts.statement.as_millis()
        );
        Ok(self.pool.begin_with(AssertSqlSafe(sql)).await?)
    }

    fn bind(&self, sql: &str, params: &[Param<'_>]) -> sqlx::query::Query<'static, Postgres, PgArguments> {
        // Only identifiers from the profile, quoted, are ever put into the text; values are bound.
        let mut query = sqlx::query(AssertSqlSafe(sql.to_owned())).persistent(!self.pooled);
        for param in params {
            query = match param {
                Param::Text(text) => query.bind(*text),
                Param::Texts(texts) => query.bind(texts.as_slice()),
            };
        }
        query
    }
}

pub(super) async fn close(connections: &Connections) {
    connections.pool.close().await;
}

pub(super) async fn ping(connections: &Connections) -> Result<(), DatabaseError> {
    connections.rows("SELECT '1'::pg_catalog.text", &[]).await.map(drop)
}

/// One column of a row, all of which are asked for as text.
fn cell(row: &PgRow, index: usize) -> Cell {
    let Ok(value) = row.try_get_raw(index) else { return Ok(None) };
    if value.is_null() {
        return Ok(None);
    }
    let bytes = value.as_bytes().map_err(|_| NoText::NotUtf8)?;
    let text = std::str::from_utf8(bytes).map_err(|_| NoText::NotUtf8)?;
    Ok(Some(Zeroizing::new(text.to_owned())))
}

fn text(row: &PgRow, index: usize) -> Option<String> {
    cell(row, index).ok().flatten().map(|text| text.to_string())
}

fn number<T: std::str::FromStr + Default>(row: &PgRow, index: usize) -> T {
    text(row, index).and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn is_true(row: &PgRow, index: usize) -> bool {
    text(row, index).as_deref() == Some("true")
}
