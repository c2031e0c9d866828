//! Adding and deleting a row.

use sqlx::{Postgres, Transaction};

use super::sql::{cast, is_row, place, table};
use super::swap::lock_sql;
use super::{Connections, Param, select};
use crate::database::insert::{Inserted, NewRow};
use crate::database::layout::Layout;
use crate::database::quote;
use crate::database::row::StoredKey;
use crate::database::within::Held;
use crate::error::DatabaseError;

/// Writes the row, runs deferred constraints and triggers unless the transaction is the caller's, and reads
/// it back.
pub(super) async fn insert(
    connections: &Connections,
    transaction: &mut Held<'_, Postgres>,
    layout: &Layout,
    row: &NewRow<'_>,
) -> Result<Inserted, DatabaseError> {
    let columns = row.columns(layout);
    let mut names: Vec<String> = columns.iter().map(|(column, _)| quote(column)).collect();
    let mut values: Vec<String> =
        columns.iter().enumerate().map(|(i, (column, _))| cast(layout, column, &place(i + 1))).collect();
    if let Some(updated) = layout.updated() {
        names.push(quote(updated));
        values.push("pg_catalog.now()".into());
    }
    let sql = format!(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({})",
        table(layout),
        names.join(", "),
        values.join(", ")
    );
    let params: Vec<Param<'_>> = columns.into_iter().map(|(_, value)| Param::Text(value)).collect();
    match connections.bind(&sql, &params).execute(&mut **transaction).await {
        Err(sqlx::Error::Database(error)) if is_of_key(layout, error.as_ref()) => {
            return Ok(Inserted::Exists);
        }
        done => done?,
    };
    if transaction.is_own() {
        sqlx::raw_sql("SET CONSTRAINTS ALL IMMEDIATE").execute(&mut **transaction).await?;
    }
    let (sql, params) = select::by_key(layout, &row.change.old.key, false);
    let stored = connections.bind(&sql, &params).fetch_all(&mut **transaction).await?;
    let mut stored = stored.iter().map(|found| select::stored_row(layout, found));
    let first = stored.next().transpose()?;
    if first.as_ref().is_some_and(|found| row.is_stored_as(layout, found)) && stored.next().is_none() {
        return Ok(Inserted::Written);
    }
    Ok(Inserted::Other(first.map(Box::new)))
}

/// Whether it is the row's own key that exists, and not another value that must be unique.
fn is_of_key(layout: &Layout, error: &dyn sqlx::error::DatabaseError) -> bool {
    let unique = layout.facts.unique.as_ref().map(|unique| unique.name.as_str());
    error.is_unique_violation() && unique.is_some() && error.constraint() == unique
}

pub(in crate::database) async fn delete(
    connections: &Connections,
    layout: &Layout,
    key: &StoredKey,
) -> Result<bool, DatabaseError> {
    let sql = format!("DELETE FROM {} WHERE {}", table(layout), is_row(layout, 1));
    let params: Vec<Param<'_>> = key.iter().map(|text| Param::from(text.as_str())).collect();
    let mut transaction = connections.begin().await?;
    let deleted = connections.bind(&sql, &params).execute(&mut *transaction).await?.rows_affected();
    commit_one(transaction, deleted).await
}

/// Keeps a deletion of one row at most.
pub(super) async fn commit_one(
    transaction: Transaction<'_, Postgres>,
    deleted: u64,
) -> Result<bool, DatabaseError> {
    if deleted > 1 {
        transaction.rollback().await?;
        return Err(DatabaseError::of_row("key names several rows, and none was deleted".into()));
    }
    transaction.commit().await?;
    Ok(deleted == 1)
}

pub(in crate::database) async fn is_locked(
    connections: &Connections,
    layout: &Layout,
    key: &StoredKey,
) -> Result<bool, DatabaseError> {
    let params: Vec<Param<'_>> = key.iter().map(|text| Param::from(text.as_str())).collect();
    let mut transaction = connections.begin().await?;
    let sql = lock_sql(layout, "NOWAIT");
    let locked = connections.bind(&sql, &params).fetch_all(&mut *transaction).await;
    transaction.rollback().await?;
    match locked.map_err(DatabaseError::from) {
        Ok(_) => Ok(false),
        Err(error) if error.is_transient() => Ok(true),
        Err(error) => Err(error),
    }
}
