//! Reading rows.

use futures_util::TryStreamExt as _;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, TypeInfo as _, ValueRef as _};

use super::sql::{as_text, column, in_order, in_range, is_given, is_key, key_order, stored, table};
use super::{Connections, Param, bind, cell, integer, text};
use crate::database::identity;
use crate::database::layout::Layout;
use crate::database::row::{Cell, Class, NoText, StoredKey, StoredRow};
use crate::database::select::{Limits, Mark, MarkCount, Range};
use crate::error::DatabaseError;

/// Rows are taken as they come, until they fill the page.
pub(in crate::database) async fn page(
    connections: &Connections,
    layout: &Layout,
    range: Range<'_>,
    limits: Limits,
) -> Result<Vec<StoredRow>, DatabaseError> {
    let (condition, params) = in_order(layout, range);
    let sql = format!(
        "SELECT {} FROM {}{condition} ORDER BY {} LIMIT {}",
        selected(layout, false),
        table(layout),
        key_order(layout),
        limits.rows
    );
    let mut rows = bind(&sql, &params).fetch(&connections.pool);
    let (mut page, mut filled) = (Vec::new(), 0);
    while filled < limits.bytes
        && let Some(row) = rows.try_next().await?
    {
        let row = stored_row(layout, &row)?;
        let record = row.record_text().ok().flatten();
        filled += row.values.iter().flatten().map(|text| text.len()).sum::<usize>();
        filled += record.map_or(0, str::len);
        page.push(row);
    }
    Ok(page)
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
        key_order(layout)
    );
    connections.rows(&sql, &params).await?.iter().map(|row| stored_key(layout, row)).collect()
}

pub(in crate::database) async fn sample(
    connections: &Connections,
    layout: &Layout,
    size: usize,
) -> Result<Vec<StoredKey>, DatabaseError> {
    let (condition, params) = in_order(layout, Range::default());
    let sql = format!(
        "SELECT {} FROM {}{condition} ORDER BY random() LIMIT {size}",
        key_columns(layout),
        table(layout)
    );
    connections.rows(&sql, &params).await?.iter().map(|row| stored_key(layout, row)).collect()
}

pub(in crate::database) async fn count(
    connections: &Connections,
    layout: &Layout,
    range: Range<'_>,
) -> Result<u64, DatabaseError> {
    let (condition, params) = in_range(layout, range);
    counted(connections, &format!("SELECT count(*) FROM {}{condition}", table(layout)), &params).await
}

async fn counted(connections: &Connections, sql: &str, params: &[Param<'_>]) -> Result<u64, DatabaseError> {
    let rows = connections.rows(sql, params).await?;
    Ok(rows.first().map_or(0, |row| u64::try_from(integer(row, 0)).unwrap_or(0)))
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
    let values: Vec<String> =
        values.map(|name| format!("({0} IS NOT NULL AND {0} <> '')", column(layout, name))).collect();
    let (condition, params) = in_range(layout, Range::default());
    let also = if condition.is_empty() { " WHERE" } else { " AND" };
    let sql = format!(
        "SELECT count(*) FROM {}{condition}{also} ({}) AND ({})",
        table(layout),
        nulls.join(" OR "),
        values.join(" OR ")
    );
    counted(connections, &sql, &params).await
}

pub(in crate::database) async fn count_by_marks(
    connections: &Connections,
    layout: &Layout,
) -> Result<Vec<MarkCount>, DatabaseError> {
    let (condition, params) = in_order(layout, Range::default());
    let columns: Vec<String> = layout.table.version_columns().map(|name| as_text(layout, name)).collect();
    let sql =
        format!("SELECT {}, count(*) FROM {}{condition} GROUP BY 1, 2, 3", columns.join(", "), table(layout));
    let rows = connections.rows(&sql, &params).await?;
    Ok(rows
        .iter()
        .map(|row| MarkCount {
            version: text(row, 0),
            method: text(row, 1),
            key_id: text(row, 2),
            rows: u64::try_from(integer(row, 3)).unwrap_or(0),
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
        carried.push(format!("coalesce({}, '0') = '{version}'", as_text(layout, &names.version)));
    }
    for name in layout.table.tokens.iter().filter(|_| !mark.prefixes.is_empty()) {
        let token = column(layout, name);
        let marked: Vec<String> = mark
            .prefixes
            .iter()
            .map(|prefix| format!("substr({token}, 1, {}) = '{prefix}'", prefix.len()))
            .collect();
        // Bytes are no text with a mark.
        carried.push(format!(
            "({token} IS NULL OR {token} = '' OR (typeof({token}) = 'text' AND ({})))",
            marked.join(" OR ")
        ));
    }
    let also = if condition.is_empty() { " WHERE" } else { " AND" };
    let carried = if carried.is_empty() { "1".into() } else { carried.join(" AND ") };
    let sql = format!("SELECT count(*) FROM {}{condition}{also} NOT ({carried})", table(layout));
    counted(connections, &sql, &params).await
}

pub(in crate::database) async fn find(
    connections: &Connections,
    layout: &Layout,
    key: &[String],
) -> Result<Vec<StoredRow>, DatabaseError> {
    let (sql, params) = by_given(layout, key);
    connections.rows(&sql, &params).await?.iter().map(|row| stored_row(layout, row)).collect()
}

/// The statement that reads the rows of a caller's key, with their plain columns.
pub(super) fn by_given<'a>(layout: &Layout, key: &'a [String]) -> (String, Vec<Param<'a>>) {
    let keys = layout.table.key.iter().zip(key).enumerate();
    let conditions: Vec<String> =
        keys.map(|(index, (name, text))| is_given(layout, name, index + 1, text)).collect();
    let sql = format!(
        "SELECT {} FROM {} WHERE {} LIMIT 2",
        selected(layout, true),
        table(layout),
        conditions.join(" AND ")
    );
    (sql, key.iter().map(|text| Param::from(text.as_str())).collect())
}

pub(in crate::database) async fn fetch(
    connections: &Connections,
    layout: &Layout,
    key: &StoredKey,
) -> Result<Option<StoredRow>, DatabaseError> {
    let sql =
        format!("SELECT {} FROM {} WHERE {} LIMIT 2", selected(layout, false), table(layout), is_row(layout));
    let params: Vec<Param<'_>> = stored(key).collect();
    connections.rows(&sql, &params).await?.first().map(|row| stored_row(layout, row)).transpose()
}

/// Every part of a key equals the parameter at its position.
pub(super) fn is_row(layout: &Layout) -> String {
    let keys = layout.table.key.iter().enumerate();
    keys.map(|(i, name)| is_key(layout, name, &format!("?{}", i + 1))).collect::<Vec<_>>().join(" AND ")
}

/// A caller's key as it would be stored: a text that looks like a whole number is one, except in a text column.
pub(in crate::database) fn place(layout: &Layout, key: &[String]) -> StoredKey {
    StoredKey::of_parts(layout.table.key.iter().zip(key).map(|(name, text)| {
        let number = identity::integer(text).filter(|_| layout.kind(name) != identity::Kind::Text);
        (text.clone(), number.map_or(Class::Text, Class::Integer))
    }))
}

/// Every column of a row: key columns as they are stored and as text, owner and version columns as text, tokens as they
/// are stored, the record and the plain ones as text if they are asked for.
pub(super) fn selected(layout: &Layout, plain: bool) -> String {
    let own = &layout.table;
    let mut columns = vec![key_columns(layout)];
    columns.extend(own.owner.iter().chain(own.version_columns()).map(|name| as_text(layout, name)));
    columns.extend(own.tokens.iter().map(|name| column(layout, name)));
    columns.extend(layout.record().map(|record| as_text(layout, &record.column)));
    columns.extend(own.index_columns().map(|name| as_text(layout, name)));
    columns.extend(own.plain.iter().filter(|_| plain).map(|name| as_text(layout, name)));
    columns.join(", ")
}

fn key_columns(layout: &Layout) -> String {
    let keys = layout.table.key.iter();
    let stored = keys.clone().map(|name| column(layout, name));
    stored.chain(keys.map(|name| as_text(layout, name))).collect::<Vec<_>>().join(", ")
}

/// A key from its columns as they are stored, and after them as text.
fn stored_key(layout: &Layout, row: &SqliteRow) -> Result<StoredKey, DatabaseError> {
    let keys = layout.table.key.len();
    let parts = layout.table.key.iter().enumerate().map(|(index, name)| {
        let value = row.try_get_raw(index).map_err(DatabaseError::from)?;
        let class = match value.type_info().name() {
            "INTEGER" => Class::Integer(integer(row, index)),
            "REAL" => Class::Real(row.try_get_unchecked(index).map_err(DatabaseError::from)?),
            "BLOB" => {
                let message = format!("key column {name} holds a BLOB, which no key can name");
                return Err(DatabaseError::of_row(message));
            }
            _ => Class::Text,
        };
        match row.try_get_unchecked::<Option<String>, _>(keys + index) {
            Ok(text) => Ok((text.unwrap_or_default(), class)),
            Err(_) => {
                Err(DatabaseError::of_row(format!("key column {name} holds bytes that are not UTF-8 text")))
            }
        }
    });
    Ok(StoredKey::of_parts(parts.collect::<Result<Vec<_>, _>>()?))
}

pub(super) fn stored_row(layout: &Layout, row: &SqliteRow) -> Result<StoredRow, DatabaseError> {
    let table = &layout.table;
    let key = stored_key(layout, row)?;
    let first = 2 * table.key.len();
    let tokens = first + table.owner.len() + table.version_columns().count();
    let tokens = tokens..tokens + table.tokens.len();
    let cells = (first..row.len()).map(|index| match tokens.contains(&index) {
        true => cell(row, index),
        false => cast_cell(row, index),
    });
    Ok(StoredRow::assemble(layout, key, cells))
}

/// A column that the statement casts to text.
fn cast_cell(row: &SqliteRow, index: usize) -> Cell {
    let text = row.try_get_unchecked::<Option<String>, _>(index).map_err(|_| NoText::NotUtf8)?;
    Ok(text.map(zeroize::Zeroizing::new))
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
