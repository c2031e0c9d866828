//! Blind indexes of a profile: which columns are found again after sealing, and how.

use envelope_core::index::{MAX_BITS, MIN_BITS, Normalization};
use serde::{Deserialize, Serialize};

use super::Table;

/// Fewest bits of an index that must be unique: with fewer, two different values may have the same.
const MIN_UNIQUE_BITS: u16 = 128;

/// A blind index over a token column, `[[tables.index]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Index {
    /// The token column that is found by it.
    pub column: String,
    /// The column that holds the index; [`schema::migrate`](crate::schema::migrate) adds it.
    pub into: String,
    /// Which spellings of a value are the same.
    #[serde(default)]
    pub normalize: Normalization,
    /// How many bits of the index are kept, 8 to 256. With fewer bits several values share an index, which hides more and
    /// costs more.
    #[serde(default = "all_bits")]
    pub bits: u16,
    /// Whether no two rows may have the same index: [`schema::migrate`](crate::schema::migrate) makes its database index
    /// unique.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unique: bool,
}

fn all_bits() -> u16 {
    MAX_BITS
}

impl Table {
    /// The columns that hold blind indexes.
    pub(crate) fn index_columns(&self) -> impl Iterator<Item = &String> {
        self.index.iter().map(|index| &index.into)
    }

    /// The place of the blind index over a token column among the table's indexes.
    pub(crate) fn index_over(&self, column: &str) -> Option<usize> {
        self.index.iter().position(|index| index.column == column)
    }

    /// A problem of the table's blind indexes, if any.
    pub(super) fn unusable_index(&self) -> Option<String> {
        let table = &self.name;
        for (place, index) in self.index.iter().enumerate() {
            let Index { column, bits, unique, .. } = index;
            if !self.tokens.contains(column) {
                return Some(format!("index of table {table:?}: {column:?} is not one of its tokens"));
            }
            if self.index[..place].iter().any(|other| other.column == *column) {
                return Some(format!("column {column:?} of table {table:?} has two indexes"));
            }
            if !(MIN_BITS..=MAX_BITS).contains(bits) {
                return Some(format!(
                    "index over {column:?} of table {table:?}: bits must be {MIN_BITS} to {MAX_BITS}"
                ));
            }
            if *unique && *bits < MIN_UNIQUE_BITS {
                return Some(format!(
                    "index over {column:?} of table {table:?}: a unique index needs at least {MIN_UNIQUE_BITS} bits, or it \
                     refuses different values"
                ));
            }
        }
        None
    }
}
