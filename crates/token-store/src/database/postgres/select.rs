//! Reading rows.

use sqlx::postgres::PgRow;

use super::sql::{as_text, column, in_order, in_range, is_key, is_row, key_order, table};
use super::{Connections, Param, cell, number, text};
use crate::database::layout::Layout;
use crate::database::row::{StoredKey, StoredRow};
use crate::database::select::{Limits, Mark, MarkCount, Range};
use crate::error::DatabaseError;

/// Rows are cut where the texts before them fill the page. Lengths are known without reading large values.
pub(in crate::database) async fn page(
    connections: &Connections,
    layout: &Layout,
    range: Range<'_>,
    limits: Limits,
) -> Result<Vec<StoredRow>, DatabaseError> {
    let (condition, params) = in_order(layout, range);
    let columns = selected(layout, false);
    let named: Vec<String> =
        columns.iter().enumerate().map(|(i, column)| format!("{column} AS c{i}")).collect();
    let names: Vec<String> = (0..columns.len()).map(|i| format!("c{i}")).collect();
    let sql = format!(
        "SELECT {names} FROM (SELECT {names}, size, pg_catalog.sum(size) OVER (ROWS UNBOUNDED PRECEDING) AS filled \
         FROM (SELECT {}, {} AS size FROM {}{condition} ORDER BY {} LIMIT {}) AS page) AS cut \
         WHERE filled OPERATOR(pg_catalog.-) size OPERATOR(pg_catalog.<) {}::pg_catalog.float8",
        named.join(", "),
        size(layout),
        table(layout),
        key_order(layout),
        limits.rows,
        limits.bytes,
        names = names.join(", "),
    );
    let rows = connections.rows(&sql, &params).await?;
    rows.iter().map(|row| stored_row(layout, row)).collect()
}

/// Bytes of the stored tokens.
fn size(layout: &Layout) -> String {
    let sizes = layout.large_columns().map(|name| {
        format!("COALESCE(pg_catalog.octet_length({})::pg_catalog.float8, 0)", as_text(layout, name))
    });
    sizes.collect::<Vec<_>>().join(" OPERATOR(pg_catalog.+) ")
}

pub(in crate::database) async fn keys(
    connections: &Connections,
    layout: &Layout,
    range: Range<'_>,
    limit: usize,
    offset: u64,
) -> Result<Vec<StoredKey>, DatabaseError> {
    let (condition, params) = in_order(layout, range);
    let sql = format!(
        "SELECT {} FROM {}{condition} ORDER BY {} LIMIT {limit} OFFSET {offset}",
        key_columns(layout),
        table(layout),
        key_order(layout),
    );
    let rows = connections.rows(&sql, &params).await?;
    rows.iter().map(|row| stored_key(layout, row)).collect()
}

pub(in crate::database) async fn sample(
    connections: &Connections,
    layout: &Layout,
    size: usize,
) -> Result<Vec<StoredKey>, DatabaseError> {
    let (condition, params) = in_order(layout, Range::default());
    let sql = format!(
        "SELECT {} FROM {}{condition} ORDER BY pg_catalog.random() LIMIT {size}",
        key_columns(layout),
        table(layout),
    );
    let rows = connections.rows(&sql, &params).await?;
    rows.iter().map(|row| stored_key(layout, row)).collect()
}

pub(in crate::database) async fn count(
    connections: &Connections,
    layout: &Layout,
    range: Range<'_>,
) -> Result<u64, DatabaseError> {
    let (condition, params) = in_range(layout, range);
    let sql = format!("SELECT pg_catalog.count(*)::pg_catalog.text FROM {}{condition}", table(layout));
    let rows = connections.rows(&sql, &params).await?;
    Ok(rows.first().map_or(0, |row| number(row, 0)))
}

/// The number of rows with values whose key is NULL.
pub(in crate::database) async fn count_unnamed(
    connections: &Connections,
    layout: &Layout,
) -> Result<u64, DatabaseError> {
    let nulls: Vec<String> =
        layout.nullable_keys().map(|name| format!("{} IS NULL", column(layout, name))).collect();
    if nulls.is_empty() {
        return Ok(0);
    }
    let values = layout.table.tokens.iter().filter(|name| layout.has(name));
    let values: Vec<String> = values
        .map(|name| format!("pg_catalog.octet_length({}) OPERATOR(pg_catalog.>) 0", as_text(layout, name)))
        .collect();
    let (condition, params) = in_range(layout, Range::default());
    let also = if condition.is_empty() { " WHERE" } else { " AND" };
    let sql = format!(
        "SELECT pg_catalog.count(*)::pg_catalog.text FROM {}{condition}{also} ({}) AND ({})",
        table(layout),
        nulls.join(" OR "),
        values.join(" OR ")
    );
    let rows = connections.rows(&sql, &params).await?;
    Ok(rows.first().map_or(0, |row| number(row, 0)))
}

pub(in crate::database) async fn count_by_marks(
    connections: &Connections,
    layout: &Layout,
) -> Result<Vec<MarkCount>, DatabaseError> {
    let (condition, params) = in_order(layout, Range::default());
    let columns: Vec<String> = layout.table.version_columns().map(|name| as_text(layout, name)).collect();
    let sql = format!(
        "SELECT {}, pg_catalog.count(*)::pg_catalog.text FROM {}{condition} GROUP BY 1, 2, 3",
        columns.join(", "),
        table(layout)
    );
    let rows = connections.rows(&sql, &params).await?;
    Ok(rows
        .iter()
        .map(|row| MarkCount {
            version: text(row, 0),
            method: text(row, 1),
            key_id: text(row, 2),
            rows: number(row, 3),
        })
        .collect())
}

pub(in crate::database) async fn count_without(
    connections: &Connections,
    layout: &Layout,
    mark: &Mark,
) -> Result<u64, DatabaseError> {
    let (condition, params) = in_order(layout, Range::default());
    let mut carried = Vec::new();
    if let (Some(names), Some(version)) = (layout.version(), mark.version) {
        let stored = as_text(layout, &names.version);
        carried.push(format!("COALESCE({stored}, '0') OPERATOR(pg_catalog.=) '{version}'::pg_catalog.text"));
    }
    for name in layout.table.tokens.iter().filter(|_| !mark.prefixes.is_empty()) {
        // Not every collation compares parts of texts.
        let token = format!("({} COLLATE pg_catalog.\"C\")", as_text(layout, name));
        let marked: Vec<String> = mark
            .prefixes
            .iter()
            .map(|prefix| format!("pg_catalog.starts_with({token}, '{prefix}')"))
            .collect();
        carried.push(format!(
            "({token} IS NULL OR {token} OPERATOR(pg_catalog.=) ''::pg_catalog.text OR {})",
            marked.join(" OR ")
        ));
    }
    let also = if condition.is_empty() { " WHERE" } else { " AND" };
    let sql = format!(
        "SELECT pg_catalog.count(*)::pg_catalog.text FROM {}{condition}{also} NOT ({})",
        table(layout),
        if carried.is_empty() { "true".into() } else { carried.join(" AND ") }
    );
    let rows = connections.rows(&sql, &params).await?;
    Ok(rows.first().map_or(0, |row| number(row, 0)))
}

/// The rows of a caller's key. A text that is no value of a key column's type names none.
pub(in crate::database) async fn find(
    connections: &Connections,
    layout: &Layout,
    key: &[String],
) -> Result<Vec<StoredRow>, DatabaseError> {
    let (sql, params) = by_key(layout, key, true);
    match connections.rows(&sql, &params).await {
        Ok(rows) => rows.iter().map(|row| stored_row(layout, row)).collect(),
        Err(error) if error.code.as_deref().is_some_and(|code| code.starts_with("22")) => {
            // Either the key is no value of its type, or the row holds what cannot be read.
            match connections.rows(&by_key_columns(layout), &params).await {
                Ok(rows) if rows.is_empty() => Ok(Vec::new()),
                Ok(_) => Err(error),
                Err(_) => Ok(Vec::new()),
            }
        }
        Err(error) => Err(error),
    }
}

pub(in crate::database) async fn fetch(
    connections: &Connections,
    layout: &Layout,
    key: &StoredKey,
) -> Result<Option<StoredRow>, DatabaseError> {
    let (sql, params) = by_key(layout, key, false);
    let rows = connections.rows(&sql, &params).await?;
    rows.first().map(|row| stored_row(layout, row)).transpose()
}

/// The statement that reads a row by its key, with its plain columns or without.
pub(super) fn by_key<'a>(layout: &Layout, key: &'a [String], plain: bool) -> (String, Vec<Param<'a>>) {
    let columns = selected(layout, plain).join(", ");
    let sql = format!("SELECT {columns} FROM {} WHERE {} LIMIT 2", table(layout), is_row(layout, 1));
    (sql, key.iter().map(|text| Param::from(text.as_str())).collect())
}

pub(super) fn by_key_columns(layout: &Layout) -> String {
    format!("SELECT {} FROM {} WHERE {} LIMIT 2", key_columns(layout), table(layout), is_row(layout, 1))
}

pub(in crate::database) fn place(_layout: &Layout, key: &[String]) -> StoredKey {
    StoredKey::of_texts(key.to_vec())
}

/// Every column of a row, as text: key, owner, version, tokens, record, and the plain ones if they are asked for.
pub(super) fn selected(layout: &Layout, plain: bool) -> Vec<String> {
    let own = &layout.table;
    let columns = own.key.iter().chain(&own.owner).chain(own.version_columns()).chain(layout.large_columns());
    let columns = columns.chain(own.index_columns());
    let plain = own.plain.iter().filter(|_| plain);
    columns.chain(plain).map(|name| as_text(layout, name)).collect()
}

fn key_columns(layout: &Layout) -> String {
    layout.table.key.iter().map(|name| as_text(layout, name)).collect::<Vec<_>>().join(", ")
}

fn stored_key(layout: &Layout, row: &PgRow) -> Result<StoredKey, DatabaseError> {
    let texts = layout.table.key.iter().enumerate().map(|(index, column)| match cell(row, index) {
        Ok(text) => Ok(text.map_or_else(String::new, |mut text| std::mem::take(&mut *text))),
        Err(_) => {
            Err(DatabaseError::of_row(format!("key column {column} holds bytes that are not UTF-8 text")))
        }
    });
    Ok(StoredKey::of_texts(texts.collect::<Result<_, _>>()?))
}

pub(super) fn stored_row(layout: &Layout, row: &PgRow) -> Result<StoredRow, DatabaseError> {
    let key = stored_key(layout, row)?;
    let cells = (key.len()..sqlx::Row::len(row)).map(|index| cell(row, index));
    Ok(StoredRow::assemble(layout, key, cells))
}

/// Rows of a key, for a condition on other statements.
pub(super) fn key_of_changes(layout: &Layout, source: impl Fn(usize) -> String) -> Vec<String> {
    let keys = layout.table.key.iter().enumerate();
    keys.map(|(index, name)| is_key(layout, name, &source(index))).collect()
}

/// Whether the table can be asked with this condition, without reading a row.
pub(in crate::database) async fn ask(
    connections: &Connections,
    layout: &Layout,
    condition: &str,
) -> Result<(), DatabaseError> {
    let sql = format!("SELECT 1 FROM {} WHERE {condition} LIMIT 0", table(layout));
    connections.rows(&sql, &[]).await.map(drop)
}
