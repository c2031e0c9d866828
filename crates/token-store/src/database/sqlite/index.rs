//! Blind indexes: their keys, look-ups by them, and the database indexes over them.
//!
//! A transaction that writes is alone, so that the keys do not change while a row is written.

use sqlx::SqliteConnection;

use super::select::{is_row, selected, stored_row};
use super::sql::{column, in_range, is_key, stored, table};
use super::{Connections, Param, bind, integer, text};
use crate::database::index::{KEYS_TABLE, KeyState, Rival, StoredIndexKey, index_name};
use crate::database::layout::Layout;
use crate::database::quote;
use crate::database::row::{StoredKey, StoredRow};
use crate::database::select::Range;
use crate::error::DatabaseError;
use crate::profile::Table;

/// Whole indexes that begin with a column; a unique one must be over it alone.
const INDEXES: &str = "\
SELECT l.\"unique\" FROM pragma_index_list(?1, ?2) l JOIN pragma_index_xinfo(l.name, ?2) i
WHERE l.partial = 0 AND i.key = 1 AND i.seqno = 0 AND i.name = ?3
  AND (l.\"unique\" = 0 OR (SELECT count(*) FROM pragma_index_xinfo(l.name, ?2) k WHERE k.key = 1) = 1)";

fn keys_table(layout: &Layout) -> String {
    match &layout.table.schema {
        Some(schema) => format!("{}.{}", quote(schema), quote(KEYS_TABLE)),
        None => quote(KEYS_TABLE),
    }
}

/// Parameters 1 and 2 of every statement about a table's keys.
fn of_table(layout: &Layout) -> [Param<'_>; 2] {
    [Param::from(layout.profile.as_str()), Param::from(layout.table.bound_name())]
}

fn of_column<'a>(layout: &'a Layout, key: &'a StoredIndexKey) -> Vec<Param<'a>> {
    let mut params = of_table(layout).to_vec();
    params.push(Param::from(key.column.as_str()));
    params
}

pub(in crate::database) fn create_keys_table(schema: Option<&str>) -> String {
    let schema = schema.map(|schema| format!("{}.", quote(schema))).unwrap_or_default();
    format!(
        "CREATE TABLE IF NOT EXISTS {schema}{KEYS_TABLE} (profile TEXT NOT NULL, table_name TEXT NOT NULL, \
         column_name TEXT NOT NULL, key_number INTEGER NOT NULL, state TEXT NOT NULL, generation INTEGER NOT NULL, \
         normalize TEXT NOT NULL, bits INTEGER NOT NULL, wrapped_key TEXT NOT NULL, key_id TEXT, \
         created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, \
         PRIMARY KEY (profile, table_name, column_name, key_number))"
    )
}

pub(in crate::database) fn create_index(
    table: &Table,
    schema: Option<&str>,
    into: &str,
    unique: bool,
) -> String {
    let schema = schema.map(|schema| format!("{}.", quote(schema))).unwrap_or_default();
    let name = quote(&index_name(&table.name, into, unique));
    let unique = if unique { "UNIQUE " } else { "" };
    format!("CREATE {unique}INDEX IF NOT EXISTS {schema}{name} ON {} ({})", quote(&table.name), quote(into))
}

/// Whether look-ups by a column have a database index, and whether one is unique.
pub(in crate::database) async fn indexed(
    connections: &Connections,
    table: &Table,
    into: &str,
) -> Result<Option<bool>, DatabaseError> {
    let schema = table.schema.as_deref().unwrap_or("main");
    let params = [Param::from(table.name.as_str()), Param::from(schema), Param::from(into)];
    let rows = connections.rows(INDEXES, &params).await?;
    let unique = rows.iter().map(|row| integer(row, 0) > 0);
    Ok(unique.reduce(|one, other| one || other))
}

pub(in crate::database) async fn keys(
    connections: &Connections,
    layout: &Layout,
) -> Result<Vec<StoredIndexKey>, DatabaseError> {
    let columns = StoredIndexKey::COLUMNS.map(|name| format!("CAST({name} AS text)"));
    let sql = format!(
        "SELECT {} FROM {} WHERE profile = ?1 AND table_name = ?2 ORDER BY column_name, key_number",
        columns.join(", "),
        keys_table(layout)
    );
    let rows = connections.rows(&sql, &of_table(layout)).await?;
    let texts = rows.iter().map(|row| (0..columns.len()).map(|index| text(row, index)).collect());
    texts.map(StoredIndexKey::from_texts).collect()
}

/// The generation of the table's keys, which none can change before this transaction ends.
pub(super) async fn held_generation(
    transaction: &mut SqliteConnection,
    layout: &Layout,
) -> Result<u64, DatabaseError> {
    let sql = format!(
        "SELECT coalesce(max(generation), 0) FROM {} WHERE profile = ?1 AND table_name = ?2",
        keys_table(layout)
    );
    let rows = bind(&sql, &of_table(layout)).fetch_all(&mut *transaction).await?;
    Ok(rows.first().map_or(0, |row| u64::try_from(integer(row, 0)).unwrap_or(0)))
}

/// Adds a key of the next generation, and retires the one before; `false` where the keys changed meanwhile.
pub(in crate::database) async fn add_key(
    connections: &Connections,
    layout: &Layout,
    key: &StoredIndexKey,
) -> Result<bool, DatabaseError> {
    let mut transaction = connections.begin().await?;
    if held_generation(&mut transaction, layout).await? + 1 != key.generation {
        transaction.rollback().await?;
        return Ok(false);
    }
    let sql = format!(
        "UPDATE {} SET state = ?4 WHERE profile = ?1 AND table_name = ?2 AND column_name = ?3",
        keys_table(layout)
    );
    let mut params = of_column(layout, key);
    params.push(Param::from(KeyState::Retiring.name()));
    bind(&sql, &params).execute(&mut *transaction).await?;
    let sql = format!(
        "INSERT INTO {} (profile, table_name, column_name, key_number, state, generation, normalize, bits, wrapped_key, \
         key_id) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        keys_table(layout)
    );
    let mut params = of_column(layout, key);
    params.extend([
        Param::Integer(key.number.into()),
        Param::from(key.state.name()),
        Param::Integer(i64::try_from(key.generation).unwrap_or(i64::MAX)),
        Param::from(key.normalize.as_str()),
        Param::Integer(key.bits.into()),
        Param::from(key.wrapped.as_str()),
        Param::Text(key.key_id.as_deref()),
    ]);
    bind(&sql, &params).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(true)
}

/// Forgets a key that no index is under any more; `false` where there is one, or where the keys changed meanwhile.
pub(in crate::database) async fn drop_key(
    connections: &Connections,
    layout: &Layout,
    key: &StoredIndexKey,
    into: &str,
    generation: u64,
) -> Result<bool, DatabaseError> {
    let mut transaction = connections.begin().await?;
    let current = held_generation(&mut transaction, layout).await? == generation;
    let mark = envelope_core::index::mark(key.number);
    let sql = format!("SELECT 1 FROM {} WHERE {} LIMIT 1", table(layout), has_mark(layout, into, &mark));
    let used = bind(&sql, &[Param::from(mark.as_str())]).fetch_all(&mut *transaction).await?;
    if !current || !used.is_empty() {
        transaction.rollback().await?;
        return Ok(false);
    }
    let of = "profile = ?1 AND table_name = ?2 AND column_name = ?3";
    let sql = format!("DELETE FROM {} WHERE {of} AND key_number = ?4", keys_table(layout));
    let mut params = of_column(layout, key);
    params.push(Param::Integer(key.number.into()));
    bind(&sql, &params).execute(&mut *transaction).await?;
    let sql = format!("UPDATE {} SET generation = ?4 WHERE {of}", keys_table(layout));
    let mut params = of_column(layout, key);
    params.push(Param::Integer(i64::try_from(generation + 1).unwrap_or(i64::MAX)));
    bind(&sql, &params).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(true)
}

/// Replaces the wrapped form of a key, if it is unchanged since it was read.
pub(in crate::database) async fn rewrap_key(
    connections: &Connections,
    layout: &Layout,
    key: &StoredIndexKey,
    wrapped: &str,
    key_id: Option<&str>,
) -> Result<bool, DatabaseError> {
    let sql = format!(
        "UPDATE {} SET wrapped_key = ?5, key_id = ?6 WHERE profile = ?1 AND table_name = ?2 AND column_name = ?3 \
         AND wrapped_key = ?4 AND key_number = ?7",
        keys_table(layout)
    );
    let mut params = of_column(layout, key);
    params.extend([
        Param::from(key.wrapped.as_str()),
        Param::from(wrapped),
        Param::Text(key_id),
        Param::Integer(key.number.into()),
    ]);
    let mut transaction = connections.begin().await?;
    let done = bind(&sql, &params).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(done.rows_affected() == 1)
}

fn has_mark(layout: &Layout, into: &str, mark: &str) -> String {
    format!("substr({}, 1, {}) = ?1", column(layout, into), mark.len())
}

/// The number of rows whose index is under a key; ignores the profile's filter.
pub(in crate::database) async fn count_marked(
    connections: &Connections,
    layout: &Layout,
    into: &str,
    mark: &str,
) -> Result<u64, DatabaseError> {
    let sql = format!("SELECT count(*) FROM {} WHERE {}", table(layout), has_mark(layout, into, mark));
    let rows = connections.rows(&sql, &[Param::from(mark)]).await?;
    Ok(rows.first().map_or(0, |row| u64::try_from(integer(row, 0)).unwrap_or(0)))
}

/// Whether any row has an index under some key; ignores the profile's filter.
pub(in crate::database) async fn has_marks(
    connections: &Connections,
    layout: &Layout,
    into: &str,
) -> Result<bool, DatabaseError> {
    // The database index over the column finds rows that have a value like it.
    let is_marked = format!("{0} >= 'k' AND {0} < 'l' AND {0} GLOB 'k[0-9]*:*'", column(layout, into));
    let sql = format!("SELECT 1 FROM {} WHERE {is_marked} LIMIT 1", table(layout));
    Ok(!connections.rows(&sql, &[]).await?.is_empty())
}

/// Rows that have one of these texts in an index column, with their plain columns.
pub(in crate::database) async fn candidates(
    connections: &Connections,
    layout: &Layout,
    into: &str,
    values: &[String],
    limit: usize,
) -> Result<Vec<StoredRow>, DatabaseError> {
    let (condition, mut params) = in_range(layout, Range::default());
    let first = params.len() + 1;
    params.extend(values.iter().map(|value| Param::from(value.as_str())));
    let places = (0..values.len()).map(|n| is_key(layout, into, &format!("?{}", first + n)));
    let matches = format!("({})", places.collect::<Vec<_>>().join(" OR "));
    matching(connections, layout, &condition, &matches, &params, limit).await
}

/// Rows without an index that hold this text as it is, with their plain columns.
pub(in crate::database) async fn unindexed(
    connections: &Connections,
    layout: &Layout,
    token: &str,
    into: &str,
    stored: &str,
    limit: usize,
) -> Result<Vec<StoredRow>, DatabaseError> {
    let (condition, mut params) = in_range(layout, Range::default());
    params.push(Param::from(stored));
    let is_stored = is_key(layout, token, &format!("?{}", params.len()));
    let matches = format!("{} IS NULL AND {is_stored}", column(layout, into));
    matching(connections, layout, &condition, &matches, &params, limit).await
}

async fn matching(
    connections: &Connections,
    layout: &Layout,
    condition: &str,
    matches: &str,
    params: &[Param<'_>],
    limit: usize,
) -> Result<Vec<StoredRow>, DatabaseError> {
    let also = if condition.is_empty() { " WHERE" } else { " AND" };
    let sql = format!(
        "SELECT {} FROM {}{condition}{also} {matches} LIMIT {limit}",
        selected(layout, true),
        table(layout)
    );
    connections.rows(&sql, params).await?.iter().map(|row| stored_row(layout, row)).collect()
}

/// Whether another row than this one has an index.
pub(super) async fn has_rival(
    transaction: &mut SqliteConnection,
    layout: &Layout,
    key: &StoredKey,
    rival: &Rival,
) -> Result<bool, DatabaseError> {
    let mut params: Vec<Param<'_>> = stored(key).collect();
    let mut conditions = vec![format!("NOT ({})", is_row(layout))];
    let also = rival.also.iter().map(|(name, value)| (name, value));
    for (name, value) in std::iter::once((&rival.column, &rival.value)).chain(also) {
        params.push(Param::from(value.as_str()));
        conditions.push(is_key(layout, name, &format!("?{}", params.len())));
    }
    let sql = format!("SELECT 1 FROM {} WHERE {} LIMIT 1", table(layout), conditions.join(" AND "));
    Ok(!bind(&sql, &params).fetch_all(&mut *transaction).await?.is_empty())
}
