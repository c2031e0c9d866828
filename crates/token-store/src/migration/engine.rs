//! The walk over the tables, span by span: its counts, and its end.

use std::time::{Duration, Instant};

use super::batch::{Batch, PlannedChange};
use super::left::{pending, under_other_keys};
use super::pipeline::Pipeline;
use super::rewrap::{RewrapGoal, plan_rewrap};
use super::worker::Worker;
use super::{Ended, Failure, MAX_LISTED, MigrationReport, Outcome, RunOptions, StopFlag};
use crate::audit::{self, RunCounts, Trail};
use crate::blind_index::{ReindexGoal, plan_reindex};
use crate::database::change::Change;
use crate::database::layout::Layout;
use crate::database::row::{StoredKey, StoredRow};
use crate::database::select::{Range, Walk};
use crate::error::StoreError;
use crate::plan::{CurrentKey, Goal, RowPlan, plan};
use crate::store::TokenStore;

/// How often a row that others changed or have locked is tried again before it is left to the next run, and after which
/// pause each time where rows are locked; locks of an application mostly are for milliseconds.
pub(super) const PAUSES: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(500), Duration::from_millis(1_500)];

/// The work on each row.
pub(super) enum Work {
    Convert(Goal, CurrentKey),
    Rewrap(RewrapGoal),
    /// Blind indexes come under the active key; values stay as they are.
    Reindex(ReindexGoal),
}

impl Work {
    pub(super) async fn plan(&self, store: &TokenStore, layout: &Layout, row: StoredRow) -> RowPlan {
        match self {
            Self::Convert(goal, current_key) => {
                let keys = match store.index_keys_for(layout, *goal).await {
                    Ok(keys) => keys,
                    Err(error) => return RowPlan::Failed(error.into()),
                };
                plan(store.cipher(), layout, store.profile().unmarked, row, *goal, current_key, keys).await
            }
            Self::Reindex(goal) => plan_reindex(store, layout, row, goal).await.unwrap_or_else(RowPlan::from),
            Self::Rewrap(goal) => {
                plan_rewrap(store.cipher(), layout, row, goal).await.unwrap_or_else(RowPlan::from)
            }
        }
    }

    pub(super) fn trail<'a>(&self, store: &'a TokenStore) -> Trail<'a> {
        store.trail(match self {
            Self::Convert(..) => "migrate",
            Self::Rewrap(_) => "rewrap",
            Self::Reindex(_) => "rotate-index",
        })
    }

    fn tell_start(&self, trail: Trail<'_>, dry_run: bool) {
        match self {
            Self::Convert(goal, _) => {
                trail.started(Some(goal.format.method().unwrap_or("plaintext")), None, dry_run);
            }
            Self::Rewrap(goal) => trail.started(None, Some(&goal.to), dry_run),
            Self::Reindex(_) => trail.started(None, None, dry_run),
        }
    }

    pub(super) fn tell_change(&self, trail: Trail<'_>, layout: &Layout, change: &Change) {
        match self {
            Self::Convert(..) => trail.migrated(layout, change),
            Self::Rewrap(_) => trail.changed(audit::ROW_REWRAPPED, layout, change),
            Self::Reindex(_) => trail.changed(audit::ROW_REINDEXED, layout, change),
        }
    }
}

pub(super) struct Run<'a, P> {
    pub(super) store: &'a TokenStore,
    pub(super) work: &'a Work,
    pub(super) options: &'a RunOptions,
    pub(super) stop: &'a StopFlag,
    pub(super) progress: P,
    pub(super) report: MigrationReport,
    /// Changes of rows of the current table that other transactions have locked.
    pub(super) locked: Vec<PlannedChange>,
    /// A row that was written before the walk came to it.
    pub(super) ahead: Option<StoredKey>,
    /// Whether rows further on were found to be at the target already, and none to be refused.
    pub(super) are_others_done: bool,
    /// What was counted before the current table.
    pub(super) before: Before,
}

/// What a run had counted before a table.
#[derive(Clone, Copy, Default)]
pub(super) struct Before {
    pub(super) migrated: u64,
    pub(super) already: u64,
    /// Failures that are listed.
    pub(super) listed: usize,
}

impl Before {
    fn of(report: &MigrationReport) -> Self {
        Self { migrated: report.migrated, already: report.already, listed: report.failures.len() }
    }
}

impl<'a, P: FnMut(&MigrationReport)> Run<'a, P> {
    pub(super) fn new(
        store: &'a TokenStore,
        work: &'a Work,
        options: &'a RunOptions,
        stop: &'a StopFlag,
        progress: P,
    ) -> Self {
        let report = MigrationReport { dry_run: options.dry_run, ..MigrationReport::default() };
        let (locked, ahead, are_others_done, before) = (Vec::new(), None, false, Before::default());
        Self { store, work, options, stop, progress, report, locked, ahead, are_others_done, before }
    }

    pub(super) async fn finish(mut self) -> Outcome<MigrationReport> {
        let started = Instant::now();
        if self.store.cipher().reads_below_floor() {
            self.trail().below_floor();
        }
        self.work.tell_start(self.trail(), self.options.dry_run);
        let ended_by = Box::pin(self.tables()).await.err();
        self.report.interrupted |= self.stop.is_set();
        self.report.elapsed_seconds = started.elapsed().as_secs_f64();
        let counted = self.count_left().await;
        self.report.left = counted.as_ref().ok().copied();
        let ended_by = ended_by.or(counted.err());
        self.trail().finished(self.outcome(ended_by.as_ref()), &self.counts());
        Outcome { report: self.report, ended_by }
    }

    /// Counts all remaining rows, not only those that the walk saw: rows that failed, were skipped, or were
    /// added.
    async fn count_left(&mut self) -> Result<u64, Ended> {
        let store = self.store;
        let mut left = 0;
        for layout in store.layouts() {
            let unnamed = store.database().count_unnamed(layout).await.map_err(StoreError::from)?;
            self.report.failures.extend(Failure::of_unnamed(layout, unnamed));
            left += match self.work {
                Work::Convert(goal, _) => pending(store, layout, goal.format).await?,
                Work::Rewrap(goal) => under_other_keys(store, layout, goal).await?,
                // Counted when the key is to be retired.
                Work::Reindex(_) => 0,
            };
        }
        Ok(left)
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
        self.report.left.is_some_and(|left| left > 0) && moves_all && matches!(self.work, Work::Convert(..))
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
        store.check_filters().await?;
        for layout in store.layouts() {
            // Another table may have a row of the same key, and other rows.
            self.ahead = None;
            self.are_others_done = false;
            self.before = Before::of(&self.report);
            let mut spans = vec![Span::default()];
            while let Some(span) = spans.pop() {
                spans.extend(self.span(layout, span).await?);
                if self.must_come_back(&[]) {
                    self.come_back(layout).await?;
                }
            }
            self.come_back(layout).await?;
        }
        Ok(())
    }

    /// Works through a span in key order, and returns the spans that it leaves for later.
    async fn span(&mut self, layout: &'a Layout, span: Span) -> Result<Vec<Span>, Ended> {
        let Span { after, until } = span;
        let worker = self.worker(layout);
        let walk = Walk::between(
            self.store.database(),
            layout,
            self.options.batch_size.max(1),
            after.clone(),
            until.clone(),
        );
        let mut pipeline = Pipeline::over(worker, self.options, walk);
        let mut trails = false;
        loop {
            let mut driven = Box::pin(self.drive(worker, &mut pipeline)).await?;
            self.locked.append(&mut driven.lost.locked);
            trails |= driven.trails;
            let Some(reason) = driven.refused else { break };
            let rest = Span { after: pipeline.begun().or_else(|| after.clone()), until: until.clone() };
            if !Box::pin(self.goes_on(worker, &mut pipeline, &rest)).await? {
                let table = layout.table.name.clone();
                return Err(StoreError::Unsuitable { table, reason }.into());
            }
        }
        if !pipeline.has_more() || self.is_over() {
            return Ok(Vec::new());
        }
        let rest = Span { after: pipeline.begun().or(after), until };
        let spans = if trails { self.split(layout, &rest).await? } else { None };
        Ok(spans.map_or_else(|| vec![rest], Vec::from))
    }

    pub(super) fn worker(&self, layout: &'a Layout) -> Worker<'a> {
        Worker { store: self.store, work: self.work, layout }
    }

    /// Divides the rest of a span somewhere in its middle, so that another run that works here keeps the near
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
