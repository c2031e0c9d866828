//! Reading rows.

use sqlx::mysql::MySqlRow;

use super::sql::{
    as_text, as_token, bytes, in_order, in_range, is_row, key_order, row_params, table, table_by_key,
};
use super::{Connections, Param, cell, columns, number, text};
use crate::database::layout::Layout;
use crate::database::row::{StoredKey, StoredRow};
use crate::database::select::{Limits, Mark, MarkCount, Range};
use crate::error::DatabaseError;

/// Keys and lengths first, which is cheap however large the values are, and then the rows that fit.
pub(in crate::database) async fn page(
    connections: &Connections,
    layout: &Layout,
    range: Range<'_>,
    limits: Limits,
) -> Result<Vec<StoredRow>, DatabaseError> {
    let (condition, params) = in_order(layout, range);
    let sql = format!(
        "SELECT {}, CAST({} AS CHAR) FROM {}{condition} ORDER BY {} LIMIT {}",
        key_columns(layout),
        size(layout),
        table(layout),
        key_order(layout),
        limits.rows,
    );
    let rows = connections.rows(&sql, &params).await?;
    let keys = layout.table.key.len();
    let mut filled = 0;
    let mut last = None;
    for row in &rows {
        if last.is_some() && filled >= limits.bytes {
            break;
        }
        filled += number::<usize>(row, keys);
        last = Some(row);
    }
    let Some(last) = last else { return Ok(Vec::new()) };
    let last = stored_key(layout, last)?;
    let (condition, params) = in_order(layout, Range { after: range.after, until: Some(&last) });
    let sql = format!(
        "SELECT {} FROM {}{condition} ORDER BY {} LIMIT {}",
        selected(layout, false).join(", "),
        table(layout),
        key_order(layout),
        limits.rows,
    );
    let rows = connections.rows(&sql, &params).await?;
    rows.iter().map(|row| stored_row(layout, row)).collect()
}

/// Bytes of the stored tokens.
fn size(layout: &Layout) -> String {
    let large = layout.large_columns().filter(|name| layout.has(name));
    let sizes = large.map(|name| format!("COALESCE(OCTET_LENGTH({}), 0)", super::sql::column(name)));
    sizes.chain(["0".to_owned()]).collect::<Vec<_>>().join(" + ")
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
        "SELECT {} FROM {}{condition} ORDER BY RAND() LIMIT {size}",
        key_columns(layout),
        table(layout)
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
    let sql = format!("SELECT CAST(COUNT(*) AS CHAR) FROM {}{condition}", table(layout));
    let rows = connections.rows(&sql, &params).await?;
    Ok(rows.first().map_or(0, |row| number(row, 0)))
}

/// The number of rows with values whose key is NULL.
pub(in crate::database) async fn count_unnamed(
    connections: &Connections,
    layout: &Layout,
) -> Result<u64, DatabaseError> {
    let nulls: Vec<String> =
        layout.nullable_keys().map(|name| format!("{} IS NULL", super::sql::column(name))).collect();
    if nulls.is_empty() {
        return Ok(0);
    }
    let values = layout.table.tokens.iter().filter(|name| layout.has(name));
    let values: Vec<String> =
        values.map(|name| format!("OCTET_LENGTH({}) > 0", super::sql::column(name))).collect();
    let (condition, params) = in_range(layout, Range::default());
    let also = if condition.is_empty() { " WHERE" } else { " AND" };
    let sql = format!(
        "SELECT CAST(COUNT(*) AS CHAR) FROM {}{condition}{also} ({}) AND ({})",
        table(layout),
        nulls.join(" OR "),
        values.join(" OR ")
    );
    let rows = connections.rows(&sql, &params).await?;
    Ok(rows.first().map_or(0, |row| number(row, 0)))
}

/// Grouped by bytes: as texts, marks that differ in case would be counted together.
pub(in crate::database) async fn count_by_marks(
    connections: &Connections,
    layout: &Layout,
) -> Result<Vec<MarkCount>, DatabaseError> {
    let (condition, params) = in_order(layout, Range::default());
    let columns: Vec<String> =
        layout.table.version_columns().map(|name| bytes(&as_text(layout, name))).collect();
    let sql = format!(
        "SELECT {}, CAST(COUNT(*) AS CHAR) FROM {}{condition} GROUP BY 1, 2, 3",
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
        carried.push(format!("COALESCE({stored}, '0') = '{version}'"));
    }
    for name in layout.table.tokens.iter().filter(|_| !mark.prefixes.is_empty()) {
        let token = as_text(layout, name);
        let marked: Vec<String> = mark
            .prefixes
            .iter()
            .map(|prefix| {
                format!(
                    "{} = {}",
                    bytes(&format!("LEFT({token}, {})", prefix.len())),
                    bytes(&format!("'{prefix}'"))
                )
            })
            .collect();
        carried.push(format!("({token} IS NULL OR OCTET_LENGTH({token}) = 0 OR {})", marked.join(" OR ")));
    }
    let also = if condition.is_empty() { " WHERE" } else { " AND" };
    let sql = format!(
        "SELECT CAST(COUNT(*) AS CHAR) FROM {}{condition}{also} NOT ({})",
        table(layout),
        if carried.is_empty() { "TRUE".into() } else { carried.join(" AND ") }
    );
    let rows = connections.rows(&sql, &params).await?;
    Ok(rows.first().map_or(0, |row| number(row, 0)))
}

/// The rows of a caller's key. A text that is no value of a key column names none.
pub(in crate::database) async fn find(
    connections: &Connections,
    layout: &Layout,
    key: &[String],
) -> Result<Vec<StoredRow>, DatabaseError> {
    let given: Vec<(&str, &str)> =
        layout.table.key.iter().map(String::as_str).zip(key.iter().map(String::as_str)).collect();
    let Some(canonical) = columns::canonical(connections, layout, &given).await? else {
        return Ok(Vec::new());
    };
    if !layout.is_same_key(key, &canonical) {
        return Ok(Vec::new());
    }
    let (sql, params) = by_key(layout, &canonical, true);
    let rows = connections.rows(&sql, &params).await?;
    rows.iter().map(|row| stored_row(layout, row)).collect()
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
    let sql = format!("SELECT {columns} FROM {} WHERE {} LIMIT 2", table_by_key(layout), is_row(layout));
    (sql, row_params(key))
}

pub(in crate::database) fn place(_layout: &Layout, key: &[String]) -> StoredKey {
    StoredKey::of_texts(key.to_vec())
}

/// Every column of a row, as text: key, owner, version, tokens, record, and the plain ones if they are asked for.
pub(super) fn selected(layout: &Layout, plain: bool) -> Vec<String> {
    let own = &layout.table;
    let before =
        own.key.iter().chain(&own.owner).chain(own.version_columns()).map(|name| as_text(layout, name));
    let tokens = own.tokens.iter().map(|name| as_token(layout, name));
    let after = layout.record().map(|record| &record.column).into_iter().chain(own.index_columns());
    let after = after.chain(own.plain.iter().filter(|_| plain)).map(|name| as_text(layout, name));
    before.chain(tokens).chain(after).collect()
}

fn key_columns(layout: &Layout) -> String {
    layout.table.key.iter().map(|name| as_text(layout, name)).collect::<Vec<_>>().join(", ")
}

fn stored_key(layout: &Layout, row: &MySqlRow) -> Result<StoredKey, DatabaseError> {
    let texts = layout.table.key.iter().enumerate().map(|(index, column)| match cell(row, index) {
        Ok(text) => Ok(text.map_or_else(String::new, |text| text.to_string())),
        Err(_) => {
            Err(DatabaseError::of_row(format!("key column {column} holds bytes that are not UTF-8 text")))
        }
    });
    Ok(StoredKey::of_texts(texts.collect::<Result<_, _>>()?))
}

pub(super) fn stored_row(layout: &Layout, row: &MySqlRow) -> Result<StoredRow, DatabaseError> {
    let key = stored_key(layout, row)?;
    let cells = (key.len()..sqlx::Row::len(row)).map(|index| cell(row, index));
    Ok(StoredRow::assemble(layout, key, cells))
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
