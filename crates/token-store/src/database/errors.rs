//! The subject of a database's error: one row, the table or the connection.

use sqlx::error::DatabaseError as Refusal;

use crate::error::{DatabaseError, Scope};

/// Reads the error of any of the databases.
pub(crate) fn read(refusal: &dyn Refusal) -> DatabaseError {
    #[cfg(feature = "postgres")]
    if let Some(error) = refusal.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
        return super::postgres::errors::read(error);
    }
    #[cfg(feature = "sqlite")]
    if let Some(error) = refusal.try_downcast_ref::<sqlx::sqlite::SqliteError>() {
        return super::sqlite::errors::read(error);
    }
    #[cfg(feature = "mysql")]
    if let Some(error) = refusal.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        return super::mysql::errors::read(error);
    }
    let code = refusal.code().map(Into::into);
    DatabaseError { message: "database refused".into(), code, unreachable: false, scope: Scope::Whole }
}
