//! Writing rows that are unchanged since they were read.

use std::collections::HashSet;

use sqlx::{Sqlite, SqliteConnection};

use super::columns::describe;
use super::sql::{as_text, column, key_column, or_abort, table};
use super::{Connections, Param, bind, index, integer, select, write};
use crate::database::change::{Change, change_columns, change_values, index_places, record_places};
use crate::database::index::Rival;
use crate::database::insert::{Inserted, NewRow};
use crate::database::layout::Layout;
use crate::database::quote;
use crate::database::row::{StoredKey, StoredRow};
use crate::database::swap::{Attempt, Care, Writing};
use crate::database::within::Held;
use crate::error::{DatabaseError, Scope};

/// The most parameters of one statement in SQLite (`SQLITE_MAX_VARIABLE_NUMBER`).
const MOST_PARAMS: usize = 32_766;

/// The alias of the relation of changes in a statement; no table of ours has this name.
const CHANGES: &str = "\"tokenseal changes\"";

/// A transaction that writes changes.
pub(crate) struct Session<'t> {
    transaction: Held<'t, Sqlite>,
}

impl crate::database::swap::Session for Session<'_> {
    type Connections = Connections;

    fn most(layout: &Layout) -> usize {
        // Plain columns are bound once, and there are not as many as this.
        (MOST_PARAMS - 1_000) / (change_columns(layout) + 1)
    }

    async fn begin(connections: &Connections) -> Result<Self, DatabaseError> {
        Ok(Self { transaction: Held::Own(connections.begin().await?) })
    }

    async fn write(
        &mut self,
        layout: &Layout,
        changes: &[&Change],
        writing: &Writing<'_>,
        care: Care,
    ) -> Result<Attempt, DatabaseError> {
        let written = match care {
            Care::One => self.write_at_once(layout, changes, writing).await,
            Care::Full | Care::Brief => self.write_and_look(layout, changes, writing).await,
        };
        if written.is_err() {
            self.stay_in_transaction().await;
        }
        written
    }

    async fn insert(&mut self, layout: &Layout, row: &NewRow<'_>) -> Result<Inserted, DatabaseError> {
        let inserted = write::insert(&mut self.transaction, layout, row).await;
        if inserted.is_err() {
            self.stay_in_transaction().await;
        }
        inserted
    }

    async fn find(&mut self, layout: &Layout, key: &[String]) -> Result<Vec<StoredRow>, DatabaseError> {
        let (sql, params) = select::by_given(layout, key);
        let rows = bind(&sql, &params).fetch_all(&mut *self.transaction).await?;
        rows.iter().map(|row| select::stored_row(layout, row)).collect()
    }

    async fn index_generation(&mut self, layout: &Layout) -> Result<u64, DatabaseError> {
        index::held_generation(&mut self.transaction, layout).await
    }

    async fn has_rival(
        &mut self,
        layout: &Layout,
        key: &StoredKey,
        rival: &Rival,
    ) -> Result<bool, DatabaseError> {
        index::has_rival(&mut self.transaction, layout, key, rival).await
    }

    async fn mark(&mut self) -> Result<(), DatabaseError> {
        self.say("SAVEPOINT tokenseal").await
    }

    async fn undo(&mut self) -> Result<(), DatabaseError> {
        self.say("ROLLBACK TO SAVEPOINT tokenseal").await?;
        self.keep().await
    }

    async fn keep(&mut self) -> Result<(), DatabaseError> {
        self.say("RELEASE SAVEPOINT tokenseal").await
    }

    async fn commit(self) -> Result<(), DatabaseError> {
        self.transaction.commit().await
    }

    async fn cancel(self) -> Result<(), DatabaseError> {
        self.transaction.rollback().await
    }

    async fn judge(
        connections: &Connections,
        layout: &Layout,
        _writing: &Writing<'_>,
        error: DatabaseError,
    ) -> DatabaseError {
        if error.scope != Scope::Unsure {
            return error;
        }
        let table = &layout.table;
        let mut needed = table.own_columns().chain(table.version_columns()).chain(table.index_columns());
        let is_row = match describe(connections, &layout.table).await {
            Ok(Some(facts)) => needed.all(|name| facts.columns.iter().any(|column| column.name == *name)),
            _ => false,
        };
        DatabaseError { scope: if is_row { Scope::Row } else { Scope::Whole }, ..error }
    }
}

impl<'t> Session<'t> {
    /// A session in a caller's transaction.
    pub(in crate::database) fn of(connection: &'t mut SqliteConnection) -> Self {
        Self { transaction: Held::Callers(connection) }
    }
}

impl Session<'_> {
    /// Begins a transaction where the database has ended ours: the driver counts on one, and would not let go of the
    /// connection without it. A caller's transaction is for the caller to end.
    async fn stay_in_transaction(&mut self) {
        if self.transaction.is_own() {
            // If a transaction is already open, this fails, which is the intended state.
            let _ = self.say("BEGIN").await;
        }
    }

    async fn say(&mut self, sql: &'static str) -> Result<(), DatabaseError> {
        sqlx::raw_sql(sql).execute(&mut *self.transaction).await?;
        Ok(())
    }

    /// A table without triggers stores text as it is sent, so the number of rows says it all. Where it is smaller, the
    /// rows are asked for one by one.
    async fn write_at_once(
        &mut self,
        layout: &Layout,
        changes: &[&Change],
        writing: &Writing<'_>,
    ) -> Result<Attempt, DatabaseError> {
        let triggers =
            "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?1 COLLATE NOCASE";
        let name = [Param::from(layout.table.name.as_str())];
        let triggers = bind(triggers, &name).fetch_one(&mut *self.transaction).await?;
        if integer(&triggers, 0) > 0 {
            return Ok(Attempt { is_guarded: true, ..Attempt::default() });
        }
        let rows = self.update(layout, changes, writing).await?;
        let written = match rows == changes.len() as u64 {
            true => (0..changes.len()).collect(),
            false => self.numbers(layout, changes, &holds(layout)).await?,
        };
        Ok(Attempt { written, ..Attempt::default() })
    }

    /// Finds the rows that are unchanged since they were read, writes them, and reads them again.
    async fn write_and_look(
        &mut self,
        layout: &Layout,
        changes: &[&Change],
        writing: &Writing<'_>,
    ) -> Result<Attempt, DatabaseError> {
        let matched = self.numbers(layout, changes, &still_is(layout)).await?;
        let mut attempt = Attempt { is_guarded: true, ..Attempt::default() };
        let mut seen = HashSet::new();
        // A key that names two rows is no identity.
        attempt.altered = matched.iter().copied().filter(|place| !seen.insert(*place)).collect();
        if matched.is_empty() || !attempt.altered.is_empty() {
            return Ok(attempt);
        }
        let part: Vec<&Change> = matched.iter().map(|place| changes[*place]).collect();
        self.update(layout, &part, writing).await?;
        let stored = self.numbers(layout, &part, &holds(layout)).await?;
        for (index, place) in matched.iter().enumerate() {
            let list = if stored.contains(&index) { &mut attempt.written } else { &mut attempt.altered };
            list.push(*place);
        }
        Ok(attempt)
    }

    async fn update(
        &mut self,
        layout: &Layout,
        changes: &[&Change],
        writing: &Writing<'_>,
    ) -> Result<u64, DatabaseError> {
        let sql = format!(
            "UPDATE {}{} SET {} FROM {} WHERE {}",
            or_abort(layout),
            table(layout),
            sets(layout, writing),
            relation(layout, changes.len()),
            still_is(layout)
        );
        let mut all: Vec<Param<'_>> =
            writing.plain.iter().map(|(_, value)| Param::Text(value.as_deref())).collect();
        all.extend(params(layout, changes));
        Ok(bind(&sql, &all).execute(&mut *self.transaction).await?.rows_affected())
    }

    /// The places of the changes whose rows fulfil a condition.
    async fn numbers(
        &mut self,
        layout: &Layout,
        changes: &[&Change],
        condition: &str,
    ) -> Result<Vec<usize>, DatabaseError> {
        let sql = format!(
            "SELECT {} FROM {}, {} WHERE {condition}",
            source(change_columns(layout)),
            table(layout),
            relation(layout, changes.len())
        );
        let params = params(layout, changes);
        let rows = bind(&sql, &params).fetch_all(&mut *self.transaction).await?;
        Ok(rows.iter().filter_map(|row| usize::try_from(integer(row, 0)).ok()).collect())
    }
}

/// Deletes the row of a change if it is unchanged since it was read.
pub(in crate::database) async fn delete(
    connections: &Connections,
    layout: &Layout,
    change: &Change,
) -> Result<bool, DatabaseError> {
    let (relation, conditions) = (relation(layout, 1), still_is(layout));
    let sql =
        format!("DELETE FROM {} WHERE EXISTS (SELECT 1 FROM {relation} WHERE {conditions})", table(layout));
    let mut transaction = connections.begin().await?;
    let query = bind(&sql, &params(layout, &[change]));
    let deleted = query.execute(&mut *transaction).await?.rows_affected();
    write::commit_one(transaction, deleted).await
}

/// The name of the n-th value of a change, from 0; its place is after them.
fn source(index: usize) -> String {
    format!("{CHANGES}.column{}", index + 1)
}

/// The changes as a relation, each row with its place after it. The placeholders have no numbers: the driver asks for the
/// name of each, and SQLite looks for the names of numbered ones one after the other, so that thousands of them would take
/// longer than writing the rows. A statement with this relation has no numbered placeholder at all, and its parameters are
/// in the order of its text.
fn relation(layout: &Layout, rows: usize) -> String {
    let row = format!("({})", vec!["?"; change_columns(layout) + 1].join(", "));
    format!("(VALUES {}) AS {CHANGES}", vec![row.as_str(); rows].join(", "))
}

fn params<'a>(layout: &Layout, changes: &[&'a Change]) -> Vec<Param<'a>> {
    let keys = layout.table.key.len();
    let mut params = Vec::with_capacity(changes.len() * (change_columns(layout) + 1));
    for (place, change) in changes.iter().enumerate() {
        params.extend(super::sql::stored(&change.old.key));
        params.extend(change_values(layout, change).into_iter().skip(keys).map(Param::Text));
        params.push(Param::Integer(i64::try_from(place).unwrap_or(i64::MAX)));
    }
    params
}

/// The row of a change's key, compared as it is stored.
fn is_row(layout: &Layout) -> Vec<String> {
    let keys = layout.table.key.iter().enumerate();
    keys.map(|(index, name)| {
        let (key, source) = (key_column(layout, name), source(index));
        match key.ends_with("COLLATE \"BINARY\"") || !key.contains(" COLLATE ") {
            true => format!("{key} = {source}"),
            false => format!("{key} = {source} AND {} COLLATE BINARY = {source}", column(layout, name)),
        }
    })
    .collect()
}

/// Whether a row is unchanged since it was read: everything that its values are bound to, the values and the
/// version.
fn still_is(layout: &Layout) -> String {
    let (keys, owners, tokens) = sizes(layout);
    let mut conditions = is_row(layout);
    conditions.extend(owner_is(layout));
    for (index, name) in layout.table.tokens.iter().enumerate() {
        conditions.push(is_token(layout, name, &source(keys + owners + index)));
    }
    if let Some(names) = layout.version() {
        let first = keys + owners + 2 * tokens;
        conditions.push(format!("{} IS {}", as_text(layout, &names.version), source(first)));
    }
    if let Some((name, old, _)) = record_places(layout) {
        conditions.push(format!("{} IS {}", as_text(layout, name), source(old)));
    }
    conditions.extend(index_places(layout).map(|(name, old, _)| is_token(layout, name, &source(old))));
    conditions.join(" AND ")
}

/// Whether a row holds the values that were sent, for the owner that it was sealed for.
fn holds(layout: &Layout) -> String {
    let (keys, owners, tokens) = sizes(layout);
    let mut conditions = is_row(layout);
    conditions.extend(owner_is(layout));
    for (index, name) in layout.table.tokens.iter().enumerate() {
        conditions.push(is_token(layout, name, &source(keys + owners + tokens + index)));
    }
    let first = keys + owners + 2 * tokens + 1;
    for (index, name) in layout.table.version_columns().enumerate() {
        conditions.push(format!("{} IS {}", as_text(layout, name), source(first + index)));
    }
    if let Some((name, _, new)) = record_places(layout) {
        conditions.push(format!("{} IS {}", as_text(layout, name), source(new)));
    }
    conditions.extend(index_places(layout).map(|(name, _, new)| is_token(layout, name, &source(new))));
    conditions.join(" AND ")
}

/// A token equals this text, byte by byte under any collation of the column.
fn is_token(layout: &Layout, name: &str, source: &str) -> String {
    format!("{} COLLATE BINARY IS {source}", column(layout, name))
}

fn owner_is(layout: &Layout) -> Vec<String> {
    let keys = layout.table.key.len();
    let owners = layout.table.owner.iter().enumerate();
    owners.map(|(index, name)| format!("{} IS {}", as_text(layout, name), source(keys + index))).collect()
}

fn sizes(layout: &Layout) -> (usize, usize, usize) {
    (layout.table.key.len(), layout.table.owner.len(), layout.table.tokens.len())
}

fn sets(layout: &Layout, writing: &Writing<'_>) -> String {
    let (keys, owners, tokens) = sizes(layout);
    let mut sets = Vec::new();
    for (index, name) in layout.table.tokens.iter().enumerate() {
        sets.push(format!("{} = {}", quote(name), source(keys + owners + tokens + index)));
    }
    let first = keys + owners + 2 * tokens + 1;
    for (index, name) in layout.table.version_columns().enumerate() {
        let new = source(first + index);
        let is_number = layout.version().is_some_and(|names| names.version == *name);
        let new = if is_number { format!("CAST({new} AS integer)") } else { new };
        sets.push(format!("{} = {new}", quote(name)));
    }
    if let Some((name, _, new)) = record_places(layout) {
        sets.push(format!("{} = {}", quote(name), source(new)));
    }
    sets.extend(index_places(layout).map(|(name, _, new)| format!("{} = {}", quote(name), source(new))));
    sets.extend(writing.plain.iter().map(|(name, _)| format!("{} = ?", quote(name))));
    if let Some(updated) = layout.updated().filter(|_| writing.touch) {
        sets.push(format!("{} = CURRENT_TIMESTAMP", quote(updated)));
    }
    sets.join(", ")
}
