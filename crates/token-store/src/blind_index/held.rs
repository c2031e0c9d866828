//! The unwrapped index keys of a table, and the indexes that they make.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use envelope_core::index::{IndexKey, Normalization};
use secrecy::{ExposeSecret as _, SecretString};

use crate::database::index::{IndexEntries, Rival};
use crate::database::layout::{Layout, UniqueKey};
use crate::database::row::StoredRow;

/// How long unwrapped keys are held before they are asked for again, so that a key service that refuses them is heeded.
const HELD_FOR: Duration = Duration::from_secs(60);

/// The keys of every index of a table.
#[derive(Debug)]
pub(crate) struct LayoutKeys {
    /// The highest generation of the table's keys: it grows with every change of them.
    pub(crate) generation: u64,
    /// By the place of the index in the profile; none where a column has no key yet.
    columns: Vec<Option<ColumnKeys>>,
    uniques: Vec<UniqueKey>,
    until: Instant,
}

/// The keys of one index.
#[derive(Debug)]
pub(crate) struct ColumnKeys {
    pub(crate) active: IndexKey,
    pub(crate) retiring: Vec<IndexKey>,
}

/// Keys of the tables of a store.
#[derive(Debug, Default)]
pub(crate) struct HeldKeys(Mutex<HashMap<String, Arc<LayoutKeys>>>);

impl HeldKeys {
    pub(crate) fn get(&self, table: &str) -> Option<Arc<LayoutKeys>> {
        self.held().get(table).filter(|keys| keys.until > Instant::now()).cloned()
    }

    pub(crate) fn keep(&self, table: &str, keys: &Arc<LayoutKeys>) {
        self.held().insert(table.to_owned(), Arc::clone(keys));
    }

    pub(crate) fn forget(&self, table: &str) {
        self.held().remove(table);
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, Arc<LayoutKeys>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LayoutKeys {
    pub(crate) fn new(generation: u64, columns: Vec<Option<ColumnKeys>>, uniques: Vec<UniqueKey>) -> Self {
        Self { generation, columns, uniques, until: Instant::now() + HELD_FOR }
    }

    pub(crate) fn column(&self, place: usize) -> Option<&ColumnKeys> {
        self.columns.get(place)?.as_ref()
    }

    /// Whether every index has a key.
    pub(crate) fn is_complete(&self) -> bool {
        self.columns.iter().all(Option::is_some)
    }

    /// Puts the index of a token column's new value into a row's entries; nothing where the column has none.
    fn fill(&self, entries: &mut IndexEntries, own: &Draft<'_>, column: &str, value: &str) {
        let table = &own.layout.table;
        let Some(place) = table.index_over(column) else { return };
        let Some(keys) = self.column(place) else { return };
        entries.values[place] = keys.active.value(value);
        let into = &table.index[place].into;
        let before = own.row.indexes.get(place).and_then(Option::as_deref);
        for key in &keys.retiring {
            // Where the row had this index before, no other row can have it.
            let Some(value) = key.value(value).filter(|value| before != Some(value.as_str())) else {
                continue;
            };
            let uniques =
                self.uniques.iter().filter(|unique| unique.columns.iter().any(|(name, _)| name == into));
            entries.rivals.extend(uniques.filter_map(|unique| {
                let others = unique.columns.iter().map(|(name, _)| name).filter(|name| *name != into);
                let also = others.map(|name| Some((name.clone(), own.value(name)?.to_owned())));
                Some(Rival { column: into.clone(), value: value.clone(), also: also.collect::<Option<_>>()? })
            }));
        }
    }
}

impl ColumnKeys {
    /// Every text that the index of a value may have.
    pub(crate) fn values(&self, value: &str) -> Vec<String> {
        let keys = std::iter::once(&self.active).chain(&self.retiring);
        keys.filter_map(|key| key.value(value)).collect()
    }

    /// Whether an index is under the key that indexes are written under now.
    pub(crate) fn is_current(&self, index: Option<&str>) -> bool {
        index.is_some_and(|index| index.starts_with(&self.active.mark()))
    }

    /// Whether an index is of a value, under any of the keys.
    pub(crate) fn fits(&self, index: Option<&str>, value: &str) -> bool {
        match index {
            Some(index) => self.values(value).iter().any(|own| own == index),
            None => self.active.value(value).is_none(),
        }
    }

    pub(crate) fn normalization(&self) -> Normalization {
        self.active.normalization()
    }
}

/// The index entries of one row, put together while its values are sealed.
pub(crate) struct Draft<'a> {
    layout: &'a Layout,
    row: &'a StoredRow,
    keys: Option<Arc<LayoutKeys>>,
    entries: Mutex<IndexEntries>,
}

impl<'a> Draft<'a> {
    /// Entries under these keys; without keys the row gets no index.
    pub(crate) fn new(layout: &'a Layout, row: &'a StoredRow, keys: Option<Arc<LayoutKeys>>) -> Self {
        let none = IndexEntries::none(layout);
        let generation = keys.as_ref().map(|keys| keys.generation);
        Self { layout, row, keys, entries: Mutex::new(IndexEntries { generation, ..none }) }
    }

    /// A token column gets this value.
    pub(crate) fn set(&self, column: &str, value: &SecretString) {
        if let Some(keys) = &self.keys {
            keys.fill(&mut self.entries(), self, column, value.expose_secret());
        }
    }

    /// A token column keeps its stored text.
    pub(crate) fn keep(&self, column: &str) {
        if let Some(place) = self.layout.table.index_over(column) {
            self.entries().values[place] = self.row.indexes.get(place).cloned().flatten();
        }
    }

    pub(crate) fn finish(self) -> IndexEntries {
        self.entries.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn entries(&self) -> MutexGuard<'_, IndexEntries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A key or owner column's value.
    fn value(&self, column: &str) -> Option<&str> {
        let table = &self.layout.table;
        if let Some(place) = table.key.iter().position(|name| name == column) {
            return self.row.key.get(place).map(String::as_str);
        }
        let place = table.owner.iter().position(|name| name == column)?;
        self.row.owner.get(place)?.as_deref()
    }
}
