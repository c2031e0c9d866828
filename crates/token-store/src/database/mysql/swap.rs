//! Writing rows that are unchanged since they were read.

use std::collections::HashSet;

use sqlx::{MySql, MySqlConnection};

use super::sql::{TABLE, as_text, column, is_key, is_same_text, table_by_key};
use super::{
    Connections, Param, bind, bind_once, check_mode, columns, index, number, privileges, select, write,
};
use crate::database::change::{Change, change_columns, change_values, index_places, record_places};
use crate::database::index::Rival;
use crate::database::insert::{Inserted, NewRow};
use crate::database::layout::Layout;
use crate::database::row::{StoredKey, StoredRow};
use crate::database::swap::{Attempt, Care, Locked, Writing};
use crate::database::within::Held;
use crate::error::{DatabaseError, Scope};

/// The alias of the relation of changes in a statement; no table of ours has this name.
const CHANGES: &str = "`tokenseal changes`";

/// The most placeholders of a statement: the protocol counts them in 16 bits.
const MOST_PARAMS: usize = 65_000;

/// The most bytes of a value that is written together with other rows. The server gives the columns of a `UNION` of bound
/// values a type that does not hold large ones, so that they would match no row; alone, a change is no `UNION`.
const MOST_TOGETHER: usize = 16 << 10;

/// A statement with this before it waits for no lock, on MariaDB; MySQL takes it for a comment.
const BRIEFLY: &str = "/*M!100300 SET STATEMENT innodb_lock_wait_timeout = 0 FOR */ ";

/// A transaction that writes changes.
pub(crate) struct Session<'t> {
    transaction: Held<'t, MySql>,
}

impl crate::database::swap::Session for Session<'_> {
    type Connections = Connections;

    fn most(layout: &Layout) -> usize {
        // One more for the number, and some room for the plain columns.
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
        let outcome = match changes.iter().any(|change| is_large(change)) {
            true => self.write_one_by_one(layout, changes, writing, care).await,
            false => self.write_and_look(layout, changes, writing, care).await,
        };
        if let Err(error) = &outcome
            && self.transaction.is_own()
            && (care == Care::One || error.is_transient())
        {
            // The next attempt comes on another connection. Its rows must be free by then, and a transaction that is
            // dropped keeps its locks for a moment.
            let _ = self.say("ROLLBACK").await;
        }
        outcome
    }

    async fn insert(&mut self, layout: &Layout, row: &NewRow<'_>) -> Result<Inserted, DatabaseError> {
        write::insert(&mut self.transaction, layout, row).await
    }

    async fn find(&mut self, layout: &Layout, key: &[String]) -> Result<Vec<StoredRow>, DatabaseError> {
        let given: Vec<(&str, &str)> =
            layout.table.key.iter().map(String::as_str).zip(key.iter().map(String::as_str)).collect();
        let Some((sql, params)) = columns::canonical_query(layout, &given) else { return Ok(Vec::new()) };
        let canonical = match bind(&sql, &params).fetch_all(&mut *self.transaction).await {
            Ok(rows) => columns::canonical_texts(&rows, given.len()),
            Err(error) => match DatabaseError::from(error) {
                error if error.is_about_rows() => None,
                error => return Err(error),
            },
        };
        let Some(canonical) = canonical.filter(|canonical| layout.is_same_key(key, canonical)) else {
            return Ok(Vec::new());
        };
        let (sql, params) = select::by_key(layout, &canonical, true);
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
        self.say("ROLLBACK TO SAVEPOINT tokenseal").await
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
            Some("1146" | "1054") => has_everything(connections, layout).await,
            _ => privileges::may_write(connections, layout, writing).await,
        };
        let scope = if is_row.unwrap_or(false) { Scope::Row } else { Scope::Whole };
        DatabaseError { scope, ..error }
    }
}

fn no_transactions() -> DatabaseError {
    DatabaseError {
        message: "the table's engine has no transactions, so that nothing could be undone: ALTER TABLE … ENGINE=InnoDB"
            .into(),
        code: None,
        unreachable: false,
        scope: Scope::Whole,
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
    ///
    /// # Errors
    /// Also where the caller's session would store a cut value instead of refusing it.
    pub(in crate::database) async fn of(connection: &'t mut MySqlConnection) -> Result<Self, DatabaseError> {
        check_mode(connection).await?;
        Ok(Self { transaction: Held::Callers(connection) })
    }
}

impl Session<'_> {
    /// Locks the rows that are unchanged since they were read, writes them and reads them again, at every
    /// level of care: a trigger may be there that this user cannot see.
    async fn write_and_look(
        &mut self,
        layout: &Layout,
        changes: &[&Change],
        writing: &Writing<'_>,
        care: Care,
    ) -> Result<Attempt, DatabaseError> {
        if layout.facts.lacks_transactions {
            return Err(no_transactions());
        }
        let matched =
            self.places(&look_sql(layout, changes.len(), writing.locked), &params(layout, changes)).await?;
        let mut attempt = Attempt::default();
        let mut seen = HashSet::new();
        // A key that names two rows is no identity.
        attempt.altered = matched.iter().copied().filter(|place| !seen.insert(*place)).collect();
        if matched.is_empty() || !attempt.altered.is_empty() {
            return Ok(attempt);
        }
        let part: Vec<&Change> = matched.iter().map(|place| changes[*place]).collect();
        let mut all = params(layout, &part);
        all.extend(writing.plain.iter().map(|(_, value)| value.as_deref()));
        bind_once(&update_sql(layout, part.len(), writing, care), &all)
            .execute(&mut *self.transaction)
            .await?;
        let stored = self.places(&look_again_sql(layout, part.len()), &params(layout, &part)).await?;
        for (index, place) in matched.iter().enumerate() {
            let list = if stored.contains(&index) { &mut attempt.written } else { &mut attempt.altered };
            list.push(*place);
        }
        Ok(attempt)
    }

    async fn write_one_by_one(
        &mut self,
        layout: &Layout,
        changes: &[&Change],
        writing: &Writing<'_>,
        care: Care,
    ) -> Result<Attempt, DatabaseError> {
        let mut all = Attempt::default();
        for (place, change) in changes.iter().enumerate() {
            let one = self.write_and_look(layout, std::slice::from_ref(change), writing, care).await?;
            all.written.extend(one.written.iter().map(|_| place));
            all.altered.extend(one.altered.iter().map(|_| place));
            all.is_guarded |= one.is_guarded;
        }
        Ok(all)
    }

    async fn say(&mut self, sql: &'static str) -> Result<(), DatabaseError> {
        sqlx::raw_sql(sql).execute(&mut *self.transaction).await?;
        Ok(())
    }

    /// The numbers of changes that a query returns.
    async fn places(&mut self, sql: &str, params: &[Param<'_>]) -> Result<Vec<usize>, DatabaseError> {
        let rows = bind_once(sql, params).fetch_all(&mut *self.transaction).await?;
        Ok(rows.iter().map(|row| number(row, 0)).collect())
    }
}

fn is_large(change: &Change) -> bool {
    let values = change.old.values.iter().chain(&change.values).flatten();
    let records = [change.old.record_text().unwrap_or_default(), change.record()];
    let mut lengths =
        values.into_iter().map(|text| text.len()).chain(records.into_iter().flatten().map(str::len));
    lengths.any(|length| length > MOST_TOGETHER)
}

/// The name of the n-th value of a change, from 0.
fn source(index: usize) -> String {
    format!("{CHANGES}.c{index}")
}

/// The changes as a relation with columns c0, c1, … and their number n, from 0.
fn relation(layout: &Layout, rows: usize) -> String {
    let columns = change_columns(layout);
    let first: Vec<String> = (0..columns).map(|index| format!("? AS c{index}")).collect();
    let other = format!("?{}", ", ?".repeat(columns - 1));
    let rows = (0..rows).map(|n| match n {
        0 => format!("SELECT 0 AS n, {}", first.join(", ")),
        n => format!("SELECT {n}, {other}"),
    });
    // In this order, so that the rows of the table are found by their key.
    format!("({}) AS {CHANGES}", rows.collect::<Vec<_>>().join(" UNION ALL "))
}

fn look_sql(layout: &Layout, rows: usize, locked: Locked) -> String {
    let skip = if locked == Locked::PassOver { " SKIP LOCKED" } else { "" };
    format!(
        "SELECT CAST({CHANGES}.n AS CHAR) FROM {} STRAIGHT_JOIN {} ON {} FOR UPDATE{skip}",
        relation(layout, rows),
        table_by_key(layout),
        still_is(layout)
    )
}

fn update_sql(layout: &Layout, rows: usize, writing: &Writing<'_>, care: Care) -> String {
    let briefly = if care == Care::Brief { BRIEFLY } else { "" };
    format!(
        "{briefly}UPDATE {} STRAIGHT_JOIN {} ON {} SET {}",
        relation(layout, rows),
        table_by_key(layout),
        still_is(layout),
        sets(layout, writing)
    )
}

fn look_again_sql(layout: &Layout, rows: usize) -> String {
    let keys = conditions_of_key(layout);
    format!(
        "SELECT CAST({CHANGES}.n AS CHAR) FROM {} STRAIGHT_JOIN {} ON {} AND {}",
        relation(layout, rows),
        table_by_key(layout),
        keys.join(" AND "),
        holds(layout)
    )
}

fn conditions_of_key(layout: &Layout) -> Vec<String> {
    let keys = layout.table.key.iter().enumerate();
    keys.map(|(index, name)| is_key(layout, name, &source(index))).collect()
}

/// Whether a row is unchanged since it was read: everything that its values are bound to, the values and the
/// version.
fn still_is(layout: &Layout) -> String {
    let (keys, owners, tokens) = sizes(layout);
    let mut conditions = conditions_of_key(layout);
    conditions.extend(owner_is(layout));
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
fn holds(layout: &Layout) -> String {
    let (keys, owners, tokens) = sizes(layout);
    let mut conditions = owner_is(layout);
    for (index, name) in layout.table.tokens.iter().enumerate() {
        conditions.push(is_same_text(&as_text(layout, name), &source(keys + owners + tokens + index)));
    }
    let first = keys + owners + 2 * tokens + 1;
    for (index, name) in layout.table.version_columns().enumerate() {
        conditions.push(is_same_text(&as_text(layout, name), &source(first + index)));
    }
    if let Some((name, _, new)) = record_places(layout) {
        conditions.push(is_same_text(&as_text(layout, name), &source(new)));
    }
    let indexes = index_places(layout);
    conditions.extend(indexes.map(|(name, _, new)| is_same_text(&as_text(layout, name), &source(new))));
    conditions.join(" AND ")
}

fn owner_is(layout: &Layout) -> Vec<String> {
    let keys = layout.table.key.len();
    let owners = layout.table.owner.iter().enumerate();
    owners.map(|(index, name)| is_same_text(&as_text(layout, name), &source(keys + index))).collect()
}

fn sizes(layout: &Layout) -> (usize, usize, usize) {
    (layout.table.key.len(), layout.table.owner.len(), layout.table.tokens.len())
}

/// The columns that are set: tokens, version columns, plain columns, and the time of the change.
fn sets(layout: &Layout, writing: &Writing<'_>) -> String {
    let (keys, owners, tokens) = sizes(layout);
    let mut sets = Vec::new();
    for (index, name) in layout.table.tokens.iter().enumerate() {
        sets.push(format!("{} = {}", column(name), source(keys + owners + tokens + index)));
    }
    let first = keys + owners + 2 * tokens + 1;
    for (index, name) in layout.table.version_columns().enumerate() {
        sets.push(format!("{} = {}", column(name), source(first + index)));
    }
    if let Some((name, _, new)) = record_places(layout) {
        sets.push(format!("{} = {}", column(name), source(new)));
    }
    sets.extend(index_places(layout).map(|(name, _, new)| format!("{} = {}", column(name), source(new))));
    sets.extend(writing.plain.iter().map(|(name, _)| format!("{} = ?", column(name))));
    if let Some(updated) = layout.updated() {
        // A column that the database itself sets at every change keeps its time where only the form of a row changes.
        let value = if writing.touch { "CURRENT_TIMESTAMP(6)".into() } else { column(updated) };
        sets.push(format!("{} = {value}", column(updated)));
    }
    sets.join(", ")
}

/// The values of the changes, row by row.
fn params<'a>(layout: &Layout, changes: &[&'a Change]) -> Vec<Param<'a>> {
    changes.iter().flat_map(|change| change_values(layout, change)).collect()
}

/// Deletes the row of a change if it is unchanged since it was read.
pub(in crate::database) async fn delete(
    connections: &Connections,
    layout: &Layout,
    change: &Change,
) -> Result<bool, DatabaseError> {
    let sql = format!(
        "DELETE {TABLE} FROM {} STRAIGHT_JOIN {} ON {}",
        relation(layout, 1),
        table_by_key(layout),
        still_is(layout)
    );
    let mut transaction = connections.begin().await?;
    let query = bind_once(&sql, &params(layout, &[change]));
    let deleted = query.execute(&mut *transaction).await?.rows_affected();
    write::commit_one(transaction, deleted).await
}
