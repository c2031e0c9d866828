//! A table's columns, and the database's guarantees about its key.

use std::collections::BTreeMap;

use sqlx::mysql::MySqlRow;

use super::sql::base_type;
use super::{Connections, Param, is_true, number, text, values};
use crate::database::identity::{Kind, integer};
use crate::database::layout::{Column, Facts, Layout, UniqueKey};
use crate::error::DatabaseError;
use crate::profile::Table;

/// The table, its database and whether its engine has transactions. Names are compared as the server stores them.
const TABLE: &str = "\
SELECT CAST(t.TABLE_SCHEMA AS CHAR), CAST(t.TABLE_NAME AS CHAR),
       CAST(COALESCE((SELECT e.TRANSACTIONS FROM information_schema.ENGINES e WHERE e.ENGINE = t.ENGINE), 'NO') = 'YES' AS CHAR)
FROM information_schema.TABLES t
WHERE t.TABLE_SCHEMA = COALESCE(?, DATABASE()) AND t.TABLE_NAME = ?
  AND (@@lower_case_table_names <> 0 OR CAST(t.TABLE_NAME AS BINARY) = CAST(? AS BINARY))";

const COLUMNS: &str = "\
SELECT CAST(COLUMN_NAME AS CHAR), CAST(COLUMN_TYPE AS CHAR), CAST(CHARACTER_SET_NAME AS CHAR), CAST(COLLATION_NAME AS CHAR),
       CAST(CHARACTER_MAXIMUM_LENGTH AS CHAR), CAST(NUMERIC_PRECISION AS CHAR), CAST(NUMERIC_SCALE AS CHAR),
       CAST(EXTRA LIKE '%GENERATED%' OR COALESCE(GENERATION_EXPRESSION, '') <> '' AS CHAR), CAST(IS_NULLABLE = 'YES' AS CHAR)
FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION";

/// Unique indexes, one row a column; one over expressions has a column without a name. An index over the beginnings of
/// texts guarantees more than one over the texts.
const UNIQUE: &str = "\
SELECT CAST(INDEX_NAME AS CHAR), CAST(COLUMN_NAME AS CHAR) FROM information_schema.STATISTICS
WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND NON_UNIQUE = 0 ORDER BY INDEX_NAME <> 'PRIMARY', INDEX_NAME, SEQ_IN_INDEX";

/// The table's database and name as the server has them, and whether its engine has transactions.
pub(super) async fn find(
    connections: &Connections,
    table: &Table,
) -> Result<Option<(String, String, bool)>, DatabaseError> {
    let params = [table.schema.as_deref(), Some(table.name.as_str()), Some(table.name.as_str())];
    let rows = connections.rows(TABLE, &params).await?;
    Ok(rows.first().and_then(|row| Some((text(row, 0)?, text(row, 1)?, is_true(row, 2)))))
}

pub(in crate::database) async fn describe(
    connections: &Connections,
    table: &Table,
) -> Result<Option<Facts>, DatabaseError> {
    let Some((schema, name, transactional)) = find(connections, table).await? else { return Ok(None) };
    let place = [Some(schema.as_str()), Some(name.as_str())];
    let columns: Vec<Column> = connections.rows(COLUMNS, &place).await?.iter().filter_map(column).collect();
    let unique = unique_keys(&connections.rows(UNIQUE, &place).await?);
    let found =
        unique.iter().find(|key| key.columns.iter().all(|(name, _)| table.key.contains(name))).cloned();
    let not_unique =
        found.is_none().then(|| format!("{} is neither its primary key nor unique", table.key.join(", ")));
    Ok(Some(Facts {
        schema: Some(schema),
        columns,
        uniques: unique,
        unique: found,
        not_unique,
        // Triggers cannot be seen by every user, so that every statement is followed by a look at the rows.
        is_guarded: false,
        lacks_transactions: !transactional,
        aborts: false,
    }))
}

fn column(row: &MySqlRow) -> Option<Column> {
    let declared = text(row, 1)?;
    let (charset, collation) = (text(row, 2), text(row, 3));
    let base = base_type(&declared).to_ascii_lowercase();
    let unsigned = declared.contains("unsigned");
    let (kind, cast) = match base.as_str() {
        // The column's character set and collation, in which its index compares. A text read from `char` has
        // lost its trailing spaces, so that a text with some is no key of it.
        "varchar" | "char" | "tinytext" | "text" | "mediumtext" | "longtext" => {
            (Kind::Text, charset.clone().unwrap_or_default())
        }
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" => {
            (Kind::Integer, if unsigned { "UNSIGNED".into() } else { "SIGNED".into() })
        }
        "decimal" if !declared.contains("zerofill") => {
            let (precision, scale): (u32, u32) = (number(row, 5), number(row, 6));
            (Kind::Decimal, format!("DECIMAL({precision},{scale})"))
        }
        "uuid" => (Kind::Uuid, String::new()),
        _ => (Kind::Other, String::new()),
    };
    let holds_text = matches!(base.as_str(), "varchar" | "tinytext" | "text" | "mediumtext" | "longtext");
    Some(Column {
        name: text(row, 0)?,
        declared,
        cast,
        operators: collation.unwrap_or_default(),
        kind,
        holds_text,
        limit: text(row, 4).and_then(|limit| limit.parse().ok()),
        is_generated: is_true(row, 7),
        is_nullable: is_true(row, 8),
    })
}

/// The columns of an index with their collations.
type IndexColumns = Vec<(String, Option<String>)>;

fn unique_keys(rows: &[MySqlRow]) -> Vec<UniqueKey> {
    let mut order: Vec<String> = Vec::new();
    let mut indexes: BTreeMap<String, Option<IndexColumns>> = BTreeMap::new();
    for row in rows {
        let Some(index) = text(row, 0) else { continue };
        if !indexes.contains_key(&index) {
            order.push(index.clone());
        }
        let columns = indexes.entry(index).or_insert_with(|| Some(Vec::new()));
        match (columns.as_mut(), text(row, 1)) {
            (Some(columns), Some(column)) => columns.push((column, None)),
            _ => *columns = None,
        }
    }
    let keys = order.into_iter().filter_map(|name| {
        let columns = indexes.remove(&name)??;
        Some(UniqueKey { name, columns })
    });
    keys.collect()
}

/// Asks for the texts that the columns would store: neither the cast to a column's type nor its character set
/// may change the value.
pub(in crate::database) async fn canonical(
    connections: &Connections,
    layout: &Layout,
    values: &[(&str, &str)],
) -> Result<Option<Vec<String>>, DatabaseError> {
    if values.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let Some((sql, params)) = canonical_query(layout, values) else { return Ok(None) };
    match connections.rows(&sql, &params).await {
        Err(error) if error.is_about_rows() => Ok(None),
        rows => Ok(canonical_texts(&rows?, values.len())),
    }
}

/// The question that [`canonical`] asks; `None` where it is known that a column cannot hold its value.
pub(super) fn canonical_query<'a>(
    layout: &Layout,
    values: &[(&str, &'a str)],
) -> Option<(String, Vec<Param<'a>>)> {
    let mut expressions = Vec::new();
    let mut params: Vec<Param<'_>> = Vec::new();
    for (name, value) in values {
        let column = layout.column(name).filter(|column| can_hold(column, value))?;
        let moment = values::moment(base_type(&column.declared));
        let expression = match column.kind {
            // The server says whether there is such a day; the text stays as it was given.
            Kind::Other if moment.is_some() => {
                params.push(Some(value));
                let cast = format!("CAST(? AS {})", moment.unwrap_or_default());
                super::sql::utf8(&format!("IF({cast} IS NULL, NULL, ?)"))
            }
            Kind::Text if !column.cast.is_empty() => {
                super::sql::utf8(&format!("CONVERT(? USING {})", column.cast))
            }
            Kind::Integer | Kind::Decimal => super::sql::utf8(&format!("CAST(? AS {})", column.cast)),
            Kind::Uuid => super::sql::utf8("CAST(? AS UUID)"),
            _ => super::sql::utf8("?"),
        };
        expressions.push(expression);
        params.push(Some(value));
    }
    Some((format!("SELECT {}", expressions.join(", ")), params))
}

/// The answer to [`canonical_query`].
pub(super) fn canonical_texts(rows: &[MySqlRow], count: usize) -> Option<Vec<String>> {
    rows.first().and_then(|row| (0..count).map(|index| text(row, index)).collect())
}

/// The values that casts of this database would change without an error.
fn can_hold(column: &Column, value: &str) -> bool {
    let base = base_type(&column.declared).to_ascii_lowercase();
    match column.kind {
        Kind::Text => {
            let fits = column.limit.is_none_or(|limit| {
                let length = if base.ends_with("text") { value.len() } else { value.chars().count() };
                length as u64 <= limit
            });
            fits && !(base == "char" && value.ends_with(' '))
        }
        Kind::Integer => in_integer_range(&base, column.declared.contains("unsigned"), value),
        // A leading zero is a matter of display.
        Kind::Decimal | Kind::Uuid => !value.is_empty(),
        _ => values::can_hold(&base, &column.declared, value),
    }
}

fn in_integer_range(base: &str, unsigned: bool, value: &str) -> bool {
    let bits = match base {
        "tinyint" => 8,
        "smallint" => 16,
        "mediumint" => 24,
        "int" => 32,
        _ => 64,
    };
    let value = match (integer(value), value.trim_ascii().parse::<u64>()) {
        (Some(value), _) => i128::from(value),
        (None, Ok(value)) => i128::from(value),
        _ => return false,
    };
    let (least, most) =
        if unsigned { (0, (1 << bits) - 1) } else { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) };
    (least..=most).contains(&value)
}

/// The name of the layout's table in the catalog.
pub(super) fn place(layout: &Layout) -> [Param<'_>; 2] {
    [layout.facts.schema.as_deref(), Some(layout.table.name.as_str())]
}

#[cfg(test)]
mod tests {
    use super::in_integer_range;

    #[test]
    fn a_number_that_the_column_would_clip_is_not_held() {
        assert!(in_integer_range("tinyint", false, "-128") && !in_integer_range("tinyint", false, "128"));
        assert!(in_integer_range("int", true, "4294967295") && !in_integer_range("int", true, "-1"));
        assert!(in_integer_range("bigint", true, "18446744073709551615"));
        assert!(!in_integer_range("bigint", false, "9223372036854775808"));
        assert!(in_integer_range("bigint", false, " 007") && !in_integer_range("bigint", false, "1x"));
    }
}
