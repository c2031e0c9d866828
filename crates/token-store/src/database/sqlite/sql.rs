//! Pieces of SQL that name a table's parts.

use crate::database::identity::integer;
use crate::database::layout::Layout;
use crate::database::quote;
use crate::database::row::StoredKey;
use crate::database::select::Range;

use super::Param;
use super::columns::UNTYPED;

pub(super) fn table(layout: &Layout) -> String {
    match &layout.table.schema {
        Some(schema) => format!("{}.{}", quote(schema), quote(&layout.table.name)),
        None => quote(&layout.table.name),
    }
}

/// The conflict clause of a statement that writes rows.
pub(super) fn or_abort(layout: &Layout) -> &'static str {
    if layout.facts.aborts { "OR ABORT " } else { "" }
}

/// A column, with its table before it.
pub(super) fn column(layout: &Layout, name: &str) -> String {
    format!("{}.{}", quote(&layout.table.name), quote(name))
}

/// A column as text; NULL where the table does not have it.
pub(super) fn as_text(layout: &Layout, name: &str) -> String {
    if layout.has(name) {
        format!("CAST({} AS text)", column(layout, name))
    } else {
        "CAST(NULL AS text)".into()
    }
}

/// A key column in the collation of the index that makes it unique, which may be another than its own.
pub(super) fn key_column(layout: &Layout, name: &str) -> String {
    let unique = layout.facts.unique.iter().flat_map(|unique| &unique.columns);
    let collation =
        unique.filter(|(column, _)| column == name).find_map(|(_, collation)| collation.as_deref());
    match collation {
        Some(collation) => format!("{} COLLATE {}", column(layout, name), quote(collation)),
        None => column(layout, name),
    }
}

pub(super) fn key_order(layout: &Layout) -> String {
    layout.table.key.iter().map(|name| key_column(layout, name)).collect::<Vec<_>>().join(", ")
}

/// A key column equals the parameter at a position, byte by byte under any collation.
pub(super) fn is_key(layout: &Layout, name: &str, source: &str) -> String {
    let (key, plain) = (key_column(layout, name), column(layout, name));
    if key.ends_with("COLLATE \"BINARY\"") {
        return format!("{key} = {source}");
    }
    format!("({key} = {source} AND {plain} COLLATE BINARY = {source})")
}

/// A column is what a caller gave as text. Where a column has no affinity, a number in it is no text.
pub(super) fn is_given(layout: &Layout, name: &str, position: usize, given: &str) -> String {
    let is_number = is_untyped(layout, name) && integer(given).is_some_and(|n| n.to_string() == given);
    let same = is_key(layout, name, &format!("?{position}"));
    match is_number {
        true => format!("({same} OR {})", is_key(layout, name, &format!("CAST(?{position} AS INTEGER)"))),
        false => same,
    }
}

/// Whether a column stores every value as it comes.
pub(super) fn is_untyped(layout: &Layout, name: &str) -> bool {
    layout.column(name).is_some_and(|column| column.cast == UNTYPED)
}

/// Whether a column is declared to hold what SQLite stores as 0 and 1.
fn is_boolean(layout: &Layout, name: &str) -> bool {
    let declared = layout.column(name).map(|column| column.declared.to_ascii_uppercase());
    declared.is_some_and(|declared| declared.starts_with("BOOL"))
}

fn truth(text: &str) -> Option<u8> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(1),
        _ if text.eq_ignore_ascii_case("false") => Some(0),
        _ => None,
    }
}

/// `WHERE …` for the profile's filter, the rows that a walk is limited to, and a range of keys.
pub(super) fn in_range<'a>(layout: &'a Layout, range: Range<'a>) -> (String, Vec<Param<'a>>) {
    let mut conditions: Vec<String> =
        layout.table.filter.iter().map(|filter| format!("({filter})")).collect();
    let mut params = Vec::new();
    for only in &layout.only {
        params.push(Param::from(only.value.as_str()));
        let is_given = is_given(layout, &only.column, params.len(), &only.value);
        let truth = is_boolean(layout, &only.column).then(|| truth(&only.value)).flatten();
        conditions.push(match truth {
            Some(truth) => format!("({is_given} OR {} = {truth})", column(layout, &only.column)),
            None => is_given,
        });
    }
    for (bound, operator) in [(range.after, ">"), (range.until, "<=")] {
        let Some(key) = bound else { continue };
        let first = params.len() + 1;
        let places: Vec<String> = (first..first + key.len()).map(|n| format!("?{n}")).collect();
        conditions.push(format!("({}) {operator} ({})", key_order(layout), places.join(", ")));
        params.extend(stored(key));
    }
    let clause = match conditions.as_slice() {
        [] => String::new(),
        _ => format!(" WHERE {}", conditions.join(" AND ")),
    };
    (clause, params)
}

/// The same for what goes through the rows in the order of their keys: a key that is NULL has no place in it.
pub(super) fn in_order<'a>(layout: &'a Layout, range: Range<'a>) -> (String, Vec<Param<'a>>) {
    let (mut clause, params) = in_range(layout, range);
    for name in layout.nullable_keys() {
        clause.push_str(if clause.is_empty() { " WHERE " } else { " AND " });
        clause.push_str(&format!("{} IS NOT NULL", column(layout, name)));
    }
    (clause, params)
}

/// A key, part by part, as it is stored.
pub(super) fn stored(key: &StoredKey) -> impl Iterator<Item = Param<'_>> {
    key.iter().enumerate().map(|(index, text)| Param::stored(text, key.class(index)))
}
