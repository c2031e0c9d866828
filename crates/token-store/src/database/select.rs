//! The reads of a table: ranges in key order, pages bounded in rows and bytes, counts by marks.

use super::Database;
use super::layout::Layout;
use super::row::{StoredKey, StoredRow};
use crate::error::StoreError;

/// Rows between two keys: after one, up to and including another.
#[derive(Clone, Copy, Default)]
pub(crate) struct Range<'a> {
    pub(crate) after: Option<&'a StoredKey>,
    pub(crate) until: Option<&'a StoredKey>,
}

/// How much a page holds at most; one row, however large, always fits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) rows: usize,
    /// Bytes of stored token text.
    pub(crate) bytes: usize,
}

impl Limits {
    /// So many rows, and 4 MiB of stored text: a page is in memory several times over while it is sealed and written.
    pub(crate) fn rows(rows: usize) -> Self {
        Self { rows, bytes: 4 << 20 }
    }
}

/// A column that must hold a value for a row to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Only {
    pub(crate) column: String,
    /// In the database's own notation.
    pub(crate) value: String,
}

/// How many rows say the same of how they are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MarkCount {
    pub(crate) version: Option<String>,
    pub(crate) method: Option<String>,
    pub(crate) key_id: Option<String>,
    pub(crate) rows: u64,
}

/// The marks of a row in a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The number in the version column, where the table has one.
    pub(crate) version: Option<i32>,
    /// One of these begins every text that is not empty; any text will do, if there are none.
    pub(crate) prefixes: &'static [&'static str],
}

/// A walk over rows in key order, page by page.
pub(crate) struct Walk<'a> {
    database: &'a Database,
    layout: &'a Layout,
    limits: Limits,
    after: Option<StoredKey>,
    until: Option<StoredKey>,
    is_done: bool,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(database: &'a Database, layout: &'a Layout, rows: usize) -> Self {
        Self::between(database, layout, rows, None, None)
    }

    pub(crate) fn between(
        database: &'a Database,
        layout: &'a Layout,
        rows: usize,
        after: Option<StoredKey>,
        until: Option<StoredKey>,
    ) -> Self {
        Self { database, layout, limits: Limits::rows(rows), after, until, is_done: false }
    }

    /// The next page; an empty one at the end.
    ///
    /// # Errors
    /// [`StoreError::Unsuitable`] where the database does not get past a key.
    pub(crate) async fn next(&mut self) -> Result<Vec<StoredRow>, StoreError> {
        if self.is_done {
            return Ok(Vec::new());
        }
        let range = Range { after: self.after.as_ref(), until: self.until.as_ref() };
        let page = match self.database.page(self.layout, range, self.limits).await {
            Err(error) if error.is_about_rows() => self.row_by_row(range).await?,
            page => page?,
        };
        match page.last() {
            None => self.is_done = true,
            Some(last) if self.after.as_ref() == Some(&last.key) => return Err(self.stuck()),
            Some(last) => self.after = Some(last.key.clone()),
        }
        Ok(page)
    }

    /// Reads rows one by one, so that the one that the database does not return is named.
    async fn row_by_row(&self, range: Range<'_>) -> Result<Vec<StoredRow>, StoreError> {
        const AT_ONCE: usize = 20;
        let mut rows = Vec::new();
        let keys = self.database.keys(self.layout, range, self.limits.rows.min(AT_ONCE)).await;
        let keys = keys.map_err(|error| match error.is_about_rows() {
            true => self.unsuitable(error.message),
            false => StoreError::Database(error),
        })?;
        for key in keys {
            match self.database.fetch(self.layout, &key).await {
                Ok(row) => rows.extend(row),
                Err(error) if error.is_about_rows() => {
                    rows.push(StoredRow::without_content(self.layout, key, error));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(rows)
    }

    fn stuck(&self) -> StoreError {
        self.unsuitable(format!(
            "rows cannot be read in the order of {}: the walk does not get past a key",
            self.layout.table.key.join(", ")
        ))
    }

    fn unsuitable(&self, reason: String) -> StoreError {
        StoreError::Unsuitable { table: self.layout.table.name.clone(), reason }
    }
}
