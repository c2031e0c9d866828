//! Blind indexes as the databases see them: what a change writes into index columns, and the stored index keys.

use sha2::{Digest as _, Sha256};

use super::layout::Layout;
use super::row::StoredRow;
use crate::error::{DatabaseError, Scope};

/// The table that holds wrapped index keys, in the schema of the table that they are for.
pub(crate) const KEYS_TABLE: &str = "tokenseal_index_keys";

/// The name of the database index over an index column: it begins unlike the names that people give.
/// PostgreSQL cuts a name after 63 bytes, so that a longer one ends in a part of its hash instead.
/// A unique one has a name of its own, so that it can be added where there is one that is not.
pub(crate) fn index_name(table: &str, into: &str, unique: bool) -> String {
    const MOST: usize = 63;
    const HASH: usize = 16;
    let name = format!("tokenseal_{table}_{into}{}", if unique { "_unique" } else { "" });
    if name.len() <= MOST {
        return name;
    }
    // The beginnings of two long names can be the same, and not their hashes.
    let digest = Sha256::digest([table.as_bytes(), into.as_bytes(), &[u8::from(unique)]].join(&0));
    let hash: String = digest.iter().take(HASH / 2).map(|byte| format!("{byte:02x}")).collect();
    let end = (0..=MOST - HASH - 1).rev().find(|end| name.is_char_boundary(*end)).unwrap_or_default();
    format!("{}_{hash}", &name[..end])
}

/// The new index columns of a row, with the keys that they were computed under.
#[derive(Clone, Debug, Default)]
pub(crate) struct IndexEntries {
    /// The new texts, in the profile's order.
    pub(crate) values: Vec<Option<String>>,
    /// The generation of the keys; none where nothing was computed, so that any will do.
    pub(crate) generation: Option<u64>,
    /// Indexes of the new values under keys that are being retired.
    pub(crate) rivals: Vec<Rival>,
}

/// An index that no other row may have, because it is of the same value under a key that is being retired: the database's
/// unique index compares indexes of one key only.
#[derive(Clone, Debug)]
pub(crate) struct Rival {
    pub(crate) column: String,
    pub(crate) value: String,
    /// The other columns of the unique index, with their values in this row.
    pub(crate) also: Vec<(String, String)>,
}

/// One key of `tokenseal_index_keys`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredIndexKey {
    /// The token column, by the name that its values are bound to.
    pub(crate) column: String,
    pub(crate) number: u32,
    pub(crate) state: KeyState,
    /// Grows with every change of the keys of a table.
    pub(crate) generation: u64,
    /// The name and version of the normalisation.
    pub(crate) normalize: String,
    pub(crate) bits: u16,
    /// The wrapped key in base64.
    pub(crate) wrapped: String,
    pub(crate) key_id: Option<String>,
}

/// The use of an index key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyState {
    /// Indexes are written under it, and looked up.
    Active,
    /// Indexes under it are looked up, and rewritten.
    Retiring,
}

impl KeyState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Retiring => "retiring",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Active, Self::Retiring].into_iter().find(|state| state.name() == name)
    }
}

impl IndexEntries {
    /// The index columns as they are.
    pub(crate) fn unchanged(row: &StoredRow) -> Self {
        Self { values: row.indexes.clone(), ..Self::default() }
    }

    /// No index in any column.
    pub(crate) fn none(layout: &Layout) -> Self {
        Self { values: vec![None; layout.table.index.len()], ..Self::default() }
    }
}

impl StoredIndexKey {
    /// The columns that a key is read from, in order.
    pub(crate) const COLUMNS: [&str; 8] =
        ["column_name", "key_number", "state", "generation", "normalize", "bits", "wrapped_key", "key_id"];

    /// A key from its columns as texts.
    ///
    /// # Errors
    /// A text that is no index of its column: another program wrote it.
    pub(crate) fn from_texts(texts: Vec<Option<String>>) -> Result<Self, DatabaseError> {
        let mut texts = texts.into_iter();
        let mut next = || texts.next().flatten();
        let mut read = || -> Option<Self> {
            Some(Self {
                column: next()?,
                number: next()?.parse().ok()?,
                state: KeyState::from_name(&next()?)?,
                generation: next()?.parse().ok()?,
                normalize: next()?,
                bits: next()?.parse().ok()?,
                wrapped: next()?,
                key_id: next().filter(|id| !id.is_empty()),
            })
        };
        read().ok_or_else(|| whole(format!("{KEYS_TABLE} holds a row that is no index key")))
    }
}

impl DatabaseError {
    /// Another row holds an equal value, under the index key that is being retired.
    pub(crate) fn rival() -> Self {
        Self {
            message: "another row holds an equal value, indexed under the key that is being retired".into(),
            code: Some("23505".into()),
            unreachable: false,
            scope: Scope::Row,
        }
    }
}

fn whole(message: String) -> DatabaseError {
    DatabaseError { message, code: None, unreachable: false, scope: Scope::Whole }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::index_name;

    #[test]
    fn a_name_of_an_index_is_its_own_and_is_not_cut() {
        assert_eq!(index_name("users", "email_index", false), "tokenseal_users_email_index");
        assert_eq!(index_name("users", "email_index", true), "tokenseal_users_email_index_unique");
        let long = "t".repeat(60);
        let names = [
            index_name(&long, "email_index", true),
            index_name(&long, "email_index", false),
            index_name(&long, "phone_index", true),
            index_name(&"é".repeat(40), "e", true),
        ];
        assert!(names.iter().all(|name| name.len() <= 63), "{names:?}");
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "{names:?}");
    }
}
