//! The user's permissions on a table of the server.

use super::{Connections, Param, columns, is_true, quote, text};
use crate::database::layout::Layout;
use crate::database::swap::Writing;
use crate::error::DatabaseError;
use crate::privileges::{Lacking, Privileges, own_tables};
use crate::profile::Table;

/// The user's permissions on each column, in the catalog's own words.
const COLUMNS: &str = "\
SELECT CAST(COLUMN_NAME AS CHAR), CAST(PRIVILEGES AS CHAR) FROM information_schema.COLUMNS \
WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?";

/// Whether the user may alter the table, by a privilege of its own: one that comes with a role is not looked for.
const ALTER: &str = "\
SELECT '1' FROM information_schema.USER_PRIVILEGES WHERE GRANTEE = CONCAT('''', REPLACE(CURRENT_USER(), '@', '''@'''), '''')
  AND PRIVILEGE_TYPE = 'ALTER'
UNION SELECT '1' FROM information_schema.SCHEMA_PRIVILEGES
WHERE GRANTEE = CONCAT('''', REPLACE(CURRENT_USER(), '@', '''@'''), '''') AND PRIVILEGE_TYPE = 'ALTER' AND ? LIKE TABLE_SCHEMA
UNION SELECT '1' FROM information_schema.TABLE_PRIVILEGES
WHERE GRANTEE = CONCAT('''', REPLACE(CURRENT_USER(), '@', '''@'''), '''') AND PRIVILEGE_TYPE = 'ALTER' AND TABLE_SCHEMA = ?
  AND TABLE_NAME = ?";

pub(in crate::database) async fn privileges(
    connections: &Connections,
    table: &Table,
) -> Result<Option<Privileges>, DatabaseError> {
    let Some((schema, name, _)) = columns::find(connections, table).await? else { return Ok(None) };
    let (schema, name) = (Some(schema.as_str()), Some(name.as_str()));
    let granted = granted(connections, &[schema, name]).await?;
    let alter = connections.rows(ALTER, &[schema, schema, name]).await?;
    let server = "SELECT CAST(CURRENT_USER() AS CHAR), CAST(@@GLOBAL.read_only <> 0 AS CHAR)";
    let server = connections.rows(server, &[]).await?;
    let read = table.own_columns().chain(table.version_columns()).chain(table.index_columns());
    let written =
        table.tokens.iter().chain(&table.plain).chain(&table.updated).chain(table.version_columns());
    let written = written.chain(table.index_columns());
    Ok(Some(Privileges {
        table: table.name.clone(),
        user: server.first().and_then(|row| text(row, 0)).unwrap_or_default(),
        select: granted.on_all(read.map(String::as_str), "select"),
        update: granted.on_all(written.map(String::as_str), "update"),
        insert: granted.0.iter().any(|(_, privileges)| has(privileges, "insert")),
        alter: !alter.is_empty(),
        read_only: server.first().is_some_and(|row| is_true(row, 1)),
        hides_rows: false,
        lacking: lacking(connections, table, schema).await?,
    }))
}

/// The user's missing privileges on the library's own tables. The catalog hides a table on which the user has
/// no privilege at all; a statement about it is refused then, whether the table exists or not.
async fn lacking(
    connections: &Connections,
    table: &Table,
    schema: Param<'_>,
) -> Result<Vec<Lacking>, DatabaseError> {
    let mut all = Vec::new();
    for (name, needed) in own_tables(table) {
        let granted = granted(connections, &[schema, Some(name)]).await?;
        if granted.0.is_empty() && !is_denied(connections, schema, name).await {
            continue;
        }
        all.extend(Lacking::of(name, needed, |privilege| granted.on_every_column(privilege)));
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
    let names = names.chain(layout.updated());
    Ok(granted(connections, &columns::place(layout)).await?.on_all(names, "update"))
}

async fn is_denied(connections: &Connections, schema: Param<'_>, name: &str) -> bool {
    let place = schema.map(|schema| format!("{}.", quote(schema))).unwrap_or_default();
    let asked = connections.rows(&format!("SELECT 1 FROM {place}{} LIMIT 0", quote(name)), &[]).await;
    asked.is_err_and(|error| error.code.as_deref() == Some("1142"))
}

/// The privileges of each column.
struct Granted(Vec<(String, String)>);

impl Granted {
    /// Columns that the table does not have are no matter of privileges.
    fn on_all<'a>(&self, mut names: impl Iterator<Item = &'a str>, privilege: &str) -> bool {
        names.all(|name| {
            let column = self.0.iter().find(|(column, _)| column == name);
            column.is_none_or(|(_, privileges)| has(privileges, privilege))
        })
    }

    fn on_every_column(&self, privilege: &str) -> bool {
        let privilege = privilege.to_ascii_lowercase();
        !self.0.is_empty() && self.0.iter().all(|(_, privileges)| has(privileges, &privilege))
    }
}

fn has(privileges: &str, privilege: &str) -> bool {
    privileges.split(',').any(|granted| granted == privilege)
}

async fn granted(connections: &Connections, place: &[Param<'_>]) -> Result<Granted, DatabaseError> {
    let rows = connections.rows(COLUMNS, place).await?;
    Ok(Granted(rows.iter().filter_map(|row| Some((text(row, 0)?, text(row, 1)?))).collect()))
}
