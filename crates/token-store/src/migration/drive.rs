//! A run's handling of the events of its pipeline: counts, and the end of new rows.

use super::batch::{Batch, Lost, PlannedChange, Tried};
use super::engine::{PAUSES, Run};
use super::pipeline::{Event, Pipeline, Written};
use super::worker::{Planned, Worker};
use super::{Ended, MigrationReport};

/// How many changes of locked rows are kept for the end of a table.
const MOST_LOCKED: usize = 500;

/// And how many bytes of their texts.
const MOST_LOCKED_BYTES: usize = 8 << 20;

/// The result when no work is in progress any more.
#[derive(Default)]
pub(super) struct Driven {
    pub(super) lost: Lost,
    /// Whether another run works on the same rows.
    pub(super) trails: bool,
    /// Why it seems that the database refuses every row, where it has refused all so far. The pipeline
    /// continues from there when it is driven again.
    pub(super) refused: Option<String>,
}

impl<'a, P: FnMut(&MigrationReport)> Run<'a, P> {
    /// Works until nothing is left, or until enough rows were refused to suggest another cause; in either
    /// case no work is in progress any more. Returns the changes that other transactions blocked each time.
    pub(super) async fn drive(
        &mut self,
        worker: Worker<'a>,
        pipeline: &mut Pipeline<'a>,
    ) -> Result<Driven, Ended> {
        let (mut driven, mut ended_by) = (Driven::default(), None);
        let mut shown = self.report.scanned;
        pipeline.resume();
        loop {
            if self.is_over() {
                pipeline.drop_plans();
            }
            let Some(event) = pipeline.next(self.remaining().unwrap_or(u64::MAX)).await else { break };
            let is_written = matches!(event, Event::Written(_));
            let failures = self.report.failures.len();
            let failed = match event {
                Event::Tick => None,
                Event::Read(Ok(mut page)) => {
                    page.retain(|row| self.ahead.as_ref() != Some(&row.key));
                    pipeline.take_page(page);
                    None
                }
                // Rows that were read before are finished.
                Event::Read(Err(error)) => {
                    pipeline.end_reading();
                    Some(error.into())
                }
                Event::Planned(planned) => self.planned(worker, pipeline, planned),
                Event::Written(written) => self.written(pipeline, written, &mut driven),
            };
            // The first error is the cause of those that follow.
            ended_by = ended_by.or(failed);
            if is_written || self.report.scanned - shown >= self.options.batch_size as u64 {
                (self.progress)(&self.report);
                shown = self.report.scanned;
            }
            if driven.refused.is_none() && pipeline.is_of_walk() && self.report.failures.len() > failures {
                driven.refused = self.all_refused();
                if driven.refused.is_some() {
                    pipeline.pause();
                }
            }
        }
        if matches!(ended_by, Some(Ended::KeyService(_))) {
            self.conflicts(pipeline.left_again());
        }
        if self.report.scanned > shown {
            (self.progress)(&self.report);
        }
        ended_by.map_or(Ok(driven), Err)
    }

    /// Counts a row that was planned, and hands on its change.
    fn planned(
        &mut self,
        worker: Worker<'a>,
        pipeline: &mut Pipeline<'a>,
        planned: Planned,
    ) -> Option<Ended> {
        let mut batch = Batch::default();
        let read_bytes = planned.bytes;
        let change = worker.count_plan(planned, &mut batch);
        pipeline.take_change(read_bytes, change);
        let outage = batch.outage.take();
        self.count(batch);
        if outage.is_some() {
            pipeline.drop_plans();
        }
        outage.map(Ended::KeyService)
    }

    /// Counts written rows. Rows that changed meanwhile are planned again; locked ones are retried when
    /// the table is done, with their existing plans.
    fn written(
        &mut self,
        pipeline: &mut Pipeline<'a>,
        written: Written,
        driven: &mut Driven,
    ) -> Option<Ended> {
        let Written { batch, lost, error, .. } = written;
        let trails = batch.trails();
        self.count(batch);
        for row in lost.changed {
            match row.tries < PAUSES.len() {
                true => pipeline.take_again(Tried { tries: row.tries + 1, ..row }),
                // A walk may meet any number of them, and keeps none.
                false if pipeline.is_of_walk() => self.conflicts(1),
                false => driven.lost.changed.push(row),
            }
        }
        driven.lost.locked.extend(lost.locked);
        if error.is_some() {
            pipeline.drop_changes();
        } else if trails || self.must_come_back(&driven.lost.locked) {
            driven.trails |= trails;
            pipeline.halt();
        }
        error
    }

    /// Whether more changes of locked rows are kept than there is room for.
    pub(super) fn must_come_back(&self, locked: &[PlannedChange]) -> bool {
        let all = || self.locked.iter().chain(locked);
        all().count() >= MOST_LOCKED || all().map(PlannedChange::bytes).sum::<usize>() >= MOST_LOCKED_BYTES
    }
}
