//! Leases, and when an access token expires.

use super::sql::{as_text, base_type, column, is_row, row_params, table_by_key, utf8};
use super::{Connections, Param, bind, cell, number, quote, text};
use crate::database::layout::Layout;
use crate::database::leases::{Dialect, Expiry, Given, LEASES, TimeColumn, Validity};
use crate::database::row::StoredKey;
use crate::error::DatabaseError;

/// In UTC: an hour of the session's time zone may come twice a year.
const NOW: &str = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000";

pub(in crate::database) const IN_SESSION_ZONE: &str =
    "SELECT CAST(FROM_UNIXTIME(CAST(? AS SIGNED)) AS CHAR CHARACTER SET utf8mb4)";

/// Placeholders have no numbers here: every statement is given its values in the order of their use.
pub(in crate::database) fn dialect(schema: Option<&str>) -> Dialect {
    Dialect {
        table: name(schema),
        text: |_| "?".into(),
        number: |_| "CAST(? AS SIGNED)".into(),
        as_text: |column| format!("CAST({column} AS CHAR CHARACTER SET utf8mb4)"),
        now: NOW,
        equals: "=",
        plus: "+",
        or_leave: "ON DUPLICATE KEY UPDATE fence = fence",
    }
}

fn name(schema: Option<&str>) -> String {
    match schema {
        Some(schema) => format!("{}.{LEASES}", quote(schema)),
        None => LEASES.into(),
    }
}

/// The key is of bytes, because comparisons of text ignore case and trailing spaces, and within the 3,072 bytes of an
/// index.
pub(in crate::database) fn create_table(schema: Option<&str>) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {} (table_name VARBINARY(256) NOT NULL, row_key VARBINARY(2800) NOT NULL, \
         holder VARBINARY(64) NOT NULL, fence BIGINT NOT NULL, state VARBINARY(32) NOT NULL, \
         revision VARBINARY(64), expires_at BIGINT NOT NULL, attempts BIGINT NOT NULL, retry_at BIGINT NOT NULL, \
         PRIMARY KEY (table_name, row_key)) ENGINE=InnoDB",
        name(schema)
    )
}

pub(in crate::database) fn exists(schema: Option<&str>) -> (String, Given) {
    let sql = "SELECT CAST(table_name AS CHAR CHARACTER SET utf8mb4) FROM information_schema.tables \
               WHERE table_schema = COALESCE(?, DATABASE()) AND table_name = ?";
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
    let done = bind(sql, &params(given)).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(done.rows_affected())
}

fn params(given: &Given) -> Vec<Param<'_>> {
    given.iter().map(Option::as_deref).collect()
}

pub(in crate::database) async fn validity(
    connections: &Connections,
    layout: &Layout,
    key: &StoredKey,
    expires_at: &str,
    access: &str,
) -> Result<Option<Validity>, DatabaseError> {
    let declared = layout.column(expires_at).map(|column| column.declared.to_ascii_lowercase());
    let kind = time_column(&declared.unwrap_or_default());
    let own = column(expires_at);
    let expires = match kind {
        TimeColumn::Utc => utf8(&format!("TIMESTAMPDIFF(MICROSECOND, '1970-01-01', {own}) DIV 1000")),
        TimeColumn::Session => utf8(&format!("FLOOR(UNIX_TIMESTAMP({own}) * 1000)")),
        _ => as_text(layout, expires_at),
    };
    let sql = format!(
        "SELECT {}, {expires}, {} FROM {} WHERE {}",
        utf8(NOW),
        as_text(layout, access),
        table_by_key(layout),
        is_row(layout)
    );
    let rows = connections.rows(&sql, &row_params(key)).await?;
    Ok(rows.first().map(|row| Validity {
        now: number(row, 0),
        expires: text(row, 1).map(|text| match text.parse() {
            Ok(millis) if matches!(kind, TimeColumn::Utc | TimeColumn::Session) => Expiry::Millis(millis),
            _ => Expiry::Text(text),
        }),
        access: cell(row, 2).ok().flatten(),
    }))
}

pub(in crate::database) fn time_column(declared: &str) -> TimeColumn {
    match base_type(declared) {
        "datetime" | "date" => TimeColumn::Utc,
        "timestamp" => TimeColumn::Session,
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" | "float" | "double" => {
            TimeColumn::Number
        }
        _ => TimeColumn::Text,
    }
}
