//! The user's permissions on a table of the server.

use super::columns::Catalog;
use super::{Connections, Param, is_true, text};
use crate::database::layout::Layout;
use crate::database::swap::Writing;
use crate::error::DatabaseError;
use crate::privileges::{Lacking, Privileges, own_tables};
use crate::profile::Table;

/// Privileges may be granted on a table or column by column, so every column is checked.
pub(in crate::database) async fn privileges(
    connections: &Connections,
    table: &Table,
) -> Result<Option<Privileges>, DatabaseError> {
    let read = table.own_columns().chain(table.version_columns()).chain(table.index_columns());
    let written =
        table.tokens.iter().chain(&table.plain).chain(&table.updated).chain(table.version_columns());
    let written = written.chain(table.index_columns());
    let sql = format!(
        "SELECT current_user::text, {}, {}, has_any_column_privilege(c.oid, 'INSERT')::text, \
         pg_has_role(c.relowner, 'USAGE')::text, row_security_active(c.oid)::text \
         FROM pg_class c WHERE c.oid = $1::text::oid",
        may("SELECT", "$2"),
        may("UPDATE", "$3")
    );
    let read = Param::Texts(read.map(|name| Some(name.as_str())).collect());
    let written = Param::Texts(written.map(|name| Some(name.as_str())).collect());
    // Whether the server takes writes is asked outside of the catalog's transaction, which is read-only.
    let mode = "SELECT (pg_catalog.current_setting('transaction_read_only') OPERATOR(pg_catalog.=) 'on'::pg_catalog.text)::pg_catalog.text";
    let mode = connections.rows(mode, &[]).await?;
    let read_only = mode.first().is_some_and(|row| is_true(row, 0));
    let mut catalog = Catalog::open(connections).await?;
    let Some(oid) = catalog.find(table).await? else { return Ok(None) };
    let rows = catalog.rows(&sql, &[Param::from(oid.as_str()), read, written]).await?;
    let lacking = lacking(&mut catalog, table, &oid).await?;
    catalog.close().await?;
    Ok(rows.first().map(|row| Privileges {
        table: table.name.clone(),
        user: text(row, 0).unwrap_or_default(),
        select: is_true(row, 1),
        update: is_true(row, 2),
        insert: is_true(row, 3),
        alter: is_true(row, 4),
        read_only,
        hides_rows: is_true(row, 5),
        lacking,
    }))
}

/// The user's missing privileges on the library's own tables, which are in the schema of the table that they
/// are for.
async fn lacking(catalog: &mut Catalog, table: &Table, oid: &str) -> Result<Vec<Lacking>, DatabaseError> {
    let mut all = Vec::new();
    for (name, needed) in own_tables(table) {
        let columns = needed.iter().map(|privilege| {
            format!(
                "(SELECT bool_and(has_column_privilege(c.oid, a.attnum, '{privilege}')) FROM pg_attribute a \
                 WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)::text"
            )
        });
        let sql = format!(
            "SELECT {} FROM pg_class c JOIN pg_class o ON o.relnamespace = c.relnamespace \
             WHERE o.oid = $1::text::oid AND c.relname = $2",
            columns.collect::<Vec<_>>().join(", ")
        );
        let rows = catalog.rows(&sql, &[Param::from(oid), Param::from(name)]).await?;
        let Some(row) = rows.first() else { continue };
        let place = |wanted: &str| needed.iter().position(|privilege| *privilege == wanted);
        all.extend(Lacking::of(name, needed, |privilege| {
            place(privilege).is_some_and(|at| is_true(row, at))
        }));
    }
    Ok(all)
}

/// Whether every column that a write sets may be written.
pub(super) async fn may_write(
    connections: &Connections,
    layout: &Layout,
    writing: &Writing<'_>,
) -> Result<bool, DatabaseError> {
    let table = &layout.table;
    let plain = writing.plain.iter().map(|(name, _)| name.as_str());
    let names = table.tokens.iter().chain(table.version_columns()).chain(table.index_columns());
    let names = names.map(String::as_str).chain(plain);
    let names = names.chain(layout.updated().filter(|_| writing.touch));
    let sql = format!("SELECT {} FROM pg_class c WHERE c.oid = $1::text::oid", may("UPDATE", "$2"));
    let names = Param::Texts(names.map(Some).collect());
    let mut catalog = Catalog::open(connections).await?;
    let Some(oid) = catalog.find(table).await? else { return Ok(false) };
    let rows = catalog.rows(&sql, &[Param::from(oid.as_str()), names]).await?;
    catalog.close().await?;
    Ok(rows.first().is_some_and(|row| is_true(row, 0)))
}

fn may(privilege: &str, names: &str) -> String {
    format!(
        "(SELECT bool_and(has_column_privilege(c.oid, a.attnum, '{privilege}')) FROM pg_attribute a \
         WHERE a.attrelid = c.oid AND a.attname = ANY ({names}::text[]))::text"
    )
}
