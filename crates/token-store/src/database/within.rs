//! Work in a transaction that the caller began and ends.

use std::ops::{Deref, DerefMut};

use sqlx::Transaction;

use super::Database;
use super::Pool;
use super::change::Change;
use super::insert::{Inserted, NewRow};
use super::layout::Layout;
use super::row::StoredRow;
use super::swap::{self, Fate, Writing};
use crate::error::{DatabaseError, StoreError};

/// A transaction of the caller's that the store works in: `&mut` of a `sqlx::Transaction`, or of the connection that it is
/// on.
pub struct InTransaction<'t>(Connection<'t>);

enum Connection<'t> {
    #[cfg(feature = "mysql")]
    MySql(&'t mut sqlx::MySqlConnection),
    #[cfg(feature = "postgres")]
    Postgres(&'t mut sqlx::PgConnection),
    #[cfg(feature = "sqlite")]
    Sqlite(&'t mut sqlx::SqliteConnection),
    /// A build without any database: there is no connection.
    #[cfg(not(any(feature = "postgres", feature = "sqlite", feature = "mysql")))]
    None(std::convert::Infallible, std::marker::PhantomData<&'t ()>),
}

macro_rules! from_transactions_of {
    ($feature:literal, $variant:ident, $database:ident, $connection:ident) => {
        #[cfg(feature = $feature)]
        impl<'t> From<&'t mut Transaction<'_, sqlx::$database>> for InTransaction<'t> {
            fn from(transaction: &'t mut Transaction<'_, sqlx::$database>) -> Self {
                Self(Connection::$variant(transaction))
            }
        }

        #[cfg(feature = $feature)]
        impl<'t> From<&'t mut sqlx::$connection> for InTransaction<'t> {
            fn from(connection: &'t mut sqlx::$connection) -> Self {
                Self(Connection::$variant(connection))
            }
        }
    };
}

from_transactions_of!("mysql", MySql, MySql, MySqlConnection);
from_transactions_of!("postgres", Postgres, Postgres, PgConnection);
from_transactions_of!("sqlite", Sqlite, Sqlite, SqliteConnection);

impl std::fmt::Debug for InTransaction<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InTransaction")
    }
}

/// The connection of a transaction: of one that is begun and ended here, or of the caller's.
pub(crate) enum Held<'t, DB: sqlx::Database> {
    Own(Transaction<'static, DB>),
    Callers(&'t mut DB::Connection),
}

impl<DB: sqlx::Database> Held<'_, DB> {
    /// Whether it may be ended here.
    pub(crate) fn is_own(&self) -> bool {
        matches!(self, Self::Own(_))
    }

    pub(crate) async fn commit(self) -> Result<(), DatabaseError> {
        match self {
            Self::Own(transaction) => Ok(transaction.commit().await?),
            Self::Callers(_) => Ok(()),
        }
    }

    pub(crate) async fn rollback(self) -> Result<(), DatabaseError> {
        match self {
            Self::Own(transaction) => Ok(transaction.rollback().await?),
            Self::Callers(_) => Ok(()),
        }
    }
}

impl<DB: sqlx::Database> Deref for Held<'_, DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &DB::Connection {
        match self {
            Self::Own(transaction) => transaction,
            Self::Callers(connection) => connection,
        }
    }
}

impl<DB: sqlx::Database> DerefMut for Held<'_, DB> {
    fn deref_mut(&mut self) -> &mut DB::Connection {
        match self {
            Self::Own(transaction) => transaction,
            Self::Callers(connection) => connection,
        }
    }
}

/// A caller's transaction on the database of a store.
pub(crate) enum Within<'t> {
    #[cfg(feature = "mysql")]
    MySql(super::mysql::Session<'t>),
    #[cfg(feature = "postgres")]
    Postgres(super::postgres::Session<'t>),
    #[cfg(feature = "sqlite")]
    Sqlite(super::sqlite::Session<'t>),
    #[cfg(not(any(feature = "postgres", feature = "sqlite", feature = "mysql")))]
    None(std::convert::Infallible, std::marker::PhantomData<&'t ()>),
}

/// Calls a function with the session of the store's database.
macro_rules! in_session {
    ($within:expr, $session:ident => $call:expr) => {
        match $within {
            #[cfg(feature = "mysql")]
            Within::MySql($session) => $call,
            #[cfg(feature = "postgres")]
            Within::Postgres($session) => $call,
            #[cfg(feature = "sqlite")]
            Within::Sqlite($session) => $call,
            #[cfg(not(any(feature = "postgres", feature = "sqlite", feature = "mysql")))]
            Within::None(never, _) => super::absurd(never),
        }
    };
}

impl Database {
    /// A caller's transaction as this database's.
    pub(crate) async fn within<'t>(&self, transaction: InTransaction<'t>) -> Result<Within<'t>, StoreError> {
        match (&self.pool, transaction.0) {
            #[cfg(feature = "mysql")]
            (Pool::MySql(_), Connection::MySql(connection)) => {
                Ok(Within::MySql(super::mysql::Session::of(connection).await?))
            }
            #[cfg(feature = "postgres")]
            (Pool::Postgres(connections), Connection::Postgres(connection)) => {
                Ok(Within::Postgres(super::postgres::Session::of(connections, connection)))
            }
            #[cfg(feature = "sqlite")]
            (Pool::Sqlite(_), Connection::Sqlite(connection)) => {
                Ok(Within::Sqlite(super::sqlite::Session::of(connection)))
            }
            #[allow(unreachable_patterns, reason = "with one database alone, every transaction is of it")]
            _ => Err(StoreError::OtherDatabase),
        }
    }
}

/// The connection that rows are found and written through.
pub(crate) enum Through<'a, 't> {
    /// Transactions of their own.
    Pool(&'a Database),
    /// The caller's transaction.
    Callers(Within<'t>),
}

impl Through<'_, '_> {
    pub(crate) async fn find(
        &mut self,
        layout: &Layout,
        key: &[String],
    ) -> Result<Vec<StoredRow>, DatabaseError> {
        match self {
            Self::Pool(database) => database.find(layout, key).await,
            Self::Callers(within) => {
                in_session!(within, session => swap::Session::find(session, layout, key).await)
            }
        }
    }

    /// Writes a change if its row is unchanged since it was read.
    pub(crate) async fn swap(
        &mut self,
        layout: &Layout,
        change: &Change,
        writing: &Writing<'_>,
    ) -> Result<Fate, DatabaseError> {
        match self {
            Self::Pool(database) => {
                let fates = database.swap(layout, std::slice::from_ref(change), writing).await?;
                Ok(fates.into_iter().next().unwrap_or(Fate::Unmatched))
            }
            Self::Callers(within) => {
                in_session!(within, session => swap::swap_within(session, layout, change, writing).await)
            }
        }
    }

    /// Adds a row, and compares the stored row with the one that was sent.
    pub(crate) async fn insert(
        &mut self,
        layout: &Layout,
        row: &NewRow<'_>,
    ) -> Result<Inserted, DatabaseError> {
        match self {
            Self::Pool(database) => database.insert(layout, row).await,
            Self::Callers(within) => {
                in_session!(within, session => swap::insert_within(session, layout, row).await)
            }
        }
    }
}
