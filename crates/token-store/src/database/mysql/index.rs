//! Blind indexes: their keys, look-ups by them, and the database indexes over them.
//!
//! A lock on the rows of the keys keeps them as they are while a row is written.

use sqlx::{MySql, MySqlConnection};

use super::select::{selected, stored_row};
use super::sql::{as_text, bytes, column, in_range, is_key, is_row, row_params, table};
use super::{Connections, Param, bind, columns, is_true, number, quote, text};
use crate::database::index::{KEYS_TABLE, KeyState, Rival, StoredIndexKey, index_name};
use crate::database::layout::Layout;
use crate::database::row::{StoredKey, StoredRow};
use crate::database::select::Range;
use crate::database::within::Held;
use crate::error::{DatabaseError, Scope};
use crate::profile::Table;

const SHARED: &str = "LOCK IN SHARE MODE";
const EXCLUSIVE: &str = "FOR UPDATE";

/// Indexes that begin with a column; a unique one must be over it alone.
const INDEXES: &str = "\
SELECT CAST(s.NON_UNIQUE = 0 AS CHAR) FROM information_schema.STATISTICS s
WHERE s.TABLE_SCHEMA = ? AND s.TABLE_NAME = ? AND s.COLUMN_NAME = ? AND s.SEQ_IN_INDEX = 1 AND s.SUB_PART IS NULL
  AND (s.NON_UNIQUE = 1 OR NOT EXISTS (SELECT 1 FROM information_schema.STATISTICS o WHERE o.TABLE_SCHEMA = s.TABLE_SCHEMA
       AND o.TABLE_NAME = s.TABLE_NAME AND o.INDEX_NAME = s.INDEX_NAME AND o.SEQ_IN_INDEX > 1))";

fn keys_table(layout: &Layout) -> String {
    match &layout.facts.schema {
        Some(schema) => format!("{}.{}", quote(schema), quote(KEYS_TABLE)),
        None => quote(KEYS_TABLE),
    }
}

/// The first parameters of every statement about a table's keys.
fn of_table(layout: &Layout) -> [Param<'_>; 2] {
    [Some(layout.profile.as_str()), Some(layout.table.bound_name())]
}

const OF_TABLE: &str = "profile = ? AND table_name = ?";
const OF_COLUMN: &str = "profile = ? AND table_name = ? AND column_name = ?";

fn of_column<'a>(layout: &'a Layout, key: &'a StoredIndexKey) -> [Param<'a>; 3] {
    let [profile, name] = of_table(layout);
    [profile, name, Some(key.column.as_str())]
}

pub(in crate::database) fn create_keys_table(schema: Option<&str>) -> String {
    let schema = schema.map(|schema| format!("{}.", quote(schema))).unwrap_or_default();
    format!(
        "CREATE TABLE IF NOT EXISTS {schema}{KEYS_TABLE} (profile VARCHAR(190) NOT NULL, table_name VARCHAR(190) NOT NULL, \
         column_name VARCHAR(190) NOT NULL, key_number BIGINT NOT NULL, state VARCHAR(20) NOT NULL, \
         generation BIGINT NOT NULL, normalize VARCHAR(100) NOT NULL, bits BIGINT NOT NULL, wrapped_key TEXT NOT NULL, \
         key_id TEXT, created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, \
         PRIMARY KEY (profile, table_name, column_name, key_number)) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
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
    format!("ALTER TABLE {schema}{} ADD {unique}INDEX {name} ({})", quote(&table.name), quote(into))
}

/// Whether look-ups by a column have a database index, and whether one is unique.
pub(in crate::database) async fn indexed(
    connections: &Connections,
    table: &Table,
    into: &str,
) -> Result<Option<bool>, DatabaseError> {
    let Some((schema, name, _)) = columns::find(connections, table).await? else { return Ok(None) };
    let rows = connections.rows(INDEXES, &[Some(schema.as_str()), Some(name.as_str()), Some(into)]).await?;
    let unique = rows.iter().map(|row| is_true(row, 0));
    Ok(unique.reduce(|one, other| one || other))
}

pub(in crate::database) async fn keys(
    connections: &Connections,
    layout: &Layout,
) -> Result<Vec<StoredIndexKey>, DatabaseError> {
    let columns = StoredIndexKey::COLUMNS.map(|name| format!("CAST({name} AS CHAR)"));
    let sql = format!(
        "SELECT {} FROM {} WHERE {OF_TABLE} ORDER BY column_name, key_number",
        columns.join(", "),
        keys_table(layout)
    );
    let rows = connections.rows(&sql, &of_table(layout)).await?;
    let texts = rows.iter().map(|row| (0..columns.len()).map(|index| text(row, index)).collect());
    texts.map(StoredIndexKey::from_texts).collect()
}

/// The generation of the table's keys, which none can change before this transaction ends.
///
/// A read that locks sees the keys of now, and any other read of a caller's transaction may see an older snapshot: a row
/// that was written under a key which has been retired since would be missed as a rival.
pub(super) async fn held_generation(
    transaction: &mut Held<'_, MySql>,
    layout: &Layout,
) -> Result<u64, DatabaseError> {
    let now = generation_under(transaction, layout, SHARED).await?;
    if !transaction.is_own() && generation_under(transaction, layout, "").await? != now {
        return Err(DatabaseError {
            message: "the transaction's snapshot is older than the index keys".into(),
            code: None,
            unreachable: false,
            scope: Scope::Transient,
        });
    }
    Ok(now)
}

async fn generation_under(
    transaction: &mut MySqlConnection,
    layout: &Layout,
    lock: &str,
) -> Result<u64, DatabaseError> {
    let sql = format!("SELECT CAST(generation AS CHAR) FROM {} WHERE {OF_TABLE} {lock}", keys_table(layout));
    let rows = bind(&sql, &of_table(layout)).fetch_all(&mut *transaction).await?;
    Ok(rows.iter().map(|row| number(row, 0)).max().unwrap_or(0))
}

/// Adds a key of the next generation, and retires the one before; `false` where the keys changed meanwhile.
pub(in crate::database) async fn add_key(
    connections: &Connections,
    layout: &Layout,
    key: &StoredIndexKey,
) -> Result<bool, DatabaseError> {
    let mut transaction = connections.begin().await?;
    if generation_under(&mut transaction, layout, EXCLUSIVE).await? + 1 != key.generation {
        transaction.rollback().await?;
        return Ok(false);
    }
    let sql = format!("UPDATE {} SET state = ? WHERE {OF_COLUMN}", keys_table(layout));
    let mut params = vec![Some(KeyState::Retiring.name())];
    params.extend(of_column(layout, key));
    bind(&sql, &params).execute(&mut *transaction).await?;
    let sql = format!(
        "INSERT INTO {} (profile, table_name, column_name, key_number, state, generation, normalize, bits, wrapped_key, \
         key_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        keys_table(layout)
    );
    let (number, generation, bits) =
        (key.number.to_string(), key.generation.to_string(), key.bits.to_string());
    let mut params = of_column(layout, key).to_vec();
    params.extend([
        Some(number.as_str()),
        Some(key.state.name()),
        Some(generation.as_str()),
        Some(key.normalize.as_str()),
        Some(bits.as_str()),
        Some(key.wrapped.as_str()),
        key.key_id.as_deref(),
    ]);
    match bind(&sql, &params).execute(&mut *transaction).await.map_err(DatabaseError::from) {
        Ok(_) => {
            transaction.commit().await?;
            Ok(true)
        }
        // Another process added the first key of this column, which there was no row to lock for.
        Err(error) if error.is_transient() || error.is_duplicate() => {
            transaction.rollback().await?;
            Ok(false)
        }
        Err(error) => Err(error),
    }
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
    let current = generation_under(&mut transaction, layout, EXCLUSIVE).await? == generation;
    let mark = envelope_core::index::mark(key.number);
    let sql = format!("SELECT 1 FROM {} WHERE {} LIMIT 1", table(layout), has_mark(layout, into, &mark));
    let used = bind(&sql, &[Some(mark.as_str())]).fetch_all(&mut *transaction).await?;
    if !current || !used.is_empty() {
        transaction.rollback().await?;
        return Ok(false);
    }
    let (number, next) = (key.number.to_string(), (generation + 1).to_string());
    let sql = format!("DELETE FROM {} WHERE {OF_COLUMN} AND key_number = ?", keys_table(layout));
    let mut params = of_column(layout, key).to_vec();
    params.push(Some(number.as_str()));
    bind(&sql, &params).execute(&mut *transaction).await?;
    let sql = format!("UPDATE {} SET generation = ? WHERE {OF_COLUMN}", keys_table(layout));
    let mut params = vec![Some(next.as_str())];
    params.extend(of_column(layout, key));
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
        "UPDATE {} SET wrapped_key = ?, key_id = ? WHERE {OF_COLUMN} AND wrapped_key = ? AND key_number = ?",
        keys_table(layout)
    );
    let number = key.number.to_string();
    let mut params = vec![Some(wrapped), key_id];
    params.extend(of_column(layout, key));
    params.extend([Some(key.wrapped.as_str()), Some(number.as_str())]);
    let mut transaction = connections.begin().await?;
    let done = bind(&sql, &params).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(done.rows_affected() == 1)
}

fn has_mark(layout: &Layout, into: &str, mark: &str) -> String {
    let begin = format!("LEFT({}, {})", as_text(layout, into), mark.len());
    format!("{} = {}", bytes(&begin), bytes("?"))
}

/// The number of rows whose index is under a key; ignores the profile's filter.
pub(in crate::database) async fn count_marked(
    connections: &Connections,
    layout: &Layout,
    into: &str,
    mark: &str,
) -> Result<u64, DatabaseError> {
    let sql = format!(
        "SELECT CAST(COUNT(*) AS CHAR) FROM {} WHERE {}",
        table(layout),
        has_mark(layout, into, mark)
    );
    let rows = connections.rows(&sql, &[Some(mark)]).await?;
    Ok(rows.first().map_or(0, |row| number(row, 0)))
}

/// Whether any row has an index under some key; ignores the profile's filter.
pub(in crate::database) async fn has_marks(
    connections: &Connections,
    layout: &Layout,
    into: &str,
) -> Result<bool, DatabaseError> {
    // The database index over the column finds rows that have a value in it.
    let is_marked = format!("{} IS NOT NULL AND {} REGEXP '^k[0-9]+:'", column(into), as_text(layout, into));
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
    params.extend(values.iter().flat_map(|value| [Some(value.as_str()); 2]));
    let places = values.iter().map(|_| format!("({})", is_key(layout, into, "?")));
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
    params.extend([Some(stored); 2]);
    let matches = format!("{} IS NULL AND {}", column(into), is_key(layout, token, "?"));
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
        selected(layout, true).join(", "),
        table(layout)
    );
    let rows = connections.rows(&sql, params).await?;
    rows.iter().map(|row| stored_row(layout, row)).collect()
}

/// Whether another row than this one has an index; read as it is now, and not as it was when the transaction began.
pub(super) async fn has_rival(
    transaction: &mut MySqlConnection,
    layout: &Layout,
    key: &StoredKey,
    rival: &Rival,
) -> Result<bool, DatabaseError> {
    let mut params = row_params(key);
    let mut conditions = vec![format!("NOT ({})", is_row(layout))];
    let also = rival.also.iter().map(|(name, value)| (name, value));
    for (name, value) in std::iter::once((&rival.column, &rival.value)).chain(also) {
        params.extend([Some(value.as_str()); 2]);
        conditions.push(is_key(layout, name, "?"));
    }
    let sql = format!("SELECT 1 FROM {} WHERE {} LIMIT 1 {SHARED}", table(layout), conditions.join(" AND "));
    Ok(!bind(&sql, &params).fetch_all(&mut *transaction).await?.is_empty())
}
