//! Keys that the database makes: the next number of the table, or the default of a column, asked for before the row is
//! added.

use super::sql::full_name;
use super::{Connections, Param, is_true, number, quote, text};
use crate::database::layout::Layout;
use crate::error::DatabaseError;

/// Whether the column is numbered, and its default where that is an expression. A default that is a constant makes no key.
const DEFAULT: &str = "\
SELECT CAST(EXTRA LIKE '%auto_increment%' AS CHAR),
       CAST(IF(EXTRA LIKE '%DEFAULT_GENERATED%' OR COLUMN_DEFAULT LIKE '%(%', COLUMN_DEFAULT, NULL) AS CHAR)
FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND COLUMN_NAME = ?";

/// The next number as the engine knows it.
const NEXT: &str = "\
SELECT CAST(AUTO_INCREMENT AS CHAR) FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?";

pub(in crate::database) async fn key(
    connections: &Connections,
    layout: &Layout,
    column: &str,
) -> Result<Option<String>, DatabaseError> {
    let place: [Param<'_>; 2] = [layout.facts.schema.as_deref(), Some(layout.table.name.as_str())];
    let rows = connections.rows(DEFAULT, &[place[0], place[1], Some(column)]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    if !is_true(row, 0) {
        let Some(expression) = text(row, 1) else { return Ok(None) };
        // The table's own expression, which the database would evaluate for the row.
        let made = connections.rows(&format!("SELECT CAST(({expression}) AS CHAR)"), &[]).await?;
        return Ok(made.first().and_then(|row| text(row, 0)));
    }
    // The engine's number may be an older one, and another row may take it first; then the insert finds it taken.
    let next = connections.rows(NEXT, &place).await?;
    let next: u64 = next.first().map_or(1, |row| number(row, 0));
    let largest =
        format!("SELECT CAST(COALESCE(MAX({}), 0) AS CHAR) FROM {}", quote(column), full_name(layout));
    let largest = connections.rows(&largest, &[]).await?;
    let largest: u64 = largest.first().map_or(0, |row| number(row, 0));
    Ok(Some(next.max(largest.saturating_add(1)).to_string()))
}
