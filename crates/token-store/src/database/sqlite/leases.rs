//! Leases, and when an access token expires.

use super::select::is_row;
use super::sql::{as_text, column, stored, table};
use super::{Connections, Param, bind, cell, text};
use crate::database::layout::Layout;
use crate::database::leases::{Dialect, Expiry, Given, LEASES, TimeColumn, Validity};
use crate::database::row::StoredKey;
use crate::error::DatabaseError;

/// 2440587.5 is 1970 as a Julian day.
const NOW: &str = "CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)";

pub(in crate::database) const IN_SESSION_ZONE: &str = "SELECT datetime(CAST(?1 AS INTEGER), 'unixepoch')";

pub(in crate::database) fn dialect(_schema: Option<&str>) -> Dialect {
    Dialect {
        table: LEASES.into(),
        text: |position| format!("?{position}"),
        number: |position| format!("CAST(?{position} AS INTEGER)"),
        as_text: |column| format!("CAST({column} AS TEXT)"),
        now: NOW,
        equals: "=",
        plus: "+",
        or_leave: "ON CONFLICT DO NOTHING",
    }
}

pub(in crate::database) fn create_table(_schema: Option<&str>) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {LEASES} (table_name TEXT NOT NULL, row_key TEXT NOT NULL, holder TEXT NOT NULL, \
         fence INTEGER NOT NULL, state TEXT NOT NULL, revision TEXT, expires_at INTEGER NOT NULL, \
         attempts INTEGER NOT NULL, retry_at INTEGER NOT NULL, PRIMARY KEY (table_name, row_key))"
    )
}

pub(in crate::database) fn exists(_schema: Option<&str>) -> (String, Given) {
    ("SELECT name FROM sqlite_master WHERE name = ?1".into(), vec![Some(LEASES.into())])
}

pub(in crate::database) async fn texts(
    connections: &Connections,
    sql: &str,
    given: &Given,
) -> Result<Vec<Vec<Option<String>>>, DatabaseError> {
    let rows = connections.rows(sql, &params(given)).await?;
    Ok(rows.iter().map(|row| (0..sqlx::Row::len(row)).map(|index| text(row, index)).collect()).collect())
}

pub(in crate::database) async fn execute(
    connections: &Connections,
    sql: &str,
    given: &Given,
) -> Result<u64, DatabaseError> {
    let mut transaction = connections.begin().await?;
    let done = bind(sql, &params(given)).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(done.rows_affected())
}

fn params(given: &Given) -> Vec<Param<'_>> {
    given.iter().map(|text| Param::Text(text.as_deref())).collect()
}

pub(in crate::database) async fn validity(
    connections: &Connections,
    layout: &Layout,
    key: &StoredKey,
    expires_at: &str,
    access: &str,
) -> Result<Option<Validity>, DatabaseError> {
    let sql = format!(
        "SELECT CAST({NOW} AS TEXT), {}, {} FROM {} WHERE {}",
        as_text(layout, expires_at),
        column(layout, access),
        table(layout),
        is_row(layout)
    );
    let params: Vec<Param<'_>> = stored(key).collect();
    let rows = connections.rows(&sql, &params).await?;
    Ok(rows.first().map(|row| Validity {
        now: text(row, 0).and_then(|text| text.parse().ok()).unwrap_or_default(),
        expires: text(row, 1).map(Expiry::Text),
        access: cell(row, 2).ok().flatten(),
    }))
}

pub(in crate::database) fn time_column(declared: &str) -> TimeColumn {
    match declared.contains("int") || declared.contains("real") || declared.contains("num") {
        true => TimeColumn::Number,
        false => TimeColumn::Text,
    }
}
