//! Adding and deleting a row.

use sqlx::{Sqlite, Transaction};

use super::select::{by_given, is_row, stored_row};
use super::sql::{is_untyped, or_abort, stored, table};
use super::{Connections, Param, bind, text};
use crate::database::identity;
use crate::database::insert::{Inserted, NewRow};
use crate::database::layout::Layout;
use crate::database::quote;
use crate::database::row::StoredKey;
use crate::database::within::Held;
use crate::error::DatabaseError;

/// Looks for the row, writes it and reads it back, in one transaction that no other writer gets into.
pub(super) async fn insert(
    transaction: &mut Held<'_, Sqlite>,
    layout: &Layout,
    row: &NewRow<'_>,
) -> Result<Inserted, DatabaseError> {
    let columns = row.columns(layout);
    let (find, key) = by_given(layout, &row.change.old.key);
    if !bind(&find, &key).fetch_all(&mut **transaction).await?.is_empty() {
        return Ok(Inserted::Exists);
    }
    let mut params = Vec::with_capacity(columns.len());
    for (name, value) in &columns {
        params.push(match value {
            Some(value) if layout.table.key.iter().any(|key| key == name) && is_untyped(layout, name) => {
                let sql = format!("SELECT typeof({}) FROM {} LIMIT 1", quote(name), table(layout));
                let first = bind(&sql, &[]).fetch_optional(&mut **transaction).await?;
                let is_number = first.and_then(|row| text(&row, 0)).as_deref() == Some("integer");
                match identity::integer(value).filter(|_| is_number) {
                    Some(number) => Param::Integer(number),
                    None => Param::from(*value),
                }
            }
            value => Param::Text(*value),
        });
    }
    let mut names: Vec<String> = columns.iter().map(|(column, _)| quote(column)).collect();
    let mut values: Vec<String> = (1..=columns.len()).map(|n| format!("?{n}")).collect();
    if let Some(updated) = layout.updated() {
        names.push(quote(updated));
        values.push("CURRENT_TIMESTAMP".into());
    }
    let (table, or_abort) = (table(layout), or_abort(layout));
    let sql = format!("INSERT {or_abort}INTO {table} ({}) VALUES ({})", names.join(", "), values.join(", "));
    bind(&sql, &params).execute(&mut **transaction).await?;
    let found = bind(&find, &key).fetch_all(&mut **transaction).await?;
    let mut found = found.iter().map(|found| stored_row(layout, found));
    let first = found.next().transpose()?;
    if first.as_ref().is_some_and(|found| row.is_stored_as(layout, found)) && found.next().is_none() {
        return Ok(Inserted::Written);
    }
    Ok(Inserted::Other(first.map(Box::new)))
}

pub(in crate::database) async fn delete(
    connections: &Connections,
    layout: &Layout,
    key: &StoredKey,
) -> Result<bool, DatabaseError> {
    let sql = format!("DELETE FROM {} WHERE {}", table(layout), is_row(layout));
    let params: Vec<Param<'_>> = stored(key).collect();
    let mut transaction = connections.begin().await?;
    let deleted = bind(&sql, &params).execute(&mut *transaction).await?.rows_affected();
    commit_one(transaction, deleted).await
}

/// Keeps a deletion of one row at most.
pub(super) async fn commit_one(
    transaction: Transaction<'_, Sqlite>,
    deleted: u64,
) -> Result<bool, DatabaseError> {
    if deleted > 1 {
        transaction.rollback().await?;
        return Err(DatabaseError::of_row("key names several rows, and none was deleted".into()));
    }
    transaction.commit().await?;
    Ok(deleted == 1)
}

/// SQLite locks no rows.
pub(in crate::database) async fn is_locked(
    _connections: &Connections,
    _layout: &Layout,
    _key: &StoredKey,
) -> Result<bool, DatabaseError> {
    Ok(false)
}
