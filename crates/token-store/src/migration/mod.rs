//! The migration engine: walks tables in key order and moves every row that is not there yet.
//!
//! It keeps no state of its own: what is done is recognised by the row itself, so a run that was killed is simply
//! run again, and several runs at once share the work. Sealing happens outside any transaction; a batch is written
//! in one statement that only touches rows whose stored text still is what was read, so that a token refreshed
//! meanwhile is never overwritten.

mod report;
mod row;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use envelope_core::KeyError;
use futures_util::{StreamExt as _, stream};

pub use report::{Failure, MAX_LISTED, MigrationReport};
pub(crate) use row::{Goal, RowPlan, plan, recorded};

use crate::cipher::WriteFormat;
use crate::database::layout::Layout;
use crate::database::rows::{Change, StoredRow};
use crate::error::StoreError;
use crate::store::TokenStore;

/// How often a row that others changed is looked at again before it is left to the next run.
const ATTEMPTS: u32 = 4;

/// How a migration is carried out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MigrationOptions {
    /// What every row is to become.
    pub to: WriteFormat,
    /// Also open envelopes, and rewrite those that are not bound to their row.
    pub rebind: bool,
    /// Decide and count everything, write nothing.
    pub dry_run: bool,
    /// Rows read and written at once.
    pub batch_size: usize,
    /// Rows sealed at once.
    pub concurrency: usize,
    /// Rows to migrate at most.
    pub limit: Option<u64>,
}

impl MigrationOptions {
    /// Batches of 500 rows, 16 at a time, without a limit.
    #[must_use]
    pub fn to(format: WriteFormat) -> Self {
        Self { to: format, rebind: false, dry_run: false, batch_size: 500, concurrency: 16, limit: None }
    }
}

/// A flag that ends a run after the batch in hand.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Asks the run to stop.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How a run ended: always with a report, even where the key service or the database gave up on the way.
#[derive(Debug)]
#[non_exhaustive]
pub struct MigrationOutcome {
    /// What was done until then.
    pub report: MigrationReport,
    /// Why it ended early, if it did.
    pub ended_by: Option<Ended>,
}

/// Why a run ended before the last row.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Ended {
    /// The key service is unavailable or refuses.
    #[error("key service gave up")]
    KeyService(#[source] KeyError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Moves every row of the store's tables. `progress` is called after each batch.
pub async fn run(
    store: &TokenStore,
    options: &MigrationOptions,
    stop: &StopFlag,
    progress: impl FnMut(&MigrationReport),
) -> MigrationOutcome {
    let started = Instant::now();
    let report = MigrationReport { dry_run: options.dry_run, ..MigrationReport::default() };
    let mut run = Run { store, options, stop, progress, report };
    let ended_by = run.tables().await.err();
    run.report.elapsed_seconds = started.elapsed().as_secs_f64();
    MigrationOutcome { report: run.report, ended_by }
}

struct Run<'a, P> {
    store: &'a TokenStore,
    options: &'a MigrationOptions,
    stop: &'a StopFlag,
    progress: P,
    report: MigrationReport,
}

impl<P: FnMut(&MigrationReport)> Run<'_, P> {
    async fn tables(&mut self) -> Result<(), Ended> {
        let store = self.store;
        for layout in store.layouts() {
            let mut page = self.page(layout, None).await?;
            while !page.is_empty() && !self.is_over() {
                let last = page.last().map(|row| row.key.clone());
                let was_full = page.len() == self.options.batch_size;
                // The next page is read while this one is sealed and written.
                let next = async {
                    if was_full { self.store.page(layout, last.as_deref(), self.options.batch_size).await } else { Ok(Vec::new()) }
                };
                let (next, batch) = tokio::join!(next, self.batch(layout, page));
                let mut batch = batch?;
                let outage = batch.outage.take();
                self.count(batch);
                (self.progress)(&self.report);
                if let Some(error) = outage {
                    return Err(Ended::KeyService(error));
                }
                page = next?;
            }
        }
        Ok(())
    }

    async fn page(&self, layout: &Layout, after: Option<&[String]>) -> Result<Vec<StoredRow>, StoreError> {
        self.store.page(layout, after, self.options.batch_size).await
    }

    fn is_over(&mut self) -> bool {
        if self.stop.is_set() {
            self.report.interrupted = true;
        }
        self.report.interrupted || self.remaining() == Some(0)
    }

    fn remaining(&self) -> Option<u64> {
        self.options.limit.map(|limit| limit.saturating_sub(self.report.migrated))
    }

    /// Plans and writes one page; rows that changed meanwhile are read and planned again.
    async fn batch(&self, layout: &Layout, mut rows: Vec<StoredRow>) -> Result<Batch, Ended> {
        let mut batch = Batch::default();
        for attempt in 1..=ATTEMPTS {
            let changes = self.plan_rows(layout, rows, &mut batch).await;
            rows = self.write(layout, changes, &mut batch).await?;
            if rows.is_empty() || batch.outage.is_some() {
                break;
            }
            if attempt == ATTEMPTS {
                batch.report.conflicts += rows.len() as u64;
                batch.report.scanned += rows.len() as u64;
                break;
            }
        }
        Ok(batch)
    }

    async fn plan_rows(&self, layout: &Layout, rows: Vec<StoredRow>, batch: &mut Batch) -> Vec<PlannedChange> {
        let goal = Goal { format: self.options.to, rebind: self.options.rebind, dry_run: self.options.dry_run };
        let unmarked = self.store.profile().unmarked;
        let cipher = self.store.cipher();
        let plans = stream::iter(rows).map(|row| async move {
            let name = row.name(layout);
            (name, plan(cipher, layout, unmarked, row, goal).await)
        });
        let mut plans = plans.buffered(self.options.concurrency.max(1));
        let mut changes = Vec::new();
        let room = self.remaining().map_or(usize::MAX, |rows| usize::try_from(rows).unwrap_or(usize::MAX));
        while let Some((name, plan)) = plans.next().await {
            match plan {
                RowPlan::Already => batch.decided(|report| report.already += 1),
                RowPlan::Failed(failure) => {
                    let class = failure.cause.class();
                    let failure = Failure::new(&layout.table.name, name, &failure.column, class, &failure.cause);
                    batch.decided(|report| report.failed += 1);
                    batch.report.failures.push(failure);
                }
                RowPlan::WouldChange { sealed } => batch.written(sealed),
                RowPlan::Change { change, sealed } => changes.push(PlannedChange { change, sealed }),
                RowPlan::Outage(error) => {
                    batch.outage = Some(error);
                    break;
                }
            }
            if changes.len() + batch.report.migrated as usize >= room {
                break;
            }
        }
        changes
    }

    /// Writes what was planned, and returns the rows that somebody else changed first, as they are now.
    async fn write(
        &self,
        layout: &Layout,
        changes: Vec<PlannedChange>,
        batch: &mut Batch,
    ) -> Result<Vec<StoredRow>, Ended> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let (sealed, changes): (Vec<u64>, Vec<Change>) =
            changes.into_iter().map(|planned| (planned.sealed, planned.change)).unzip();
        let swapped = layout.swap(self.store.database(), &changes).await.map_err(StoreError::from)?;
        if swapped == changes.len() as u64 {
            sealed.into_iter().for_each(|values| batch.written(values));
            return Ok(Vec::new());
        }
        let mut changed = Vec::new();
        for (values, change) in sealed.into_iter().zip(changes) {
            let now = layout.fetch(self.store.database(), &change.old.key).await.map_err(StoreError::from)?;
            match now {
                Some(row) if change.is_written(&row, layout) => batch.written(values),
                Some(row) => changed.push(row),
                // Deleted meanwhile: nothing is left to do.
                None => batch.decided(|report| report.already += 1),
            }
        }
        Ok(changed)
    }

    fn count(&mut self, batch: Batch) {
        let room = MAX_LISTED.saturating_sub(self.report.failures.len());
        let report = &mut self.report;
        report.scanned += batch.report.scanned;
        report.migrated += batch.report.migrated;
        report.already += batch.report.already;
        report.conflicts += batch.report.conflicts;
        report.failed += batch.report.failed;
        report.values += batch.report.values;
        report.failures.extend(batch.report.failures.into_iter().take(room));
    }
}

struct PlannedChange {
    change: Change,
    sealed: u64,
}

/// What became of one page.
#[derive(Default)]
struct Batch {
    report: MigrationReport,
    outage: Option<KeyError>,
}

impl Batch {
    fn decided(&mut self, count: impl FnOnce(&mut MigrationReport)) {
        self.report.scanned += 1;
        count(&mut self.report);
    }

    fn written(&mut self, values: u64) {
        self.decided(|report| {
            report.migrated += 1;
            report.values += values;
        });
    }
}
