//! Adding a row, and the comparison of the stored row with the one that was sent.

use super::change::Change;
use super::layout::Layout;
use super::row::StoredRow;

/// A row to be added.
pub(crate) struct NewRow<'a> {
    /// The cell that the tokens were sealed for, key and owner in the database's own notation, and the sealed texts.
    pub(crate) change: &'a Change,
    /// Owner columns that are set; the database fills in the others.
    pub(crate) owner: Vec<(&'a str, Option<&'a str>)>,
    pub(crate) plain: Vec<(&'a str, Option<&'a str>)>,
}

/// The result of adding a row.
pub(crate) enum Inserted {
    /// It is stored as it was sent.
    Written,
    /// A row with this key exists.
    Exists,
    /// The index keys are others than those that the row was computed under.
    Stale,
    /// Another row has the same value under an index key that is being retired.
    Rival,
    /// The database would store another row than the one that was sent, and nothing was stored.
    Other(Option<Box<StoredRow>>),
}

impl<'a> NewRow<'a> {
    /// Every column that is set, but for the one with the current time.
    pub(crate) fn columns(&self, layout: &'a Layout) -> Vec<(&'a str, Option<&'a str>)> {
        let table = &layout.table;
        let change = self.change;
        let mut columns: Vec<(&str, Option<&str>)> = Vec::new();
        let keys = table.key.iter().zip(change.old.key.iter());
        columns.extend(keys.map(|(column, text)| (column.as_str(), Some(text.as_str()))));
        columns.extend(self.owner.iter().copied());
        let tokens = table.tokens.iter().zip(&change.values);
        columns.extend(
            tokens.map(|(column, value)| (column.as_str(), value.as_ref().map(|text| text.as_str()))),
        );
        if let Some(names) = layout.version() {
            columns.push((&names.version, Some(change.marks.version.text())));
            columns.push((&names.method, change.marks.method.as_deref()));
            columns.push((&names.key_id, change.marks.key_id.as_deref()));
        }
        columns.extend(layout.record().map(|record| (record.column.as_str(), change.record())));
        let indexes = table.index_columns().zip(&change.indexes.values);
        columns.extend(indexes.map(|(column, value)| (column.as_str(), value.as_deref())));
        columns.extend(self.plain.iter().copied());
        columns
    }

    /// Whether a row that was read back is the one that was sent.
    pub(crate) fn is_stored_as(&self, layout: &Layout, row: &StoredRow) -> bool {
        row.unreadable.is_none()
            && row.key[..] == self.change.old.key[..]
            && self.change.is_written(row, layout)
    }
}
