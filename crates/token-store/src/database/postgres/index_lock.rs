//! The lock that keeps the index keys of a table as they are while a row is written.
//!
//! A lock of the transaction keeps them, and one that excludes it lets them change. It is an advisory lock, because a row
//! lock would need the privilege to write keys.

use sqlx::{PgConnection, Postgres};

use super::index::{is, keys_table, of_table};
use super::sql::{place, table};
use super::{Connections, Param, is_true, number};
use crate::database::index::KEYS_TABLE;
use crate::database::layout::Layout;
use crate::database::within::Held;
use crate::error::{DatabaseError, Scope};

pub(super) const SHARED: &str = "pg_advisory_xact_lock_shared";
pub(super) const EXCLUSIVE: &str = "pg_advisory_xact_lock";

/// The generation of the table's keys, which none can change before this transaction ends.
pub(super) async fn held_generation(
    connections: &Connections,
    transaction: &mut Held<'_, Postgres>,
    layout: &Layout,
) -> Result<u64, DatabaseError> {
    if !transaction.is_own() {
        check_snapshot(connections, transaction, layout).await?;
    }
    generation_under(connections, transaction, layout, SHARED).await
}

/// Where all statements of the caller's transaction see one snapshot, checks that it shows the keys of now: the database
/// refuses to lock a row that has changed since, with an error after which the transaction is run again.
async fn check_snapshot(
    connections: &Connections,
    transaction: &mut PgConnection,
    layout: &Layout,
) -> Result<(), DatabaseError> {
    let sql = "SELECT (pg_catalog.current_setting('transaction_isolation') OPERATOR(pg_catalog.=) \
               ANY ('{read committed,read uncommitted}'::pg_catalog.text[]))::pg_catalog.text";
    let each_sees_its_own = connections.bind(sql, &[]).fetch_all(&mut *transaction).await?;
    if each_sees_its_own.first().is_some_and(|row| is_true(row, 0)) {
        return Ok(());
    }
    lock_keys(connections, transaction, layout, SHARED).await?;
    let sql = format!(
        "SELECT '1'::pg_catalog.text FROM {} WHERE {} AND {} FOR SHARE",
        keys_table(layout),
        is("profile", 1),
        is("table_name", 2)
    );
    let locked = connections.bind(&sql, &of_table(layout)).fetch_all(&mut *transaction).await;
    let error = match locked {
        Ok(_) => return Ok(()),
        Err(error) => DatabaseError::from(error),
    };
    match error.code.as_deref() {
        Some("42501") => Err(DatabaseError {
            message: format!(
                "a transaction with one snapshot writes an indexed column only if its user may UPDATE {KEYS_TABLE}: \
                 grant that, or use READ COMMITTED"
            ),
            scope: Scope::Whole,
            ..error
        }),
        _ => Err(error),
    }
}

pub(super) async fn generation_under(
    connections: &Connections,
    transaction: &mut PgConnection,
    layout: &Layout,
    lock: &str,
) -> Result<u64, DatabaseError> {
    lock_keys(connections, transaction, layout, lock).await?;
    // A statement of its own: its snapshot is of after the lock.
    let sql = format!(
        "SELECT COALESCE(pg_catalog.max(generation), 0)::pg_catalog.text FROM {} WHERE {} AND {}",
        keys_table(layout),
        is("profile", 1),
        is("table_name", 2)
    );
    let rows = connections.bind(&sql, &of_table(layout)).fetch_all(&mut *transaction).await?;
    Ok(rows.first().map_or(0, |row| number(row, 0)))
}

async fn lock_keys(
    connections: &Connections,
    transaction: &mut PgConnection,
    layout: &Layout,
    lock: &str,
) -> Result<(), DatabaseError> {
    let name = format!("tokenseal index {}", table(layout));
    let sql = format!("SELECT pg_catalog.{lock}(pg_catalog.hashtextextended({}, 0))", place(1));
    connections.bind(&sql, &[Param::from(name.as_str())]).execute(&mut *transaction).await?;
    Ok(())
}
