//! The user's permissions on a profile's tables, checked before anything is done.

use crate::database::Database;
use crate::database::index::KEYS_TABLE;
use crate::database::leases::LEASES;
use crate::error::StoreError;
use crate::profile::{Profile, Table};

/// The user's permissions on one table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Privileges {
    /// The table.
    pub table: String,
    /// The user.
    pub user: String,
    /// May read every column that the profile names.
    pub select: bool,
    /// May write the tokens and the columns that are written with them.
    pub update: bool,
    /// May add a row.
    pub insert: bool,
    /// Owns the table, and so may add columns.
    pub alter: bool,
    /// Whether the server takes no writes at all: a standby, or a user whose transactions are read-only.
    pub read_only: bool,
    /// Whether row-level security may hide rows from the user: those are neither counted nor moved.
    pub hides_rows: bool,
    /// Privileges that the user lacks on the tables that the library keeps for this one.
    pub lacking: Vec<Lacking>,
}

/// Missing privileges of a user on a table that the library keeps, and that a profile's table needs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lacking {
    /// `tokenseal_leases`, where the tokens are refreshed, or `tokenseal_index_keys`, where there is a blind index.
    pub table: String,
    /// The missing ones of `SELECT`, `INSERT` and `UPDATE`.
    pub privileges: Vec<&'static str>,
}

/// The library's own tables that a profile's table needs, and what a service does with them. The first index key is made
/// once, and rotated by an operator: a service only reads it.
pub(crate) fn own_tables(table: &Table) -> Vec<(&'static str, &'static [&'static str])> {
    let leases = table.refresh.iter().map(|_| (LEASES, ["SELECT", "INSERT", "UPDATE"].as_slice()));
    let keys = table.index.first().map(|_| (KEYS_TABLE, ["SELECT"].as_slice()));
    leases.chain(keys).collect()
}

impl Lacking {
    /// Those of the needed privileges that are missing; `None` if there are none.
    pub(crate) fn of(table: &str, needed: &[&'static str], has: impl Fn(&str) -> bool) -> Option<Self> {
        let privileges: Vec<&'static str> =
            needed.iter().copied().filter(|privilege| !has(privilege)).collect();
        (!privileges.is_empty()).then(|| Self { table: table.to_owned(), privileges })
    }
}

/// Returns what may be done with each table that exists.
///
/// The database must be open for writing, or it is its own connection that forbids. On SQLite a transaction that writes
/// is begun and rolled back.
///
/// # Errors
/// [`StoreError::Database`]; on SQLite also if the file or its directory cannot be written.
pub async fn check(database: &Database, profile: &Profile) -> Result<Vec<Privileges>, StoreError> {
    let mut all = Vec::new();
    for table in &profile.tables {
        all.extend(database.privileges(table).await?);
    }
    Ok(all)
}
