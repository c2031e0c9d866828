//! Leases, and when an access token expires.

use super::sql::{as_text, column, is_row, table};
use super::{Connections, Param, cell, text};
use crate::database::layout::Layout;
use crate::database::leases::{Dialect, Expiry, Given, LEASES, TimeColumn, Validity};
use crate::database::quote;
use crate::database::row::StoredKey;
use crate::error::DatabaseError;

/// The clock itself, and not the time at which the transaction began: a statement may have waited for a lock.
const NOW: &str = "(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) OPERATOR(pg_catalog.*) \
                   1000::pg_catalog.float8)::pg_catalog.int8";

pub(in crate::database) const IN_SESSION_ZONE: &str =
    "SELECT pg_catalog.to_timestamp($1::pg_catalog.text::pg_catalog.float8)::pg_catalog.text";

pub(in crate::database) fn dialect(schema: Option<&str>) -> Dialect {
    Dialect {
        table: name(schema),
        text: |position| format!("${position}::pg_catalog.text"),
        number: |position| format!("${position}::pg_catalog.text::pg_catalog.int8"),
        as_text: |column| format!("{column}::pg_catalog.text"),
        now: NOW,
        equals: "OPERATOR(pg_catalog.=)",
        plus: "OPERATOR(pg_catalog.+)",
        or_leave: "ON CONFLICT DO NOTHING",
    }
}

fn name(schema: Option<&str>) -> String {
    match schema {
        Some(schema) => format!("{}.{LEASES}", quote(schema)),
        None => LEASES.into(),
    }
}

pub(in crate::database) fn create_table(schema: Option<&str>) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {} (table_name TEXT NOT NULL, row_key TEXT NOT NULL, holder TEXT NOT NULL, \
         fence BIGINT NOT NULL, state TEXT NOT NULL, revision TEXT, expires_at BIGINT NOT NULL, \
         attempts BIGINT NOT NULL, retry_at BIGINT NOT NULL, PRIMARY KEY (table_name, row_key))",
        name(schema)
    )
}

pub(in crate::database) fn exists(schema: Option<&str>) -> (String, Given) {
    let sql = "SELECT c.relname::pg_catalog.text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n \
               ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
               WHERE n.nspname::pg_catalog.text OPERATOR(pg_catalog.=) $1::pg_catalog.text \
               AND c.relname::pg_catalog.text OPERATOR(pg_catalog.=) $2::pg_catalog.text";
    (sql.into(), vec![schema.map(ToOwned::to_owned), Some(LEASES.into())])
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
    let done = connections.bind(sql, &params(given)).execute(&mut *transaction).await?;
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
    let declared = layout.column(expires_at).map_or("", |column| column.declared.as_str());
    let is_time = time_column(declared) == TimeColumn::Zoned;
    let expires = match is_time {
        true => format!(
            "CASE WHEN pg_catalog.isfinite({column}) THEN (pg_catalog.date_part('epoch', {column}) \
             OPERATOR(pg_catalog.*) 1000::pg_catalog.float8)::pg_catalog.int8::pg_catalog.text \
             ELSE {column}::pg_catalog.text END",
            column = column(layout, expires_at)
        ),
        false => as_text(layout, expires_at),
    };
    let sql = format!(
        "SELECT {NOW}::pg_catalog.text, {expires}, {} FROM {} WHERE {}",
        as_text(layout, access),
        table(layout),
        is_row(layout, 1)
    );
    let params: Vec<Param<'_>> = key.iter().map(|text| Param::from(text.as_str())).collect();
    let rows = connections.rows(&sql, &params).await?;
    Ok(rows.first().map(|row| Validity {
        now: super::number(row, 0),
        expires: text(row, 1).map(|text| match text.parse() {
            Ok(millis) if is_time => Expiry::Millis(millis),
            _ => Expiry::Text(text),
        }),
        access: cell(row, 2).ok().flatten(),
    }))
}

pub(in crate::database) fn time_column(declared: &str) -> TimeColumn {
    match declared {
        _ if declared.starts_with("timestamp") || declared == "date" => TimeColumn::Zoned,
        "smallint" | "integer" | "bigint" | "real" | "double precision" => TimeColumn::Number,
        _ if declared.starts_with("numeric") => TimeColumn::Number,
        _ => TimeColumn::Text,
    }
}
