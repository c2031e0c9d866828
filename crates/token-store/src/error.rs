//! Errors of the store, none of which carries a token.

pub use envelope_core::correlation::CorrelationId;
pub use envelope_core::error::Needed;
use envelope_core::{OpenError, SealError};

/// The database's message, without the row values that some servers add to their messages.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct DatabaseError {
    /// The failure, in words.
    pub message: String,
    /// The SQLSTATE or SQLite result code, where there is one.
    pub code: Option<String>,
    /// Whether the database could not be reached at all.
    pub unreachable: bool,
    pub(crate) scope: Scope,
}

/// The subject of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// One row: every other may be accepted.
    Row,
    /// The moment: the same statement may succeed soon.
    Transient,
    /// Either one row, or the table or the user's privileges: the database must be asked.
    Unsure,
    /// The connection, the table or the server.
    Whole,
}

impl DatabaseError {
    /// Whether it is about a row's content, and not about the table or the connection as a whole.
    #[must_use]
    pub fn is_about_rows(&self) -> bool {
        self.scope == Scope::Row && !self.unreachable
    }

    /// Whether the same statement may succeed soon: a deadlock, a serialization failure, a busy file.
    pub(crate) fn is_transient(&self) -> bool {
        self.scope == Scope::Transient
    }

    /// Whether the database does not take the statement as it is written: not for the moment, the connection, or a missing
    /// privilege.
    pub(crate) fn is_about_the_statement(&self) -> bool {
        let lacks_privilege = matches!(self.code.as_deref(), Some("42501" | "1142" | "1143"));
        self.code.is_some() && !self.is_transient() && !self.unreachable && !lacks_privilege
    }

    /// Whether it is about the connection, the table or the server, and about no single row.
    pub(crate) fn is_whole(&self) -> bool {
        self.scope == Scope::Whole
    }

    /// Whether another row holds a value that must be unique.
    pub(crate) fn is_duplicate(&self) -> bool {
        matches!(self.code.as_deref(), Some("23505" | "1062" | "1586" | "2067" | "1555"))
    }

    /// A row that cannot be worked with.
    pub(crate) fn of_row(message: String) -> Self {
        Self { message, code: None, unreachable: false, scope: Scope::Row }
    }
}

impl From<sqlx::Error> for DatabaseError {
    fn from(error: sqlx::Error) -> Self {
        // The error itself is not kept as a source: the details of a database's error quote whole rows.
        let unreachable = matches!(
            error,
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed
        );
        let message = match &error {
            sqlx::Error::Database(refusal) => return crate::database::read_error(refusal.as_ref()),
            sqlx::Error::PoolTimedOut => "no connection to the database in time".into(),
            sqlx::Error::Io(cause) => format!("connection to the database failed: {cause}"),
            sqlx::Error::Tls(cause) => format!("TLS to the database failed: {cause}"),
            sqlx::Error::ColumnDecode { index, .. } => format!("column {index} cannot be read"),
            sqlx::Error::PoolClosed => "connections to the database are closed".into(),
            sqlx::Error::Protocol(_) => "database broke the protocol".into(),
            _ => "database driver failed".into(),
        };
        Self { message, code: None, unreachable, scope: Scope::Whole }
    }
}

/// Why an operation of the store failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database is unreachable or refused a statement.
    #[error("database operation failed")]
    Database(#[from] DatabaseError),
    /// The address is not one that this build can open.
    #[error("database address is not usable: {reason}")]
    Address {
        /// The problem; never the address, which may hold a password.
        reason: String,
    },
    /// The database lacks a table.
    #[error("table {table:?} does not exist in this database")]
    NoTable {
        /// The table.
        table: String,
    },
    /// A table lacks columns that the profile needs.
    #[error("table {table:?} lacks {}", columns.join(", "))]
    NoColumns {
        /// The table.
        table: String,
        /// The missing columns.
        columns: Vec<String>,
        /// Whether [`schema::migrate`](crate::schema::migrate) adds them all. It does not if one of key, owner, token
        /// or plain column is missing: then the profile describes another table.
        addable: bool,
    },
    /// A table's layout cannot be worked with.
    #[error("table {table:?} is not usable: {reason}")]
    Unsuitable {
        /// The table.
        table: String,
        /// The problem.
        reason: String,
    },
    /// There is no such row.
    #[error("no row {row} in {table:?}")]
    NotFound {
        /// The table.
        table: String,
        /// The row's key.
        row: String,
    },
    /// The key has another number of parts than the table's primary key.
    #[error("table {table:?} is keyed by {expected} columns, not {actual}")]
    KeyLength {
        /// The table.
        table: String,
        /// Number of primary-key columns.
        expected: usize,
        /// Number of values that were given.
        actual: usize,
    },
    /// A column that the store itself manages was given as a plain one.
    #[error("column {column:?} of table {table:?} cannot be set next to the tokens")]
    NotPlain {
        /// The table.
        table: String,
        /// The column: part of the key, a token, a field, a mark, a blind index, the time of the last change, or the owner of a
        /// row that exists already.
        column: String,
    },
    /// The profile's table has no such column for a token.
    #[error("table {table:?} has no token column {column:?}")]
    NoTokenColumn {
        /// The table.
        table: String,
        /// The column that was asked for.
        column: String,
    },
    /// A text is no value of the column that it is compared with.
    #[error("column {column:?} of table {table:?} cannot hold the value that it is compared with")]
    NotAValue {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// A stored value did not open.
    #[error("{table} {row}: column {column} does not open (correlation id {correlation_id})")]
    Open {
        /// The table.
        table: String,
        /// The row's key.
        row: String,
        /// The column.
        column: String,
        /// The name of this failure in the log and the audit trail.
        correlation_id: CorrelationId,
        /// Why.
        source: OpenError,
    },
    /// A token that a write leaves alone does not open, and could not be read any more under the row's new form; so
    /// nothing was written. Write that column first, or in the same write.
    #[error(
        "{table} {row}: column {column} does not open and cannot stay as it is when the row changes its form: \
         write it first, or together with the others (correlation id {correlation_id})"
    )]
    KeptToken {
        /// The table.
        table: String,
        /// The row's key.
        row: String,
        /// The column that should be kept.
        column: String,
        /// The name of this failure in the log and the audit trail.
        correlation_id: CorrelationId,
        /// Why it does not open.
        source: OpenError,
    },
    /// A value was not sealed, and so nothing was written.
    #[error("{table} {row}: column {column} was not sealed")]
    Seal {
        /// The table.
        table: String,
        /// The row's key.
        row: String,
        /// The column.
        column: String,
        /// Why.
        source: SealFailure,
    },
    /// The profile does not say how the table's tokens are refreshed.
    #[error("profile has no [tables.refresh] for table {table:?}")]
    NotRefreshed {
        /// The table.
        table: String,
    },
    /// Values in this form could not be distinguished from other texts in the profile's tables.
    #[error("{format} values cannot be distinguished from others in the tables of profile {profile:?}")]
    NotStorable {
        /// The form that should be written.
        format: &'static str,
        /// The profile.
        profile: String,
    },
    /// The key names no row that the table could hold as it was given: it is too long, or no value of the column's type.
    #[error("table {table:?} cannot hold a row of this key as it is: {row}")]
    KeyNotStorable {
        /// The table.
        table: String,
        /// The row's key.
        row: String,
    },
    /// The database would store another value than the one that was sent; nothing was written.
    #[error("{table} {row}: database would store other values than those sent")]
    Altered {
        /// The table.
        table: String,
        /// The row's key.
        row: String,
    },
    /// The row cannot be read as text.
    #[error("{table} {row}: column {column}: {reason}")]
    Unreadable {
        /// The table.
        table: String,
        /// The row's key.
        row: String,
        /// The column.
        column: String,
        /// Why.
        reason: String,
    },
    /// A key names several rows: the database does not guarantee it to be unique.
    #[error("key {row} names several rows of {table:?}")]
    Ambiguous {
        /// The table.
        table: String,
        /// The row's key.
        row: String,
    },
    /// The row has changed since the caller read it, or is gone; nothing was written. Read it again.
    #[error("{table} {row} was changed by others since it was read")]
    Changed {
        /// The table.
        table: String,
        /// The row's key.
        row: String,
    },
    /// The database gives a key column of a new row no value.
    #[error("table {table:?} makes no value for the key column {column:?}")]
    NoKeyMade {
        /// The table.
        table: String,
        /// The key column.
        column: String,
    },
    /// There is a row with this key already; it was not changed.
    #[error("there is a row {row} in {table:?} already")]
    Exists {
        /// The table.
        table: String,
        /// The row's key.
        row: String,
    },
    /// The prepared write does not fit this row: it is too old, the row was changed since in a way that matters, or a
    /// token that is not set would have to be opened first. Nothing was written; prepare again.
    #[error(
        "{table} {row}: the data key prepared for column {column} is too old, or the row was changed since"
    )]
    NotPrepared {
        /// The table.
        table: String,
        /// The row's key.
        row: String,
        /// The column.
        column: String,
    },
    /// The transaction is of another kind of database than the store.
    #[error("transaction is of another kind of database than the store")]
    OtherDatabase,
    /// In a table with a blind index another row holds a value that must be unique, and nothing was written.
    #[error("{table} {row}: another row holds a value that must be unique")]
    NotUnique {
        /// The table.
        table: String,
        /// The row's key.
        row: String,
        /// The database's error, with the name of the constraint.
        source: DatabaseError,
    },
    /// The key of a blind index is not available.
    #[error("index key of {table}.{column} is not available")]
    IndexKey {
        /// The table.
        table: String,
        /// The token column.
        column: String,
        /// Why.
        source: OpenError,
    },
    /// Rows have blind indexes, and no key of this profile, table and column is stored: under a new one they would not be
    /// found. Nothing was written.
    #[error(
        "rows of {table:?} have blind indexes over {column:?}, and their key is not in tokenseal_index_keys"
    )]
    IndexKeyLost {
        /// The table.
        table: String,
        /// The token column.
        column: String,
    },
    /// A statement of the schema migration succeeded, but the object that it should add does not exist.
    #[error("schema lacks what this statement was to add: {statement}")]
    StillPending {
        /// The statement.
        statement: String,
    },
    /// The profile has no blind index over a column.
    #[error("table {table:?} has no blind index over {column:?}")]
    NoIndex {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// More rows share an index than a look-up opens.
    #[error("more than {limit} rows of {table:?} share the index of this value of {column:?}")]
    TooManyFound {
        /// The table.
        table: String,
        /// The token column.
        column: String,
        /// How many rows a look-up opens.
        limit: usize,
    },
    /// Others kept changing the row; nothing was written.
    #[error("{table} {row} was changed by others during every attempt")]
    Contended {
        /// The table.
        table: String,
        /// The row's key.
        row: String,
    },
}

impl StoreError {
    /// The label of this kind of failure in metrics, logs and reports.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::Database(_) | Self::Altered { .. } => "database",
            Self::Address { .. } | Self::OtherDatabase => "misconfigured",
            Self::NoTable { .. } | Self::NoColumns { .. } | Self::Unsuitable { .. } => "schema",
            Self::Ambiguous { .. } | Self::Unreadable { .. } => "schema",
            Self::KeyNotStorable { .. } | Self::NotAValue { .. } | Self::NoKeyMade { .. } => {
                "invalid_request"
            }
            Self::NotFound { .. } => "not_found",
            Self::NotStorable { .. } | Self::NotRefreshed { .. } => "misconfigured",
            Self::KeyLength { .. } | Self::NotPlain { .. } | Self::NoTokenColumn { .. } => "invalid_request",
            Self::Open { source, .. } | Self::KeptToken { source, .. } => source.class(),
            Self::Seal { source, .. } => source.class(),
            Self::Contended { .. } | Self::Changed { .. } => "conflict",
            Self::NotPrepared { .. } | Self::Exists { .. } => "conflict",
            Self::NotUnique { .. } => "not_unique",
            Self::IndexKey { source, .. } => source.class(),
            Self::NoIndex { .. } => "invalid_request",
            Self::TooManyFound { .. } | Self::IndexKeyLost { .. } | Self::StillPending { .. } => "schema",
        }
    }

    /// The name of this failure in the log and the audit trail, if a value does not open.
    #[must_use]
    pub fn correlation_id(&self) -> Option<CorrelationId> {
        match self {
            Self::Open { correlation_id, .. } | Self::KeptToken { correlation_id, .. } => {
                Some(*correlation_id)
            }
            _ => None,
        }
    }
}

/// Why a value was not sealed by the store.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealFailure {
    /// The envelope was not made.
    #[error(transparent)]
    Envelope(#[from] SealError),
    /// A setting that this form of writing needs is missing.
    #[error("writing {format} values needs {needed}")]
    MissingKey {
        /// The format that should be written.
        format: envelope_core::Format,
        /// The setting that must be configured.
        needed: Needed,
    },
    /// Nothing to seal with is configured, and the policy does not let plaintext be written.
    #[error("plaintext may not be written, and neither a key service nor a key is configured")]
    PlaintextForbidden,
    /// The row does not name the user that the value's key is derived from.
    #[error("row names no user to derive a key for")]
    NoUser,
    /// The row's record about its tokens cannot be kept true.
    #[error(transparent)]
    Record(#[from] crate::record::RecordError),
}

impl SealFailure {
    /// The label of this kind of failure in metrics, logs and reports.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::Envelope(error) => error.class(),
            Self::MissingKey { .. } => "missing_key",
            Self::PlaintextForbidden => "plaintext_forbidden",
            Self::NoUser => "invalid_request",
            Self::Record(_) => "record",
        }
    }
}
