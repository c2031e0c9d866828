//! Adding version columns.

use sqlx::AssertSqlSafe;

use super::Connections;
use crate::database::{AddedColumn, quote};
use crate::error::DatabaseError;
use crate::profile::Table;

pub(in crate::database) fn add_column(
    table: &Table,
    _schema: Option<&str>,
    column: AddedColumn<'_>,
) -> String {
    let (name, definition) = match column {
        AddedColumn::Version(name) => (name, "INTEGER DEFAULT 0"),
        AddedColumn::Text(name) => (name, "TEXT"),
        AddedColumn::Index(name) => (name, "TEXT"),
    };
    format!("ALTER TABLE {} ADD COLUMN {} {definition}", quote(&table.name), quote(name))
}

/// SQLite has no `IF NOT EXISTS` here: another program was faster.
pub(in crate::database) async fn alter(
    connections: &Connections,
    statement: &str,
) -> Result<(), DatabaseError> {
    let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&connections.pool).await;
    match done.map_err(DatabaseError::from) {
        Err(error) if !error.message.contains("duplicate column") => Err(error),
        _ => Ok(()),
    }
}
