//! The schema migration: adds the version and index columns that a profile's tables lack, with what look-ups need, and
//! the table of leases.

use crate::audit;
use crate::database::index::KEYS_TABLE;
use crate::database::layout::{Column, Facts};
use crate::database::{AddedColumn, Database};
use crate::error::StoreError;
use crate::profile::{Profile, Table};

/// The changes of a schema migration, made or pending.
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

/// Returns the statements that the profile's tables lack.
///
/// # Errors
/// [`StoreError::NoTable`] for a missing table that is not optional, [`StoreError::NoColumns`] if one lacks columns
/// that are not of the version, [`StoreError::Database`].
pub async fn check(database: &Database, profile: &Profile) -> Result<SchemaReport, StoreError> {
    let mut report = SchemaReport::default();
    let mut has_keys = Vec::new();
    for table in &profile.tables {
        let Some(facts) = database.describe(table).await? else {
            if !table.optional {
                return Err(StoreError::NoTable { table: table.name.clone() });
            }
            report.absent.push(table.name.clone());
            continue;
        };
        require_own_columns(table, &facts.columns)?;
        report.pending.extend(missing_for_indexes(database, table, &facts, &mut has_keys).await?);
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
/// As [`check`], and [`StoreError::StillPending`] if a statement succeeded but the object that it should add
/// does not exist.
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
    // A statement that finds the name of its object taken by another one may do nothing without an error.
    match check(database, profile).await?.pending.into_iter().next() {
        Some(statement) => Err(StoreError::StillPending { statement }),
        None => Ok(report),
    }
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

/// Objects that blind indexes need: a table of keys once in each schema, their columns, and database indexes
/// over those.
async fn missing_for_indexes(
    database: &Database,
    table: &Table,
    facts: &Facts,
    has_keys: &mut Vec<Option<String>>,
) -> Result<Vec<String>, StoreError> {
    let mut statements = Vec::new();
    if table.index.is_empty() {
        return Ok(statements);
    }
    // Written out where the profile names it; else where the table itself was found.
    let schema = facts.schema.as_deref().or(table.schema.as_deref());
    if !has_keys.iter().any(|known| known.as_deref() == schema) {
        has_keys.push(schema.map(ToOwned::to_owned));
        let keys = Table { name: KEYS_TABLE.into(), schema: schema.map(ToOwned::to_owned), ..table.clone() };
        if database.describe(&keys).await?.is_none() {
            statements.push(database.create_keys_table(schema));
        }
    }
    for index in &table.index {
        if !facts.columns.iter().any(|column| column.name == index.into) {
            statements.push(database.add_column(
                table,
                facts.schema.as_deref(),
                AddedColumn::Index(&index.into),
            ));
        }
        let indexed = database.indexed(table, &index.into).await?;
        if indexed.is_none_or(|unique| index.unique && !unique) {
            statements.push(database.create_index(table, schema, &index.into, index.unique));
        }
    }
    Ok(statements)
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
