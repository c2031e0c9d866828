//! Writing what was planned, and coming back to rows that other transactions have locked.

use super::batch::{Batch, Counts, Lost, PlannedChange};
use super::engine::{DATABASE, PAUSES, Run};
use super::{Ended, Failure, MigrationReport};
use crate::database::change::Change;
use crate::database::layout::Layout;
use crate::database::swap::{Fate, Locked, Writing};
use crate::error::StoreError;

impl<P: FnMut(&MigrationReport)> Run<'_, P> {
    /// Writes what was planned, and returns what others were in the way of.
    pub(super) async fn write(
        &self,
        layout: &Layout,
        changes: Vec<PlannedChange>,
        batch: &mut Batch,
    ) -> Result<Lost, Ended> {
        let mut lost = Lost::default();
        if changes.is_empty() {
            return Ok(lost);
        }
        let (counts, changes): (Vec<Counts>, Vec<Change>) =
            changes.into_iter().map(PlannedChange::parts).unzip();
        let database = self.store.database();
        let writing = Writing::tokens(Locked::PassOver);
        let fates = database.swap(layout, &changes, &writing).await.map_err(StoreError::from)?;
        for ((counts, change), fate) in counts.into_iter().zip(changes).zip(fates) {
            match fate {
                Fate::Written => self.wrote(layout, &change, counts, batch),
                Fate::Altered => self.refused(layout, &change, &NotStoredAsSent, batch),
                Fate::Refused(error) => self.refused(layout, &change, &error, batch),
                Fate::Stale => {
                    self.store.held_keys().forget(&layout.table.name);
                    let now = database.fetch(layout, &change.old.key).await.map_err(StoreError::from)?;
                    match now {
                        Some(row) => lost.changed.push(row),
                        None => batch.decided(|report| report.already += 1),
                    }
                }
                Fate::Unmatched => {
                    let now = database.fetch(layout, &change.old.key).await.map_err(StoreError::from)?;
                    match now {
                        Some(row) if change.is_written(&row, layout) => {
                            self.wrote(layout, &change, counts, batch);
                        }
                        Some(row) => lost.add(PlannedChange::new(change, counts), row),
                        // Deleted meanwhile: nothing is left to do.
                        None => batch.decided(|report| report.already += 1),
                    }
                }
            }
        }
        Ok(lost)
    }

    /// A row that the database does not take stays as it was, and keeps no other from being written.
    fn refused(
        &self,
        layout: &Layout,
        change: &Change,
        error: &(dyn std::error::Error + 'static),
        batch: &mut Batch,
    ) {
        let row = change.old.name(layout);
        self.trail().write_failed(layout, &row, DATABASE, None);
        let columns = layout.table.tokens.join(",");
        batch.failed(Failure::new(&layout.table.name, row, &columns, DATABASE, error));
    }

    /// Counts a row that was written, all of it or but for one value, and tells the audit trail.
    fn wrote(&self, layout: &Layout, change: &Change, counts: Counts, batch: &mut Batch) {
        self.work.tell_change(self.trail(), layout, change);
        batch.written(counts);
    }

    /// Comes back to rows that were locked, after a pause each time.
    pub(super) async fn come_back(&mut self, layout: &Layout) -> Result<(), Ended> {
        let mut lost = Lost { locked: std::mem::take(&mut self.locked), changed: Vec::new() };
        for pause in PAUSES {
            if lost.len() == 0 || self.is_over() {
                break;
            }
            if !lost.locked.is_empty() {
                tokio::time::sleep(pause).await;
            }
            let mut batch = Batch::default();
            let mut changes = self.plan_rows(layout, lost.changed, &mut batch).await;
            changes.append(&mut lost.locked);
            if let Some(remaining) = self.remaining() {
                let most = usize::try_from(remaining).unwrap_or(usize::MAX).min(changes.len());
                batch.conflicts(changes.len() - most);
                changes.truncate(most);
            }
            lost = self.write(layout, changes, &mut batch).await?;
            let outage = batch.outage.take();
            self.count(batch);
            if let Some(error) = outage {
                return Err(Ended::KeyService(error));
            }
        }
        let mut batch = Batch::default();
        match self.is_over() {
            true => batch.conflicts(lost.len()),
            false => self.give_up(layout, lost, &mut batch).await?,
        }
        self.count(batch);
        Ok(())
    }

    /// Rows that nothing is in the way of, and that the database still does not write, are failures; what others hold or
    /// keep changing is left to the next run.
    async fn give_up(&self, layout: &Layout, lost: Lost, batch: &mut Batch) -> Result<(), Ended> {
        batch.conflicts(lost.changed.len());
        let mut free = Vec::new();
        for planned in lost.locked {
            match self.is_locked(layout, &planned).await? {
                true => batch.conflicts(1),
                false => free.push(planned),
            }
        }
        // The lock may have gone just now.
        let again = self.write(layout, free, batch).await?;
        batch.conflicts(again.changed.len());
        for planned in again.locked {
            match self.is_locked(layout, &planned).await? {
                true => batch.conflicts(1),
                false => self.refused(layout, &planned.change, &NotStoredAsSent, batch),
            }
        }
        Ok(())
    }

    async fn is_locked(&self, layout: &Layout, planned: &PlannedChange) -> Result<bool, Ended> {
        let locked = self.store.database().is_locked(layout, &planned.change.old.key).await;
        Ok(locked.map_err(StoreError::from)?)
    }
}

/// Why a row was left as it was although the database did not refuse it.
#[derive(Debug, thiserror::Error)]
#[error(
    "database would store something else than what was sent, or keeps back the row: a trigger, a rule or a policy is in the way"
)]
struct NotStoredAsSent;
