//! The walk over the tables: pages in key order, rows planned several at a time, batches written at once.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};

use super::batch::{Batch, Lost, PlannedChange};
use super::rewrap::{RewrapGoal, plan_rewrap};
use super::{Ended, Failure, MAX_LISTED, MigrationReport, Outcome, RunOptions, StopFlag};
use crate::audit::{self, RunCounts, Trail};
use crate::database::layout::Layout;
use crate::database::rows::{Change, Locked, Range, StoredRow};
use crate::error::StoreError;
use crate::plan::{CurrentKey, Goal, RowPlan, plan};
use crate::store::TokenStore;

/// How often a row that others changed or have locked is tried again, and after which pause each time, before it is left
/// to the next run. The pauses are for rows that are locked; those of an application mostly are for milliseconds.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(500), Duration::from_millis(1_500)];

/// What is done to each row.
pub(super) enum Work {
    Convert(Goal, CurrentKey),
    Rewrap(RewrapGoal),
}

impl Work {
    async fn plan(&self, store: &TokenStore, layout: &Layout, row: StoredRow) -> RowPlan {
        match self {
            Self::Convert(goal, current_key) => {
                plan(store.cipher(), layout, store.profile().unmarked, row, *goal, current_key).await
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
        })
    }

    fn tell_start(&self, trail: Trail<'_>, dry_run: bool) {
        match self {
            Self::Convert(goal, _) => {
                trail.started(Some(goal.format.method().unwrap_or("plaintext")), None, dry_run);
            }
            Self::Rewrap(goal) => trail.started(None, Some(&goal.to), dry_run),
        }
    }

    fn tell_change(&self, trail: Trail<'_>, layout: &Layout, change: &Change) {
        match self {
            Self::Convert(..) => trail.migrated(layout, change),
            Self::Rewrap(_) => trail.changed(audit::ROW_REWRAPPED, layout, change),
        }
    }
}

pub(super) struct Run<'a, P> {
    store: &'a TokenStore,
    work: Work,
    options: &'a RunOptions,
    stop: &'a StopFlag,
    progress: P,
    report: MigrationReport,
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
        Self { store, work, options, stop, progress, report }
    }

    pub(super) async fn finish(mut self) -> Outcome<MigrationReport> {
        let started = Instant::now();
        self.work.tell_start(self.trail(), self.options.dry_run);
        let ended_by = self.tables().await.err();
        self.report.interrupted |= self.stop.is_set();
        self.report.elapsed_seconds = started.elapsed().as_secs_f64();
        self.trail().finished(self.outcome(ended_by.as_ref()), &self.counts());
        Outcome { report: self.report, ended_by }
    }

    /// How the run ended, as the audit trail calls it.
    fn outcome(&self, ended_by: Option<&Ended>) -> &'static str {
        match ended_by {
            Some(ended) => ended.class(),
            None if self.report.interrupted => "interrupted",
            None if self.report.failed + self.report.conflicts > 0 => "partial",
            None => "ok",
        }
    }

    fn counts(&self) -> RunCounts {
        let MigrationReport { dry_run, scanned, migrated, already, conflicts, failed, values, .. } =
            self.report;
        RunCounts { dry_run, scanned, changed: migrated, already, conflicts, failed, values }
    }
}

impl<'a, P: FnMut(&MigrationReport)> Run<'a, P> {
    fn trail(&self) -> Trail<'a> {
        self.work.trail(self.store)
    }

    async fn tables(&mut self) -> Result<(), Ended> {
        let store = self.store;
        for layout in store.layouts() {
            let mut spans = vec![Span::default()];
            while let Some(span) = spans.pop() {
                spans.extend(self.span(layout, span).await?);
            }
        }
        Ok(())
    }

    /// Works through a span in key order, and returns what it leaves for later.
    async fn span(&mut self, layout: &Layout, span: Span) -> Result<Vec<Span>, Ended> {
        let mut page = self.page(layout, span.range()).await?;
        while !page.is_empty() && !self.is_over() {
            let rest = Span { after: page.last().map(|row| row.key.clone()), until: span.until.clone() };
            let was_full = page.len() == self.options.batch_size;
            // The next page is read while this one is sealed and written.
            let next =
                async { if was_full { self.page(layout, rest.range()).await } else { Ok(Vec::new()) } };
            let (next, batch) = tokio::join!(next, self.batch(layout, page));
            let mut batch = batch?;
            let (outage, trails) = (batch.outage.take(), batch.trails());
            self.count(batch);
            (self.progress)(&self.report);
            if let Some(error) = outage {
                return Err(Ended::KeyService(error));
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
        let rows = layout.count_range(database, rest.range()).await.map_err(StoreError::from)?;
        if rows < 2 * self.options.batch_size as u64 {
            return Ok(None);
        }
        let offset = rows / 4 + rand::random_range(0..rows / 2);
        let middle = layout.key_at(database, rest.range(), offset).await.map_err(StoreError::from)?;
        Ok(middle.map(|middle| {
            let near = Span { after: rest.after.clone(), until: Some(middle.clone()) };
            [near, Span { after: Some(middle), until: rest.until.clone() }]
        }))
    }

    async fn page(&self, layout: &Layout, range: Range<'_>) -> Result<Vec<StoredRow>, StoreError> {
        Ok(layout.page(self.store.database(), range, self.options.batch_size).await?)
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

    /// Plans and writes one page. Rows that changed meanwhile are read and planned again; those that are locked are
    /// written later, as they were planned.
    async fn batch(&self, layout: &Layout, rows: Vec<StoredRow>) -> Result<Batch, Ended> {
        let mut batch = Batch::default();
        let changes = self.plan_rows(layout, rows, &mut batch).await;
        batch.planned = changes.len();
        let mut lost = self.write(layout, changes, &mut batch).await?;
        batch.lost = lost.len();
        for pause in PAUSES {
            if lost.len() == 0 || batch.outage.is_some() {
                return Ok(batch);
            }
            if !lost.locked.is_empty() && !self.stop.is_set() {
                tokio::time::sleep(pause).await;
            }
            let mut changes = self.plan_rows(layout, lost.changed, &mut batch).await;
            changes.append(&mut lost.locked);
            lost = self.write(layout, changes, &mut batch).await?;
        }
        batch.report.conflicts += lost.len() as u64;
        batch.report.scanned += lost.len() as u64;
        Ok(batch)
    }

    /// Plans rows, at most as many as there is room for changes: beyond that, calls would be made for nothing.
    async fn plan_rows(
        &self,
        layout: &Layout,
        rows: Vec<StoredRow>,
        batch: &mut Batch,
    ) -> Vec<PlannedChange> {
        let mut changes = Vec::new();
        let mut rows = rows.into_iter();
        let remaining =
            self.remaining().map_or(usize::MAX, |rows| usize::try_from(rows).unwrap_or(usize::MAX));
        loop {
            let taken =
                usize::try_from(batch.report.migrated).unwrap_or(usize::MAX).saturating_add(changes.len());
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
                let correlation_id = failure.tell(self.trail(), layout, &name);
                if let Some(error) = failure.outage() {
                    batch.outage = Some(error.clone());
                    return;
                }
                let class = failure.cause.class();
                let failure = Failure::new(&layout.table.name, name, &failure.column, class, &failure.cause);
                batch.failed(Failure { correlation_id, ..failure });
            }
            RowPlan::WouldChange { sealed, calls } => {
                batch.written(sealed);
                batch.report.kms_calls += calls;
            }
            RowPlan::Change { change, sealed } => changes.push(PlannedChange { change, sealed }),
        }
    }

    /// Writes what was planned, and returns what somebody else was in the way of.
    async fn write(
        &self,
        layout: &Layout,
        changes: Vec<PlannedChange>,
        batch: &mut Batch,
    ) -> Result<Lost, Ended> {
        let mut lost = Lost::default();
        if changes.is_empty() {
            return Ok(lost);
        }
        let (sealed, changes): (Vec<u64>, Vec<Change>) =
            changes.into_iter().map(|planned| (planned.sealed, planned.change)).unzip();
        match layout.swap(self.store.database(), &changes, Locked::PassOver).await {
            Ok(swapped) if swapped == changes.len() as u64 => {
                for (values, change) in sealed.into_iter().zip(&changes) {
                    self.wrote(layout, change, values, batch);
                }
                return Ok(lost);
            }
            Ok(_) => {}
            // One row that the table does not take keeps no other from being written.
            Err(error) if error.refuses_a_row() => {
                return self.write_one_by_one(layout, sealed.into_iter().zip(changes), batch).await;
            }
            Err(error) => return Err(StoreError::from(error).into()),
        }
        for (sealed, change) in sealed.into_iter().zip(changes) {
            let now = layout.fetch(self.store.database(), &change.old.key).await.map_err(StoreError::from)?;
            match now {
                Some(row) if change.is_written(&row, layout) => self.wrote(layout, &change, sealed, batch),
                Some(row) => lost.add(PlannedChange { change, sealed }, row),
                // Deleted meanwhile: nothing is left to do.
                None => batch.decided(|report| report.already += 1),
            }
        }
        Ok(lost)
    }

    async fn write_one_by_one(
        &self,
        layout: &Layout,
        changes: impl Iterator<Item = (u64, Change)>,
        batch: &mut Batch,
    ) -> Result<Lost, Ended> {
        let database = self.store.database();
        let mut lost = Lost::default();
        for (sealed, change) in changes {
            match layout.swap(database, std::slice::from_ref(&change), Locked::PassOver).await {
                Ok(1) => self.wrote(layout, &change, sealed, batch),
                Ok(_) => match layout.fetch(database, &change.old.key).await.map_err(StoreError::from)? {
                    Some(row) => lost.add(PlannedChange { change, sealed }, row),
                    None => batch.decided(|report| report.already += 1),
                },
                Err(error) if error.refuses_a_row() => {
                    let row = change.old.name(layout);
                    self.trail().write_failed(layout, &row, "database", None);
                    let columns = layout.table.tokens.join(",");
                    batch.failed(Failure::new(&layout.table.name, row, &columns, "database", &error));
                }
                Err(error) => return Err(StoreError::from(error).into()),
            }
        }
        Ok(lost)
    }

    fn wrote(&self, layout: &Layout, change: &Change, values: u64, batch: &mut Batch) {
        self.work.tell_change(self.trail(), layout, change);
        batch.written(values);
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
        report.kms_calls += batch.report.kms_calls;
        report.failures.extend(batch.report.failures.into_iter().take(room));
    }
}

/// Rows between two keys, still to be worked through.
#[derive(Clone, Default)]
struct Span {
    after: Option<Vec<String>>,
    until: Option<Vec<String>>,
}

impl Span {
    fn range(&self) -> Range<'_> {
        Range { after: self.after.as_deref(), until: self.until.as_deref() }
    }
}
