//! The user's permissions on a profile's tables, checked before anything is done.

use crate::database::Database;
use crate::error::StoreError;
use crate::profile::Profile;

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
