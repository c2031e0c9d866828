//! A profile's table as it stands in a database: the columns that exist, and their types.

use std::collections::HashMap;

use super::{Database, Dialect, Param, quote};
use crate::error::{DatabaseError, StoreError};
use crate::profile::{Table, VersionColumns};

/// A table of the profile, resolved against the database, with the SQL fragments that name its parts.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) table: Table,
    pub(crate) dialect: Dialect,
    types: HashMap<String, String>,
}

/// Which columns a table must have to be worked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Columns {
    All,
    /// Version columns that are missing are read as NULL, and never written.
    VersionMayLack,
}

/// A column as the database describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// The type as it is written in a cast.
    pub(crate) sql_type: String,
}

impl Layout {
    /// Looks the table up; `None` if it does not exist.
    ///
    /// # Errors
    /// [`StoreError::NoColumns`] or [`StoreError::Unsuitable`] if it cannot hold what the profile says.
    pub(crate) async fn resolve(
        database: &Database,
        table: &Table,
        which: Columns,
    ) -> Result<Option<Self>, StoreError> {
        let columns = columns(database, &table.name).await?;
        if columns.is_empty() {
            return Ok(None);
        }
        let types: HashMap<_, _> = columns.into_iter().map(|column| (column.name, column.sql_type)).collect();
        let layout = Self { table: table.clone(), dialect: database.dialect(), types };
        layout.require_columns(which)?;
        layout.require_room()?;
        if !is_unique(database, table).await? {
            return Err(StoreError::Unsuitable {
                table: table.name.clone(),
                reason: format!("{} is neither its primary key nor unique", table.key.join(", ")),
            });
        }
        if let Some(column) = layout.null_key_column(database).await? {
            return Err(StoreError::Unsuitable {
                table: table.name.clone(),
                reason: format!("key column {column} is NULL in some rows, which no key can name"),
            });
        }
        Ok(Some(layout))
    }

    /// A key column that holds a NULL: such a row would be passed over in key order.
    async fn null_key_column(&self, database: &Database) -> Result<Option<&str>, StoreError> {
        for column in &self.table.key {
            let sql = format!(
                "SELECT '1' FROM {} WHERE {} IS NULL LIMIT 1",
                quote(&self.table.name),
                quote(column)
            );
            if !database.rows(&sql, &[]).await?.is_empty() {
                return Ok(Some(column));
            }
        }
        Ok(None)
    }

    /// A column as text, or NULL where the table does not have it.
    pub(crate) fn as_text(&self, column: &str) -> String {
        if self.has(column) {
            format!("CAST({} AS text)", quote(column))
        } else {
            "CAST(NULL AS text)".into()
        }
    }

    /// The type of a column, for casting text back to it.
    pub(crate) fn sql_type(&self, column: &str) -> &str {
        self.types.get(column).map_or("text", String::as_str)
    }

    pub(crate) fn has(&self, column: &str) -> bool {
        self.types.contains_key(column)
    }

    pub(crate) fn version(&self) -> Option<&VersionColumns> {
        self.table.version.as_ref()
    }

    fn require_columns(&self, which: Columns) -> Result<(), StoreError> {
        let table = &self.table;
        let version = table.version_columns().filter(|_| which == Columns::All);
        let mut missing: Vec<String> = table.own_columns().filter(|name| !self.has(name)).cloned().collect();
        let addable = missing.is_empty();
        missing.extend(version.filter(|name| !self.has(name)).cloned());
        if missing.is_empty() {
            return Ok(());
        }
        Err(StoreError::NoColumns { table: table.name.clone(), columns: missing, addable })
    }

    /// An envelope is several times as long as its token: a column with a length limit would refuse it half-way.
    fn require_room(&self) -> Result<(), StoreError> {
        let narrow = self.table.tokens.iter().find(|name| {
            let sql_type = self.sql_type(name);
            self.dialect == Dialect::Postgres && sql_type != "text" && sql_type != "character varying"
        });
        match narrow {
            Some(name) => Err(StoreError::Unsuitable {
                table: self.table.name.clone(),
                reason: format!("column {name} is {}: change its type to text", self.sql_type(name)),
            }),
            None => Ok(()),
        }
    }
}

/// The columns of a table in the current schema; none if there is no such table.
pub(crate) async fn columns(database: &Database, table: &str) -> Result<Vec<Column>, DatabaseError> {
    let sql = match database.dialect() {
        Dialect::Postgres => {
            "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod)::text FROM pg_attribute a \
             WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
        }
        Dialect::Sqlite => "SELECT name, type FROM pragma_table_info(?)",
    };
    let quoted = quote(table);
    let name = if database.dialect() == Dialect::Postgres { quoted.as_str() } else { table };
    let rows = database.rows(sql, &[Param::from(name)]).await?;
    Ok(rows
        .into_iter()
        .filter_map(|mut row| {
            let sql_type = row.pop()??.to_string();
            let name = row.pop()??.to_string();
            Some(Column { name, sql_type })
        })
        .collect())
}

/// Whether the profile's key columns, or some of them, are the primary key or a unique index.
async fn is_unique(database: &Database, table: &Table) -> Result<bool, DatabaseError> {
    let rows = match database.dialect() {
        Dialect::Postgres => {
            let sql = "SELECT i.indexrelid::text, a.attname::text FROM pg_index i \
                       JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) \
                       WHERE i.indrelid = to_regclass($1) AND i.indisunique AND i.indpred IS NULL";
            database.rows(sql, &[Param::from(quote(&table.name).as_str())]).await?
        }
        Dialect::Sqlite => {
            let sql = "SELECT 'primary key', name FROM pragma_table_info(?1) WHERE pk > 0 UNION ALL \
                       SELECT l.name, i.name FROM pragma_index_list(?1) l, pragma_index_info(l.name) i \
                       WHERE l.\"unique\" = 1 AND l.partial = 0";
            database.rows(sql, &[Param::from(table.name.as_str())]).await?
        }
    };
    let mut indexes: HashMap<String, Vec<String>> = HashMap::new();
    for row in rows {
        if let [Some(index), Some(column)] = row.as_slice() {
            indexes.entry(index.to_string()).or_default().push(column.to_string());
        }
    }
    Ok(indexes.values().any(|columns| columns.iter().all(|column| table.key.contains(column))))
}
