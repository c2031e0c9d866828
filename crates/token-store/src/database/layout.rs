//! A profile's table as it is in a database: its columns, and what the database guarantees of its key.

use std::sync::Arc;

use super::Database;
use super::identity::Kind;
use super::leases::LEASES;
use super::select::Only;
use crate::error::StoreError;
use crate::profile::{Record, Table, VersionColumns};

/// A table of the profile, resolved against the database.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) table: Arc<Table>,
    pub(crate) facts: Facts,
    /// The profile's name, which blind indexes are bound to.
    pub(crate) profile: String,
    /// Whether its tokens are fields, which a service seals by hand and this program never writes but to rewrap.
    pub(crate) is_of_fields: bool,
    /// Which rows a walk is limited to, besides the profile's filter.
    pub(crate) only: Vec<Only>,
}

/// A database's description of a table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// The schema that the table was found in, where the database has several.
    pub(crate) schema: Option<String>,
    pub(crate) columns: Vec<Column>,
    /// Every unique index over whole columns of every row.
    pub(crate) uniques: Vec<UniqueKey>,
    /// The unique index or primary key that guarantees the profile's key.
    pub(crate) unique: Option<UniqueKey>,
    /// Why nothing guarantees it, where that is so.
    pub(crate) not_unique: Option<String>,
    /// Whether triggers, rules or policies may change or keep out what is written.
    pub(crate) is_guarded: bool,
    /// Whether the table's engine has no transactions, so that nothing could be undone.
    #[cfg_attr(
        not(feature = "mysql"),
        allow(dead_code, reason = "only MariaDB has tables without transactions")
    )]
    pub(crate) lacks_transactions: bool,
    /// Whether a statement has to say itself that a row which violates a constraint ends it: a constraint of SQLite may say
    /// that the other row is deleted instead. Triggers would be bound by what the statement says, and may rely on what they
    /// say themselves.
    #[cfg_attr(not(feature = "sqlite"), allow(dead_code, reason = "only SQLite has conflict clauses"))]
    pub(crate) aborts: bool,
}

/// The guarantee that a key names at most one row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UniqueKey {
    /// The name of the index.
    pub(crate) name: String,
    /// Its columns and their collations, where the database needs them in a comparison.
    pub(crate) columns: Vec<(String, Option<String>)>,
}

/// Which columns a table must have to be worked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Columns {
    All,
    /// Version columns that are missing are read as NULL, and never written.
    VersionMayLack,
}

/// A column as the database describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// The type as it is declared, with its length.
    pub(crate) declared: String,
    /// The type in a cast of text that is only compared: without a length, so that no value is cut.
    pub(crate) cast: String,
    /// The schema of the operators that compare its values.
    pub(crate) operators: String,
    pub(crate) kind: Kind,
    /// Whether text of any form is stored in it as it is.
    pub(crate) holds_text: bool,
    /// How many characters it holds at most.
    pub(crate) limit: Option<u64>,
    pub(crate) is_generated: bool,
    pub(crate) is_nullable: bool,
}

impl Layout {
    /// Looks the table up; `None` if it does not exist.
    ///
    /// Obstacles to sealing its values are not looked for here, so that a service opens its store whatever the
    /// table is like; see [`findings`](crate::findings).
    ///
    /// # Errors
    /// [`StoreError::NoColumns`] if it cannot hold what the profile says.
    pub(crate) async fn resolve(
        database: &Database,
        table: &Table,
        which: Columns,
    ) -> Result<Option<Self>, StoreError> {
        let Some(facts) = database.describe(table).await? else { return Ok(None) };
        let layout = Self {
            table: Arc::new(table.clone()),
            facts,
            profile: String::new(),
            is_of_fields: false,
            only: Vec::new(),
        };
        layout.require_columns(which)?;
        Ok(Some(layout))
    }

    /// The table's fields as if they were its tokens; `None` where it has none.
    pub(crate) fn of_fields(&self) -> Option<Self> {
        if self.table.fields.is_empty() {
            return None;
        }
        let table = Table {
            tokens: self.table.fields.clone(),
            fields: Vec::new(),
            index: Vec::new(),
            version: None,
            // A record describes the tokens, not the fields.
            record: None,
            plain: Vec::new(),
            updated: None,
            ..(*self.table).clone()
        };
        Some(Self { table: Arc::new(table), is_of_fields: true, ..self.clone() })
    }

    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.facts.columns.iter().find(|column| column.name == name)
    }

    /// The columns of the key that may be NULL, so that no key names the row.
    pub(crate) fn nullable_keys(&self) -> impl Iterator<Item = &String> {
        let is_nullable = |name: &&String| self.column(name).is_some_and(|column| column.is_nullable);
        self.table.key.iter().filter(is_nullable)
    }

    pub(crate) fn has(&self, column: &str) -> bool {
        self.column(column).is_some()
    }

    pub(crate) fn kind(&self, column: &str) -> Kind {
        self.column(column).map_or(Kind::Other, |column| column.kind)
    }

    pub(crate) fn version(&self) -> Option<&VersionColumns> {
        self.table.version.as_ref()
    }

    /// Number of the columns that a row is read with besides its key; plain ones are read where they are asked for.
    pub(crate) fn content_columns(&self) -> usize {
        let table = &self.table;
        let record = usize::from(self.record().is_some());
        table.owner.len() + table.version_columns().count() + table.tokens.len() + record + table.index.len()
    }

    /// The column that describes the tokens to another program, where the table has it.
    pub(crate) fn record(&self) -> Option<&Record> {
        self.table.record.as_ref().filter(|record| self.has(&record.column))
    }

    /// Token columns, and the record's: what may be large.
    pub(crate) fn large_columns(&self) -> impl Iterator<Item = &String> {
        self.table.tokens.iter().chain(self.record().map(|record| &record.column))
    }

    /// The column that a write sets to the current time, where the table has it.
    pub(crate) fn updated(&self) -> Option<&str> {
        self.table.updated.as_deref().filter(|column| self.has(column))
    }

    /// Whether a caller's key names the row that is stored under the other.
    pub(crate) fn is_same_key(&self, given: &[String], stored: &[String]) -> bool {
        let mut parts = self.table.key.iter().zip(given.iter().zip(stored));
        parts.all(|(column, (given, stored))| self.kind(column).same(given, stored))
    }

    /// Whether a caller's owner is the one that is stored.
    pub(crate) fn is_same_owner(&self, column: &str, given: Option<&str>, stored: Option<&str>) -> bool {
        match (given, stored) {
            (None, None) => true,
            (Some(given), Some(stored)) => self.kind(column).same(given, stored),
            _ => false,
        }
    }

    /// A table whose tokens are refreshed needs the table of leases next to it.
    pub(crate) async fn require_leases(&self, database: &Database) -> Result<(), StoreError> {
        if self.table.refresh.is_none() || database.has_leases(self.facts.schema.as_deref()).await? {
            return Ok(());
        }
        let columns = vec!["every column".to_owned()];
        Err(StoreError::NoColumns { table: LEASES.into(), columns, addable: true })
    }

    fn require_columns(&self, which: Columns) -> Result<(), StoreError> {
        let table = &self.table;
        let added = table.version_columns().chain(table.index_columns());
        let added = added.filter(|_| which == Columns::All);
        let mut missing: Vec<String> = table.own_columns().filter(|name| !self.has(name)).cloned().collect();
        let addable = missing.is_empty();
        missing.extend(added.filter(|name| !self.has(name)).cloned());
        if missing.is_empty() {
            return Ok(());
        }
        Err(StoreError::NoColumns { table: table.name.clone(), columns: missing, addable })
    }
}
