//! Blind indexes: their keys, look-ups by them, and the database indexes over them.

use sqlx::PgConnection;

use super::index_lock::{EXCLUSIVE, generation_under};
use super::select::{selected, stored_row};
use super::sql::{as_text, column, in_range, is_key, is_row, place, table};
use super::{Connections, Param, columns::Catalog, is_true, number, text};
use crate::database::index::{KEYS_TABLE, KeyState, Rival, StoredIndexKey, index_name};
use crate::database::layout::Layout;
use crate::database::quote;
use crate::database::row::{StoredKey, StoredRow};
use crate::database::select::Range;
use crate::error::DatabaseError;
use crate::profile::Table;

/// A character that the database's encoding does not have (`untranslatable_character`).
const UNTRANSLATABLE: &str = "22P05";

/// Whole indexes over one column, with whether they are unique.
const INDEXES: &str = "\
SELECT i.indisunique::text FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE i.indrelid = $1::text::oid AND a.attname = $2 AND i.indisvalid AND i.indpred IS NULL
  AND (NOT i.indisunique OR i.indnkeyatts = 1)";

pub(super) fn keys_table(layout: &Layout) -> String {
    match &layout.facts.schema {
        Some(schema) => format!("{}.{}", quote(schema), quote(KEYS_TABLE)),
        None => quote(KEYS_TABLE),
    }
}

fn int(position: usize) -> String {
    format!("{}::pg_catalog.int8", place(position))
}

pub(super) fn is(name: &str, position: usize) -> String {
    format!("{name} OPERATOR(pg_catalog.=) {}", place(position))
}

/// Parameters 1 and 2 of every statement about a table's keys.
pub(super) fn of_table(layout: &Layout) -> [Param<'_>; 2] {
    [Param::from(layout.profile.as_str()), Param::from(layout.table.bound_name())]
}

pub(in crate::database) fn create_keys_table(schema: Option<&str>) -> String {
    let schema = schema.map(|schema| format!("{}.", quote(schema))).unwrap_or_default();
    format!(
        "CREATE TABLE IF NOT EXISTS {schema}{KEYS_TABLE} (profile TEXT NOT NULL, table_name TEXT NOT NULL, \
         column_name TEXT NOT NULL, key_number BIGINT NOT NULL, state TEXT NOT NULL, generation BIGINT NOT NULL, \
         normalize TEXT NOT NULL, bits BIGINT NOT NULL, wrapped_key TEXT NOT NULL, key_id TEXT, \
         created_at TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP, \
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
    format!("CREATE {unique}INDEX IF NOT EXISTS {name} ON {schema}{} ({})", quote(&table.name), quote(into))
}

/// Whether look-ups by a column have a database index, and whether one is unique.
pub(in crate::database) async fn indexed(
    connections: &Connections,
    table: &Table,
    into: &str,
) -> Result<Option<bool>, DatabaseError> {
    let mut catalog = Catalog::open(connections).await?;
    let Some(oid) = catalog.find(table).await? else { return Ok(None) };
    let rows = catalog.rows(INDEXES, &[Param::from(oid.as_str()), Param::from(into)]).await?;
    catalog.close().await?;
    let unique = rows.iter().map(|row| is_true(row, 0));
    Ok(unique.reduce(|one, other| one || other))
}

pub(in crate::database) async fn keys(
    connections: &Connections,
    layout: &Layout,
) -> Result<Vec<StoredIndexKey>, DatabaseError> {
    let columns = StoredIndexKey::COLUMNS.map(|name| format!("{name}::pg_catalog.text"));
    let sql = format!(
        "SELECT {} FROM {} WHERE {} AND {} ORDER BY column_name, key_number",
        columns.join(", "),
        keys_table(layout),
        is("profile", 1),
        is("table_name", 2)
    );
    let rows = connections.rows(&sql, &of_table(layout)).await?;
    let texts = rows.iter().map(|row| (0..columns.len()).map(|index| text(row, index)).collect());
    texts.map(StoredIndexKey::from_texts).collect()
}

/// Adds a key of the next generation, and retires the one before; `false` where the keys changed meanwhile.
pub(in crate::database) async fn add_key(
    connections: &Connections,
    layout: &Layout,
    key: &StoredIndexKey,
) -> Result<bool, DatabaseError> {
    let mut transaction = connections.begin().await?;
    if generation_under(connections, &mut transaction, layout, EXCLUSIVE).await? + 1 != key.generation {
        transaction.rollback().await?;
        return Ok(false);
    }
    let (number, generation, bits) =
        (key.number.to_string(), key.generation.to_string(), key.bits.to_string());
    let [profile, name] = of_table(layout);
    let sql = format!(
        "UPDATE {} SET state = {} WHERE {} AND {} AND {}",
        keys_table(layout),
        place(4),
        is("profile", 1),
        is("table_name", 2),
        is("column_name", 3)
    );
    let column = Param::from(key.column.as_str());
    let params = [profile, name, column, Param::from(KeyState::Retiring.name())];
    connections.bind(&sql, &params).execute(&mut *transaction).await?;
    let sql = format!(
        "INSERT INTO {} (profile, table_name, column_name, key_number, state, generation, normalize, bits, wrapped_key, \
         key_id) VALUES ({}, {}, {}, {}, {}, {}, {}, {}, {}, {})",
        keys_table(layout),
        place(1),
        place(2),
        place(3),
        int(4),
        place(5),
        int(6),
        place(7),
        int(8),
        place(9),
        place(10)
    );
    let [profile, name] = of_table(layout);
    let params = [
        profile,
        name,
        Param::from(key.column.as_str()),
        Param::from(number.as_str()),
        Param::from(key.state.name()),
        Param::from(generation.as_str()),
        Param::from(key.normalize.as_str()),
        Param::from(bits.as_str()),
        Param::from(key.wrapped.as_str()),
        Param::Text(key.key_id.as_deref()),
    ];
    connections.bind(&sql, &params).execute(&mut *transaction).await?;
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
    let current = generation_under(connections, &mut transaction, layout, EXCLUSIVE).await? == generation;
    let mark = envelope_core::index::mark(key.number);
    let sql = format!(
        "SELECT '1'::pg_catalog.text FROM {} WHERE {} LIMIT 1",
        table(layout),
        has_mark(layout, into)
    );
    let used = connections.bind(&sql, &[Param::from(mark.as_str())]).fetch_all(&mut *transaction).await?;
    if !current || !used.is_empty() {
        transaction.rollback().await?;
        return Ok(false);
    }
    let (number, next) = (key.number.to_string(), (generation + 1).to_string());
    let of_column = [is("profile", 1), is("table_name", 2), is("column_name", 3)].join(" AND ");
    let params = || {
        let [profile, name] = of_table(layout);
        [profile, name, Param::from(key.column.as_str())]
    };
    let sql = format!(
        "DELETE FROM {} WHERE {of_column} AND key_number OPERATOR(pg_catalog.=) {}",
        keys_table(layout),
        int(4)
    );
    let [profile, name, column] = params();
    let all = [profile, name, column, Param::from(number.as_str())];
    connections.bind(&sql, &all).execute(&mut *transaction).await?;
    let sql = format!("UPDATE {} SET generation = {} WHERE {of_column}", keys_table(layout), int(4));
    let [profile, name, column] = params();
    let all = [profile, name, column, Param::from(next.as_str())];
    connections.bind(&sql, &all).execute(&mut *transaction).await?;
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
    let number = key.number.to_string();
    let sql = format!(
        "UPDATE {} SET wrapped_key = {}, key_id = {} WHERE {} AND {} AND {} AND {} \
         AND key_number OPERATOR(pg_catalog.=) {}",
        keys_table(layout),
        place(5),
        place(6),
        is("profile", 1),
        is("table_name", 2),
        is("column_name", 3),
        is("wrapped_key", 4),
        int(7)
    );
    let [profile, name] = of_table(layout);
    let params = [
        profile,
        name,
        Param::from(key.column.as_str()),
        Param::from(key.wrapped.as_str()),
        Param::from(wrapped),
        Param::Text(key_id),
        Param::from(number.as_str()),
    ];
    let mut transaction = connections.begin().await?;
    let done = connections.bind(&sql, &params).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(done.rows_affected() == 1)
}

fn has_mark(layout: &Layout, into: &str) -> String {
    format!("pg_catalog.starts_with({}, {})", as_text(layout, into), place(1))
}

/// The number of rows whose index is under a key; ignores the profile's filter.
pub(in crate::database) async fn count_marked(
    connections: &Connections,
    layout: &Layout,
    into: &str,
    mark: &str,
) -> Result<u64, DatabaseError> {
    let sql = format!(
        "SELECT pg_catalog.count(*)::pg_catalog.text FROM {} WHERE {}",
        table(layout),
        has_mark(layout, into)
    );
    let rows = connections.rows(&sql, &[Param::from(mark)]).await?;
    Ok(rows.first().map_or(0, |row| number(row, 0)))
}

/// Whether any row has an index under some key; ignores the profile's filter.
pub(in crate::database) async fn has_marks(
    connections: &Connections,
    layout: &Layout,
    into: &str,
) -> Result<bool, DatabaseError> {
    // The database index over the column finds rows that have a value in it.
    let (own, text) = (column(layout, into), as_text(layout, into));
    let is_marked =
        format!("{own} IS NOT NULL AND {text} OPERATOR(pg_catalog.~) '^k[0-9]+:'::pg_catalog.text");
    let sql = format!("SELECT '1'::pg_catalog.text FROM {} WHERE {is_marked} LIMIT 1", table(layout));
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
    let places = (0..values.len()).map(|n| is_key(layout, into, &place(first + n)));
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
    // PostgreSQL stores this character in no text, and refuses to look for it.
    if stored.contains('\0') {
        return Ok(Vec::new());
    }
    let (condition, mut params) = in_range(layout, Range::default());
    params.push(Param::from(stored));
    let matches =
        format!("{} IS NULL AND {}", column(layout, into), is_key(layout, token, &place(params.len())));
    match matching(connections, layout, &condition, &matches, &params, limit).await {
        // The database's encoding has no such character, so that no row holds it.
        Err(error) if error.code.as_deref() == Some(UNTRANSLATABLE) => Ok(Vec::new()),
        found => found,
    }
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

/// Whether another row than this one has an index.
pub(super) async fn has_rival(
    connections: &Connections,
    transaction: &mut PgConnection,
    layout: &Layout,
    key: &StoredKey,
    rival: &Rival,
) -> Result<bool, DatabaseError> {
    let mut params: Vec<Param<'_>> = key.iter().map(|text| Param::from(text.as_str())).collect();
    let mut conditions = vec![format!("NOT ({})", is_row(layout, 1))];
    let also = rival.also.iter().map(|(name, value)| (name, value));
    for (name, value) in std::iter::once((&rival.column, &rival.value)).chain(also) {
        params.push(Param::from(value.as_str()));
        conditions.push(is_key(layout, name, &place(params.len())));
    }
    let sql = format!(
        "SELECT '1'::pg_catalog.text FROM {} WHERE {} LIMIT 1",
        table(layout),
        conditions.join(" AND ")
    );
    Ok(!connections.bind(&sql, &params).fetch_all(&mut *transaction).await?.is_empty())
}
