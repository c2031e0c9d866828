//! The obstacles to sealing a table's token columns.

pub(in crate::database) use super::filter::of_filter;
use super::sql::{as_text, base_type, bytes, column, in_range, table};
use super::{Connections, columns, is_true, number, text};
use crate::database::generated::{Generated, dependents};
use crate::database::layout::Layout;
use crate::database::select::Range;
use crate::error::DatabaseError;
use crate::findings::{
    Finding, Kind, Severity, accepts_lost_index, dependent, envelope_length, history, lost_index, referenced,
    too_short,
};

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

/// Foreign keys of every table that the user sees, also of other databases, that refer to the table.
const REFERENCES: &str = "\
SELECT CAST(k.REFERENCED_COLUMN_NAME AS CHAR), CAST(k.CONSTRAINT_NAME AS CHAR),
       CAST(r.UPDATE_RULE IN ('CASCADE', 'SET NULL', 'SET DEFAULT') AS CHAR)
FROM information_schema.KEY_COLUMN_USAGE k JOIN information_schema.REFERENTIAL_CONSTRAINTS r
  ON r.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA AND r.CONSTRAINT_NAME = k.CONSTRAINT_NAME AND r.TABLE_NAME = k.TABLE_NAME
WHERE k.REFERENCED_TABLE_SCHEMA = ? AND k.REFERENCED_TABLE_NAME = ? ORDER BY 1, 2";

/// The table's columns whose former values it keeps. The history of a table is its own; a column may be left out of it.
const VERSIONED: &str = "\
SELECT CAST(c.COLUMN_NAME AS CHAR) FROM information_schema.TABLES t
JOIN information_schema.COLUMNS c ON c.TABLE_SCHEMA = t.TABLE_SCHEMA AND c.TABLE_NAME = t.TABLE_NAME
WHERE t.TABLE_SCHEMA = ? AND t.TABLE_NAME = ? AND t.TABLE_TYPE = 'SYSTEM VERSIONED'
  AND c.EXTRA NOT LIKE '%WITHOUT SYSTEM VERSIONING%'";

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
    found.extend(layout.table.key.iter().filter_map(|name| {
        let own = layout.column(name)?;
        let is_padded = base_type(&own.declared).eq_ignore_ascii_case("char") && own.operators.contains("_nopad_");
        let hint = "the database orders and compares keys of this type and collation in two ways, so that rows would be passed \
                    over: use varchar, or a collation without NO PAD";
        let finding = Finding::new(layout, Kind::NoCanonicalText, Severity::Refuse, hint);
        is_padded.then(|| finding.on(name).of(own.operators.clone()))
    }));
    let versioned = connections.rows(VERSIONED, &place).await?;
    if versioned.iter().any(|row| text(row, 0).is_some_and(|column| layout.table.tokens.contains(&column))) {
        found.push(history(layout));
    }
    let computed = computed(connections, layout).await?;
    for row in connections.rows(INDEXES, &place).await? {
        let (Some(column), Some(index)) = (text(&row, 0), text(&row, 1)) else { continue };
        for token in &layout.table.tokens {
            let is_over = *token == column || computed.contains(&(token.clone(), column.clone()));
            if is_over && !accepts_lost_index(layout, token) {
                let finding = lost_index(layout, token, &index, is_true(&row, 2));
                if !found.contains(&finding) {
                    found.push(finding);
                }
            }
        }
    }
    for row in connections.rows(REFERENCES, &place).await? {
        let (Some(column), Some(constraint)) = (text(&row, 0), text(&row, 1)) else { continue };
        let tokens = layout.table.tokens.iter().filter(|token| token.eq_ignore_ascii_case(&column));
        found.extend(tokens.map(|token| referenced(layout, token, &constraint, is_true(&row, 2))));
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
    found.extend(computed.iter().map(|(token, column)| dependent(layout, token, column)));
    let hint = "it may change or refuse what is written, or keep a copy of it: a row that it changes is undone and named";
    for row in connections.rows(TRIGGERS, &place).await? {
        found.push(warn(Kind::Trigger, hint).of(text(&row, 0).unwrap_or_default()));
    }
    Ok(found)
}

/// The columns that are computed from token columns, as pairs of both.
async fn computed(
    connections: &Connections,
    layout: &Layout,
) -> Result<Vec<(String, String)>, DatabaseError> {
    let rows = connections.rows(GENERATED, &columns::place(layout)).await?;
    let own = || layout.facts.columns.iter().map(|column| &column.name);
    let generated = rows.iter().filter_map(|row| {
        let expression = text(row, 1)?;
        let names = own().filter(|name| mentions(&expression, name)).cloned().collect();
        Some(Generated { column: text(row, 0)?, names })
    });
    Ok(dependents(&generated.collect::<Vec<_>>(), &layout.table.tokens))
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
