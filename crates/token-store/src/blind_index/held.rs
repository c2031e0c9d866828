//! The unwrapped index keys of a table, and the indexes that they make.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
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
pub(crate) struct HeldKeys(Mutex<HashMap<String, OfTable>>);

#[derive(Debug, Default)]
struct OfTable {
    keys: Option<Arc<LayoutKeys>>,
    turn: Arc<Turn>,
}

/// Of the callers that need the keys of a table at the same time, one asks the key service.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    lock: tokio::sync::Mutex<()>,
    failures: AtomicU64,
}

impl HeldKeys {
    pub(crate) fn get(&self, table: &str) -> Option<Arc<LayoutKeys>> {
        self.held().get(table)?.keys.clone().filter(|keys| keys.until > Instant::now())
    }

    pub(crate) fn turn(&self, table: &str) -> Arc<Turn> {
        Arc::clone(&self.held().entry(table.to_owned()).or_default().turn)
    }

    pub(crate) fn keep(&self, table: &str, keys: &Arc<LayoutKeys>) {
        self.held().entry(table.to_owned()).or_default().keys = Some(Arc::clone(keys));
    }

    pub(crate) fn forget(&self, table: &str) {
        if let Some(of_table) = self.held().get_mut(table) {
            of_table.keys = None;
        }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, OfTable>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Runs `load` while no other caller does. A caller that waited for one that failed does not wait for the next as
    /// well: in an outage each would add its own time.
    pub(crate) async fn take<T, E>(
        &self,
        known: impl Fn() -> Option<T>,
        load: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let before = self.failures.load(Ordering::Acquire);
        let turn = self.lock.lock().await;
        if let Some(known) = known() {
            return Ok(known);
        }
        let _turn = (self.failures.load(Ordering::Acquire) == before).then_some(turn);
        let loaded = load.await;
        if loaded.is_err() {
            self.failures.fetch_add(1, Ordering::Release);
        }
        loaded
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
