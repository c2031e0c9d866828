//! The walk over the tables: pages in key order, rows planned several at a time, batches written at once.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};

use super::batch::{Batch, Counts, PlannedChange};
use super::left::{pending, under_other_keys};
use super::rewrap::{RewrapGoal, plan_rewrap};
use super::{Ended, Failure, MAX_LISTED, MigrationReport, Outcome, RunOptions, StopFlag};
use crate::audit::{self, RunCounts, Trail};
use crate::blind_index::plan_reindex;
use crate::database::change::Change;
use crate::database::layout::Layout;
use crate::database::row::{StoredKey, StoredRow};
use crate::database::select::{Range, Walk};
use crate::error::StoreError;
use crate::plan::{CellFailure, CurrentKey, Goal, RowPlan, plan};
use crate::store::TokenStore;

/// How often a row that others changed or have locked is tried again before it is left to the next run, and after which
/// pause each time where rows are locked; locks of an application mostly are for milliseconds.
pub(super) const PAUSES: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(500), Duration::from_millis(1_500)];

/// How many changes of locked rows are kept for the end of a table.
const MOST_LOCKED: usize = 500;

/// The work on each row.
pub(super) enum Work {
    Convert(Goal, CurrentKey),
    Rewrap(RewrapGoal),
    /// Blind indexes come under the active key; values stay as they are.
    Reindex {
        dry_run: bool,
    },
}

impl Work {
    async fn plan(&self, store: &TokenStore, layout: &Layout, row: StoredRow) -> RowPlan {
        match self {
            Self::Convert(goal, current_key) => {
                let keys = match store.index_keys_for(layout, *goal).await {
                    Ok(keys) => keys,
                    Err(error) => return RowPlan::Failed(error.into()),
                };
                plan(store.cipher(), layout, store.profile().unmarked, row, *goal, current_key, keys).await
            }
            Self::Reindex { dry_run } => {
                plan_reindex(store, layout, row, *dry_run).await.unwrap_or_else(RowPlan::from)
            }
            Self::Rewrap(goal) => {
                plan_rewrap(store.cipher(), layout, row, goal).await.unwrap_or_else(RowPlan::from)
            }
        }
    }

    fn trail<'a>(&self, store: &'a TokenStore) -> Trail<'a> {
        store.trail(match self {
            Self::Convert(..) => "migrate",
            Self::Rewrap(_) => "rewrap",
            Self::Reindex { .. } => "rotate-index",
        })
    }

    fn tell_start(&self, trail: Trail<'_>, dry_run: bool) {
        match self {
            Self::Convert(goal, _) => {
                trail.started(Some(goal.format.method().unwrap_or("plaintext")), None, dry_run);
            }
            Self::Rewrap(goal) => trail.started(None, Some(&goal.to), dry_run),
            Self::Reindex { .. } => trail.started(None, None, dry_run),
        }
    }

    pub(super) fn tell_change(&self, trail: Trail<'_>, layout: &Layout, change: &Change) {
        match self {
            Self::Convert(..) => trail.migrated(layout, change),
            Self::Rewrap(_) => trail.changed(audit::ROW_REWRAPPED, layout, change),
            Self::Reindex { .. } => trail.changed(audit::ROW_REINDEXED, layout, change),
        }
    }
}

pub(super) struct Run<'a, P> {
    pub(super) store: &'a TokenStore,
    pub(super) work: Work,
    pub(super) options: &'a RunOptions,
    pub(super) stop: &'a StopFlag,
    progress: P,
    pub(super) report: MigrationReport,
    /// Changes of rows of the table in hand that other transactions have locked.
    pub(super) locked: Vec<PlannedChange>,
    /// A row that was written before the walk came to it.
    pub(super) ahead: Option<StoredKey>,
    /// Whether rows further on were found to be at the target already, and none to be refused.
    pub(super) are_others_done: bool,
}

impl<'a, P: FnMut(&MigrationReport)> Run<'a, P> {
    pub(super) fn new(
        store: &'a TokenStore,
        work: Work,
        options: &'a RunOptions,
        stop: &'a StopFlag,
        progress: P,
    ) -> Self {
        let report = MigrationReport { dry_run: options.dry_run, ..MigrationReport::default() };
        let (locked, ahead, are_others_done) = (Vec::new(), None, false);
        Self { store, work, options, stop, progress, report, locked, ahead, are_others_done }
    }

    pub(super) async fn finish(mut self) -> Outcome<MigrationReport> {
        let started = Instant::now();
        if self.store.cipher().reads_below_floor() {
            self.trail().below_floor();
        }
        self.work.tell_start(self.trail(), self.options.dry_run);
        let ended_by = self.tables().await.err();
        self.report.interrupted |= self.stop.is_set();
        self.report.elapsed_seconds = started.elapsed().as_secs_f64();
        let counted = self.count_left().await.err();
        let ended_by = ended_by.or(counted);
        self.trail().finished(self.outcome(ended_by.as_ref()), &self.counts());
        Outcome { report: self.report, ended_by }
    }

    /// Counts what is left, whatever the walk came by: rows that failed, rows that were skipped, and rows that were added.
    async fn count_left(&mut self) -> Result<(), Ended> {
        let store = self.store;
        for layout in store.layouts() {
            let unnamed = store.database().count_unnamed(layout).await.map_err(StoreError::from)?;
            self.report.failures.extend(Failure::of_unnamed(layout, unnamed));
            self.report.left += match &self.work {
                Work::Convert(goal, _) => pending(store, layout, goal.format).await?,
                Work::Rewrap(goal) => under_other_keys(store, layout, goal).await?,
                // Counted when the key is to be retired.
                Work::Reindex { .. } => 0,
            };
        }
        Ok(())
    }

    /// How the run ended, as the audit trail calls it.
    fn outcome(&self, ended_by: Option<&Ended>) -> &'static str {
        match ended_by {
            Some(ended) => ended.class(),
            None if self.report.interrupted => "interrupted",
            None if self.report.failed + self.report.conflicts > 0 => "partial",
            None if self.is_left() => "partial",
            None => "ok",
        }
    }

    /// Whether rows are left that the run was to move.
    fn is_left(&self) -> bool {
        let moves_all = self.options.limit.is_none() && !self.options.dry_run;
        self.report.left > 0 && moves_all && matches!(self.work, Work::Convert(..))
    }

    fn counts(&self) -> RunCounts {
        let MigrationReport { dry_run, scanned, migrated, already, conflicts, failed, values, .. } =
            self.report;
        RunCounts { dry_run, scanned, changed: migrated, already, conflicts, failed, values }
    }
}

impl<'a, P: FnMut(&MigrationReport)> Run<'a, P> {
    pub(super) fn trail(&self) -> Trail<'a> {
        self.work.trail(self.store)
    }

    async fn tables(&mut self) -> Result<(), Ended> {
        let store = self.store;
        for layout in store.layouts() {
            // Another table may have a row of the same key.
            self.ahead = None;
            let mut spans = vec![Span::default()];
            while let Some(span) = spans.pop() {
                spans.extend(self.span(layout, span).await?);
            }
            self.come_back(layout).await?;
        }
        Ok(())
    }

    /// Works through a span in key order, and returns what it leaves for later.
    async fn span(&mut self, layout: &Layout, span: Span) -> Result<Vec<Span>, Ended> {
        let until = span.until.clone();
        let mut walk =
            Walk::between(self.store.database(), layout, self.options.batch_size, span.after, span.until);
        let mut page = walk.next().await?;
        while !page.is_empty() && !self.is_over() {
            let rest = Span { after: walk.place().cloned(), until: until.clone() };
            // The next page is read while this one is sealed and written.
            page.retain(|row| self.ahead.as_ref() != Some(&row.key));
            let (next, batch) = tokio::join!(walk.next(), self.batch(layout, page));
            let mut batch = batch?;
            let (outage, trails) = (batch.outage.take(), batch.trails());
            self.locked.append(&mut batch.locked);
            self.count(batch);
            if self.locked.len() >= MOST_LOCKED {
                self.come_back(layout).await?;
            }
            (self.progress)(&self.report);
            if let Some(error) = outage {
                return Err(Ended::KeyService(error));
            }
            if let Some(reason) = self.all_refused()
                && !self.writes_ahead(layout, &rest).await?
            {
                let table = layout.table.name.clone();
                return Err(StoreError::Unsuitable { table, reason }.into());
            }
            if trails && let Some(spans) = self.split(layout, &rest).await? {
                return Ok(spans.into());
            }
            page = next?;
        }
        Ok(Vec::new())
    }

    /// Divides what is left of a span somewhere in its middle, so that another run that works here keeps the near
    /// part; the far one comes first.
    async fn split(&self, layout: &Layout, rest: &Span) -> Result<Option<[Span; 2]>, Ended> {
        let database = self.store.database();
        let rows = database.count(layout, rest.range()).await.map_err(StoreError::from)?;
        if rows < 2 * self.options.batch_size as u64 {
            return Ok(None);
        }
        let offset = rows / 4 + rand::random_range(0..rows / 2);
        let middle = database.key_at(layout, rest.range(), offset).await.map_err(StoreError::from)?;
        Ok(middle.map(|middle| {
            let near = Span { after: rest.after.clone(), until: Some(middle.clone()) };
            [near, Span { after: Some(middle), until: rest.until.clone() }]
        }))
    }

    pub(super) fn is_over(&mut self) -> bool {
        if self.stop.is_set() {
            self.report.interrupted = true;
        }
        self.report.interrupted || self.remaining() == Some(0)
    }

    pub(super) fn remaining(&self) -> Option<u64> {
        self.options.limit.map(|limit| limit.saturating_sub(self.report.migrated))
    }

    /// Plans and writes one page. Rows that changed meanwhile are read and planned again; those that are locked are come
    /// back to when the table is done, as they were planned.
    pub(super) async fn batch(&self, layout: &Layout, rows: Vec<StoredRow>) -> Result<Batch, Ended> {
        let mut batch = Batch::default();
        let changes = self.plan_rows(layout, rows, &mut batch).await;
        batch.planned = changes.len();
        let mut lost = self.write(layout, changes, &mut batch).await?;
        batch.lost = lost.len();
        for _ in PAUSES {
            batch.locked.append(&mut lost.locked);
            if lost.changed.is_empty() || batch.outage.is_some() {
                break;
            }
            let changes = self.plan_rows(layout, lost.changed, &mut batch).await;
            lost = self.write(layout, changes, &mut batch).await?;
        }
        batch.locked.append(&mut lost.locked);
        batch.conflicts(lost.changed.len());
        Ok(batch)
    }

    /// Plans rows, at most as many as there is room for changes: beyond that, calls would be made for nothing.
    pub(super) async fn plan_rows(
        &self,
        layout: &Layout,
        rows: Vec<StoredRow>,
        batch: &mut Batch,
    ) -> Vec<PlannedChange> {
        let mut changes: Vec<PlannedChange> = Vec::new();
        let mut rows = rows.into_iter();
        let remaining =
            self.remaining().map_or(usize::MAX, |rows| usize::try_from(rows).unwrap_or(usize::MAX));
        loop {
            let moves = changes.iter().filter(|planned| !planned.corrects).count();
            let taken = usize::try_from(batch.report.migrated).unwrap_or(usize::MAX).saturating_add(moves);
            let wave: Vec<StoredRow> = rows.by_ref().take(remaining.saturating_sub(taken)).collect();
            if wave.is_empty() || batch.outage.is_some() || self.stop.is_set() {
                return changes;
            }
            self.plan_wave(layout, wave, &mut changes, batch).await;
        }
    }

    async fn plan_wave(
        &self,
        layout: &Layout,
        rows: Vec<StoredRow>,
        changes: &mut Vec<PlannedChange>,
        batch: &mut Batch,
    ) {
        let plans = stream::iter(rows).map(|row| async move {
            let name = row.name(layout);
            (name, self.work.plan(self.store, layout, row).await)
        });
        let mut plans = plans.buffered(self.options.concurrency.max(1));
        while let Some((name, plan)) = plans.next().await {
            // Each planned row counts before a stop is heeded; the rest of a slow batch is left to the next run.
            self.count_plan(layout, name, plan, changes, batch);
            if batch.outage.is_some() || self.stop.is_set() {
                return;
            }
        }
    }

    fn count_plan(
        &self,
        layout: &Layout,
        name: String,
        plan: RowPlan,
        changes: &mut Vec<PlannedChange>,
        batch: &mut Batch,
    ) {
        match plan {
            RowPlan::Already => batch.decided(|report| report.already += 1),
            RowPlan::Failed(failure) => {
                if let Some(error) = failure.outage() {
                    failure.tell(self.trail(), layout, &name);
                    batch.outage = Some(error.clone());
                    return;
                }
                batch.failed(self.failure(layout, name, &failure));
            }
            RowPlan::Partly { rest, failure } => {
                let failure = self.failure(layout, name, &failure);
                Self::count_write(*rest, Some(failure), changes, batch);
            }
            written => Self::count_write(written, None, changes, batch),
        }
    }

    /// A row that is to be written, but for one value perhaps.
    fn count_write(
        plan: RowPlan,
        failure: Option<Failure>,
        changes: &mut Vec<PlannedChange>,
        batch: &mut Batch,
    ) {
        match plan {
            RowPlan::WouldChange { sealed, calls } => {
                batch.written(Counts { values: sealed, failure, corrects: false });
                batch.report.kms_calls += calls;
            }
            RowPlan::Change { change, sealed } => {
                changes.push(PlannedChange::new(change, Counts { values: sealed, failure, corrects: false }));
            }
            RowPlan::Corrects(None) => batch.written(Counts { values: 0, failure, corrects: true }),
            RowPlan::Corrects(Some(change)) => {
                changes.push(PlannedChange::new(change, Counts { values: 0, failure, corrects: true }));
            }
            RowPlan::Already | RowPlan::Failed(_) | RowPlan::Partly { .. } => {}
        }
    }

    /// A value that could not be moved, for the report; the log and the trail get it as well.
    fn failure(&self, layout: &Layout, row: String, failure: &CellFailure) -> Failure {
        let correlation_id = failure.tell(self.trail(), layout, &row);
        let class = failure.cause.class();
        let failure = Failure::new(&layout.table.name, row, &failure.column, class, &failure.cause);
        Failure { correlation_id, ..failure }
    }

    pub(super) fn count(&mut self, batch: Batch) {
        let room = MAX_LISTED.saturating_sub(self.report.failures.len());
        let report = &mut self.report;
        report.scanned += batch.report.scanned;
        report.migrated += batch.report.migrated;
        report.already += batch.report.already;
        report.corrected += batch.report.corrected;
        report.conflicts += batch.report.conflicts;
        report.failed += batch.report.failed;
        report.values += batch.report.values;
        report.kms_calls += batch.report.kms_calls;
        report.failures.extend(batch.report.failures.into_iter().take(room));
    }
}

/// Rows between two keys, still to be worked through.
#[derive(Clone, Default)]
pub(super) struct Span {
    pub(super) after: Option<StoredKey>,
    until: Option<StoredKey>,
}

impl Span {
    pub(super) fn range(&self) -> Range<'_> {
        Range { after: self.after.as_ref(), until: self.until.as_ref() }
    }
}

/// The class of failures whose cause is the database.
pub(super) const DATABASE: &str = "database";
