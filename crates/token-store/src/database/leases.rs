//! The table of leases: who may refresh a row's token, until when by the database's clock, and what became of the last
//! attempt.

use super::layout::Layout;
use super::row::StoredKey;
use super::{Database, Text};
use crate::error::DatabaseError;
use crate::store::refresh::Spent;

/// The name of the table, in every database.
pub(crate) const LEASES: &str = "tokenseal_leases";

/// Its columns, in the order in which they are read.
const COLUMNS: [&str; 7] = ["holder", "fence", "state", "revision", "expires_at", "attempts", "retry_at"];

/// Names the lease of a row.
#[derive(Clone, Debug)]
pub(crate) struct LeaseKey {
    /// The schema of the row's own table, where the database has several.
    pub(crate) schema: Option<String>,
    pub(crate) table: String,
    pub(crate) row: String,
}

/// The last holder's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The refresh token has not been spent, or its successor is stored.
    Idle,
    /// The refresh token may have been spent.
    Spending,
    /// The provider refuses the refresh token: only the user can help.
    NeedsConsent,
}

/// A lease as it is stored. Times are milliseconds since 1970 by the database's clock.
#[derive(Clone, Debug)]
pub(crate) struct LeaseRecord {
    pub(crate) holder: String,
    /// Grows with each holder.
    pub(crate) fence: i64,
    pub(crate) state: State,
    /// The refresh token that the state is about.
    pub(crate) spent: Option<Spent>,
    pub(crate) expires_at: i64,
    /// Attempts that have failed since the last success.
    pub(crate) attempts: u32,
    /// No attempt is made before.
    pub(crate) retry_at: i64,
    /// When it was read.
    pub(crate) now: i64,
}

/// The new state of a lease. Times are milliseconds from now on.
#[derive(Clone, Debug)]
pub(crate) struct NextLease<'a> {
    pub(crate) holder: &'a str,
    pub(crate) fence: i64,
    pub(crate) state: State,
    pub(crate) spent: Option<&'a Spent>,
    pub(crate) expires_in: i64,
    pub(crate) attempts: u32,
    pub(crate) retry_in: i64,
}

/// Which lease is replaced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OldLease<'a> {
    pub(crate) holder: &'a str,
    pub(crate) fence: i64,
    /// Where the holder is another: it has not renewed the lease since.
    pub(crate) expires_at: Option<i64>,
}

/// When an access token expires, as its row says it.
#[derive(Debug)]
pub(crate) struct Validity {
    /// Milliseconds since 1970 by the database's clock.
    pub(crate) now: i64,
    pub(crate) expires: Option<Expiry>,
    /// The stored text of the access token that it belongs to.
    pub(crate) access: Option<Text>,
}

/// A time in a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// A date and time, read by the database: milliseconds since 1970.
    Millis(i64),
    /// Anything else, as text.
    Text(String),
}

/// How a column holds a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeColumn {
    /// As a date and time that takes a text with a time zone.
    Zoned,
    /// As a date and time in UTC that takes no time zone.
    Utc,
    /// As a date and time that is written in the session's time zone.
    Session,
    /// As a number.
    Number,
    /// As text.
    Text,
}

/// How one kind of database writes the statements of this module.
pub(in crate::database) struct Dialect {
    /// The table with its schema.
    pub(in crate::database) table: String,
    /// The placeholder at a position, from 1, as text.
    pub(in crate::database) text: fn(usize) -> String,
    /// The same as a whole number.
    pub(in crate::database) number: fn(usize) -> String,
    /// A column as text.
    pub(in crate::database) as_text: fn(&str) -> String,
    /// Milliseconds since 1970.
    pub(in crate::database) now: &'static str,
    pub(in crate::database) equals: &'static str,
    pub(in crate::database) plus: &'static str,
    /// The end of an `INSERT` that leaves an existing row as it is.
    pub(in crate::database) or_leave: &'static str,
}

/// The parameters of a statement, all as text.
pub(in crate::database) type Given = Vec<Option<String>>;

impl Dialect {
    fn later(&self, position: usize) -> String {
        format!("{} {} {}", self.now, self.plus, (self.number)(position))
    }

    fn is(&self, column: &str, value: &str) -> String {
        format!("{column} {} {value}", self.equals)
    }

    fn is_lease(&self, first: usize) -> String {
        let (table, row) = ((self.text)(first), (self.text)(first + 1));
        format!("{} AND {}", self.is("table_name", &table), self.is("row_key", &row))
    }

    fn load(&self, key: &LeaseKey) -> (String, Given) {
        let columns = COLUMNS.map(|column| (self.as_text)(column)).join(", ");
        let now = (self.as_text)(&format!("({})", self.now));
        let sql = format!("SELECT {columns}, {now} FROM {} WHERE {}", self.table, self.is_lease(1));
        (sql, vec![Some(key.table.clone()), Some(key.row.clone())])
    }

    fn create(&self, key: &LeaseKey, next: &NextLease<'_>) -> (String, Given) {
        let sql = format!(
            "INSERT INTO {} (table_name, row_key, {}) VALUES ({}, {}, {}) {}",
            self.table,
            COLUMNS.join(", "),
            (self.text)(1),
            (self.text)(2),
            self.values(3).join(", "),
            self.or_leave
        );
        let mut given = vec![Some(key.table.clone()), Some(key.row.clone())];
        given.extend(next.given());
        (sql, given)
    }

    fn swap(&self, key: &LeaseKey, old: OldLease<'_>, next: &NextLease<'_>) -> (String, Given) {
        let sets = COLUMNS.iter().zip(self.values(1)).map(|(column, value)| format!("{column} = {value}"));
        let sets: Vec<String> = sets.collect();
        let mut sql = format!(
            "UPDATE {} SET {} WHERE {} AND {} AND {}",
            self.table,
            sets.join(", "),
            self.is_lease(8),
            self.is("holder", &(self.text)(10)),
            self.is("fence", &(self.number)(11))
        );
        let mut given = next.given();
        given.extend([Some(key.table.clone()), Some(key.row.clone())]);
        given.extend([Some(old.holder.to_owned()), Some(old.fence.to_string())]);
        if let Some(expires_at) = old.expires_at {
            sql.push_str(&format!(" AND {}", self.is("expires_at", &(self.number)(12))));
            given.push(Some(expires_at.to_string()));
        }
        (sql, given)
    }

    /// The values of a lease, in the order of its columns, their placeholders from a position on.
    fn values(&self, first: usize) -> Vec<String> {
        vec![
            (self.text)(first),
            (self.number)(first + 1),
            (self.text)(first + 2),
            (self.text)(first + 3),
            self.later(first + 4),
            (self.number)(first + 5),
            self.later(first + 6),
        ]
    }
}

impl NextLease<'_> {
    fn given(&self) -> Given {
        vec![
            Some(self.holder.to_owned()),
            Some(self.fence.to_string()),
            Some(self.state.as_str().to_owned()),
            self.spent.map(|spent| spent.as_str().to_owned()),
            Some(self.expires_in.to_string()),
            Some(self.attempts.to_string()),
            Some(self.retry_in.to_string()),
        ]
    }
}

impl State {
    /// As it is stored.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Spending => "spending",
            Self::NeedsConsent => "needs_consent",
        }
    }
}

impl LeaseRecord {
    /// Reads a row of the table; `None` if it holds what no version of this program writes.
    fn read(cells: Vec<Option<String>>) -> Option<Self> {
        let cells: [Option<String>; 8] = cells.try_into().ok()?;
        let [holder, fence, state, spent, expires_at, attempts, retry_at, now] = cells;
        let state = [State::Idle, State::Spending, State::NeedsConsent]
            .into_iter()
            .find(|known| state.as_deref() == Some(known.as_str()))?;
        Some(Self {
            holder: holder?,
            fence: fence?.parse().ok()?,
            state,
            spent: match spent {
                Some(text) => Some(Spent::parse(&text)?),
                None => None,
            },
            expires_at: expires_at?.parse().ok()?,
            attempts: attempts?.parse().ok()?,
            retry_at: retry_at?.parse().ok()?,
            now: now?.parse().ok()?,
        })
    }
}

/// The cells of the rows that a statement found.
type Rows = Vec<Vec<Option<String>>>;

/// Leases in the schema of the table whose rows they are for.
impl Database {
    /// The statement that makes the table of leases.
    pub(crate) fn create_leases(&self, schema: Option<&str>) -> String {
        in_room!(self, room, _connections => room::leases::create_table(schema))
    }

    /// Whether the table of leases exists.
    pub(crate) async fn has_leases(&self, schema: Option<&str>) -> Result<bool, DatabaseError> {
        let found: Result<Rows, DatabaseError> = in_room!(self, room, connections => {
            let (sql, given) = room::leases::exists(schema);
            room::leases::texts(connections, &sql, &given).await
        });
        Ok(!found?.is_empty())
    }

    /// The lease of a row; `None` if there never was one.
    pub(crate) async fn lease(&self, key: &LeaseKey) -> Result<Option<LeaseRecord>, DatabaseError> {
        let rows: Result<Rows, DatabaseError> = in_room!(self, room, connections => {
            let (sql, given) = room::leases::dialect(key.schema.as_deref()).load(key);
            room::leases::texts(connections, &sql, &given).await
        });
        let Some(cells) = rows?.into_iter().next() else { return Ok(None) };
        let unreadable = || DatabaseError::of_row(format!("{LEASES} holds a lease that is not understood"));
        LeaseRecord::read(cells).map(Some).ok_or_else(unreadable)
    }

    /// Adds the first lease of a row, unless another was faster.
    pub(crate) async fn add_lease(&self, key: &LeaseKey, next: &NextLease<'_>) -> Result<(), DatabaseError> {
        in_room!(self, room, connections => {
            let (sql, given) = room::leases::dialect(key.schema.as_deref()).create(key, next);
            room::leases::execute(connections, &sql, &given).await.map(drop)
        })
    }

    /// Replaces a lease that is unchanged since it was read, and returns whether it was.
    pub(crate) async fn swap_lease(
        &self,
        key: &LeaseKey,
        old: OldLease<'_>,
        next: &NextLease<'_>,
    ) -> Result<bool, DatabaseError> {
        let changed: Result<u64, DatabaseError> = in_room!(self, room, connections => {
            let (sql, given) = room::leases::dialect(key.schema.as_deref()).swap(key, old, next);
            room::leases::execute(connections, &sql, &given).await
        });
        Ok(changed? == 1)
    }

    /// When a row's access token expires, and what time it is; `None` if there is no such row.
    pub(crate) async fn validity(
        &self,
        layout: &Layout,
        key: &StoredKey,
        expires_at: &str,
        access: &str,
    ) -> Result<Option<Validity>, DatabaseError> {
        in_room!(self, room, connections => {
            room::leases::validity(connections, layout, key, expires_at, access).await
        })
    }

    /// How a column holds a time.
    pub(crate) fn time_column(&self, layout: &Layout, column: &str) -> TimeColumn {
        let declared = layout.column(column).map_or("", |column| column.declared.as_str());
        let declared = declared.to_ascii_lowercase();
        in_room!(self, room, _connections => room::leases::time_column(&declared))
    }

    /// A time as text in the session's time zone.
    pub(crate) async fn in_session_zone(&self, seconds: i64) -> Result<Option<String>, DatabaseError> {
        let rows: Result<Rows, DatabaseError> = in_room!(self, room, connections => {
            let given = vec![Some(seconds.to_string())];
            room::leases::texts(connections, room::leases::IN_SESSION_ZONE, &given).await
        });
        Ok(rows?.into_iter().next().and_then(|cells| cells.into_iter().next()).flatten())
    }
}
