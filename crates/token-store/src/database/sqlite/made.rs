//! Keys that SQLite makes: the next row id, or the default of a column, asked for before the row is added.

use super::sql::table;
use super::{Connections, Param, integer, text};
use crate::database::identity::Kind;
use crate::database::layout::Layout;
use crate::database::quote;
use crate::error::DatabaseError;

pub(in crate::database) async fn key(
    connections: &Connections,
    layout: &Layout,
    column: &str,
) -> Result<Option<String>, DatabaseError> {
    let (name, schema) = (layout.table.name.as_str(), layout.table.schema.as_deref().unwrap_or("main"));
    if layout.kind(column) == Kind::Integer {
        return next_row_id(connections, layout, column).await.map(Some);
    }
    let sql = "SELECT dflt_value FROM pragma_table_xinfo(?1, ?2) WHERE name = ?3";
    let params = [Param::from(name), Param::from(schema), Param::from(column)];
    let rows = connections.rows(sql, &params).await?;
    let Some(expression) = rows.first().and_then(|row| text(row, 0)) else { return Ok(None) };
    // The table's own expression, which the database would evaluate for the row.
    let made = connections.rows(&format!("SELECT CAST(({expression}) AS text)"), &[]).await?;
    Ok(made.first().and_then(|row| text(row, 0)))
}

/// One more than the largest, and than any that there was where the table is `AUTOINCREMENT`. Another row may take it
/// first; then the insert finds it taken.
async fn next_row_id(
    connections: &Connections,
    layout: &Layout,
    column: &str,
) -> Result<String, DatabaseError> {
    let schema = layout.table.schema.as_deref().unwrap_or("main");
    let largest = format!("SELECT coalesce(max({}), 0) FROM {}", quote(column), table(layout));
    let mut largest = number(connections, &largest, &[]).await?;
    let master =
        format!("SELECT count(*) FROM {}.sqlite_master WHERE name = 'sqlite_sequence'", quote(schema));
    if number(connections, &master, &[]).await? > 0 {
        let last = format!(
            "SELECT coalesce(max(seq), 0) FROM {}.sqlite_sequence WHERE name = ?1 COLLATE NOCASE",
            quote(schema)
        );
        let last = number(connections, &last, &[Param::from(layout.table.name.as_str())]).await?;
        largest = largest.max(last);
    }
    largest
        .checked_add(1)
        .map(|next| next.to_string())
        .ok_or_else(|| DatabaseError::of_row("no row id is left".into()))
}

async fn number(connections: &Connections, sql: &str, params: &[Param<'_>]) -> Result<i64, DatabaseError> {
    Ok(connections.rows(sql, params).await?.first().map_or(0, |row| integer(row, 0)))
}
