//! Keys that PostgreSQL makes: the default of a column, asked for before the row is added.

use super::columns::Catalog;
use super::sql::table;
use super::{Connections, Param, text};
use crate::database::layout::Layout;
use crate::error::DatabaseError;

/// The expression that a column gets where it is not set; an identity column has a sequence and no expression.
const DEFAULT: &str = "\
SELECT CASE WHEN a.attidentity <> '' THEN
         format('pg_catalog.nextval(pg_catalog.pg_get_serial_sequence(%L, %L)::pg_catalog.regclass)', $1::text, a.attname)
       ELSE pg_get_expr(d.adbin, d.adrelid) END
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.attgenerated = ''
WHERE a.attrelid = $2::text::oid AND a.attname = $3::text AND NOT a.attisdropped";

pub(in crate::database) async fn key(
    connections: &Connections,
    layout: &Layout,
    column: &str,
) -> Result<Option<String>, DatabaseError> {
    let mut catalog = Catalog::open(connections).await?;
    let Some(oid) = catalog.find(&layout.table).await? else { return Ok(None) };
    let name = table(layout);
    let params = [Param::from(name.as_str()), Param::from(oid.as_str()), Param::from(column)];
    let rows = catalog.rows(DEFAULT, &params).await?;
    catalog.close().await?;
    let Some(expression) = rows.first().and_then(|row| text(row, 0)) else { return Ok(None) };
    // The table's own expression, which the database would evaluate for the row; names in it have their schemas.
    let made = connections.rows(&format!("SELECT ({expression})::pg_catalog.text"), &[]).await?;
    Ok(made.first().and_then(|row| text(row, 0)))
}
