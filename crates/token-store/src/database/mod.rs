//! One interface to every database: each one's SQL is in a module of its own, with the same functions in each, and
//! nothing above this module knows which database it is.

pub(crate) mod change;
mod connect;
mod errors;
#[cfg(any(feature = "sqlite", feature = "mysql"))]
mod generated;
mod identity;
pub(crate) mod index;
pub(crate) mod insert;
pub(crate) mod layout;
#[cfg(feature = "mysql")]
mod mysql;
mod options;
#[cfg(feature = "postgres")]
mod postgres;
pub(crate) mod row;
pub(crate) mod select;
#[cfg(feature = "sqlite")]
mod sqlite;
pub(crate) mod swap;
pub(crate) mod within;

use std::time::Duration;

use zeroize::Zeroizing;

pub(crate) use errors::read as read_error;
pub(crate) use identity::Kind;
pub use options::{OpenOptions, Timeouts};
pub use within::InTransaction;

use self::change::Change;
use self::index::StoredIndexKey;
use self::insert::{Inserted, NewRow};
use self::layout::{Facts, Layout};
use self::row::{StoredKey, StoredRow};
use self::select::{Limits, Mark, MarkCount, Range};
use self::swap::{Fate, Writing};
use crate::error::{DatabaseError, StoreError};
use crate::findings::{Finding, bad_filter};
use crate::privileges::Privileges;
use crate::profile::Table;

/// Text that may be a readable token: wiped when dropped.
pub(crate) type Text = Zeroizing<String>;

/// How long a statement waits for a connection, or a busy SQLite file for its turn.
const WAIT: Duration = Duration::from_secs(10);

/// A pool of connections to a database.
#[derive(Clone)]
pub struct Database {
    pool: Pool,
}

#[derive(Clone)]
enum Pool {
    #[cfg(feature = "mysql")]
    MySql(mysql::Connections),
    #[cfg(feature = "postgres")]
    Postgres(postgres::Connections),
    #[cfg(feature = "sqlite")]
    Sqlite(sqlite::Connections),
    /// A build without any database: there is no pool.
    #[cfg(not(any(feature = "postgres", feature = "sqlite", feature = "mysql")))]
    None(std::convert::Infallible),
}

/// Calls a function of the database's own module. Every module has all of the functions that are called here.
macro_rules! in_room {
    ($database:expr, $room:ident, $connections:ident => $call:expr) => {
        match $database.pool {
            #[cfg(feature = "mysql")]
            $crate::database::Pool::MySql(ref $connections) => {
                use $crate::database::mysql as $room;
                $call
            }
            #[cfg(feature = "postgres")]
            $crate::database::Pool::Postgres(ref $connections) => {
                use $crate::database::postgres as $room;
                $call
            }
            #[cfg(feature = "sqlite")]
            $crate::database::Pool::Sqlite(ref $connections) => {
                use $crate::database::sqlite as $room;
                $call
            }
            #[cfg(not(any(feature = "postgres", feature = "sqlite", feature = "mysql")))]
            $crate::database::Pool::None(ref never) => $crate::database::absurd(never),
        }
    };
}

// After the macro that it uses.
pub(crate) mod leases;

#[cfg(not(any(feature = "postgres", feature = "sqlite", feature = "mysql")))]
fn absurd<T>(never: &std::convert::Infallible) -> T {
    match *never {}
}

impl Database {
    /// Asks the database for an answer, so that a readiness check knows that it is there.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        let answered: Result<(), DatabaseError> =
            in_room!(self, room, connections => room::ping(connections).await);
        Ok(answered?)
    }

    /// Whether there is a type for UUIDs.
    pub(crate) fn has_uuids(&self) -> bool {
        match self.pool {
            #[cfg(feature = "sqlite")]
            Pool::Sqlite(_) => false,
            #[cfg(any(feature = "mysql", feature = "postgres"))]
            _ => true,
            #[cfg(not(any(feature = "postgres", feature = "sqlite", feature = "mysql")))]
            Pool::None(ref never) => absurd(never),
        }
    }

    /// Closes every connection.
    pub async fn close(&self) {
        let () = in_room!(self, room, connections => room::close(connections).await);
    }

    /// The table as it is; `None` if it does not exist.
    pub(crate) async fn describe(&self, table: &Table) -> Result<Option<Facts>, DatabaseError> {
        in_room!(self, room, connections => room::columns::describe(connections, table).await)
    }

    /// The fault of the profile's filter of the table: it is no condition, by itself and as one of several, or the database
    /// takes a name in it for a text.
    pub(crate) async fn filter_fault(&self, layout: &Layout) -> Result<Option<Finding>, DatabaseError> {
        let Some(filter) = &layout.table.filter else { return Ok(None) };
        let own = format!("({filter})");
        // The first one fails where the filter is not to blame.
        for condition in ["1 = 0", &own, filter] {
            let asked: Result<(), DatabaseError> =
                in_room!(self, room, connections => room::select::ask(connections, layout, condition).await);
            match asked {
                Ok(()) => {}
                Err(error) if condition == "1 = 0" || !error.is_about_the_statement() => {
                    return Err(error);
                }
                Err(_) => return Ok(Some(bad_filter(layout))),
            }
        }
        in_room!(self, room, connections => room::obstacles::of_filter(connections, layout, filter).await)
    }

    /// The obstacles to sealing the table's token columns.
    pub(crate) async fn obstacles(&self, layout: &Layout) -> Result<Vec<Finding>, DatabaseError> {
        in_room!(self, room, connections => room::obstacles::obstacles(connections, layout).await)
    }

    /// The user's permissions on a table that exists. On SQLite a transaction that writes is begun and rolled back.
    pub(crate) async fn privileges(&self, table: &Table) -> Result<Option<Privileges>, DatabaseError> {
        in_room!(self, room, connections => room::privileges::privileges(connections, table).await)
    }

    /// The texts that the columns would store these values as; `None` if one of them cannot be stored as it is.
    pub(crate) async fn canonical(
        &self,
        layout: &Layout,
        values: &[(&str, &str)],
    ) -> Result<Option<Vec<String>>, DatabaseError> {
        in_room!(self, room, connections => room::columns::canonical(connections, layout, values).await)
    }

    /// The value that the database gives a key column of a new row; `None` where it gives none.
    pub(crate) async fn make_key(
        &self,
        layout: &Layout,
        column: &str,
    ) -> Result<Option<String>, DatabaseError> {
        in_room!(self, room, connections => room::made::key(connections, layout, column).await)
    }

    /// The statement that adds a version column which a table lacks.
    pub(crate) fn add_column(&self, table: &Table, schema: Option<&str>, column: AddedColumn<'_>) -> String {
        in_room!(self, room, _connections => room::schema::add_column(table, schema, column))
    }

    /// Runs a statement of [`add_column`](Self::add_column). That the column is there by now is no error.
    pub(crate) async fn alter(&self, statement: &str) -> Result<(), DatabaseError> {
        in_room!(self, room, connections => room::schema::alter(connections, statement).await)
    }
}

/// A version column that the schema migration adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddedColumn<'a> {
    /// The number of the form, 0 in rows that are there.
    Version(&'a str),
    /// The method or the key, as text.
    Text(&'a str),
    /// A blind index.
    Index(&'a str),
}

/// Reading and writing the rows of a table.
impl Database {
    /// Rows in key order, at most so many and of at most so many bytes.
    pub(crate) async fn page(
        &self,
        layout: &Layout,
        range: Range<'_>,
        limits: Limits,
    ) -> Result<Vec<StoredRow>, DatabaseError> {
        in_room!(self, room, connections => room::select::page(connections, layout, range, limits).await)
    }

    /// Keys in their order.
    pub(crate) async fn keys(
        &self,
        layout: &Layout,
        range: Range<'_>,
        limit: usize,
    ) -> Result<Vec<StoredKey>, DatabaseError> {
        in_room!(self, room, connections => room::select::keys(connections, layout, range, limit, 0).await)
    }

    /// The key that is so many rows into a range.
    pub(crate) async fn key_at(
        &self,
        layout: &Layout,
        range: Range<'_>,
        offset: u64,
    ) -> Result<Option<StoredKey>, DatabaseError> {
        let keys: Result<Vec<StoredKey>, DatabaseError> = in_room!(self, room, connections => room::select::keys(connections, layout, range, 1, offset).await);
        Ok(keys?.into_iter().next())
    }

    /// The keys of a random sample of rows.
    pub(crate) async fn sample(&self, layout: &Layout, size: usize) -> Result<Vec<StoredKey>, DatabaseError> {
        in_room!(self, room, connections => room::select::sample(connections, layout, size).await)
    }

    /// The number of rows in a range.
    pub(crate) async fn count(&self, layout: &Layout, range: Range<'_>) -> Result<u64, DatabaseError> {
        in_room!(self, room, connections => room::select::count(connections, layout, range).await)
    }

    /// Rows by what their version columns say.
    pub(crate) async fn count_by_marks(&self, layout: &Layout) -> Result<Vec<MarkCount>, DatabaseError> {
        in_room!(self, room, connections => room::select::count_by_marks(connections, layout).await)
    }

    /// The number of rows that do not carry a mark.
    pub(crate) async fn count_without(&self, layout: &Layout, mark: &Mark) -> Result<u64, DatabaseError> {
        in_room!(self, room, connections => room::select::count_without(connections, layout, mark).await)
    }

    /// The number of rows with values that no key names, because it is NULL.
    pub(crate) async fn count_unnamed(&self, layout: &Layout) -> Result<u64, DatabaseError> {
        in_room!(self, room, connections => room::select::count_unnamed(connections, layout).await)
    }

    /// The rows that a caller's key names, two at most: more than one is one too many.
    pub(crate) async fn find(
        &self,
        layout: &Layout,
        key: &[String],
    ) -> Result<Vec<StoredRow>, DatabaseError> {
        in_room!(self, room, connections => room::select::find(connections, layout, key).await)
    }

    /// The row of a key that was read before.
    pub(crate) async fn fetch(
        &self,
        layout: &Layout,
        key: &StoredKey,
    ) -> Result<Option<StoredRow>, DatabaseError> {
        in_room!(self, room, connections => room::select::fetch(connections, layout, key).await)
    }

    /// The key of a row as the table would store it, for a walk that starts after it.
    pub(crate) fn place(&self, layout: &Layout, key: &[String]) -> StoredKey {
        in_room!(self, room, _connections => room::select::place(layout, key))
    }

    /// Writes every change whose row still is what was read, and returns what became of each.
    pub(crate) async fn swap(
        &self,
        layout: &Layout,
        changes: &[Change],
        writing: &Writing<'_>,
    ) -> Result<Vec<Fate>, DatabaseError> {
        in_room!(self, room, connections => swap::swap::<room::Session<'_>>(connections, layout, changes, writing).await)
    }

    /// How many transactions of one run may write at once.
    pub(crate) fn writers(&self) -> usize {
        in_room!(self, room, _connections => room::WRITERS)
    }

    /// Whether another transaction has the row of a change locked.
    pub(crate) async fn is_locked(&self, layout: &Layout, key: &StoredKey) -> Result<bool, DatabaseError> {
        in_room!(self, room, connections => room::write::is_locked(connections, layout, key).await)
    }

    /// Adds a row, and compares what is stored then with what was sent.
    pub(crate) async fn insert(&self, layout: &Layout, row: &NewRow<'_>) -> Result<Inserted, DatabaseError> {
        in_room!(self, room, connections => swap::insert::<room::Session<'_>>(connections, layout, row).await)
    }

    /// Deletes the row of a key that was read before, and returns whether it was there.
    pub(crate) async fn delete(&self, layout: &Layout, key: &StoredKey) -> Result<bool, DatabaseError> {
        in_room!(self, room, connections => room::write::delete(connections, layout, key).await)
    }

    /// Deletes a row if it still is what was read, and returns whether it was.
    pub(crate) async fn delete_unchanged(
        &self,
        layout: &Layout,
        row: StoredRow,
    ) -> Result<bool, DatabaseError> {
        let change = &Change::none(row);
        in_room!(self, room, connections => room::swap::delete(connections, layout, change).await)
    }
}

/// Blind indexes.
impl Database {
    /// The statement that makes the table of index keys.
    pub(crate) fn create_keys_table(&self, schema: Option<&str>) -> String {
        in_room!(self, room, _connections => room::index::create_keys_table(schema))
    }

    /// The statement that makes the database index over an index column.
    pub(crate) fn create_index(
        &self,
        table: &Table,
        schema: Option<&str>,
        into: &str,
        unique: bool,
    ) -> String {
        in_room!(self, room, _connections => room::index::create_index(table, schema, into, unique))
    }

    /// Whether look-ups by a column have a database index, and whether one is unique.
    pub(crate) async fn indexed(&self, table: &Table, into: &str) -> Result<Option<bool>, DatabaseError> {
        in_room!(self, room, connections => room::index::indexed(connections, table, into).await)
    }

    /// The index keys of a table, by column and number.
    pub(crate) async fn index_keys(&self, layout: &Layout) -> Result<Vec<StoredIndexKey>, DatabaseError> {
        in_room!(self, room, connections => room::index::keys(connections, layout).await)
    }

    /// Adds a key of the next generation, and retires the one before; `false` where the keys changed meanwhile.
    pub(crate) async fn add_index_key(
        &self,
        layout: &Layout,
        key: &StoredIndexKey,
    ) -> Result<bool, DatabaseError> {
        in_room!(self, room, connections => room::index::add_key(connections, layout, key).await)
    }

    /// Forgets a key that no index is under any more; `false` where there is one, or where the keys changed meanwhile.
    pub(crate) async fn drop_index_key(
        &self,
        layout: &Layout,
        key: &StoredIndexKey,
        into: &str,
        generation: u64,
    ) -> Result<bool, DatabaseError> {
        in_room!(self, room, connections => room::index::drop_key(connections, layout, key, into, generation).await)
    }

    /// Replaces the wrapped form of a key, if it still is what was read.
    pub(crate) async fn rewrap_index_key(
        &self,
        layout: &Layout,
        key: &StoredIndexKey,
        wrapped: &str,
        key_id: Option<&str>,
    ) -> Result<bool, DatabaseError> {
        in_room!(self, room, connections => room::index::rewrap_key(connections, layout, key, wrapped, key_id).await)
    }

    /// The number of rows whose index is under a key, whatever the profile's filter says.
    pub(crate) async fn count_marked(
        &self,
        layout: &Layout,
        into: &str,
        mark: &str,
    ) -> Result<u64, DatabaseError> {
        in_room!(self, room, connections => room::index::count_marked(connections, layout, into, mark).await)
    }

    /// Whether any row, whatever the profile's filter says, has an index under some key.
    pub(crate) async fn has_marks(&self, layout: &Layout, into: &str) -> Result<bool, DatabaseError> {
        in_room!(self, room, connections => room::index::has_marks(connections, layout, into).await)
    }

    /// Rows that have one of these texts in an index column.
    pub(crate) async fn candidates(
        &self,
        layout: &Layout,
        into: &str,
        values: &[String],
        limit: usize,
    ) -> Result<Vec<StoredRow>, DatabaseError> {
        in_room!(self, room, connections => room::index::candidates(connections, layout, into, values, limit).await)
    }

    /// Rows without an index that hold this text as it is.
    pub(crate) async fn unindexed(
        &self,
        layout: &Layout,
        token: &str,
        into: &str,
        stored: &str,
        limit: usize,
    ) -> Result<Vec<StoredRow>, DatabaseError> {
        in_room!(self, room, connections => room::index::unindexed(connections, layout, token, into, stored, limit).await)
    }
}

/// Quotes an identifier as the SQL standard has it.
pub(crate) fn quote(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}
