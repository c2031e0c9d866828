//! The change of a row: the state that was read, the new state, and both as the values of a statement.

use super::Text;
use super::index::IndexEntries;
use super::layout::Layout;
use super::row::StoredRow;
use crate::marks::{Marks, Version};
use crate::record::{self, RecordError};

/// The new tokens and version columns of a row, if it is unchanged since it was read.
pub(crate) struct Change {
    pub(crate) old: StoredRow,
    pub(crate) values: Vec<Option<Text>>,
    pub(crate) marks: Marks,
    /// The row's new record, where the table has one.
    record: Option<String>,
    pub(crate) indexes: IndexEntries,
}

/// Number of values that a change consists of: key, owner, old and new tokens, old version, new marks, old and new record, old and
/// new indexes.
pub(crate) fn change_columns(layout: &Layout) -> usize {
    let marks = if layout.version().is_some() { 4 } else { 0 };
    layout.table.key.len()
        + layout.table.owner.len()
        + 2 * layout.table.tokens.len()
        + marks
        + records(layout)
        + 2 * layout.table.index.len()
}

fn records(layout: &Layout) -> usize {
    if layout.record().is_some() { 2 } else { 0 }
}

/// The record's column, and the places of its old and its new text in a change.
pub(crate) fn record_places(layout: &Layout) -> Option<(&str, usize, usize)> {
    let record = layout.record()?;
    let end = change_columns(layout) - 2 * layout.table.index.len();
    Some((&record.column, end - 2, end - 1))
}

/// The values of a change, in that order.
pub(crate) fn change_values<'a>(layout: &Layout, change: &'a Change) -> Vec<Option<&'a str>> {
    let mut values: Vec<Option<&str>> = Vec::with_capacity(change_columns(layout));
    values.extend(change.old.key.iter().map(|text| Some(text.as_str())));
    values.extend(change.old.owner.iter().map(Option::as_deref));
    values.extend(change.old.values.iter().map(|value| value.as_ref().map(|text| text.as_str())));
    values.extend(change.values.iter().map(|value| value.as_ref().map(|text| text.as_str())));
    if layout.version().is_some() {
        values.push(change.old.version.as_deref());
        values.push(Some(change.marks.version.text()));
        values.push(change.marks.method.as_deref());
        values.push(change.marks.key_id.as_deref());
    }
    if layout.record().is_some() {
        values.push(change.old.record_text().unwrap_or_default());
        values.push(change.record.as_deref());
    }
    values.extend(change.old.indexes.iter().map(Option::as_deref));
    values.extend(change.indexes.values.iter().map(Option::as_deref));
    values
}

/// The index columns, each with the places of its old and of its new text among the values of a change.
pub(crate) fn index_places(layout: &Layout) -> impl Iterator<Item = (&String, usize, usize)> {
    let count = layout.table.index.len();
    let first = change_columns(layout) - 2 * count;
    layout.table.index_columns().enumerate().map(move |(n, name)| (name, first + n, first + count + n))
}

impl Change {
    /// No change of a row: the comparison values are those that were read.
    pub(crate) fn none(old: StoredRow) -> Self {
        let values = vec![None; old.values.len()];
        let indexes = IndexEntries::unchanged(&old);
        let marks = Marks { version: Version::Plaintext, method: None, key_id: None };
        Self { old, values, marks, record: None, indexes }
    }

    /// A change that keeps the row's record true.
    ///
    /// # Errors
    /// [`RecordError`] where the record cannot be.
    pub(crate) fn new(
        layout: &Layout,
        old: StoredRow,
        values: Vec<Option<Text>>,
        marks: Marks,
    ) -> Result<Self, RecordError> {
        let (method, key_id) = (marks.method.as_deref(), marks.key_id.as_deref());
        let record = record::rewritten(layout, old.record_text(), method, key_id)?;
        let indexes = IndexEntries::unchanged(&old);
        Ok(Self { old, values, marks, record, indexes })
    }

    /// The same where the caller gives the record another text, which is made true as well.
    ///
    /// # Errors
    /// [`RecordError`] where it cannot be.
    pub(crate) fn with_record(
        layout: &Layout,
        old: StoredRow,
        values: Vec<Option<Text>>,
        marks: Marks,
        given: Option<&str>,
    ) -> Result<Self, RecordError> {
        let (method, key_id) = (marks.method.as_deref(), marks.key_id.as_deref());
        let record = record::rewritten(layout, Ok(given), method, key_id)?;
        let indexes = IndexEntries::unchanged(&old);
        Ok(Self { old, values, marks, record, indexes })
    }

    /// The same change, with these blind indexes instead of those that the row has.
    pub(crate) fn with_indexes(self, indexes: IndexEntries) -> Self {
        Self { indexes, ..self }
    }

    /// The row's new record, where the table has one.
    pub(crate) fn record(&self) -> Option<&str> {
        self.record.as_deref()
    }

    /// Whether a row, read afterwards, still is what this change starts from: then it was locked, or kept out of reach.
    pub(crate) fn is_to_come(&self, now: &StoredRow) -> bool {
        now.values == self.old.values
            && now.version == self.old.version
            && now.owner == self.old.owner
            && now.record_text().unwrap_or_default() == self.old.record_text().unwrap_or_default()
            && now.indexes == self.old.indexes
    }

    /// Whether a row, read afterwards, holds what this change was to write.
    pub(crate) fn is_written(&self, now: &StoredRow, layout: &Layout) -> bool {
        now.values == self.values
            && now.owner == self.old.owner
            && now.indexes == self.indexes.values
            && (layout.version().is_none() || now.version.as_deref() == Some(self.marks.version.text()))
            && record::is_same(now.record_text().unwrap_or_default(), self.record())
    }
}
