//! Pieces of SQL that name a table's parts, each with its schema.

use crate::database::layout::{Column, Layout};
use crate::database::quote;
use crate::database::select::Range;

use super::Param;

/// The table, with the schema that it was found in.
pub(super) fn table(layout: &Layout) -> String {
    match &layout.facts.schema {
        Some(schema) => format!("{}.{}", quote(schema), quote(&layout.table.name)),
        None => quote(&layout.table.name),
    }
}

/// A column, with its table before it: in `ORDER BY` a bare name would be the selected text of the column, and numbers
/// would be sorted as text.
pub(super) fn column(layout: &Layout, name: &str) -> String {
    format!("{}.{}", quote(&layout.table.name), quote(name))
}

/// A column as text; NULL where the table does not have it.
pub(super) fn as_text(layout: &Layout, name: &str) -> String {
    if layout.has(name) {
        format!("{}::pg_catalog.text", column(layout, name))
    } else {
        "NULL::pg_catalog.text".into()
    }
}

/// A text with a column's type, but without its length: nothing is cut.
pub(super) fn cast(layout: &Layout, name: &str, text: &str) -> String {
    let cast = layout.column(name).map_or("pg_catalog.text", |column| column.cast.as_str());
    format!("{text}::{cast}")
}

/// The placeholder at a position, as text.
pub(super) fn place(position: usize) -> String {
    format!("${position}::pg_catalog.text")
}

/// Whether two texts are the same, byte by byte, or both NULL. `IS NOT DISTINCT FROM` would look its operator up in the
/// search path, and a collation may take different texts for equal.
pub(super) fn is_same_text(one: &str, other: &str) -> String {
    format!(
        "({one} COLLATE pg_catalog.\"C\" OPERATOR(pg_catalog.=) {other} OR ({one} IS NULL AND {other} IS NULL))"
    )
}

/// A column is equal to a text as the column's type has it.
fn equals(layout: &Layout, name: &str, text: &str) -> String {
    format!("{} OPERATOR({}.=) {}", column(layout, name), operators(layout, name), cast(layout, name, text))
}

/// A key column is that of a text.
pub(super) fn is_key(layout: &Layout, name: &str, text: &str) -> String {
    let equals = equals(layout, name, text);
    // Where equal values have several texts, the text is part of the identity.
    match layout.column(name) {
        Some(Column { kind, .. }) if !kind.is_canonical() => format!(
            "({equals} AND {} COLLATE pg_catalog.\"C\" OPERATOR(pg_catalog.=) {text})",
            as_text(layout, name)
        ),
        _ => equals,
    }
}

/// Every key column is that of its placeholder, from the first position on.
pub(super) fn is_row(layout: &Layout, first: usize) -> String {
    let keys = layout.table.key.iter().enumerate();
    keys.map(|(i, name)| is_key(layout, name, &place(first + i))).collect::<Vec<_>>().join(" AND ")
}

pub(super) fn operators<'a>(layout: &'a Layout, name: &str) -> &'a str {
    layout.column(name).map_or("pg_catalog", |column| column.operators.as_str())
}

pub(super) fn key_order(layout: &Layout) -> String {
    let columns: Vec<String> = layout.table.key.iter().map(|name| column(layout, name)).collect();
    columns.join(", ")
}

/// `WHERE …` for the profile's filter, the rows that a walk is limited to, and a range of keys.
pub(super) fn in_range<'a>(layout: &'a Layout, range: Range<'a>) -> (String, Vec<Param<'a>>) {
    let mut conditions: Vec<String> =
        layout.table.filter.iter().map(|filter| format!("({filter})")).collect();
    let mut params = Vec::new();
    for only in &layout.only {
        params.push(Param::from(only.value.as_str()));
        conditions.push(equals(layout, &only.column, &place(params.len())));
    }
    for (bound, operator) in [(range.after, ">"), (range.until, "<=")] {
        let Some(key) = bound else { continue };
        conditions.push(compare(layout, operator, params.len() + 1));
        params.extend(key.iter().map(|text| Param::from(text.as_str())));
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

/// The key compared with placeholders as a whole, column by column where their operators are of several schemas.
fn compare(layout: &Layout, operator: &str, first: usize) -> String {
    let keys = &layout.table.key;
    let texts: Vec<String> =
        keys.iter().enumerate().map(|(i, name)| cast(layout, name, &place(first + i))).collect();
    let schema = operators(layout, &keys[0]);
    if keys.iter().all(|name| operators(layout, name) == schema) {
        return format!("({}) OPERATOR({schema}.{operator}) ({})", key_order(layout), texts.join(", "));
    }
    let mut alternatives = Vec::new();
    for last in 0..keys.len() {
        let mut parts: Vec<String> = (0..last)
            .map(|i| {
                let schema = operators(layout, &keys[i]);
                format!("{} OPERATOR({schema}.=) {}", column(layout, &keys[i]), texts[i])
            })
            .collect();
        let strict = if last + 1 == keys.len() { operator } else { operator.trim_end_matches('=') };
        let schema = operators(layout, &keys[last]);
        parts.push(format!("{} OPERATOR({schema}.{strict}) {}", column(layout, &keys[last]), texts[last]));
        alternatives.push(format!("({})", parts.join(" AND ")));
    }
    format!("({})", alternatives.join(" OR "))
}
