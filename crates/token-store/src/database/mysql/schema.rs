//! Adding version columns.

use sqlx::AssertSqlSafe;

use super::{Connections, quote};
use crate::database::AddedColumn;
use crate::error::DatabaseError;
use crate::profile::Table;

/// MySQL has no `IF NOT EXISTS` here, so a column that exists by now is skipped in [`alter`].
pub(in crate::database) fn add_column(
    table: &Table,
    schema: Option<&str>,
    column: AddedColumn<'_>,
) -> String {
    let schema = schema.filter(|_| table.schema.is_some()).map(|schema| format!("{}.", quote(schema)));
    let (name, definition) = match column {
        AddedColumn::Version(name) => (name, "INTEGER DEFAULT 0"),
        AddedColumn::Text(name) => (name, "TEXT"),
        AddedColumn::Index(name) => (name, "VARCHAR(80) CHARACTER SET ascii COLLATE ascii_bin"),
    };
    format!(
        "ALTER TABLE {}{} ADD COLUMN {} {definition}",
        schema.unwrap_or_default(),
        quote(&table.name),
        quote(name)
    )
}

pub(in crate::database) async fn alter(
    connections: &Connections,
    statement: &str,
) -> Result<(), DatabaseError> {
    const DUPLICATE_COLUMN: &str = "1060";
    const DUPLICATE_INDEX: &str = "1061";
    let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&connections.pool).await;
    match done.map_err(DatabaseError::from) {
        Err(error) if matches!(error.code.as_deref(), Some(DUPLICATE_COLUMN | DUPLICATE_INDEX)) => Ok(()),
        done => done.map(drop),
    }
}
