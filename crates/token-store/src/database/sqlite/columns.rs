//! A table's columns, and what SQLite guarantees of its key.

use sqlx::sqlite::SqliteRow;

use super::{Connections, Param, integer, text};
use crate::database::identity::{self, Kind};
use crate::database::layout::{Column, Facts, Layout, UniqueKey};
use crate::error::DatabaseError;
use crate::profile::Table;

/// The [`Column::cast`] of a column without affinity, which stores every value unchanged.
pub(super) const UNTYPED: &str = "BLOB";

/// How SQLite treats values stored in a column. Source: <https://www.sqlite.org/datatype3.html>, section 3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Affinity {
    Integer,
    Text,
    None,
    Real,
    Numeric,
}

impl Affinity {
    fn of(declared: &str) -> Self {
        let declared = declared.to_ascii_uppercase();
        let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
        match () {
            () if has(&["INT"]) => Self::Integer,
            () if has(&["CHAR", "CLOB", "TEXT"]) => Self::Text,
            () if declared.is_empty() || has(&["BLOB"]) || declared == "ANY" => Self::None,
            () if has(&["REAL", "FLOA", "DOUB"]) => Self::Real,
            () => Self::Numeric,
        }
    }
}

pub(in crate::database) async fn describe(
    connections: &Connections,
    table: &Table,
) -> Result<Option<Facts>, DatabaseError> {
    let (name, schema) = (table.name.as_str(), table.schema.as_deref().unwrap_or("main"));
    let params = [Param::from(name), Param::from(schema)];
    let columns = "SELECT name, type, \"notnull\", hidden, pk FROM pragma_table_xinfo(?1, ?2)";
    let rows = connections.rows(columns, &params).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let unique = unique_keys(connections, &params, &rows).await?;
    let found =
        unique.iter().find(|key| key.columns.iter().all(|(name, _)| table.key.contains(name))).cloned();
    let not_unique =
        found.is_none().then(|| format!("{} is neither its primary key nor unique", table.key.join(", ")));
    let rowid = is_rowid(&rows, &found);
    let columns: Vec<Column> = rows.iter().filter_map(|row| column(row, rowid.as_deref())).collect();
    let has_triggers = has_triggers(connections, name).await?;
    let may_change = |column: &Column| {
        let is_bound = table.key.iter().chain(&table.owner).any(|name| *name == column.name);
        is_bound && column.is_generated || table.tokens.contains(&column.name) && !stores_as_sent(column)
    };
    let is_guarded = has_triggers || columns.iter().any(may_change);
    let aborts = !has_triggers || has_conflict_clause(connections, name).await?;
    Ok(Some(Facts {
        schema: None,
        columns,
        uniques: unique,
        unique: found,
        not_unique,
        is_guarded,
        lacks_transactions: false,
        aborts,
    }))
}

async fn has_triggers(connections: &Connections, name: &str) -> Result<bool, DatabaseError> {
    let sql = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?1 COLLATE NOCASE";
    Ok(connections.rows(sql, &[Param::from(name)]).await?.first().is_none_or(|row| integer(row, 0) > 0))
}

/// Whether a key or constraint of the table may say what becomes of a row that violates it.
async fn has_conflict_clause(connections: &Connections, name: &str) -> Result<bool, DatabaseError> {
    let sql = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?1 COLLATE NOCASE AND sql LIKE '%conflict%'";
    Ok(connections.rows(sql, &[Param::from(name)]).await?.first().is_none_or(|row| integer(row, 0) > 0))
}

fn column(row: &SqliteRow, rowid: Option<&str>) -> Option<Column> {
    let (name, declared) = (text(row, 0)?, text(row, 1).unwrap_or_default());
    let affinity = Affinity::of(&declared);
    let kind = match affinity {
        Affinity::Text => Kind::Text,
        _ if rowid == Some(name.as_str()) => Kind::Integer,
        Affinity::Integer | Affinity::Numeric | Affinity::None => Kind::IntegerOrText,
        Affinity::Real => Kind::Other,
    };
    Some(Column {
        holds_text: matches!(affinity, Affinity::Text | Affinity::None | Affinity::Numeric),
        is_generated: integer(row, 3) > 1,
        is_nullable: integer(row, 2) == 0 && rowid != Some(name.as_str()),
        cast: affinity_name(affinity).into(),
        operators: String::new(),
        limit: None,
        declared: if declared.is_empty() { "no type".into() } else { declared },
        name,
        kind,
    })
}

/// Whether every text in the column stays a text, also one that looks like a number.
fn stores_as_sent(column: &Column) -> bool {
    matches!(column.cast.as_str(), "TEXT" | UNTYPED)
}

fn affinity_name(affinity: Affinity) -> &'static str {
    match affinity {
        Affinity::Integer => "INTEGER",
        Affinity::Text => "TEXT",
        Affinity::None => UNTYPED,
        Affinity::Real => "REAL",
        Affinity::Numeric => "NUMERIC",
    }
}

/// The column that is another name of the row's number.
fn is_rowid(rows: &[SqliteRow], unique: &Option<UniqueKey>) -> Option<String> {
    let unique = unique.as_ref().filter(|unique| unique.name.is_empty())?;
    let name = unique.columns.first().map(|(name, _)| name.clone());
    name.filter(|name| rows.iter().any(|row| text(row, 0).as_deref() == Some(name)))
}

/// Unique indexes over whole columns of every row, with the collation of each; a primary key that is the row's number has
/// no index.
async fn unique_keys(
    connections: &Connections,
    table: &[Param<'_>],
    columns: &[SqliteRow],
) -> Result<Vec<UniqueKey>, DatabaseError> {
    let sql = "SELECT l.name, i.name, i.coll, l.origin FROM pragma_index_list(?1, ?2) l, pragma_index_xinfo(l.name, ?2) i \
               WHERE l.\"unique\" = 1 AND l.partial = 0 AND i.key = 1 ORDER BY l.origin = 'pk' DESC, l.seq, i.seqno";
    let mut keys: Vec<UniqueKey> = Vec::new();
    let mut has_primary_index = false;
    let mut with_expressions = Vec::new();
    for row in connections.rows(sql, table).await? {
        let name = text(&row, 0).unwrap_or_default();
        has_primary_index |= text(&row, 3).as_deref() == Some("pk");
        // An expression has no name.
        let Some(column) = text(&row, 1) else {
            with_expressions.push(name);
            continue;
        };
        if keys.last().is_none_or(|key| key.name != name) {
            keys.push(UniqueKey { name, columns: Vec::new() });
        }
        if let Some(key) = keys.last_mut() {
            key.columns.push((column, text(&row, 2)));
        }
    }
    keys.retain(|key| !with_expressions.contains(&key.name));
    let primary: Vec<String> =
        columns.iter().filter(|row| integer(row, 4) > 0).filter_map(|row| text(row, 0)).collect();
    if let ([column], false) = (primary.as_slice(), has_primary_index) {
        keys.insert(0, UniqueKey { name: String::new(), columns: vec![(column.clone(), None)] });
    }
    Ok(keys)
}

/// Text columns store text as it is, and columns of numbers store a text that looks like a whole number as
/// that number. The value stored in the end is read back before the commit.
pub(in crate::database) async fn canonical(
    _connections: &Connections,
    layout: &Layout,
    values: &[(&str, &str)],
) -> Result<Option<Vec<String>>, DatabaseError> {
    let texts = values.iter().map(|(name, value)| match layout.kind(name) {
        Kind::Integer => identity::integer(value).map(|number| number.to_string()),
        Kind::IntegerOrText => {
            let number = identity::integer(value).map(|number| number.to_string());
            Some(number.unwrap_or_else(|| (*value).to_owned()))
        }
        _ => Some((*value).to_owned()),
    });
    Ok(texts.collect())
}
