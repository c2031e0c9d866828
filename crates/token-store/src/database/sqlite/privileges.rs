//! The permissions on the file. SQLite knows no users: who may write the file may do everything.

use super::Connections;
use crate::error::DatabaseError;
use crate::privileges::Privileges;
use crate::profile::Table;

/// Writes in a transaction that is rolled back: the file stays as it is, byte for byte.
pub(in crate::database) async fn privileges(
    connections: &Connections,
    table: &Table,
) -> Result<Option<Privileges>, DatabaseError> {
    let mut transaction = connections.begin().await?;
    let create = "CREATE TABLE \"written by a check and rolled back\" (x)";
    sqlx::query(create).execute(&mut *transaction).await?;
    transaction.rollback().await?;
    Ok(Some(Privileges {
        table: table.name.clone(),
        user: String::new(),
        select: true,
        update: true,
        insert: true,
        alter: true,
        read_only: false,
        hides_rows: false,
        lacking: Vec::new(),
    }))
}
