//! The schema migration: adds the version columns that a profile's tables lack, and the table of leases.

use crate::audit;
use crate::database::layout::Column;
use crate::database::{AddedColumn, Database};
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

/// Returns what the profile's tables lack.
///
/// # Errors
/// [`StoreError::NoTable`] for a missing table that is not optional, [`StoreError::NoColumns`] if one lacks columns
/// that are not of the version, [`StoreError::Database`].
pub async fn check(database: &Database, profile: &Profile) -> Result<SchemaReport, StoreError> {
    let mut report = SchemaReport::default();
    for table in &profile.tables {
        let Some(facts) = database.describe(table).await? else {
            if !table.optional {
                return Err(StoreError::NoTable { table: table.name.clone() });
            }
            report.absent.push(table.name.clone());
            continue;
        };
        require_own_columns(table, &facts.columns)?;
        let needed = table.version.iter().flat_map(|version| {
            [
                (&version.version, AddedColumn::Version(&version.version)),
                (&version.method, AddedColumn::Text(&version.method)),
                (&version.key_id, AddedColumn::Text(&version.key_id)),
            ]
        });
        let missing = needed.filter(|(name, _)| !facts.columns.iter().any(|column| column.name == **name));
        for (_, column) in missing {
            report.pending.push(database.add_column(table, facts.schema.as_deref(), column));
        }
        leases_of(database, table, facts.schema.as_deref(), &mut report).await?;
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
        if let Err(error) = database.alter(&statement).await {
            // Another program may have been faster.
            if check(database, profile).await?.pending.contains(&statement) {
                return Err(error.into());
            }
        }
        audit::schema_changed(&statement);
        report.applied.push(statement);
    }
    Ok(report)
}

/// The table of leases, in the schema of a table whose tokens are refreshed.
async fn leases_of(
    database: &Database,
    table: &Table,
    schema: Option<&str>,
    report: &mut SchemaReport,
) -> Result<(), StoreError> {
    if table.refresh.is_none() || database.has_leases(schema).await? {
        return Ok(());
    }
    let statement = database.create_leases(schema);
    if !report.pending.contains(&statement) {
        report.pending.push(statement);
    }
    Ok(())
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
