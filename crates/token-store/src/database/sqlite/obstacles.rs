//! The obstacles to sealing a table's token columns.

use super::definition::{generated, quoted_names};
use super::sql::{column, in_range, is_untyped, table};
use super::{Connections, Param, integer, text};
use crate::database::generated::{Generated, dependents};
use crate::database::identity::Kind as Values;
use crate::database::layout::Layout;
use crate::database::select::Range;
use crate::error::DatabaseError;
use crate::findings::{Finding, Kind, Severity, accepts_lost_index, dependent, lost_index, referenced};

/// Indexes of the table, their columns, and their text where they have expressions or conditions.
const INDEXES: &str = "\
SELECT l.name, i.name, l.\"unique\", coalesce(m.sql, ''), l.partial OR EXISTS (
         SELECT 1 FROM pragma_index_xinfo(l.name, ?2) e WHERE e.key = 1 AND e.cid = -2)
FROM pragma_index_list(?1, ?2) l, pragma_index_xinfo(l.name, ?2) i LEFT JOIN sqlite_master m ON m.name = l.name
WHERE i.key = 1 ORDER BY l.seq, i.seqno";

/// Foreign keys of all tables that refer to the table. One that names no columns refers to the primary key.
const REFERENCES: &str = "\
SELECT DISTINCT m.name || '.' || f.\"from\", coalesce(f.\"to\", (SELECT c.name FROM pragma_table_xinfo(?1, ?2) c WHERE c.pk = f.seq + 1)),
       f.on_update IN ('CASCADE', 'SET NULL', 'SET DEFAULT')
FROM sqlite_master m, pragma_foreign_key_list(m.name, ?2) f
WHERE m.type = 'table' AND f.\"table\" = ?1 COLLATE NOCASE ORDER BY 1";

pub(in crate::database) async fn obstacles(
    connections: &Connections,
    layout: &Layout,
) -> Result<Vec<Finding>, DatabaseError> {
    let mut found = of_keys(connections, layout).await?;
    let name = layout.table.name.as_str();
    let params = [Param::from(name), Param::from(layout.table.schema.as_deref().unwrap_or("main"))];
    let definition = definition_of(connections, &params).await?;
    let computed = dependents(&computed(layout, &definition), &layout.table.tokens);
    for row in connections.rows(INDEXES, &params).await? {
        let (index, indexed) = (text(&row, 0).unwrap_or_default(), text(&row, 1));
        let sql = text(&row, 3).unwrap_or_default();
        let has_expressions = integer(&row, 4) > 0;
        let is_over = |name: &str| {
            indexed.as_deref().is_some_and(|indexed| indexed.eq_ignore_ascii_case(name))
                || has_expressions && mentions(&sql, name)
        };
        for token in &layout.table.tokens {
            let is_computed = computed.iter().any(|(from, name)| from == token && is_over(name));
            if (is_over(token) || is_computed) && !accepts_lost_index(layout, token) {
                let finding = lost_index(layout, token, &index, integer(&row, 2) > 0);
                if !found.contains(&finding) {
                    found.push(finding);
                }
            }
        }
    }
    for row in connections.rows(REFERENCES, &params).await? {
        let (constraint, to) = (text(&row, 0).unwrap_or_default(), text(&row, 1).unwrap_or_default());
        let tokens = layout.table.tokens.iter().filter(|token| token.eq_ignore_ascii_case(&to));
        found.extend(tokens.map(|token| referenced(layout, token, &constraint, integer(&row, 2) > 0)));
    }
    let triggers =
        "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?1 COLLATE NOCASE ORDER BY 1";
    let hint = "it may change or refuse what is written, or keep a copy of it: a row that it changes is undone and named";
    for row in connections.rows(triggers, &params[..1]).await? {
        let trigger = text(&row, 0).unwrap_or_default();
        found.push(Finding::new(layout, Kind::Trigger, Severity::Warn, hint).of(trigger));
    }
    if definition.to_ascii_uppercase().contains("CHECK") {
        let hint = "the table has CHECK constraints, which may refuse an envelope: rows that they refuse are named and \
                    stay as they are";
        found.push(Finding::new(layout, Kind::Check, Severity::Warn, hint));
    }
    found.extend(computed.iter().map(|(token, column)| dependent(layout, token, column)));
    Ok(found)
}

/// A word in double quotes that no column has is a text for SQLite, and a condition about it is one about no row.
pub(in crate::database) async fn of_filter(
    _connections: &Connections,
    layout: &Layout,
    filter: &str,
) -> Result<Option<Finding>, DatabaseError> {
    const ROW_IDS: [&str; 3] = ["rowid", "oid", "_rowid_"];
    let columns = layout.facts.columns.iter().map(|column| column.name.to_lowercase());
    let known: Vec<String> = columns.chain([layout.table.name.to_lowercase()]).collect();
    let is_known = |name: &String| known.contains(name) || ROW_IDS.contains(&name.as_str());
    let unknown = quoted_names(filter).into_iter().find(|name| !is_known(name));
    let hint = "the profile's `filter` has a word in double quotes that is no column, and SQLite takes it for a text: correct the \
                name, or write a text in single quotes";
    Ok(unknown.map(|name| Finding::new(layout, Kind::Filter, Severity::Refuse, hint).of(name)))
}

/// CHECKs and the expressions of computed columns are only in the text of the table's definition.
async fn definition_of(connections: &Connections, params: &[Param<'_>]) -> Result<String, DatabaseError> {
    let sql = "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?1 COLLATE NOCASE";
    let rows = connections.rows(sql, &params[..1]).await?;
    Ok(rows.first().and_then(|row| text(row, 0)).unwrap_or_default())
}

/// The computed columns, with the names that the table has for them. One whose expression is not found may be computed
/// from every other column.
fn computed(layout: &Layout, definition: &str) -> Vec<Generated> {
    let read = generated(definition);
    let columns = &layout.facts.columns;
    let named = |names: &[String]| -> Vec<String> {
        let own = columns.iter().map(|column| &column.name);
        own.filter(|own| names.contains(&own.to_lowercase())).cloned().collect()
    };
    let all = || columns.iter().map(|column| column.name.clone()).collect();
    columns
        .iter()
        .filter(|column| column.is_generated && !layout.table.tokens.contains(&column.name))
        .map(|column| {
            let own = read.iter().find(|one| one.column == column.name.to_lowercase());
            Generated { column: column.name.clone(), names: own.map_or_else(all, |own| named(&own.names)) }
        })
        .collect()
}

/// Whether a piece of SQL names a column, as a word of its own.
fn mentions(sql: &str, column: &str) -> bool {
    let (sql, column) = (sql.to_ascii_lowercase(), column.to_ascii_lowercase());
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    sql.match_indices(&column).any(|(start, _)| {
        let before = sql[..start].chars().next_back();
        let after = sql[start + column.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// The obstacles that only the rows show: keys that are NULL, and keys and owners whose values have no text of their own.
async fn of_keys(connections: &Connections, layout: &Layout) -> Result<Vec<Finding>, DatabaseError> {
    let mut found = Vec::new();
    let (condition, params) = in_range(layout, Range::default());
    let own = &layout.table;
    for (name, is_key) in
        own.key.iter().map(|name| (name, true)).chain(own.owner.iter().map(|name| (name, false)))
    {
        let is_number = layout.kind(name) == Values::Integer;
        if is_number || (!is_key && layout.kind(name) == Values::Text) {
            continue;
        }
        let sql =
            format!("SELECT DISTINCT typeof({}) FROM {}{condition}", column(layout, name), table(layout));
        let rows = connections.rows(&sql, &params).await?;
        let classes: Vec<String> = rows.iter().filter_map(|row| text(row, 0)).collect();
        let has = |class: &str| classes.iter().any(|found| found == class);
        if is_key && has("null") {
            let hint =
                "no key names a row whose key is NULL: fill it in, or leave such rows out with `filter`";
            found.push(Finding::new(layout, Kind::NullKey, Severity::Refuse, hint).on(name));
        }
        if has("real") || has("blob") || is_untyped(layout, name) && has("integer") && has("text") {
            let hint = "values are bound to the text of this column, and it holds values of several kinds with one text: \
                        store all of them as text or as whole numbers";
            let finding = Finding::new(layout, Kind::NoCanonicalText, Severity::Refuse, hint);
            found.push(finding.on(name).of(classes.join(", ")));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::mentions;

    #[test]
    fn a_column_is_named_by_a_word_of_its_own() {
        assert!(mentions("CREATE INDEX i ON t (lower(Email))", "email"));
        assert!(mentions("CREATE INDEX i ON t (\"email\")", "email"));
        assert!(!mentions("CREATE INDEX i ON t (email_index)", "email"));
    }
}
