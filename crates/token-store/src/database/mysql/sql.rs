//! Pieces of SQL that compare texts as they are stored.

use super::{Param, quote};
use crate::database::identity::Kind;
use crate::database::layout::{Column, Layout};
use crate::database::select::Range;

/// The alias of the table in every statement; no table of ours has this name.
pub(super) const TABLE: &str = "`tokenseal table`";

/// The table with its database, under [`TABLE`].
pub(super) fn table(layout: &Layout) -> String {
    format!("{} AS {TABLE}", full_name(layout))
}

/// The table with its database.
pub(super) fn full_name(layout: &Layout) -> String {
    match &layout.facts.schema {
        Some(schema) => format!("{}.{}", quote(schema), quote(&layout.table.name)),
        None => quote(&layout.table.name),
    }
}

/// The table under [`TABLE`], found by the index of the profile's key: the optimizer takes small tables for cheap to
/// read as a whole, and a statement that locks rows would then lock all of them.
pub(super) fn table_by_key(layout: &Layout) -> String {
    let index = layout.facts.unique.as_ref().map(|unique| format!(" FORCE INDEX ({})", quote(&unique.name)));
    format!("{}{}", table(layout), index.unwrap_or_default())
}

pub(super) fn column(name: &str) -> String {
    format!("{TABLE}.{}", quote(name))
}

/// A column as text in UTF-8; bytes are left as they are, and checked when they are read. NULL where the table does not
/// have it.
pub(super) fn as_text(layout: &Layout, name: &str) -> String {
    match layout.column(name) {
        None => "NULL".into(),
        Some(own) if is_bytes(own) => column(name),
        // Without the zeros that `zerofill` shows before a number.
        Some(own) if own.kind == Kind::Integer => utf8(&format!("{} + 0", column(name))),
        Some(_) => utf8(&column(name)),
    }
}

/// A token column as it is read: its text in UTF-8, and a byte that is none where its character set has a text that UTF-8
/// does not give back, which would be read as question marks.
pub(super) fn as_token(layout: &Layout, name: &str) -> String {
    let text = as_text(layout, name);
    let charset =
        layout.column(name).filter(|own| own.kind == Kind::Text).map_or("", |own| own.cast.as_str());
    if charset.is_empty() || matches!(charset, "utf8mb4" | "utf8mb3" | "utf8") {
        return text;
    }
    let again = bytes(&format!("CONVERT({text} USING {charset})"));
    format!("IF({again} <=> {}, {}, X'FF')", bytes(&column(name)), bytes(&text))
}

/// An expression of any type as text in UTF-8.
pub(super) fn utf8(expression: &str) -> String {
    format!("CAST({expression} AS CHAR CHARACTER SET utf8mb4)")
}

/// A text's bytes: comparisons of text ignore case and trailing spaces.
pub(super) fn bytes(text: &str) -> String {
    format!("CAST({text} AS BINARY)")
}

/// Whether two texts are the same, byte by byte, or both NULL.
pub(super) fn is_same_text(one: &str, other: &str) -> String {
    format!("{} <=> {}", bytes(one), bytes(other))
}

/// A key column is that of a text: for the index in the column's own comparison, and byte by byte.
pub(super) fn is_key(layout: &Layout, name: &str, text: &str) -> String {
    let own = column(name);
    let exactly = format!("{} = {}", bytes(&as_text(layout, name)), bytes(text));
    format!("{own} = {} AND {exactly}", comparable(layout, name, text))
}

/// A text in a form that is compared with a column by its index.
fn comparable(layout: &Layout, name: &str, text: &str) -> String {
    let Some(own) = layout.column(name) else { return text.to_owned() };
    match own.kind {
        // A text compared with a number would be compared as a floating-point number.
        Kind::Integer | Kind::Decimal => format!("CAST({text} AS {})", own.cast),
        // `cast` is the column's character set, `operators` its collation.
        Kind::Text if !own.cast.is_empty() => {
            format!("CONVERT({text} USING {}) COLLATE {}", own.cast, own.operators)
        }
        _ => text.to_owned(),
    }
}

pub(super) fn is_bytes(column: &Column) -> bool {
    matches!(
        base_type(&column.declared),
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob"
    )
}

/// `varchar` of `varchar(20)`.
pub(super) fn base_type(declared: &str) -> &str {
    declared.split(['(', ' ']).next().unwrap_or_default()
}

pub(super) fn is_row(layout: &Layout) -> String {
    layout.table.key.iter().map(|name| is_key(layout, name, "?")).collect::<Vec<_>>().join(" AND ")
}

/// The values of [`is_row`]: each part of the key twice.
pub(super) fn row_params(key: &[String]) -> Vec<Param<'_>> {
    key.iter().flat_map(|part| [Some(part.as_str()); 2]).collect()
}

pub(super) fn key_order(layout: &Layout) -> String {
    layout.table.key.iter().map(|name| column(name)).collect::<Vec<_>>().join(", ")
}

/// `WHERE …` for the profile's filter, the rows that a walk is limited to, and a range of keys.
pub(super) fn in_range<'a>(layout: &'a Layout, range: Range<'a>) -> (String, Vec<Param<'a>>) {
    let mut conditions: Vec<String> =
        layout.table.filter.iter().map(|filter| format!("({filter})")).collect();
    let mut params = Vec::new();
    for only in &layout.only {
        let value = Some(only.value.as_str());
        if layout.kind(&only.column).is_canonical() {
            conditions.push(is_key(layout, &only.column, "?"));
            params.extend([value; 2]);
        } else {
            // Equal values may have several texts.
            conditions.push(format!("{} = ?", column(&only.column)));
            params.push(value);
        }
    }
    for (bound, operator) in [(range.after, ">"), (range.until, "<=")] {
        let Some(key) = bound else { continue };
        conditions.push(compare(layout, operator, key, &mut params));
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
        clause.push_str(&format!("{} IS NOT NULL", column(name)));
    }
    (clause, params)
}

/// The key compared with a bound, column by column: a comparison of rows as a whole uses no index here.
///
/// The comparison is the column's own, like the order of the rows and the index that makes the key unique.
fn compare<'a>(layout: &Layout, operator: &str, key: &'a [String], params: &mut Vec<Param<'a>>) -> String {
    let names = &layout.table.key;
    let part = |index: usize, operator: &str| {
        let name = &names[index];
        format!("{} {operator} {}", column(name), comparable(layout, name, "?"))
    };
    let strict = operator.trim_end_matches('=');
    let mut alternatives = Vec::new();
    for last in 0..names.len() {
        let mut parts: Vec<String> = (0..last).map(|index| part(index, "=")).collect();
        parts.push(part(last, if last + 1 == names.len() { operator } else { strict }));
        params.extend(key[..=last].iter().map(|text| Some(text.as_str())));
        alternatives.push(format!("({})", parts.join(" AND ")));
    }
    format!("({})", alternatives.join(" OR "))
}
