//! A table's columns, and what PostgreSQL guarantees of its key.

use std::collections::BTreeMap;

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Postgres, Transaction};

use super::{Connections, Param, is_true, number, sql, text};
use crate::database::identity::Kind;
use crate::database::layout::{Column, Facts, Layout, UniqueKey};
use crate::database::quote;
use crate::error::DatabaseError;
use crate::profile::Table;

/// Domains are followed to the types that they are made of.
const COLUMNS: &str = "\
WITH RECURSIVE base AS (
  SELECT a.attnum, a.attname, a.atttypid AS typ, a.atttypmod AS typmod, a.attnotnull, a.attgenerated,
         coalesce((SELECT c.collisdeterministic FROM pg_collation c WHERE c.oid = a.attcollation), true) AS deterministic
  FROM pg_attribute a WHERE a.attrelid = $1::text::oid AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
  SELECT b.attnum, b.attname, t.typbasetype, CASE WHEN t.typtypmod = -1 THEN b.typmod ELSE t.typtypmod END,
         b.attnotnull OR t.typnotnull, b.attgenerated, b.deterministic
  FROM base b JOIN pg_type t ON t.oid = b.typ WHERE t.typtype = 'd'
)
SELECT b.attname::text, format_type(b.typ, b.typmod), quote_ident(n.nspname) || '.' || quote_ident(t.typname),
       CASE WHEN n.nspname = 'pg_catalog' THEN t.typname::text END, t.typtype::text, b.typmod::text,
       (b.attgenerated <> '')::text, (NOT b.attnotnull)::text, b.deterministic::text,
       coalesce((SELECT quote_ident(s.nspname) FROM pg_opclass o
                 JOIN pg_amop m ON m.amopfamily = o.opcfamily AND m.amopstrategy = 3
                                AND m.amoplefttype = o.opcintype AND m.amoprighttype = o.opcintype
                 JOIN pg_operator p ON p.oid = m.amopopr JOIN pg_namespace s ON s.oid = p.oprnamespace
                 WHERE o.opcintype = t.oid AND o.opcdefault AND o.opcmethod = (SELECT oid FROM pg_am WHERE amname = 'btree')
                 LIMIT 1), 'pg_catalog'), t.typname::text
FROM base b JOIN pg_type t ON t.oid = b.typ JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE t.typtype <> 'd' ORDER BY b.attnum";

/// Unique indexes whose guarantee holds at every moment, for every row and in the comparison that the statements make,
/// one row a column. Columns that an index only includes do not count.
const UNIQUE: &str = "\
SELECT x.relname::text, a.attname::text
FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k(attnum, place)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = $1::text::oid AND i.indisunique AND i.indisvalid AND i.indisready AND i.indislive AND i.indimmediate
  AND i.indpred IS NULL AND i.indexprs IS NULL AND k.place <= i.indnkeyatts
  AND NOT EXISTS (
    SELECT 1 FROM unnest(i.indcollation) WITH ORDINALITY AS c(oid, place)
    JOIN unnest(i.indkey) WITH ORDINALITY AS own(attnum, place) ON own.place = c.place
    JOIN pg_attribute b ON b.attrelid = i.indrelid AND b.attnum = own.attnum
    JOIN pg_collation l ON l.oid = b.attcollation
    WHERE c.oid <> b.attcollation AND NOT l.collisdeterministic)
  AND NOT EXISTS (
    SELECT 1 FROM unnest(i.indclass) AS u(oid) JOIN pg_opclass o ON o.oid = u.oid
    LEFT JOIN pg_amop m ON m.amopfamily = o.opcfamily AND m.amopstrategy = 3
                        AND m.amoplefttype = o.opcintype AND m.amoprighttype = o.opcintype
    LEFT JOIN pg_operator p ON p.oid = m.amopopr
    WHERE p.oprname IS DISTINCT FROM '=')
ORDER BY i.indisprimary DESC, x.relname, k.place";

/// Whether children inherit from the table, and whether anything but the table can affect the values written
/// to it.
const RELATION: &str = "\
SELECT n.nspname::text, c.relkind::text,
       (c.relkind <> 'p' AND EXISTS (SELECT 1 FROM pg_inherits h WHERE h.inhparent = c.oid))::text,
       (c.relhasrules OR row_security_active(c.oid) OR EXISTS (
         SELECT 1 FROM pg_trigger g WHERE NOT g.tgisinternal AND g.tgenabled <> 'D' AND (g.tgrelid = c.oid OR g.tgrelid IN (
           WITH RECURSIVE part AS (SELECT h.inhrelid FROM pg_inherits h WHERE h.inhparent = c.oid
             UNION SELECT h.inhrelid FROM pg_inherits h JOIN part ON part.inhrelid = h.inhparent) SELECT inhrelid FROM part))))::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::text::oid";

pub(in crate::database) async fn describe(
    connections: &Connections,
    table: &Table,
) -> Result<Option<Facts>, DatabaseError> {
    let mut catalog = Catalog::open(connections).await?;
    let Some(oid) = catalog.find(table).await? else {
        return Ok(None);
    };
    let rows = catalog.rows(COLUMNS, &[Param::from(oid.as_str())]).await?;
    let columns: Vec<Column> = rows.iter().filter_map(column).collect();
    let relation = catalog.rows(RELATION, &[Param::from(oid.as_str())]).await?;
    let unique = unique_keys(&catalog.rows(UNIQUE, &[Param::from(oid.as_str())]).await?);
    catalog.close().await?;
    let relation = relation.first();
    let inherited = relation.is_some_and(|row| is_true(row, 2));
    let found =
        unique.iter().find(|key| key.columns.iter().all(|(name, _)| table.key.contains(name))).cloned();
    let not_unique = match &found {
        Some(_) if inherited => Some("other tables inherit from it, and no index covers their rows".into()),
        Some(_) => None,
        None => Some(format!("{} is neither its primary key nor unique", table.key.join(", "))),
    };
    Ok(Some(Facts {
        schema: relation.and_then(|row| text(row, 0)),
        columns,
        uniques: unique,
        unique: found.filter(|_| !inherited),
        not_unique,
        is_guarded: relation.is_none_or(|row| is_true(row, 3)),
        lacks_transactions: false,
        aborts: false,
    }))
}

/// A transaction that reads the catalog. Once the table is found, nothing but the catalog is in the search path.
pub(super) struct Catalog {
    connections: Connections,
    transaction: Transaction<'static, Postgres>,
}

impl Catalog {
    pub(super) async fn open(connections: &Connections) -> Result<Self, DatabaseError> {
        let begin = AssertSqlSafe("BEGIN READ ONLY".to_owned());
        let transaction = connections.pool.begin_with(begin).await?;
        Ok(Self { connections: connections.clone(), transaction })
    }

    /// The table's number: in the profile's schema, or else the first in the search path.
    pub(super) async fn find(&mut self, table: &Table) -> Result<Option<String>, DatabaseError> {
        let name = match &table.schema {
            Some(schema) => format!("{}.{}", quote(schema), quote(&table.name)),
            None => quote(&table.name),
        };
        let find = "SELECT pg_catalog.to_regclass($1::pg_catalog.text)::pg_catalog.oid::pg_catalog.text";
        let rows = self.rows(find, &[Param::from(name.as_str())]).await?;
        let narrow = "SELECT pg_catalog.set_config('search_path', 'pg_catalog', true)";
        self.rows(narrow, &[]).await?;
        Ok(rows.first().and_then(|row| text(row, 0)))
    }

    pub(super) async fn rows(
        &mut self,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<PgRow>, DatabaseError> {
        let query = self.connections.bind(sql, params);
        Ok(query.fetch_all(&mut *self.transaction).await?)
    }

    pub(super) async fn close(self) -> Result<(), DatabaseError> {
        Ok(self.transaction.commit().await?)
    }
}

fn column(row: &PgRow) -> Option<Column> {
    let built_in = text(row, 3);
    let modifier: i64 = number(row, 5);
    let is_deterministic = is_true(row, 8);
    let kind = match (built_in.as_deref(), text(row, 4).as_deref()) {
        _ if !is_deterministic => Kind::Other,
        (Some("text" | "varchar"), _) | (_, Some("e")) => Kind::Text,
        (Some("bpchar"), _) => Kind::Padded,
        (Some("int2" | "int4" | "int8" | "oid"), _) => Kind::Integer,
        (Some("uuid"), _) => Kind::Uuid,
        (Some("bool"), _) => Kind::Boolean,
        // Without a scale, 2.5 and 2.50 are equal and both are kept.
        (Some("numeric"), _) if modifier >= 0 => Kind::Decimal,
        _ => Kind::Other,
    };
    let is_citext = text(row, 10).as_deref() == Some("citext");
    Some(Column {
        name: text(row, 0)?,
        declared: text(row, 1)?,
        cast: text(row, 2)?,
        operators: text(row, 9)?,
        kind,
        holds_text: matches!(built_in.as_deref(), Some("text" | "varchar")) || is_citext,
        // The modifier of character types counts four bytes of its own.
        limit: (built_in.as_deref() == Some("varchar") && modifier >= 4)
            .then(|| u64::try_from(modifier - 4).unwrap_or(0)),
        is_generated: is_true(row, 6),
        is_nullable: is_true(row, 7),
    })
}

fn unique_keys(rows: &[PgRow]) -> Vec<UniqueKey> {
    let mut order = Vec::new();
    let mut indexes: BTreeMap<String, Vec<(String, Option<String>)>> = BTreeMap::new();
    for row in rows {
        let (Some(index), Some(column)) = (text(row, 0), text(row, 1)) else { continue };
        if !indexes.contains_key(&index) {
            order.push(index.clone());
        }
        indexes.entry(index).or_default().push((column, None));
    }
    let keys = order.into_iter().filter_map(|name| {
        let columns = indexes.remove(&name)?;
        Some(UniqueKey { name, columns })
    });
    keys.collect()
}

/// Asks for the texts that the columns would store: the cast to a column's whole type, length and scale
/// included, must not change the value.
pub(in crate::database) async fn canonical(
    connections: &Connections,
    layout: &Layout,
    values: &[(&str, &str)],
) -> Result<Option<Vec<String>>, DatabaseError> {
    let (mut texts, mut unchanged) = (Vec::new(), vec!["true".to_owned()]);
    for (index, (name, _)) in values.iter().enumerate() {
        let place = sql::place(index + 1);
        let Some(column) = layout.column(name).filter(|column| column.kind != Kind::Text) else {
            let limit = layout.column(name).and_then(|column| column.limit);
            let fits =
                limit.map(|limit| format!("pg_catalog.length({place}) OPERATOR(pg_catalog.<=) {limit}"));
            unchanged.extend(fits);
            texts.push(enum_text(layout, name, &place));
            continue;
        };
        let value = format!("{place}::{}", column.cast);
        // The declared type's name is PostgreSQL's own for the types that have a length or a scale.
        let stored = if column.kind.is_canonical() && column.declared.contains('(') {
            format!("{value}::{}", column.declared)
        } else {
            value.clone()
        };
        texts.push(format!("{stored}::pg_catalog.text"));
        unchanged.push(format!("{stored} OPERATOR({}.=) {value}", column.operators));
        if column.declared == "date" {
            // A time of day would be cut off.
            unchanged.push(format!("{value} OPERATOR(pg_catalog.=) {place}::pg_catalog.timestamp"));
        }
    }
    let query = format!("SELECT ({})::pg_catalog.text, {}", unchanged.join(" AND "), texts.join(", "));
    let params: Vec<Param<'_>> = values.iter().map(|(_, value)| Param::from(*value)).collect();
    let rows = match connections.rows(&query, &params).await {
        Err(error) if error.is_about_rows() => return Ok(None),
        rows => rows?,
    };
    Ok(rows
        .first()
        .filter(|row| is_true(row, 0))
        .and_then(|row| (1..=values.len()).map(|index| text(row, index)).collect()))
}

/// A text as it is, but for an enumeration, which must know it.
fn enum_text(layout: &Layout, name: &str, place: &str) -> String {
    format!("{}::pg_catalog.text", sql::cast(layout, name, place))
}
