//! Reading and compare-and-swapping rows of one table.

use envelope_core::Binding;

use super::layout::Layout;
use super::{Database, Dialect, Param, Text, TextRow, quote};
use crate::error::DatabaseError;
use crate::profile::Table;

/// What SQLite binds at most in one statement (`SQLITE_MAX_VARIABLE_NUMBER`).
const SQLITE_MAX_PARAMS: usize = 32_766;

/// What the relation of changes is called in a statement; no table of ours is.
const CHANGES: &str = "\"tokenseal changes\"";
/// And that of the changes whose rows nobody else has locked.
const FREE: &str = "\"tokenseal free\"";

/// One row as it was read.
pub(crate) struct StoredRow {
    pub(crate) key: Vec<String>,
    pub(crate) owner: Vec<Option<String>>,
    pub(crate) version: Option<String>,
    pub(crate) method: Option<String>,
    pub(crate) key_id: Option<String>,
    pub(crate) values: Vec<Option<Text>>,
    /// The plain columns, where they were asked for.
    pub(crate) plain: Vec<Option<String>>,
}

/// Rows between two keys: behind `after`, up to and including `until`.
#[derive(Clone, Copy, Default)]
pub(crate) struct Range<'a> {
    pub(crate) after: Option<&'a [String]>,
    pub(crate) until: Option<&'a [String]>,
}

impl<'a> Range<'a> {
    pub(crate) fn behind(after: Option<&'a [String]>) -> Self {
        Self { after, until: None }
    }
}

/// What a row's tokens and version columns are to become, if they still are what was read.
pub(crate) struct Change {
    pub(crate) old: StoredRow,
    pub(crate) values: Vec<Option<Text>>,
    pub(crate) marks: Marks,
}

/// What is done about a row that another transaction has locked. SQLite locks no rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Locked {
    /// It is waited for.
    Wait,
    /// It is passed over. Whoever waited for one row while it holds others could hold up, or deadlock with, the
    /// application that the table belongs to.
    PassOver,
}

/// What the version columns say of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) version: i32,
    pub(crate) method: Option<String>,
    pub(crate) key_id: Option<String>,
}

impl StoredRow {
    /// The identity of one of the row's cells.
    pub(crate) fn binding<'a>(&'a self, layout: &'a Layout, column: &'a str) -> Binding<'a> {
        let mut binding = Binding::new(&layout.table.name, column);
        for (name, value) in layout.table.key.iter().zip(&self.key) {
            binding = binding.key(name, value);
        }
        for (name, value) in layout.table.owner.iter().zip(&self.owner) {
            binding = binding.owner(name, value.as_deref().unwrap_or_default());
        }
        binding
    }

    /// The row's key as `column=value,…`, as the command line takes it.
    pub(crate) fn name(&self, layout: &Layout) -> String {
        row_name(&layout.table.key, &self.key)
    }
}

/// Writes a key as `column=value,…`; commas and backslashes inside a value are escaped with a backslash.
pub(crate) fn row_name(columns: &[String], values: &[String]) -> String {
    let escape = |value: &String| value.replace('\\', "\\\\").replace(',', "\\,");
    let pairs: Vec<String> = columns.iter().zip(values).map(|(c, v)| format!("{c}={}", escape(v))).collect();
    pairs.join(",")
}

impl Layout {
    /// Which rows a page starts behind, and how it is ordered.
    pub(crate) async fn page(
        &self,
        database: &Database,
        range: Range<'_>,
        limit: usize,
    ) -> Result<Vec<StoredRow>, DatabaseError> {
        let (condition, params) = self.in_range(range);
        let sql = format!(
            "SELECT {} FROM {}{condition} ORDER BY {} LIMIT {limit}",
            self.selected().join(", "),
            quote(&self.table.name),
            self.key_columns().join(", "),
        );
        Ok(database.rows(&sql, &params).await?.into_iter().map(|row| self.stored_row(row)).collect())
    }

    /// The number of rows in a range.
    pub(crate) async fn count_range(
        &self,
        database: &Database,
        range: Range<'_>,
    ) -> Result<u64, DatabaseError> {
        let (condition, params) = self.in_range(range);
        let sql = format!("SELECT CAST(count(*) AS text) FROM {}{condition}", quote(&self.table.name));
        let rows = database.rows(&sql, &params).await?;
        Ok(rows.first().and_then(|row| row.first()?.as_ref()?.parse().ok()).unwrap_or(0))
    }

    /// The key of the row that stands `offset` rows into a range.
    pub(crate) async fn key_at(
        &self,
        database: &Database,
        range: Range<'_>,
        offset: u64,
    ) -> Result<Option<Vec<String>>, DatabaseError> {
        let (condition, params) = self.in_range(range);
        let selected: Vec<String> = self.table.key.iter().map(|column| self.as_text(column)).collect();
        let sql = format!(
            "SELECT {} FROM {}{condition} ORDER BY {} LIMIT 1 OFFSET {offset}",
            selected.join(", "),
            quote(&self.table.name),
            self.key_columns().join(", "),
        );
        let row = database.rows(&sql, &params).await?.into_iter().next();
        Ok(row.map(|row| {
            row.into_iter().map(|cell| cell.map_or_else(String::new, |text| text.to_string())).collect()
        }))
    }

    fn in_range<'a>(&self, range: Range<'a>) -> (String, Vec<Param<'a>>) {
        let mut conditions: Vec<String> =
            self.table.filter.iter().map(|filter| format!("({filter})")).collect();
        let mut params = Vec::new();
        for (bound, operator) in [(range.after, ">"), (range.until, "<=")] {
            let Some(key) = bound else { continue };
            let first = params.len() + 1;
            let placeholders: Vec<String> =
                self.table.key.iter().enumerate().map(|(i, column)| self.cast(first + i, column)).collect();
            conditions.push(format!(
                "({}) {operator} ({})",
                self.key_columns().join(", "),
                placeholders.join(", ")
            ));
            params.extend(key.iter().map(|value| Param::from(value.as_str())));
        }
        (where_clause(&conditions), params)
    }

    /// A random sample of rows.
    pub(crate) async fn sample(
        &self,
        database: &Database,
        size: usize,
    ) -> Result<Vec<StoredRow>, DatabaseError> {
        let filter: Vec<String> = self.table.filter.iter().cloned().collect();
        let sql = format!(
            "SELECT {} FROM {}{} ORDER BY random() LIMIT {size}",
            self.selected().join(", "),
            quote(&self.table.name),
            where_clause(&filter),
        );
        Ok(database.rows(&sql, &[]).await?.into_iter().map(|row| self.stored_row(row)).collect())
    }

    /// One row by its key.
    pub(crate) async fn fetch(
        &self,
        database: &Database,
        key: &[String],
    ) -> Result<Option<StoredRow>, DatabaseError> {
        let sql = format!(
            "SELECT {} FROM {} WHERE {}",
            self.selected().into_iter().chain(self.selected_plain()).collect::<Vec<_>>().join(", "),
            quote(&self.table.name),
            self.key_condition(1).join(" AND ")
        );
        let params: Vec<Param<'_>> = key.iter().map(|value| Param::from(value.as_str())).collect();
        Ok(database.rows(&sql, &params).await?.into_iter().next().map(|row| self.stored_row(row)))
    }

    /// Writes every change whose row still holds what was read, all in one statement a few hundred rows long, and
    /// tells for how many that was so.
    pub(crate) async fn swap(
        &self,
        database: &Database,
        changes: &[Change],
        locked: Locked,
    ) -> Result<u64, DatabaseError> {
        let most = match self.dialect {
            Dialect::Postgres => changes.len().max(1),
            Dialect::Sqlite => SQLITE_MAX_PARAMS / self.changed_columns().max(1),
        };
        let mut swapped = 0;
        for chunk in changes.chunks(most) {
            let sql = self.swap_sql(chunk.len(), locked);
            let params = self.swap_params(chunk);
            swapped += retry_transient(database, &sql, &params).await?;
        }
        Ok(swapped)
    }

    /// Number of values that a change is made of: key, old and new tokens, old version, new marks.
    fn changed_columns(&self) -> usize {
        let marks = if self.version().is_some() { 4 } else { 0 };
        self.table.key.len() + 2 * self.table.tokens.len() + marks
    }

    /// The changes as a relation with columns c1, c2, …, compared with and written to the table.
    fn swap_sql(&self, rows: usize, locked: Locked) -> String {
        let name = quote(&self.table.name);
        let keys = self.table.key.len();
        let tokens = self.table.tokens.len();
        let columns = self.changed_columns();
        let source = |index: usize| match self.dialect {
            Dialect::Postgres => format!("{CHANGES}.c{}", index + 1),
            Dialect::Sqlite => format!("{CHANGES}.column{}", index + 1),
        };
        let same = if self.dialect == Dialect::Postgres { "IS NOT DISTINCT FROM" } else { "IS" };
        let mut sets = Vec::new();
        let mut conditions = Vec::new();
        for (index, column) in self.table.key.iter().enumerate() {
            conditions.push(format!(
                "{name}.{} = {}",
                quote(column),
                self.cast_source(&source(index), column)
            ));
        }
        for (index, column) in self.table.tokens.iter().enumerate() {
            let column = quote(column);
            conditions.push(format!("{name}.{column} {same} {}", source(keys + index)));
            sets.push(format!("{column} = {}", source(keys + tokens + index)));
        }
        if let Some(version) = self.version() {
            let first = keys + 2 * tokens;
            conditions.push(format!(
                "CAST({name}.{} AS text) {same} {}",
                quote(&version.version),
                source(first)
            ));
            sets.push(format!("{} = CAST({} AS integer)", quote(&version.version), source(first + 1)));
            sets.push(format!("{} = {}", quote(&version.method), source(first + 2)));
            sets.push(format!("{} = {}", quote(&version.key_id), source(first + 3)));
        }
        let relation = match self.dialect {
            Dialect::Postgres => {
                let arrays: Vec<String> = (1..=columns).map(|n| format!("${n}::text[]")).collect();
                let names: Vec<String> = (1..=columns).map(|n| format!("c{n}")).collect();
                format!("UNNEST({}) AS {CHANGES}({})", arrays.join(", "), names.join(", "))
            }
            Dialect::Sqlite => {
                let row = format!("({})", vec!["?"; columns].join(", "));
                format!("(VALUES {}) AS {CHANGES}", vec![row.as_str(); rows].join(", "))
            }
        };
        let (sets, conditions) = (sets.join(", "), conditions.join(" AND "));
        match (self.dialect, locked) {
            (Dialect::Postgres, Locked::PassOver) => format!(
                "WITH {FREE} AS MATERIALIZED (SELECT {CHANGES}.* FROM {name}, {relation} WHERE {conditions} \
                 FOR NO KEY UPDATE OF {name} SKIP LOCKED) \
                 UPDATE {name} SET {sets} FROM {FREE} AS {CHANGES} WHERE {conditions}"
            ),
            _ => format!("UPDATE {name} SET {sets} FROM {relation} WHERE {conditions}"),
        }
    }

    fn swap_params<'a>(&self, changes: &'a [Change]) -> Vec<Param<'a>> {
        let rows = changes.iter().map(|change| self.change_values(change));
        match self.dialect {
            Dialect::Postgres => {
                let mut columns = vec![Vec::with_capacity(changes.len()); self.changed_columns()];
                for row in rows {
                    for (column, value) in columns.iter_mut().zip(row) {
                        column.push(value);
                    }
                }
                columns.into_iter().map(Param::Texts).collect()
            }
            Dialect::Sqlite => rows.flatten().map(Param::Text).collect(),
        }
    }

    fn change_values<'a>(&self, change: &'a Change) -> Vec<Option<&'a str>> {
        let mut values: Vec<Option<&str>> = change.old.key.iter().map(|value| Some(value.as_str())).collect();
        values.extend(change.old.values.iter().map(|value| value.as_ref().map(|text| text.as_str())));
        values.extend(change.values.iter().map(|value| value.as_ref().map(|text| text.as_str())));
        if self.version().is_some() {
            values.push(change.old.version.as_deref());
            values.push(Some(change.marks.version_text()));
            values.push(change.marks.method.as_deref());
            values.push(change.marks.key_id.as_deref());
        }
        values
    }

    /// Key columns compared with placeholders from `first` on.
    pub(crate) fn key_condition(&self, first: usize) -> Vec<String> {
        let keys = self.table.key.iter().enumerate();
        keys.map(|(i, column)| format!("{} = {}", quote(column), self.cast(first + i, column))).collect()
    }

    /// A placeholder that takes text and has a column's type.
    pub(crate) fn cast(&self, position: usize, column: &str) -> String {
        match self.dialect {
            Dialect::Postgres => self.cast_source(&format!("${position}::text"), column),
            Dialect::Sqlite => self.cast_source(&format!("?{position}"), column),
        }
    }

    fn cast_source(&self, source: &str, column: &str) -> String {
        match self.dialect {
            Dialect::Postgres => format!("{source}::{}", self.sql_type(column)),
            // A bare text would have no affinity inside a row value, and never equal an integer.
            Dialect::Sqlite if self.sql_type(column).to_ascii_uppercase().contains("INT") => {
                format!("CAST({source} AS INTEGER)")
            }
            Dialect::Sqlite => source.to_owned(),
        }
    }

    /// The key columns with the table's name before them: in `ORDER BY`, PostgreSQL would otherwise take a bare name
    /// for the selected text of that column, and sort numbers as text.
    fn key_columns(&self) -> Vec<String> {
        let table = quote(&self.table.name);
        let columns = self.table.key.iter();
        columns.map(|column| format!("{table}.{}", quote(column))).collect()
    }

    fn selected(&self) -> Vec<String> {
        let Table { key, owner, tokens, .. } = &self.table;
        let columns = key.iter().chain(owner).chain(self.table.version_columns()).chain(tokens);
        columns.map(|column| format!("CAST({} AS text)", quote(column))).collect()
    }

    fn selected_plain(&self) -> impl Iterator<Item = String> {
        self.table.plain.iter().map(|column| format!("CAST({} AS text)", quote(column)))
    }

    fn stored_row(&self, row: TextRow) -> StoredRow {
        let mut cells = row.into_iter();
        let mut plain = |count: usize| -> Vec<Option<String>> {
            cells.by_ref().take(count).map(|cell| cell.map(|text| text.to_string())).collect()
        };
        let key = plain(self.table.key.len()).into_iter().map(Option::unwrap_or_default).collect();
        let owner = plain(self.table.owner.len());
        let mut marks = if self.version().is_some() { plain(3) } else { vec![None; 3] }.into_iter();
        let (version, method, key_id) =
            (marks.next().flatten(), marks.next().flatten(), marks.next().flatten());
        let values = cells.by_ref().take(self.table.tokens.len()).collect();
        let plain = cells.map(|cell| cell.map(|text| text.to_string())).collect();
        StoredRow { key, owner, version, method, key_id, values, plain }
    }
}

impl Change {
    /// Whether a row, read afterwards, still holds what this change starts from: then it was locked.
    pub(crate) fn is_to_come(&self, now: &StoredRow) -> bool {
        now.values == self.old.values && now.version == self.old.version
    }

    /// Whether a row, read afterwards, holds what this change was to write.
    pub(crate) fn is_written(&self, now: &StoredRow, layout: &Layout) -> bool {
        now.values == self.values
            && (layout.version().is_none() || now.version.as_deref() == Some(self.marks.version_text()))
    }
}

impl Marks {
    fn version_text(&self) -> &'static str {
        match self.version {
            0 => "0",
            1 => "1",
            _ => "2",
        }
    }
}

/// Runs a statement again after a deadlock or a busy file: another writer was in the way, and is done now.
async fn retry_transient(database: &Database, sql: &str, params: &[Param<'_>]) -> Result<u64, DatabaseError> {
    const ATTEMPTS: u32 = 5;
    let mut attempt = 1;
    loop {
        match database.execute(sql, params).await {
            Err(error) if error.is_transient() && attempt < ATTEMPTS => {
                tokio::time::sleep(std::time::Duration::from_millis(20 << attempt)).await;
                attempt += 1;
            }
            answer => return answer,
        }
    }
}

fn where_clause(conditions: &[String]) -> String {
    match conditions {
        [] => String::new(),
        _ => format!(" WHERE {}", conditions.join(" AND ")),
    }
}
