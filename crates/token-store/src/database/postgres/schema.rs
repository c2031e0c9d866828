//! Adding version columns.

use sqlx::AssertSqlSafe;

use super::Connections;
use crate::database::{AddedColumn, quote};
use crate::error::DatabaseError;
use crate::profile::Table;

pub(in crate::database) fn add_column(
    table: &Table,
    schema: Option<&str>,
    column: AddedColumn<'_>,
) -> String {
    let schema = schema.filter(|_| table.schema.is_some()).map(|schema| format!("{}.", quote(schema)));
    let (name, definition) = match column {
        AddedColumn::Version(name) => (name, "INTEGER DEFAULT 0"),
        AddedColumn::Text(name) => (name, "TEXT"),
        AddedColumn::Index(name) => (name, "TEXT"),
    };
    format!(
        "ALTER TABLE {}{} ADD COLUMN IF NOT EXISTS {} {definition}",
        schema.unwrap_or_default(),
        quote(&table.name),
        quote(name)
    )
}

pub(in crate::database) async fn alter(
    connections: &Connections,
    statement: &str,
) -> Result<(), DatabaseError> {
    let mut transaction = connections.begin().await?;
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut *transaction).await?;
    Ok(transaction.commit().await?)
}
