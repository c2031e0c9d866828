//! Writing rows that are unchanged since they were read.

use std::collections::HashSet;

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Postgres};

use super::select::key_of_changes;
use super::sql::{as_text, cast, column, is_same_text, table};
use super::{Connections, Param, columns, index, index_lock, number, privileges, select, text, write};
use crate::database::change::{Change, change_columns, change_values, index_places, record_places};
use crate::database::index::Rival;
use crate::database::insert::{Inserted, NewRow};
use crate::database::layout::Layout;
use crate::database::quote;
use crate::database::row::{StoredKey, StoredRow};
use crate::database::swap::{Attempt, Care, Locked, Writing};
use crate::database::within::Held;
use crate::error::{DatabaseError, Scope};

/// The alias of the relation of changes in a statement; no table of ours has this name.
const CHANGES: &str = "\"tokenseal changes\"";
/// And that of the changes whose rows no other transaction has locked.
const FREE: &str = "\"tokenseal free\"";
/// And that of the rows that were written.
const WRITTEN: &str = "\"tokenseal written\"";

/// A transaction that writes changes.
pub(crate) struct Session<'t> {
    connections: Connections,
    transaction: Held<'t, Postgres>,
}

impl crate::database::swap::Session for Session<'_> {
    type Connections = Connections;

    fn most(_layout: &Layout) -> usize {
        usize::MAX
    }

    async fn begin(connections: &Connections) -> Result<Self, DatabaseError> {
        Ok(Self { connections: connections.clone(), transaction: Held::Own(connections.begin().await?) })
    }

    async fn write(
        &mut self,
        layout: &Layout,
        changes: &[&Change],
        writing: &Writing<'_>,
        care: Care,
    ) -> Result<Attempt, DatabaseError> {
        match care {
            Care::One => self.write_at_once(layout, changes, writing).await,
            Care::Full => self.write_and_look(layout, changes, writing).await,
            Care::Brief => {
                // In milliseconds, until this transaction ends or is undone to its mark.
                self.say("SET LOCAL lock_timeout = 20").await?;
                self.write_and_look(layout, changes, writing).await
            }
        }
    }

    async fn insert(&mut self, layout: &Layout, row: &NewRow<'_>) -> Result<Inserted, DatabaseError> {
        write::insert(&self.connections, &mut self.transaction, layout, row).await
    }

    async fn find(&mut self, layout: &Layout, key: &[String]) -> Result<Vec<StoredRow>, DatabaseError> {
        self.mark().await?;
        let (sql, params) = select::by_key(layout, key, true);
        let error = match self.all(&sql, &params).await {
            Ok(rows) => {
                self.keep().await?;
                return rows.iter().map(|row| select::stored_row(layout, row)).collect();
            }
            Err(error) => error,
        };
        self.undo().await?;
        if !error.code.as_deref().is_some_and(|code| code.starts_with("22")) {
            return Err(error);
        }
        // Either the key is no value of its type, or the row holds what cannot be read.
        self.mark().await?;
        let named = self.all(&select::by_key_columns(layout), &params).await;
        self.undo().await?;
        if named.is_ok_and(|rows| !rows.is_empty()) { Err(error) } else { Ok(Vec::new()) }
    }

    async fn index_generation(&mut self, layout: &Layout) -> Result<u64, DatabaseError> {
        index_lock::held_generation(&self.connections, &mut self.transaction, layout).await
    }

    async fn has_rival(
        &mut self,
        layout: &Layout,
        key: &StoredKey,
        rival: &Rival,
    ) -> Result<bool, DatabaseError> {
        index::has_rival(&self.connections, &mut self.transaction, layout, key, rival).await
    }

    async fn mark(&mut self) -> Result<(), DatabaseError> {
        self.say("SAVEPOINT tokenseal").await
    }

    async fn undo(&mut self) -> Result<(), DatabaseError> {
        self.say("ROLLBACK TO SAVEPOINT tokenseal; RELEASE SAVEPOINT tokenseal").await
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
        writing: &Writing<'_>,
        error: DatabaseError,
    ) -> DatabaseError {
        if error.scope != Scope::Unsure {
            return error;
        }
        let is_row = match error.code.as_deref() {
            Some("42501") => privileges::may_write(connections, layout, writing).await,
            _ => has_everything(connections, layout).await,
        };
        let scope = if is_row.unwrap_or(false) { Scope::Row } else { Scope::Whole };
        DatabaseError { scope, ..error }
    }
}

/// Whether the table and its columns are all still there, so that something else is missing.
async fn has_everything(connections: &Connections, layout: &Layout) -> Result<bool, DatabaseError> {
    let Some(facts) = columns::describe(connections, &layout.table).await? else { return Ok(false) };
    let table = &layout.table;
    let mut needed = table.own_columns().chain(table.version_columns()).chain(table.index_columns());
    Ok(needed.all(|name| facts.columns.iter().any(|column| column.name == *name)))
}

impl<'t> Session<'t> {
    /// A session in a caller's transaction.
    pub(in crate::database) fn of(connections: &Connections, connection: &'t mut PgConnection) -> Self {
        Self { connections: connections.clone(), transaction: Held::Callers(connection) }
    }
}

impl Session<'_> {
    async fn all(&mut self, sql: &str, params: &[Param<'_>]) -> Result<Vec<PgRow>, DatabaseError> {
        Ok(self.connections.bind(sql, params).fetch_all(&mut *self.transaction).await?)
    }

    async fn say(&mut self, sql: &'static str) -> Result<(), DatabaseError> {
        sqlx::raw_sql(sql).execute(&mut *self.transaction).await?;
        Ok(())
    }

    /// The numbers of changes, from 1, that a query returns.
    async fn places(&mut self, sql: &str, params: &[Param<'_>]) -> Result<Vec<usize>, DatabaseError> {
        let rows = self.connections.bind(sql, params).fetch_all(&mut *self.transaction).await?;
        Ok(rows.iter().map(|row| number::<usize>(row, 0).saturating_sub(1)).collect())
    }

    /// One statement, which returns whether each row holds the values that were sent.
    async fn write_at_once(
        &mut self,
        layout: &Layout,
        changes: &[&Change],
        writing: &Writing<'_>,
    ) -> Result<Attempt, DatabaseError> {
        let sql = at_once_sql(layout, writing, changes.len());
        let params = params(layout, changes, writing);
        let row = self.connections.bind(&sql, &params).fetch_one(&mut *self.transaction).await?;
        let places = |index: usize| -> Vec<usize> {
            let list = text(&row, index).unwrap_or_default();
            list.split(',').filter_map(|n| n.parse::<usize>().ok()?.checked_sub(1)).collect()
        };
        let is_complete = number::<usize>(&row, 0) == changes.len();
        let written = if is_complete { (0..changes.len()).collect() } else { places(2) };
        Ok(Attempt { written, altered: places(1), is_guarded: super::is_true(&row, 3) })
    }

    /// Locks the rows that are unchanged since they were read, writes them, runs deferred constraints and
    /// triggers, and reads them again.
    async fn write_and_look(
        &mut self,
        layout: &Layout,
        changes: &[&Change],
        writing: &Writing<'_>,
    ) -> Result<Attempt, DatabaseError> {
        let matched = self.places(&look_sql(layout, writing.locked), &params_of(layout, changes)).await?;
        let mut attempt = Attempt { is_guarded: true, ..Attempt::default() };
        let mut seen = HashSet::new();
        // A key that names two rows is no identity.
        attempt.altered = matched.iter().copied().filter(|place| !seen.insert(*place)).collect();
        if matched.is_empty() || !attempt.altered.is_empty() {
            return Ok(attempt);
        }
        let part: Vec<&Change> = matched.iter().map(|place| changes[*place]).collect();
        let update = format!(
            "UPDATE {} SET {} FROM {} WHERE {}",
            table(layout),
            sets(layout, writing, &source),
            relation(layout),
            still_is(layout, &source)
        );
        let query = self.connections.bind(&update, &params(layout, &part, writing));
        query.execute(&mut *self.transaction).await?;
        // In a caller's transaction, constraints that the caller has deferred stay deferred.
        if self.transaction.is_own() {
            self.say("SET CONSTRAINTS ALL IMMEDIATE").await?;
        }
        let stored = self.places(&look_again_sql(layout), &params_of(layout, &part)).await?;
        for (index, place) in matched.iter().enumerate() {
            let list = if stored.contains(&index) { &mut attempt.written } else { &mut attempt.altered };
            list.push(*place);
        }
        Ok(attempt)
    }
}

/// The name of the n-th value of a change, from 0.
fn source(index: usize) -> String {
    format!("{CHANGES}.c{}", index + 1)
}

/// The changes as a relation with columns c1, c2, … and their number n.
fn relation(layout: &Layout) -> String {
    let columns = change_columns(layout);
    let arrays: Vec<String> =
        (1..=columns).map(|n| format!("pg_catalog.unnest(${n}::pg_catalog.text[])")).collect();
    let names: Vec<String> = (1..=columns).map(|n| format!("c{n}")).collect();
    format!("ROWS FROM ({}) WITH ORDINALITY AS {CHANGES}({}, n)", arrays.join(", "), names.join(", "))
}

fn at_once_sql(layout: &Layout, writing: &Writing<'_>, rows: usize) -> String {
    let (name, conditions) = (table(layout), still_is(layout, &source));
    let sets = sets(layout, writing, &source);
    // The database may compute the key, or change it.
    let mut same = key_of_changes(layout, source);
    same.push(holds(layout, &source));
    let returning = format!("RETURNING {CHANGES}.n AS n, ({}) AS same", same.join(" AND "));
    let update = match writing.locked {
        Locked::PassOver => format!(
            "{FREE} AS MATERIALIZED (SELECT {CHANGES}.* FROM {name}, {} WHERE {conditions} \
             FOR NO KEY UPDATE OF {} SKIP LOCKED), \
             {WRITTEN} AS (UPDATE {name} SET {sets} FROM {FREE} AS {CHANGES} WHERE {conditions} {returning})",
            relation(layout),
            quote(&layout.table.name)
        ),
        Locked::Wait => format!(
            "{WRITTEN} AS (UPDATE {name} SET {sets} FROM {} WHERE {conditions} {returning})",
            relation(layout)
        ),
    };
    let list = |filter: &str| {
        format!("pg_catalog.array_to_string(pg_catalog.array_agg(n){filter}, ','::pg_catalog.text)")
    };
    format!(
        "WITH {update} SELECT pg_catalog.count(*)::pg_catalog.text, {}, \
         CASE WHEN pg_catalog.count(*) OPERATOR(pg_catalog.<>) {rows}::pg_catalog.int8 THEN {} END, {} FROM {WRITTEN}",
        list(" FILTER (WHERE NOT same)"),
        list(""),
        is_guarded(layout)
    )
}

/// Whether a trigger or a policy has come about since the table was looked at. A rule makes the statement an error.
fn is_guarded(layout: &Layout) -> String {
    let relation = format!("'{}'::pg_catalog.regclass", table(layout).replace('\'', "''"));
    format!(
        "(pg_catalog.row_security_active({relation}) OR EXISTS (SELECT FROM pg_catalog.pg_trigger \
         WHERE tgrelid OPERATOR(pg_catalog.=) {relation} AND NOT tgisinternal \
         AND tgenabled OPERATOR(pg_catalog.<>) 'D'::pg_catalog.\"char\"))::pg_catalog.text"
    )
}

fn look_sql(layout: &Layout, locked: Locked) -> String {
    let skip = if locked == Locked::PassOver { " SKIP LOCKED" } else { "" };
    format!(
        "SELECT {CHANGES}.n::pg_catalog.text FROM {}, {} WHERE {} FOR NO KEY UPDATE OF {}{skip}",
        table(layout),
        relation(layout),
        still_is(layout, &source),
        quote(&layout.table.name)
    )
}

fn look_again_sql(layout: &Layout) -> String {
    format!(
        "SELECT {CHANGES}.n::pg_catalog.text FROM {}, {} WHERE {} AND {}",
        table(layout),
        relation(layout),
        key_of_changes(layout, source).join(" AND "),
        holds(layout, &source)
    )
}

/// Whether a row is unchanged since it was read: everything that its values are bound to, the values and the
/// version.
fn still_is(layout: &Layout, source: &dyn Fn(usize) -> String) -> String {
    let (keys, owners, tokens) = sizes(layout);
    let mut conditions = key_of_changes(layout, source);
    conditions.extend(owner_is(layout, source));
    for (index, name) in layout.table.tokens.iter().enumerate() {
        conditions.push(is_same_text(&as_text(layout, name), &source(keys + owners + index)));
    }
    if let Some(names) = layout.version() {
        let first = keys + owners + 2 * tokens;
        conditions.push(is_same_text(&as_text(layout, &names.version), &source(first)));
    }
    if let Some((name, old, _)) = record_places(layout) {
        conditions.push(is_same_text(&as_text(layout, name), &source(old)));
    }
    let indexes = index_places(layout);
    conditions.extend(indexes.map(|(name, old, _)| is_same_text(&as_text(layout, name), &source(old))));
    conditions.join(" AND ")
}

/// Whether a row holds the values that were sent, for the owner that it was sealed for.
fn holds(layout: &Layout, source: &dyn Fn(usize) -> String) -> String {
    let (keys, owners, tokens) = sizes(layout);
    let mut conditions = owner_is(layout, source);
    for (index, name) in layout.table.tokens.iter().enumerate() {
        conditions.push(is_same_text(&as_text(layout, name), &source(keys + owners + tokens + index)));
    }
    let first = keys + owners + 2 * tokens + 1;
    for (index, name) in layout.table.version_columns().enumerate() {
        conditions.push(is_same_text(&as_text(layout, name), &source(first + index)));
    }
    if let Some((name, _, new)) = record_places(layout) {
        // A column of type `jsonb` writes its text in its own way.
        let new = format!("{}::pg_catalog.text", cast(layout, name, &source(new)));
        conditions.push(is_same_text(&as_text(layout, name), &new));
    }
    let indexes = index_places(layout);
    conditions.extend(indexes.map(|(name, _, new)| is_same_text(&as_text(layout, name), &source(new))));
    conditions.join(" AND ")
}

fn owner_is(layout: &Layout, source: &dyn Fn(usize) -> String) -> Vec<String> {
    let keys = layout.table.key.len();
    let owners = layout.table.owner.iter().enumerate();
    owners.map(|(index, name)| is_same_text(&as_text(layout, name), &source(keys + index))).collect()
}

fn sizes(layout: &Layout) -> (usize, usize, usize) {
    (layout.table.key.len(), layout.table.owner.len(), layout.table.tokens.len())
}

/// The columns that are set: tokens, version columns, plain columns, and the time of the change.
fn sets(layout: &Layout, writing: &Writing<'_>, source: &dyn Fn(usize) -> String) -> String {
    let (keys, owners, tokens) = sizes(layout);
    let mut sets = Vec::new();
    for (index, name) in layout.table.tokens.iter().enumerate() {
        let new = source(keys + owners + tokens + index);
        sets.push(format!("{} = {}", quote(name), cast(layout, name, &new)));
    }
    let first = keys + owners + 2 * tokens + 1;
    for (index, name) in layout.table.version_columns().enumerate() {
        sets.push(format!("{} = {}", quote(name), cast(layout, name, &source(first + index))));
    }
    if let Some((name, _, new)) = record_places(layout) {
        sets.push(format!("{} = {}", quote(name), cast(layout, name, &source(new))));
    }
    let indexes = index_places(layout);
    sets.extend(
        indexes.map(|(name, _, new)| format!("{} = {}", quote(name), cast(layout, name, &source(new)))),
    );
    let first = change_columns(layout) + 1;
    for (index, (name, _)) in writing.plain.iter().enumerate() {
        let value = cast(layout, name, &super::sql::place(first + index));
        sets.push(format!("{} = {value}", quote(name)));
    }
    if let Some(updated) = layout.updated().filter(|_| writing.touch) {
        sets.push(format!("{} = pg_catalog.now()", quote(updated)));
    }
    sets.join(", ")
}

/// The values of the changes, an array for each column, and the plain values.
fn params<'a>(layout: &Layout, changes: &[&'a Change], writing: &'a Writing<'_>) -> Vec<Param<'a>> {
    let mut params = params_of(layout, changes);
    params.extend(writing.plain.iter().map(|(_, value)| Param::Text(value.as_deref())));
    params
}

fn params_of<'a>(layout: &Layout, changes: &[&'a Change]) -> Vec<Param<'a>> {
    let mut columns = vec![Vec::with_capacity(changes.len()); change_columns(layout)];
    for change in changes {
        for (column, value) in columns.iter_mut().zip(change_values(layout, change)) {
            column.push(value);
        }
    }
    columns.into_iter().map(Param::Texts).collect()
}

/// Deletes the row of a change if it is unchanged since it was read.
pub(in crate::database) async fn delete(
    connections: &Connections,
    layout: &Layout,
    change: &Change,
) -> Result<bool, DatabaseError> {
    let (table, conditions) = (table(layout), still_is(layout, &source));
    let sql = format!("DELETE FROM {table} USING {} WHERE {conditions}", relation(layout));
    let mut transaction = connections.begin().await?;
    let query = connections.bind(&sql, &params_of(layout, &[change]));
    let deleted = query.execute(&mut *transaction).await?.rows_affected();
    write::commit_one(transaction, deleted).await
}

/// The row of a key, locked for writing.
pub(super) fn lock_sql(layout: &Layout, wait: &str) -> String {
    format!(
        "SELECT {}::pg_catalog.text FROM {} WHERE {} FOR NO KEY UPDATE {wait}",
        column(layout, &layout.table.key[0]),
        table(layout),
        super::sql::is_row(layout, 1)
    )
}
