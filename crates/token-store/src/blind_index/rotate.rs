//! Rotation of index keys while they are in use: a second key is added, every index is rewritten under it, and the first key
//! is removed when no index is under it any more. A killed run continues where it was.

use serde::Serialize;

use super::keys::{Make, generation};
use super::{Draft, LayoutKeys};
use crate::audit;
use crate::cipher::Recorded;
use crate::database::index::{KeyState, StoredIndexKey};
use crate::database::layout::Layout;
use crate::database::row::StoredRow;
use crate::error::StoreError;
use crate::findings::Kind;
use crate::migration::{Ended, Failure, MigrationReport, Outcome, RunOptions, StopFlag, reindex};
use crate::plan::{CellFailure, RowPlan, readable, reindexed};
use crate::profile::{Index, LostIndexes, Table};
use crate::store::TokenStore;

/// Which index keys are rotated: those of every index, if nothing is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexColumn {
    /// Only of this table.
    pub table: Option<String>,
    /// Only of this token column.
    pub column: Option<String>,
}

impl IndexColumn {
    /// The index over a token column, in one table or in every table that has one.
    #[must_use]
    pub fn new(table: Option<String>, column: Option<String>) -> Self {
        Self { table, column }
    }

    fn includes(&self, table: &Table, index: &Index) -> bool {
        self.table.as_ref().is_none_or(|name| *name == table.name)
            && self.column.as_ref().is_none_or(|name| *name == index.column)
    }
}

/// The outcome of a rotation. `rewritten`, `already` and `failed`, with `conflicts`, divide up `scanned`.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct RotateReport {
    /// Rows that were processed.
    pub scanned: u64,
    /// Rows whose indexes were rewritten, or would be in a dry run.
    pub rewritten: u64,
    /// Rows whose indexes are under the new key already, and rows without an index.
    pub already: u64,
    /// Rows that others kept changing; the next run finds them.
    pub conflicts: u64,
    /// Rows whose values do not open, or that the database refuses.
    pub failed: u64,
    /// Rows whose index is still under a key that is to go. While there are any, that key stays and is looked up.
    pub left: u64,
    /// Keys that were made.
    pub made: u64,
    /// Keys that were removed.
    pub removed: u64,
    /// Whether nothing was written.
    pub dry_run: bool,
    /// Whether it was stopped before its end; the next run continues.
    pub interrupted: bool,
    /// The rows that failed, at most [`MAX_LISTED`](crate::migration::MAX_LISTED).
    pub failures: Vec<Failure>,
}

/// Rotates index keys: makes new ones, with the normalisation and the bits that the profile has now, and rewrites every
/// index. A rotation that was begun before is finished, and no other begun. `progress` is called after each batch.
///
/// Look-ups and writes continue meanwhile.
pub async fn rotate(
    store: &TokenStore,
    which: &IndexColumn,
    options: &RunOptions,
    stop: &StopFlag,
    mut progress: impl FnMut(&MigrationReport),
) -> Outcome<RotateReport> {
    let mut report = RotateReport { dry_run: options.dry_run, ..RotateReport::default() };
    let ended_by = rotate_all(store, which, options, stop, &mut progress, &mut report).await.err();
    Outcome { report, ended_by }
}

async fn rotate_all(
    store: &TokenStore,
    which: &IndexColumn,
    options: &RunOptions,
    stop: &StopFlag,
    progress: &mut impl FnMut(&MigrationReport),
    report: &mut RotateReport,
) -> Result<(), Ended> {
    for layout in store.layouts() {
        let indexes: Vec<&Index> =
            layout.table.index.iter().filter(|index| which.includes(&layout.table, index)).collect();
        if indexes.is_empty() {
            continue;
        }
        let mut goal = ReindexGoal { begins: Vec::new(), dry_run: options.dry_run };
        for index in &indexes {
            if options.dry_run {
                let begins = next_key(store, layout, index).await?.is_some();
                goal.begins.extend(begins.then(|| index.into.clone()));
                continue;
            }
            report.made += u64::from(begin(store, layout, index).await?);
            // A key that nothing is indexed under may be of a key service that is gone, and no row could be rewritten.
            remove_unused(store, layout, index, report).await?;
        }
        rewrite(store, layout, goal, options, stop, progress, report).await?;
        for index in &indexes {
            report.left += remove_unused(store, layout, index, report).await?;
        }
        if report.interrupted {
            break;
        }
    }
    Ok(())
}

/// Adds a key unless a rotation is under way, and returns whether it did.
async fn begin(store: &TokenStore, layout: &Layout, index: &Index) -> Result<bool, StoreError> {
    const ATTEMPTS: u32 = 4;
    for _ in 0..ATTEMPTS {
        let Some(stored) = next_key(store, layout, index).await? else { return Ok(false) };
        let key = store.new_index_key(layout, index, &stored).await?;
        if store.add_index_key(layout, &key).await? {
            store.held_keys().forget(&layout.table.name);
            return Ok(true);
        }
    }
    Err(StoreError::Contended { table: layout.table.name.clone(), row: "index keys".into() })
}

/// The keys of a table, where a rotation of this index begins with another one.
async fn next_key(
    store: &TokenStore,
    layout: &Layout,
    index: &Index,
) -> Result<Option<Vec<StoredIndexKey>>, StoreError> {
    let column = layout.table.bound_column(&index.column);
    let stored = store.database().index_keys(layout).await?;
    let own = || stored.iter().filter(|key| key.column == column);
    // Without any key nothing is indexed yet.
    if own().count() == 0 {
        return Ok(None);
    }
    // A rotation that was begun is finished first, unless it has nothing to rewrite.
    let is_begun = own().any(|key| key.state == KeyState::Retiring);
    if is_begun && store.database().has_marks(layout, &index.into).await? {
        return Ok(None);
    }
    check_uniqueness(store, layout, index).await?;
    store.check_not_lost(layout, &stored).await?;
    Ok(Some(stored))
}

/// While there are two keys, the database's unique index compares indexes of one key only, and this program compares them
/// across keys. It can do so for whole indexes over the index column, key and owner columns.
async fn check_uniqueness(store: &TokenStore, layout: &Layout, index: &Index) -> Result<(), StoreError> {
    let facts = store.database().describe(&layout.table).await?.unwrap_or_default();
    let table = &*layout.table;
    let is_known =
        |name: &String| *name == index.into || table.key.contains(name) || table.owner.contains(name);
    let compared = |object: &str| {
        let unique = facts.uniques.iter().find(|unique| unique.name == object);
        unique.is_some_and(|unique| unique.columns.iter().all(|(name, _)| is_known(name)))
    };
    let as_token = Table {
        tokens: vec![index.into.clone()],
        index: Vec::new(),
        lost_indexes: LostIndexes::Refuse,
        ..table.clone()
    };
    let found = store.database().obstacles(&Layout { table: as_token.into(), ..layout.clone() }).await?;
    let objects = found.into_iter().filter(|found| found.kind == Kind::UniqueIndex);
    let mut objects = objects.filter_map(|found| found.object);
    match objects.find(|object| !compared(object)) {
        None => Ok(()),
        Some(object) => Err(StoreError::Unsuitable {
            table: table.name.clone(),
            reason: format!(
                "unique index {object:?} over {:?} has conditions, expressions or other columns, so that it could not be \
                 kept while two keys are in use: drop it first, and make it again after the rotation",
                index.into
            ),
        }),
    }
}

/// Rewrites every index of a table that is not under its active key; ignores the profile's filter.
async fn rewrite(
    store: &TokenStore,
    layout: &Layout,
    goal: ReindexGoal,
    options: &RunOptions,
    stop: &StopFlag,
    progress: &mut impl FnMut(&MigrationReport),
    report: &mut RotateReport,
) -> Result<(), Ended> {
    let table = Table { filter: None, ..(*layout.table).clone() };
    let whole = store.over(vec![Layout { table: table.into(), only: Vec::new(), ..layout.clone() }]);
    let Outcome { report: run, ended_by, .. } = reindex(&whole, goal, options, stop, progress).await;
    report.scanned += run.scanned;
    report.rewritten += run.migrated;
    report.already += run.already;
    report.conflicts += run.conflicts;
    report.failed += run.failed;
    report.interrupted |= run.interrupted;
    report.failures.extend(run.failures);
    ended_by.map_or(Ok(()), Err)
}

/// Removes the keys that no index is under any more, and returns the number of indexes under those that stay.
async fn remove_unused(
    store: &TokenStore,
    layout: &Layout,
    index: &Index,
    report: &mut RotateReport,
) -> Result<u64, StoreError> {
    let column = layout.table.bound_column(&index.column);
    let stored = store.database().index_keys(layout).await?;
    let (mut next, mut all_left) = (generation(&stored), 0);
    let is_retiring = |key: &&StoredIndexKey| key.column == column && key.state == KeyState::Retiring;
    for key in stored.iter().filter(is_retiring) {
        let mark = envelope_core::index::mark(key.number);
        let left = store.database().count_marked(layout, &index.into, &mark).await?;
        all_left += left;
        if left > 0 || report.dry_run {
            continue;
        }
        if store.database().drop_index_key(layout, key, &index.into, next).await? {
            next += 1;
            report.removed += 1;
            store.trail("rotate-index").index_key(audit::INDEX_KEY_REMOVED, layout, key);
        }
    }
    store.held_keys().forget(&layout.table.name);
    Ok(all_left)
}

/// Which indexes come under another key.
#[derive(Clone, Debug)]
pub(crate) struct ReindexGoal {
    /// Index columns that a real run makes a new key for, before it rewrites them; a dry run makes none.
    begins: Vec<String>,
    /// Opens every value that a real run opens, and writes nothing.
    dry_run: bool,
}

/// Plans one row of a rotation: indexes that are there come under the active key, nothing else changes.
pub(crate) async fn plan_reindex(
    store: &TokenStore,
    layout: &Layout,
    row: StoredRow,
    goal: &ReindexGoal,
) -> Result<RowPlan, CellFailure> {
    readable(&row)?;
    // No key is needed, and perhaps none can be had.
    if row.indexes.iter().all(Option::is_none) {
        return Ok(RowPlan::Already);
    }
    let Some(keys) = store.index_keys(layout, Make::Nothing).await? else { return Ok(RowPlan::Already) };
    let is_due = |place: usize| {
        let begins = goal.begins.contains(&layout.table.index[place].into);
        row.indexes[place].is_some() && (begins || is_stale(&keys, place, row.indexes[place].as_deref()))
    };
    if !(0..layout.table.index.len()).any(is_due) {
        return Ok(RowPlan::Already);
    }
    let draft = Draft::new(layout, &row, Some(keys.clone()));
    for (place, index) in layout.table.index.iter().enumerate() {
        if !is_due(place) {
            draft.keep(&index.column);
            continue;
        }
        let column = layout.table.tokens.iter().position(|name| *name == index.column);
        let text = column.and_then(|column| row.values[column].as_ref()).filter(|text| !text.is_empty());
        let Some(text) = text else { continue };
        let recorded = Recorded::of(&row, layout, store.profile().unmarked);
        let opened = store.cipher().open(text, recorded, &row.binding(layout, &index.column)).await;
        let cell =
            opened.map_err(|cause| CellFailure { column: index.column.clone(), cause: cause.into() })?;
        // The key that a dry run would write under is not there: the index is left out, which is another one as well.
        if !goal.dry_run {
            draft.set(&index.column, &cell.plaintext);
        }
    }
    let indexes = draft.finish();
    Ok(match reindexed(layout, row, indexes)? {
        RowPlan::Change { .. } if goal.dry_run => RowPlan::WouldChange { sealed: 0, calls: 0 },
        plan => plan,
    })
}

/// Whether an index is there, and under another key than the active one.
fn is_stale(keys: &LayoutKeys, place: usize, index: Option<&str>) -> bool {
    let current = keys.column(place).is_some_and(|key| key.is_current(index));
    index.is_some() && !current
}
