//! Finding rows: the one that a caller's key names, lists in key order, and the rows that a condition leaves.

use super::revision::{Revision, changed};
use super::{TokenKey, TokenStore, TokenSummary};
use crate::database::layout::Layout;
use crate::database::row::{StoredRow, row_name};
use crate::database::select::{Only, Walk};
use crate::error::StoreError;

impl TokenStore {
    /// The same store, whose walks (status, migration, verification) only look at rows with these values in these
    /// columns. Reading and writing single rows stays as it is.
    ///
    /// # Errors
    /// [`StoreError::NoColumns`] for a column that a table lacks, [`StoreError::NotAValue`] for a text that is no value of
    /// its column, [`StoreError::Database`].
    pub async fn only_where(mut self, conditions: &[(String, String)]) -> Result<Self, StoreError> {
        for tokens in [true, false] {
            let wide = if tokens { &self.layouts } else { &self.fields };
            let mut narrow = Vec::with_capacity(wide.len());
            for layout in wide.iter() {
                narrow.push(self.narrowed(layout.clone(), conditions).await?);
            }
            *(if tokens { &mut self.layouts } else { &mut self.fields }) = narrow.into();
        }
        Ok(self)
    }

    /// The same store, whose walks look at this table only. A later [`only_where`](Self::only_where) is about its columns.
    ///
    /// # Errors
    /// [`StoreError::NoTable`] for a table that is not in the profile or the database.
    pub fn only_table(mut self, table: &str) -> Result<Self, StoreError> {
        let of_table = |layouts: &[Layout]| {
            layouts.iter().filter(|layout| layout.table.name == table).cloned().collect::<Vec<_>>()
        };
        // A table may have fields alone.
        let (layouts, fields) = (of_table(&self.layouts), of_table(&self.fields));
        if layouts.is_empty() && fields.is_empty() {
            return Err(StoreError::NoTable { table: table.to_owned() });
        }
        (self.layouts, self.fields) = (layouts.into(), fields.into());
        Ok(self)
    }

    /// Whether a table of the profile has a column of this name in the database, bound or not.
    ///
    /// # Errors
    /// [`StoreError::NoTable`] for a table that is not in the profile or the database.
    pub fn has_column(&self, table: Option<&str>, column: &str) -> Result<bool, StoreError> {
        Ok(self.layout_named(table)?.has(column))
    }

    async fn narrowed(
        &self,
        mut layout: Layout,
        conditions: &[(String, String)],
    ) -> Result<Layout, StoreError> {
        for (column, value) in conditions {
            let table = layout.table.name.clone();
            if !layout.has(column) {
                return Err(StoreError::NoColumns { table, columns: vec![column.clone()], addable: false });
            }
            let canonical = self.database().canonical(&layout, &[(column, value)]).await?;
            let kind = layout.kind(column);
            // A value that the database would round or cut is another one, and names other rows.
            let is_same = |stored: &String| !kind.is_canonical() || kind.same(value, stored);
            let Some(value) = canonical.and_then(|texts| texts.into_iter().next()).filter(is_same) else {
                return Err(StoreError::NotAValue { table, column: column.clone() });
            };
            layout.only.push(Only { column: column.clone(), value });
        }
        Ok(layout)
    }

    /// Lists rows after `after` in key order, without opening anything.
    ///
    /// # Errors
    /// [`StoreError::Database`], and those of an unknown table or a key of another length.
    pub async fn list(
        &self,
        table: Option<&str>,
        after: Option<&TokenKey>,
        limit: usize,
    ) -> Result<Vec<TokenSummary>, StoreError> {
        let layout = self.layout_named(table)?;
        if let Some(after) = after {
            self.layout(after)?;
        }
        let after = after.map(|after| self.database().place(layout, after.values()));
        let mut summaries = Vec::new();
        let mut walk = Walk::between(self.database(), layout, limit, after, None);
        while summaries.len() < limit {
            let page = walk.next().await?;
            if page.is_empty() {
                break;
            }
            summaries.extend(page.into_iter().map(|row| TokenSummary::new(layout, row)));
        }
        summaries.truncate(limit);
        Ok(summaries)
    }

    /// Deletes a row, and returns whether there was one.
    ///
    /// # Errors
    /// [`StoreError::KeyLength`], [`StoreError::Altered`] where the database keeps the row, [`StoreError::Database`].
    pub async fn delete(&self, key: &TokenKey) -> Result<bool, StoreError> {
        self.delete_at(key, None).await
    }

    /// Deletes a row that is at this revision still, and returns whether there was one.
    ///
    /// # Errors
    /// [`StoreError::Changed`] where the row is at another revision, and those of [`delete`](Self::delete).
    pub async fn delete_if_revision(&self, key: &TokenKey, revision: &Revision) -> Result<bool, StoreError> {
        self.delete_at(key, Some(revision)).await
    }

    async fn delete_at(&self, key: &TokenKey, revision: Option<&Revision>) -> Result<bool, StoreError> {
        let layout = self.layout(key)?;
        let name = row_name(&layout.table.key, key.values());
        let trail = self.trail("delete");
        match self.delete_found(layout, key, revision).await {
            Ok(deleted) => {
                if deleted {
                    trail.deleted(layout, &name);
                }
                Ok(deleted)
            }
            Err(error) => {
                trail.write_failed(layout, &name, error.class(), None);
                Err(error)
            }
        }
    }

    async fn delete_found(
        &self,
        layout: &Layout,
        key: &TokenKey,
        revision: Option<&Revision>,
    ) -> Result<bool, StoreError> {
        let Some(row) = self.find_row(layout, key).await? else { return Ok(false) };
        self.check_revision(layout, &row, revision)?;
        let deleted = match revision {
            None => self.database().delete(layout, &row.key).await,
            Some(_) => self.database().delete_unchanged(layout, row).await,
        };
        if deleted? {
            return Ok(true);
        }
        match self.find_row(layout, key).await? {
            Some(row) if self.check_revision(layout, &row, revision).is_err() => {
                Err(changed(layout, row.name(layout)))
            }
            Some(row) => Err(StoreError::Altered { table: layout.table.name.clone(), row: row.name(layout) }),
            None => Ok(false),
        }
    }

    /// The row that a caller's key names. Whatever the database answers, it is the row that was asked for: key and owner
    /// are compared here.
    pub(crate) async fn find_row(
        &self,
        layout: &Layout,
        key: &TokenKey,
    ) -> Result<Option<StoredRow>, StoreError> {
        let rows = self.database().find(layout, key.values()).await?;
        named_row(layout, key, rows)
    }
}

/// The row of a caller's key among those that the database answered.
pub(super) fn named_row(
    layout: &Layout,
    key: &TokenKey,
    mut rows: Vec<StoredRow>,
) -> Result<Option<StoredRow>, StoreError> {
    let (table, name) = (|| layout.table.name.clone(), || row_name(&layout.table.key, key.values()));
    if rows.len() > 1 {
        return Err(StoreError::Ambiguous { table: table(), row: name() });
    }
    let Some(row) = rows.pop().filter(|row| layout.is_same_key(key.values(), &row.key)) else {
        return Ok(None);
    };
    let owned = layout.table.owner.iter().zip(&row.owner).all(|(column, owner)| {
        key.owner(column).is_none_or(|given| layout.is_same_owner(column, Some(given), owner.as_deref()))
    });
    if let Some(unreadable) = row.unreadable.as_ref().filter(|_| owned) {
        let (column, reason) = (unreadable.column.clone(), unreadable.reason.to_string());
        return Err(StoreError::Unreadable { table: table(), row: name(), column, reason });
    }
    Ok(owned.then_some(row))
}
