//! Planning and writing the rows of one table: the work on rows that is independent of other rows.

use futures_util::future::BoxFuture;

use super::batch::{Batch, Counts, Lost, PlannedChange, Tried};
use super::engine::{DATABASE, Work};
use super::{Ended, Failure};
use crate::audit::Trail;
use crate::database::change::Change;
use crate::database::layout::Layout;
use crate::database::row::{StoredKey, StoredRow, row_name};
use crate::database::swap::{Fate, Locked, Writing};
use crate::error::{DatabaseError, StoreError};
use crate::plan::{CellFailure, RowPlan};
use crate::store::TokenStore;

/// The inputs of planning and writing. It is cheap to clone.
#[derive(Clone, Copy)]
pub(super) struct Worker<'a> {
    pub(super) store: &'a TokenStore,
    pub(super) work: &'a Work,
    pub(super) layout: &'a Layout,
}

/// A row that was planned.
pub(super) struct Planned {
    /// How often it was tried before.
    pub(super) tries: usize,
    /// Its size as it was read.
    pub(super) bytes: usize,
    key: StoredKey,
    plan: RowPlan,
}

impl<'a> Worker<'a> {
    fn trail(&self) -> Trail<'a> {
        self.work.trail(self.store)
    }

    /// How many transactions may write at once. Triggers may lock further rows, in an order of their own: two transactions of
    /// one run would wait for each other there.
    pub(super) fn writers(&self) -> usize {
        if self.layout.facts.is_guarded { 1 } else { self.store.database().writers() }
    }

    pub(super) fn plan(self, row: Tried) -> BoxFuture<'a, Planned> {
        Box::pin(async move {
            let Tried { row, tries } = row;
            let (key, bytes) = (row.key.clone(), row.bytes());
            let plan = self.work.plan(self.store, self.layout, row).await;
            Planned { tries, bytes, key, plan }
        })
    }

    /// Counts a row that was planned, and returns the change where it is to be written.
    pub(super) fn count_plan(&self, planned: Planned, batch: &mut Batch) -> Option<PlannedChange> {
        let Planned { tries, key, plan, .. } = planned;
        let name = || row_name(&self.layout.table.key, &key);
        let change = match plan {
            RowPlan::Already => {
                batch.decided(|report| report.already += 1);
                None
            }
            RowPlan::Failed(failure) => {
                match failure.outage() {
                    Some(error) => {
                        failure.tell(self.trail(), self.layout, &name());
                        batch.outage = Some(error.clone());
                    }
                    None => batch.failed(self.failure(name(), &failure)),
                }
                None
            }
            RowPlan::Partly { rest, failure } => {
                let failure = self.failure(name(), &failure);
                count_write(*rest, Some(failure), batch)
            }
            written => count_write(written, None, batch),
        };
        change.map(|change| PlannedChange { tries, ..change })
    }

    /// A value that could not be moved, for the report; the log and the trail get it as well.
    fn failure(&self, row: String, failure: &CellFailure) -> Failure {
        let correlation_id = failure.tell(self.trail(), self.layout, &row);
        let class = failure.cause.class();
        let failure = Failure::new(&self.layout.table.name, row, &failure.column, class, &failure.cause);
        Failure { correlation_id, ..failure }
    }

    /// Writes the planned changes, and returns those that other transactions blocked.
    pub(super) fn write<'b>(
        &'b self,
        changes: Vec<PlannedChange>,
        batch: &'b mut Batch,
    ) -> BoxFuture<'b, Result<Lost, Ended>> {
        // Boxed, as the stages of a run are: the compiler computes no layout of deeper futures.
        Box::pin(self.write_changes(changes, batch))
    }

    async fn write_changes(&self, changes: Vec<PlannedChange>, batch: &mut Batch) -> Result<Lost, Ended> {
        let mut lost = Lost::default();
        if changes.is_empty() {
            return Ok(lost);
        }
        let layout = self.layout;
        let (counts, changes): (Vec<Counts>, Vec<Change>) =
            changes.into_iter().map(PlannedChange::parts).unzip();
        let database = self.store.database();
        let writing = Writing::tokens(Locked::PassOver);
        let fates = database.swap(layout, &changes, &writing).await.map_err(StoreError::from)?;
        let mut failed = None;
        for ((counts, change), fate) in counts.into_iter().zip(changes).zip(fates) {
            match fate {
                Fate::Written => self.wrote(&change, counts, batch),
                Fate::Altered => self.refused(&change, &NotStoredAsSent, batch),
                Fate::Refused(error) => self.refused(&change, &error, batch),
                // Written rows are counted before the run ends.
                Fate::Stale | Fate::Unmatched | Fate::Blocked(_) if failed.is_some() => {}
                Fate::Stale => {
                    self.store.held_keys().forget(&layout.table.name);
                    match database.fetch(layout, &change.old.key).await {
                        Ok(Some(row)) => lost.changed.push(Tried { row, tries: counts.tries }),
                        Ok(None) => batch.decided(|report| report.already += 1),
                        Err(error) => failed = Some(error),
                    }
                }
                fate @ (Fate::Unmatched | Fate::Blocked(_)) => match database
                    .fetch(layout, &change.old.key)
                    .await
                {
                    Ok(Some(row)) if change.is_written(&row, layout) => self.wrote(&change, counts, batch),
                    Ok(Some(row)) => {
                        let blocked = if let Fate::Blocked(error) = fate { Some(error) } else { None };
                        lost.add(PlannedChange { blocked, ..PlannedChange::new(change, counts) }, row);
                    }
                    // Deleted meanwhile: nothing is left to do.
                    Ok(None) => batch.decided(|report| report.already += 1),
                    Err(error) => failed = Some(error),
                },
            }
        }
        failed.map_or(Ok(lost), |error| Err(StoreError::from(error).into()))
    }

    /// Plans and writes one row, once.
    pub(super) async fn try_once(self, row: StoredRow) -> Result<Batch, Ended> {
        let mut batch = Batch::default();
        let planned = self.plan(Tried { row, tries: 0 }).await;
        if let Some(change) = self.count_plan(planned, &mut batch) {
            self.write(vec![change], &mut batch).await?;
        }
        Ok(batch)
    }

    /// A row that the database does not accept stays as it was, and does not prevent other writes.
    fn refused(&self, change: &Change, error: &(dyn std::error::Error + 'static), batch: &mut Batch) {
        let row = change.old.name(self.layout);
        self.trail().write_failed(self.layout, &row, DATABASE, None);
        let columns = self.layout.table.tokens.join(",");
        batch.failed(Failure::new(&self.layout.table.name, row, &columns, DATABASE, error));
    }

    /// Counts a row that was written, all of it or but for one value, and reports it to the audit trail.
    fn wrote(&self, change: &Change, counts: Counts, batch: &mut Batch) {
        self.work.tell_change(self.trail(), self.layout, change);
        batch.written(counts);
    }

    /// Rows that no transaction blocks, and that the database still does not write, are failures; rows that
    /// others hold or keep changing are left to the next run.
    pub(super) async fn give_up(&self, lost: Lost, batch: &mut Batch) -> Result<(), Ended> {
        batch.conflicts(lost.changed.len());
        let mut free = Vec::new();
        for planned in lost.locked {
            match self.is_locked(&planned).await? {
                true => batch.conflicts(1),
                false => free.push(planned),
            }
        }
        // The lock may have gone just now.
        let again = self.write(free, batch).await?;
        batch.conflicts(again.changed.len());
        for mut planned in again.locked {
            match planned.blocked.take() {
                Some(error) => self.contended(&planned.change, error, batch),
                None if self.is_locked(&planned).await? => batch.conflicts(1),
                None => self.refused(&planned.change, &NotStoredAsSent, batch),
            }
        }
        Ok(())
    }

    /// A row that no transaction has locked, and that meets a lock while it is written: in a trigger, or through a constraint.
    fn contended(&self, change: &Change, error: DatabaseError, batch: &mut Batch) {
        let row = change.old.name(self.layout);
        self.trail().write_failed(self.layout, &row, CONFLICT, None);
        let columns = self.layout.table.tokens.join(",");
        batch.contended(Failure::new(&self.layout.table.name, row, &columns, CONFLICT, &Contended(error)));
    }

    async fn is_locked(&self, planned: &PlannedChange) -> Result<bool, Ended> {
        let locked = self.store.database().is_locked(self.layout, &planned.change.old.key).await;
        Ok(locked.map_err(StoreError::from)?)
    }
}

/// A row that is to be written, but for one value perhaps.
fn count_write(plan: RowPlan, failure: Option<Failure>, batch: &mut Batch) -> Option<PlannedChange> {
    let counts = |values, corrects| Counts { values, failure, corrects, tries: 0 };
    match plan {
        RowPlan::WouldChange { sealed, calls } => {
            batch.written(counts(sealed, false));
            batch.report.kms_calls += calls;
            None
        }
        RowPlan::Change { change, sealed } => Some(PlannedChange::new(change, counts(sealed, false))),
        RowPlan::Corrects(None) => {
            batch.written(counts(0, true));
            None
        }
        RowPlan::Corrects(Some(change)) => Some(PlannedChange::new(change, counts(0, true))),
        RowPlan::Already | RowPlan::Failed(_) | RowPlan::Partly { .. } => None,
    }
}

/// The class of rows that other transactions block.
const CONFLICT: &str = "conflict";

/// Why a row was left as it was although it is free.
#[derive(Debug, thiserror::Error)]
#[error("writing the row met a lock, a deadlock or a serialization failure at every attempt")]
struct Contended(#[source] DatabaseError);

/// Why a row was left as it was although the database did not refuse it.
#[derive(Debug, thiserror::Error)]
#[error(
    "database would store other values than those sent, or discards the row: a trigger, a rule or a policy is in the way"
)]
struct NotStoredAsSent;
