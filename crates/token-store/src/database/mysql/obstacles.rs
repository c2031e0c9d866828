//! The obstacles to sealing a table's token columns.

use super::sql::{as_text, bytes, column, in_range, table};
use super::{Connections, columns, is_true, number, text};
use crate::database::layout::Layout;
use crate::database::select::Range;
use crate::error::DatabaseError;
use crate::findings::{Finding, Kind, Severity, accepts_lost_index, envelope_length, lost_index, too_short};

const INDEXES: &str = "\
SELECT CAST(COLUMN_NAME AS CHAR), CAST(INDEX_NAME AS CHAR), CAST(NON_UNIQUE = 0 AS CHAR)
FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND COLUMN_NAME IS NOT NULL ORDER BY 1, 2";

/// A user without the privilege TRIGGER sees none.
const TRIGGERS: &str = "\
SELECT CAST(TRIGGER_NAME AS CHAR) FROM information_schema.TRIGGERS
WHERE EVENT_OBJECT_SCHEMA = ? AND EVENT_OBJECT_TABLE = ? AND EVENT_MANIPULATION IN ('INSERT', 'UPDATE') ORDER BY 1";

/// Both databases have these two columns; MySQL's has no table name, and is joined for it.
const CHECKS: &str = "\
SELECT CAST(c.CONSTRAINT_NAME AS CHAR), CAST(c.CHECK_CLAUSE AS CHAR) FROM information_schema.CHECK_CONSTRAINTS c
JOIN information_schema.TABLE_CONSTRAINTS t ON t.CONSTRAINT_SCHEMA = c.CONSTRAINT_SCHEMA AND t.CONSTRAINT_NAME = c.CONSTRAINT_NAME
WHERE t.TABLE_SCHEMA = ? AND t.TABLE_NAME = ? AND t.CONSTRAINT_TYPE = 'CHECK' ORDER BY 1";

const GENERATED: &str = "\
SELECT CAST(COLUMN_NAME AS CHAR), CAST(GENERATION_EXPRESSION AS CHAR) FROM information_schema.COLUMNS
WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND COALESCE(GENERATION_EXPRESSION, '') <> '' ORDER BY 1";

pub(in crate::database) async fn obstacles(
    connections: &Connections,
    layout: &Layout,
) -> Result<Vec<Finding>, DatabaseError> {
    let mut found = of_content(connections, layout).await?;
    let place = columns::place(layout);
    if layout.facts.lacks_transactions {
        let hint = "its engine has no transactions, and a row that is not stored as it was sent could not be undone: \
                    ALTER TABLE … ENGINE=InnoDB";
        found.push(Finding::new(layout, Kind::Engine, Severity::Refuse, hint));
    }
    for row in connections.rows(INDEXES, &place).await? {
        let (Some(column), Some(index)) = (text(&row, 0), text(&row, 1)) else { continue };
        if layout.table.tokens.contains(&column) && !accepts_lost_index(layout, &column) {
            found.push(lost_index(layout, &column, &index, is_true(&row, 2)));
        }
    }
    let warn = |kind, hint: &str| Finding::new(layout, kind, Severity::Warn, hint);
    let tokens_in = |expression: &str| -> Vec<String> {
        layout.table.tokens.iter().filter(|name| mentions(expression, name)).cloned().collect()
    };
    let hint = "it may refuse an envelope: rows that it refuses are named and stay as they are";
    for row in connections.rows(CHECKS, &place).await? {
        for column in tokens_in(&text(&row, 1).unwrap_or_default()) {
            found.push(warn(Kind::Check, hint).on(&column).of(text(&row, 0).unwrap_or_default()));
        }
    }
    let hint = "the database computes it from the sealed text: it holds nothing useful after sealing, or refuses rows";
    for row in connections.rows(GENERATED, &place).await? {
        for column in tokens_in(&text(&row, 1).unwrap_or_default()) {
            found.push(warn(Kind::DependentColumn, hint).on(&column).of(text(&row, 0).unwrap_or_default()));
        }
    }
    let hint = "it may change or refuse what is written, or keep a copy of it: a row that it changes is undone and named";
    for row in connections.rows(TRIGGERS, &place).await? {
        found.push(warn(Kind::Trigger, hint).of(text(&row, 0).unwrap_or_default()));
    }
    Ok(found)
}

/// Whether an expression of the catalog, in which every name is quoted, names a column.
fn mentions(expression: &str, column: &str) -> bool {
    expression.contains(&super::quote(column))
}

/// The obstacles that only the rows show: keys that are NULL, and values whose envelopes are too long for their column.
async fn of_content(connections: &Connections, layout: &Layout) -> Result<Vec<Finding>, DatabaseError> {
    let mut found = Vec::new();
    let (condition, params) = in_range(layout, Range::default());
    let also = if condition.is_empty() { " WHERE" } else { " AND" };
    for name in &layout.table.key {
        if layout.column(name).is_some_and(|column| column.is_nullable) {
            let sql = format!(
                "SELECT '1' FROM {}{condition}{also} {} IS NULL LIMIT 1",
                table(layout),
                column(name)
            );
            if !connections.rows(&sql, &params).await?.is_empty() {
                let hint =
                    "no key names a row whose key is NULL: fill it in, or leave such rows out with `filter`";
                found.push(Finding::new(layout, Kind::NullKey, Severity::Refuse, hint).on(name));
            }
        }
    }
    for name in &layout.table.tokens {
        let Some(own) = layout.column(name) else { continue };
        let Some(limit) = own.limit else { continue };
        let token = as_text(layout, name);
        let is_envelope = format!("{} = {}", bytes(&format!("LEFT({token}, 4)")), bytes("'kms:'"));
        let sql = format!(
            "SELECT CAST(COALESCE(MAX(CASE WHEN {is_envelope} THEN 0 ELSE OCTET_LENGTH({token}) END), 0) AS CHAR) \
             FROM {}{condition}",
            table(layout)
        );
        let rows = connections.rows(&sql, &params).await?;
        let largest = rows.first().map_or(0, |row| number(row, 0));
        if envelope_length(largest) > limit {
            let hint = format!(
                "the envelope of its largest value may take {} bytes: change its type to MEDIUMTEXT",
                envelope_length(largest)
            );
            found.push(Finding { hint, ..too_short(layout, name, &own.declared, largest) });
        }
    }
    Ok(found)
}
