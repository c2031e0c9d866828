//! How a database is opened.

use std::time::Duration;

use super::WAIT;

/// How long a statement that writes may take before the database gives it up. PostgreSQL only: SQLite waits ten seconds
/// for another writer, and has no other limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// How long it waits for a lock that another transaction holds.
    pub lock: Duration,
    /// How long it runs in all.
    pub statement: Duration,
}

impl Default for Timeouts {
    /// Five seconds for a lock, a minute for a statement.
    fn default() -> Self {
        Self { lock: Duration::from_secs(5), statement: Duration::from_secs(60) }
    }
}

impl Timeouts {
    /// Other times; zero means no limit.
    #[must_use]
    pub fn new(lock: Duration, statement: Duration) -> Self {
        Self { lock, statement }
    }
}

/// How a database is opened: whether it is written to, how long its statements take, and how many connections are kept.
///
/// Connections are kept until they break: a service that needs them to end after a time hands in its own pool, with
/// [`Database::from_pool`](super::Database::from_pool).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(any(feature = "postgres", feature = "mysql")),
    allow(dead_code, reason = "SQLite has no such limits, and a build without a database opens none")
)]
pub struct OpenOptions {
    pub(super) read_only: bool,
    pub(super) timeouts: Timeouts,
    max_connections: Option<u32>,
    pub(super) acquire_timeout: Duration,
}

impl Default for OpenOptions {
    /// For reading and writing, with the usual timeouts; eight connections, four to a SQLite file; ten seconds to get one.
    fn default() -> Self {
        Self { read_only: false, timeouts: Timeouts::default(), max_connections: None, acquire_timeout: WAIT }
    }
}

impl OpenOptions {
    /// Whether nothing can be written.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// How long a statement that writes may take.
    #[must_use]
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// How many connections are kept at most; at least one.
    #[must_use]
    pub fn max_connections(mut self, connections: u32) -> Self {
        self.max_connections = Some(connections.max(1));
        self
    }

    /// How long a caller waits for a connection while all are in use.
    #[must_use]
    pub fn acquire_timeout(mut self, timeout: Duration) -> Self {
        self.acquire_timeout = timeout;
        self
    }

    /// The number of connections, or the usual one of a kind of database.
    #[cfg_attr(
        not(any(feature = "postgres", feature = "sqlite", feature = "mysql")),
        allow(dead_code, reason = "a build without a database opens none")
    )]
    pub(super) fn connections_or(&self, usual: u32) -> u32 {
        self.max_connections.unwrap_or(usual)
    }
}
