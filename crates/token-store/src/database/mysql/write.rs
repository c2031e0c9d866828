//! Adding and deleting a row.

use sqlx::mysql::MySqlDatabaseError;
use sqlx::{MySql, Transaction};

use super::errors::index_of_duplicate;
use super::sql::{column, is_row, row_params, table_by_key};
use super::{Connections, Param, bind, quote, select, sql};
use crate::database::insert::{Inserted, NewRow};
use crate::database::layout::Layout;
use crate::database::row::StoredKey;
use crate::database::within::Held;
use crate::error::DatabaseError;

/// Writes the row, and reads it back.
pub(super) async fn insert(
    transaction: &mut Held<'_, MySql>,
    layout: &Layout,
    row: &NewRow<'_>,
) -> Result<Inserted, DatabaseError> {
    let columns = row.columns(layout);
    let mut names: Vec<String> = columns.iter().map(|(column, _)| quote(column)).collect();
    let mut values = vec!["?".to_owned(); names.len()];
    if let Some(updated) = layout.updated() {
        names.push(quote(updated));
        values.push("CURRENT_TIMESTAMP(6)".into());
    }
    let table = sql::full_name(layout);
    let sql = format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), values.join(", "));
    let params: Vec<Param<'_>> = columns.into_iter().map(|(_, value)| value).collect();
    let key = &row.change.old.key;
    let done = bind(&sql, &params).execute(&mut **transaction).await;
    let is_taken = match &done {
        Err(sqlx::Error::Database(error)) => is_of_key(layout, error.as_ref()),
        _ => false,
    };
    if !is_taken {
        done?;
    }
    let (sql, params) = select::by_key(layout, key, false);
    let stored = bind(&sql, &params).fetch_all(&mut **transaction).await?;
    let mut stored = stored.iter().map(|found| select::stored_row(layout, found));
    let first = stored.next().transpose()?;
    let is_written = !is_taken
        && first.as_ref().is_some_and(|found| row.is_stored_as(layout, found))
        && stored.next().is_none();
    if is_written {
        return Ok(Inserted::Written);
    }
    Ok(match first {
        Some(_) if is_taken => Inserted::Exists,
        // A row whose key differs only in case or trailing spaces blocks the insert.
        first => Inserted::Other(first.map(Box::new)),
    })
}

/// Whether it is the row's own key that exists, and not another value that must be unique.
fn is_of_key(layout: &Layout, error: &dyn sqlx::error::DatabaseError) -> bool {
    let index = error.try_downcast_ref::<MySqlDatabaseError>().and_then(index_of_duplicate);
    let unique = layout.facts.unique.as_ref().map(|unique| unique.name.as_str());
    index.is_some() && index == unique
}

pub(in crate::database) async fn delete(
    connections: &Connections,
    layout: &Layout,
    key: &StoredKey,
) -> Result<bool, DatabaseError> {
    let sql = format!("DELETE {} FROM {} WHERE {}", sql::TABLE, table_by_key(layout), is_row(layout));
    let mut transaction = connections.begin().await?;
    let deleted = bind(&sql, &row_params(key)).execute(&mut *transaction).await?.rows_affected();
    commit_one(transaction, deleted).await
}

/// Keeps a deletion of one row at most.
pub(super) async fn commit_one(
    transaction: Transaction<'_, MySql>,
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
    let sql = format!("{} FOR UPDATE NOWAIT", key_sql(layout));
    let mut transaction = connections.begin().await?;
    let locked = bind(&sql, &row_params(key)).fetch_all(&mut *transaction).await;
    transaction.rollback().await?;
    match locked.map_err(DatabaseError::from) {
        Ok(_) => Ok(false),
        Err(error) if error.is_transient() => Ok(true),
        Err(error) => Err(error),
    }
}

fn key_sql(layout: &Layout) -> String {
    let first = layout.table.key.first().map(|name| column(name)).unwrap_or_default();
    format!("SELECT {first} FROM {} WHERE {}", table_by_key(layout), is_row(layout))
}
