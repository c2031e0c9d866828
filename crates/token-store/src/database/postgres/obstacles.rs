//! The obstacles to sealing a table's token columns.

use sqlx::postgres::PgRow;

use super::columns::Catalog;
use super::sql::{as_text, column, in_range, table};
use super::{Connections, Param, is_true, number, text};
use crate::database::layout::Layout;
use crate::database::select::Range;
use crate::error::DatabaseError;
use crate::findings::{
    Finding, Kind, Severity, accepts_lost_index, dependent, envelope_length, lost_index, referenced,
    too_short,
};

/// Indexes over these columns, with their expressions and conditions; those of partitions that the table itself does not
/// have included. An index of a constraint depends on it, and the constraint on its columns, so that columns are asked for
/// as well as dependencies. An expression over the whole row (attribute 0) depends on no column by itself.
const INDEXES: &str = "\
WITH RECURSIVE part AS (SELECT $1::text::oid AS oid UNION SELECT h.inhrelid FROM pg_inherits h JOIN part ON part.oid = h.inhparent)
SELECT DISTINCT a.attname::text, x.relname::text, i.indisunique::text
FROM pg_index i JOIN part ON part.oid = i.indrelid JOIN pg_class x ON x.oid = i.indexrelid
JOIN pg_attribute a ON a.attrelid = i.indrelid
WHERE a.attname = ANY ($2::text[]) AND (i.indrelid = $1::text::oid OR NOT x.relispartition)
  AND (a.attnum = ANY (i.indkey)
    OR i.indexprs::text LIKE '%:varattno 0 %' OR i.indpred::text LIKE '%:varattno 0 %'
    OR EXISTS (
    SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
      AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid = a.attnum))
ORDER BY 1, 2";

/// Foreign keys that refer to these columns, by the constraint as it was declared and not by its copies for partitions.
const REFERENCES: &str = "\
WITH RECURSIVE part AS (SELECT $1::text::oid AS oid UNION SELECT h.inhrelid FROM pg_inherits h JOIN part ON part.oid = h.inhparent)
SELECT DISTINCT a.attname::text, f.conname::text, (f.confupdtype IN ('c', 'n', 'd'))::text
FROM pg_constraint f JOIN part ON part.oid = f.confrelid
JOIN pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = ANY (f.confkey)
WHERE f.contype = 'f' AND a.attname = ANY ($2::text[])
  AND NOT EXISTS (SELECT 1 FROM pg_constraint p JOIN part q ON q.oid = p.confrelid WHERE p.oid = f.conparentid)
ORDER BY 1, 2";

/// Triggers that fire when rows are added or changed, those of partitions included.
const TRIGGERS: &str = "\
WITH RECURSIVE part AS (SELECT $1::text::oid AS oid UNION SELECT h.inhrelid FROM pg_inherits h JOIN part ON part.oid = h.inhparent)
SELECT DISTINCT g.tgname::text FROM pg_trigger g JOIN part ON part.oid = g.tgrelid
WHERE NOT g.tgisinternal AND g.tgenabled <> 'D' AND g.tgtype & 20 <> 0 ORDER BY 1";

const RULES: &str = "\
SELECT r.rulename::text FROM pg_rewrite r WHERE r.ev_class = $1::text::oid AND r.ev_type <> '1' AND r.ev_enabled <> 'D' ORDER BY 1";

/// Constraints on token columns, by the columns that they name, also of partitions alone; one over the whole row names
/// attribute 0. Those of a domain are its own.
const CHECKS: &str = "\
WITH RECURSIVE part AS (SELECT $1::text::oid AS oid UNION SELECT h.inhrelid FROM pg_inherits h JOIN part ON part.oid = h.inhparent)
SELECT a.attname::text, c.conname::text FROM pg_constraint c JOIN part ON part.oid = c.conrelid
JOIN pg_attribute a ON a.attrelid = c.conrelid AND (a.attnum = ANY (c.conkey) OR 0 = ANY (c.conkey))
WHERE (c.conrelid = $1::text::oid OR c.coninhcount = 0) AND c.contype IN ('c', 'x', 'f') AND a.attname = ANY ($2::text[])
UNION SELECT a.attname::text, c.conname::text FROM pg_constraint c JOIN pg_attribute a ON a.atttypid = c.contypid
WHERE a.attrelid = $1::text::oid AND c.contype = 'c' AND a.attname = ANY ($2::text[]) ORDER BY 1, 2";

const DEPENDENT: &str = "\
SELECT t.attname::text, a.attname::text FROM pg_attrdef f
JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum AND a.attgenerated <> ''
JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid AND d.refobjid = f.adrelid AND d.refobjsubid <> a.attnum
JOIN pg_attribute t ON t.attrelid = f.adrelid AND t.attnum = d.refobjsubid
WHERE f.adrelid = $1::text::oid AND t.attname = ANY ($2::text[])
UNION SELECT t.attname::text, a.attname::text FROM pg_depend d
JOIN pg_attribute a ON a.attrelid = d.objid AND a.attnum = d.objsubid AND a.attgenerated <> ''
JOIN pg_attribute t ON t.attrelid = d.refobjid AND t.attnum = d.refobjsubid
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.objid = $1::text::oid
  AND d.refobjid = d.objid AND t.attname = ANY ($2::text[]) ORDER BY 1, 2";

/// Materialized views that show these columns, also through other views.
const MATERIALIZED: &str = "\
WITH RECURSIVE view AS (
  SELECT a.attname::text AS token, r.ev_class AS oid FROM pg_depend d
  JOIN pg_rewrite r ON r.oid = d.objid
  JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
  WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $1::text::oid
    AND r.ev_class <> d.refobjid AND a.attname = ANY ($2::text[])
  UNION SELECT view.token, r.ev_class FROM view
  JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = view.oid
  JOIN pg_rewrite r ON r.oid = d.objid AND r.ev_class <> view.oid)
SELECT view.token, c.relname::text FROM view JOIN pg_class c ON c.oid = view.oid WHERE c.relkind = 'm' ORDER BY 1, 2";

/// Whether policies apply to this user, and whether the table is published without a way to name its rows.
const RELATION: &str = "\
SELECT row_security_active(c.oid)::text,
       (EXISTS (SELECT 1 FROM pg_publication_tables p WHERE p.schemaname = n.nspname AND p.tablename = c.relname)
        AND (c.relreplident = 'n' OR (c.relreplident = 'd' AND NOT EXISTS (
          SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary))))::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::text::oid";

/// Words in double quotes are names here, and an unknown one is an error.
pub(in crate::database) async fn of_filter(
    _connections: &Connections,
    _layout: &Layout,
    _filter: &str,
) -> Result<Option<Finding>, DatabaseError> {
    Ok(None)
}

pub(in crate::database) async fn obstacles(
    connections: &Connections,
    layout: &Layout,
) -> Result<Vec<Finding>, DatabaseError> {
    let mut found = of_content(connections, layout).await?;
    let mut catalog = Catalog::open(connections).await?;
    let Some(oid) = catalog.find(&layout.table).await? else { return Ok(found) };
    let tokens = Param::Texts(layout.table.tokens.iter().map(|name| Some(name.as_str())).collect());
    let of_tokens = [Param::from(oid.as_str()), tokens];
    let computed: Vec<(String, String)> =
        catalog.rows(DEPENDENT, &of_tokens).await?.iter().map(names).collect();
    let indexed = layout.table.tokens.iter().chain(computed.iter().map(|(_, column)| column));
    let indexed = Param::Texts(indexed.map(|name| Some(name.as_str())).collect());
    for row in catalog.rows(INDEXES, &[Param::from(oid.as_str()), indexed]).await? {
        let (column, index) = names(&row);
        for token in &layout.table.tokens {
            let is_over = *token == column || computed.contains(&(token.clone(), column.clone()));
            if is_over && !accepts_lost_index(layout, token) {
                let finding = lost_index(layout, token, &index, is_true(&row, 2));
                if !found.contains(&finding) {
                    found.push(finding);
                }
            }
        }
    }
    for row in catalog.rows(REFERENCES, &of_tokens).await? {
        let (column, constraint) = names(&row);
        found.push(referenced(layout, &column, &constraint, is_true(&row, 2)));
    }
    let warn = |kind, hint: &str| Finding::new(layout, kind, Severity::Warn, hint);
    let hint = "it may refuse an envelope: rows that it refuses are named and stay as they are";
    for row in catalog.rows(CHECKS, &of_tokens).await? {
        let (column, constraint) = names(&row);
        found.push(warn(Kind::Check, hint).on(&column).of(constraint));
    }
    found.extend(computed.iter().map(|(token, column)| dependent(layout, token, column)));
    let hint = "it keeps a readable copy of each value until you refresh it after the run: REFRESH MATERIALIZED VIEW …";
    for row in catalog.rows(MATERIALIZED, &of_tokens).await? {
        let (column, view) = names(&row);
        found.push(warn(Kind::MaterializedView, hint).on(&column).of(view));
    }
    let oid = [Param::from(oid.as_str())];
    let hint = "it may change or refuse what is written, or keep a copy of it: a row that it changes is undone and named";
    for row in catalog.rows(TRIGGERS, &oid).await? {
        found.push(warn(Kind::Trigger, hint).of(text(&row, 0).unwrap_or_default()));
    }
    for row in catalog.rows(RULES, &oid).await? {
        found.push(warn(Kind::Rule, hint).of(text(&row, 0).unwrap_or_default()));
    }
    for row in catalog.rows(RELATION, &oid).await? {
        if is_true(&row, 0) {
            let hint = "rows that its policies hide are neither counted nor moved: run as the owner of the table or with BYPASSRLS";
            found.push(warn(Kind::RowSecurity, hint));
        }
        if is_true(&row, 1) {
            let hint = "the table is published, and no row can be updated without a replica identity: ALTER TABLE … REPLICA IDENTITY …";
            found.push(warn(Kind::ReplicaIdentity, hint));
        }
    }
    catalog.close().await?;
    Ok(found)
}

fn names(row: &PgRow) -> (String, String) {
    (text(row, 0).unwrap_or_default(), text(row, 1).unwrap_or_default())
}

/// The obstacles that only the rows show: keys that are NULL, and values whose envelopes are too long for their column.
async fn of_content(connections: &Connections, layout: &Layout) -> Result<Vec<Finding>, DatabaseError> {
    let mut found = Vec::new();
    let (condition, params) = in_range(layout, Range::default());
    let also = if condition.is_empty() { " WHERE" } else { " AND" };
    for name in &layout.table.key {
        if layout.column(name).is_some_and(|column| column.is_nullable) {
            let sql = format!(
                "SELECT '1'::pg_catalog.text FROM {}{condition}{also} {} IS NULL LIMIT 1",
                table(layout),
                column(layout, name)
            );
            if !connections.rows(&sql, &params).await?.is_empty() {
                let hint =
                    "no key names a row whose key is NULL: fill it in, or leave such rows out with `filter`";
                found.push(Finding::new(layout, Kind::NullKey, Severity::Refuse, hint).on(name));
            }
        }
    }
    for name in &layout.table.tokens {
        let Some(column) = layout.column(name) else { continue };
        let Some(limit) = column.limit else { continue };
        let sql = format!(
            "SELECT pg_catalog.max(pg_catalog.octet_length({0})) FILTER (WHERE NOT pg_catalog.starts_with({0}, 'kms:'))\
             ::pg_catalog.text FROM {1}{condition}",
            as_text(layout, name),
            table(layout)
        );
        let rows = connections.rows(&sql, &params).await?;
        let largest = rows.first().map_or(0, |row| number(row, 0));
        if envelope_length(largest) > limit {
            found.push(too_short(layout, name, &column.declared, largest));
        }
    }
    Ok(found)
}
