//! The ledger of a ring: an authenticated record of the stores whose values are sealed under its keys.
//!
//! A file cannot show that an older copy of it was put back. Another file that is kept apart can: the ring records how
//! far each store has come.

use std::error::Error;
use std::sync::Arc;

/// A ring's memory of one store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreRecord {
    /// The store's own name for itself: it is in the store, random, and never changes.
    pub id: String,
    /// Where the store was when it was last written: by this a copy from before it had an id is recognized.
    pub path: String,
    /// Number of the last change, raised before the change is committed.
    pub revision: u64,
    /// Whether everything in the store carries its purpose, and the store's metadata of its values is authenticated.
    pub labelled: bool,
    /// Whether an operator has had the store re-sealed to its end, and with that ended the time of unlabelled values.
    pub resealed: bool,
}

impl StoreRecord {
    /// A store that has not been written yet.
    #[must_use]
    pub fn new(id: impl Into<String>, path: impl Into<String>) -> Self {
        Self { id: id.into(), path: path.into(), revision: 0, labelled: false, resealed: false }
    }
}

/// Whether values without a purpose are refused everywhere under a ring: a store was re-sealed to its end, and no store
/// has such values.
#[must_use]
pub fn refuses_unlabelled(stores: &[StoreRecord]) -> bool {
    stores.iter().any(|store| store.resealed) && stores.iter().all(|store| store.labelled)
}

/// Remembers how far stores have come. Its records cannot be changed without the key that protects the ring.
pub trait Ledger: Send + Sync {
    /// Every record.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    fn records(&self) -> Result<Vec<StoreRecord>, LedgerError>;

    /// Changes the records: one change at a time, among all processes, and on disk before this returns.
    ///
    /// # Errors
    /// [`LedgerError::ReadOnly`] where the ring cannot be written, and [`LedgerError::Failed`].
    fn update(&self, change: &mut dyn FnMut(&mut Vec<StoreRecord>)) -> Result<(), LedgerError>;
}

/// Why records were not read or not changed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The ring's file, or the file system that it is on, may not be written.
    #[error("key ring is read-only")]
    ReadOnly,
    /// Reading or writing failed.
    #[error("key ring cannot be read or written")]
    Failed(#[source] Arc<dyn Error + Send + Sync>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_without_a_purpose_are_refused_once_a_store_is_resealed_and_none_has_such() {
        let store = |(resealed, labelled): &(bool, bool)| StoreRecord {
            resealed: *resealed,
            labelled: *labelled,
            ..StoreRecord::new("id", "/srv/secrets.db")
        };
        for (stores, is_refused) in [
            (&[][..], false),
            (&[(false, false)], false),
            (&[(false, true)], false),
            (&[(true, false)], false),
            (&[(true, true)], true),
            (&[(true, true), (false, true)], true),
            (&[(true, true), (false, false)], false),
            (&[(true, true), (true, false)], false),
        ] {
            let records: Vec<_> = stores.iter().map(store).collect();
            assert_eq!(refuses_unlabelled(&records), is_refused, "{stores:?}");
        }
    }
}
