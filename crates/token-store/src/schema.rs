//! The schema migration: adds the version columns that a profile's tables lack.

use crate::audit;
use crate::database::layout::{Column, columns};
use crate::database::{Database, Dialect, quote};
use crate::error::StoreError;
use crate::profile::{Profile, Table};

/// What a schema migration did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SchemaReport {
    /// Statements that were carried out.
    pub applied: Vec<String>,
    /// Statements that are still to be carried out.
    pub pending: Vec<String>,
    /// Optional tables that this database does not have.
    pub absent: Vec<String>,
}

/// Tells what the profile's tables lack.
///
/// # Errors
/// [`StoreError::NoTable`] for a missing table that is not optional, [`StoreError::NoColumns`] if one lacks columns
/// that are not of the version, [`StoreError::Database`].
pub async fn check(database: &Database, profile: &Profile) -> Result<SchemaReport, StoreError> {
    let mut report = SchemaReport::default();
    for table in &profile.tables {
        let existing = columns(database, &table.name).await?;
        if existing.is_empty() {
            if !table.optional {
                return Err(StoreError::NoTable { table: table.name.clone() });
            }
            report.absent.push(table.name.clone());
            continue;
        }
        require_own_columns(table, &existing)?;
        let Some(version) = &table.version else { continue };
        let wanted =
            [(&version.version, "INTEGER DEFAULT 0"), (&version.method, "TEXT"), (&version.key_id, "TEXT")];
        for (name, definition) in wanted {
            if !existing.iter().any(|column| column.name == *name) {
                report.pending.push(add_column(database.dialect(), &table.name, name, definition));
            }
        }
    }
    if profile.tables.iter().all(|table| report.absent.contains(&table.name)) {
        return Err(StoreError::NoTable { table: report.absent.join(", ") });
    }
    Ok(report)
}

/// Adds what [`check`] finds. Safe to repeat, and to run from several places at once.
///
/// # Errors
/// As [`check`].
pub async fn migrate(database: &Database, profile: &Profile) -> Result<SchemaReport, StoreError> {
    let mut report = check(database, profile).await?;
    for statement in std::mem::take(&mut report.pending) {
        match database.execute(&statement, &[]).await {
            Ok(_) => {
                audit::schema_changed(&statement);
                report.applied.push(statement);
            }
            // SQLite has no IF NOT EXISTS here: somebody else was faster.
            Err(error) if error.message.contains("duplicate column") => report.applied.push(statement),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(report)
}

/// A table without its key or its tokens is another one than the profile means, and is left as it is.
fn require_own_columns(table: &Table, existing: &[Column]) -> Result<(), StoreError> {
    let exists = |name: &String| existing.iter().any(|column| column.name == *name);
    let missing: Vec<String> = table.own_columns().filter(|name| !exists(name)).cloned().collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(StoreError::NoColumns { table: table.name.clone(), columns: missing, addable: false })
}

fn add_column(dialect: Dialect, table: &str, column: &str, definition: &str) -> String {
    let guard = if dialect == Dialect::Postgres { "IF NOT EXISTS " } else { "" };
    format!("ALTER TABLE {} ADD COLUMN {guard}{} {definition}", quote(table), quote(column))
}
