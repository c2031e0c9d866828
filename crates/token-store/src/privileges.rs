//! What the database lets its user do with a profile's tables, asked before anything is done.

use crate::database::{Database, Dialect, Param, TextRow, quote};
use crate::error::{DatabaseError, StoreError};
use crate::profile::{Profile, Table};

/// What the user may do with one table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Privileges {
    /// The table.
    pub table: String,
    /// The user.
    pub user: String,
    /// May read every column that the profile names.
    pub select: bool,
    /// May write the tokens and what is written with them.
    pub update: bool,
    /// May add a row.
    pub insert: bool,
    /// Owns the table, and so may add columns.
    pub alter: bool,
    /// Whether the server takes no writes at all: a standby, or a user whose transactions are read-only.
    pub read_only: bool,
    /// Whether row-level security may hide rows from the user: those are neither counted nor moved.
    pub hides_rows: bool,
}

/// Tells what may be done with each table that exists.
///
/// The database must be open for writing, or it is its own connection that forbids. On SQLite a transaction that writes
/// is begun and rolled back.
///
/// # Errors
/// [`StoreError::Database`]; on SQLite also if the file or its directory cannot be written.
pub async fn check(database: &Database, profile: &Profile) -> Result<Vec<Privileges>, StoreError> {
    match database.dialect() {
        Dialect::Postgres => {
            let mut all = Vec::new();
            for table in &profile.tables {
                all.extend(on_postgres(database, table).await?);
            }
            Ok(all)
        }
        Dialect::Sqlite => {
            database.try_writing().await?;
            Ok(profile.tables.iter().map(everything).collect())
        }
    }
}

/// Privileges may be granted on a table or column by column, so every column is asked about.
async fn on_postgres(database: &Database, table: &Table) -> Result<Option<Privileges>, DatabaseError> {
    let read = table.own_columns().chain(table.version_columns());
    let written =
        table.tokens.iter().chain(&table.plain).chain(&table.updated).chain(table.version_columns());
    let may = |privilege: &str, names: &str| {
        format!(
            "(SELECT bool_and(has_column_privilege(c.oid, a.attnum, '{privilege}')) FROM pg_attribute a \
             WHERE a.attrelid = c.oid AND a.attname = ANY ({names}))::text"
        )
    };
    let sql = format!(
        "SELECT current_user::text, {}, {}, has_any_column_privilege(c.oid, 'INSERT')::text, \
         pg_has_role(c.relowner, 'USAGE')::text, (current_setting('transaction_read_only') = 'on')::text, \
         row_security_active(c.oid)::text \
         FROM pg_class c WHERE c.oid = to_regclass($1)",
        may("SELECT", "$2"),
        may("UPDATE", "$3")
    );
    let name = quote(&table.name);
    let read = Param::Texts(read.map(|name| Some(name.as_str())).collect());
    let written = Param::Texts(written.map(|name| Some(name.as_str())).collect());
    let rows = database.rows(&sql, &[Param::from(name.as_str()), read, written]).await?;
    Ok(rows.first().and_then(|row| privileges(table, row)))
}

fn privileges(table: &Table, row: &TextRow) -> Option<Privileges> {
    let [Some(user), rest @ ..] = row.as_slice() else { return None };
    let is_true =
        |index: usize| rest.get(index).is_some_and(|cell| cell.as_ref().is_some_and(|text| **text == "true"));
    Some(Privileges {
        table: table.name.clone(),
        user: user.to_string(),
        select: is_true(0),
        update: is_true(1),
        insert: is_true(2),
        alter: is_true(3),
        read_only: is_true(4),
        hides_rows: is_true(5),
    })
}

/// SQLite knows no users: who may write the file may do everything.
fn everything(table: &Table) -> Privileges {
    Privileges {
        table: table.name.clone(),
        user: String::new(),
        select: true,
        update: true,
        insert: true,
        alter: true,
        read_only: false,
        hides_rows: false,
    }
}
