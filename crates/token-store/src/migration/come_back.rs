//! Retries of rows that other transactions have locked.

use super::batch::{Batch, Lost};
use super::engine::{PAUSES, Run};
use super::pipeline::Pipeline;
use super::{Ended, MigrationReport};
use crate::database::layout::Layout;

impl<'a, P: FnMut(&MigrationReport)> Run<'a, P> {
    /// Retries rows that were locked, after a pause each time.
    pub(super) async fn come_back(&mut self, layout: &'a Layout) -> Result<(), Ended> {
        let worker = self.worker(layout);
        let mut lost = Lost { locked: std::mem::take(&mut self.locked), changed: Vec::new() };
        for pause in PAUSES {
            if lost.len() == 0 || self.is_over() {
                break;
            }
            if !lost.locked.is_empty() {
                tokio::time::sleep(pause).await;
            }
            if let Some(remaining) = self.remaining() {
                let most = usize::try_from(remaining).unwrap_or(usize::MAX).min(lost.locked.len());
                self.conflicts(lost.locked.len() - most);
                lost.locked.truncate(most);
            }
            // Each round is one try.
            lost.changed.iter_mut().for_each(|row| row.tries = PAUSES.len());
            lost.locked.iter_mut().for_each(|planned| planned.tries = PAUSES.len());
            let mut pipeline = Pipeline::of_lost(worker, self.options, lost);
            lost = Box::pin(self.drive(worker, &mut pipeline)).await?.lost;
        }
        let mut batch = Batch::default();
        match self.is_over() {
            true => batch.conflicts(lost.len()),
            false => worker.give_up(lost, &mut batch).await?,
        }
        self.count(batch);
        Ok(())
    }

    /// Counts rows that other transactions block.
    pub(super) fn conflicts(&mut self, rows: usize) {
        let mut batch = Batch::default();
        batch.conflicts(rows);
        self.count(batch);
    }
}
