//! Re-sealing on a read: a row in an older form is moved in the background.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

use envelope_core::Format;
use tracing::Instrument as _;

use super::TokenStore;
use crate::audit;
use crate::cipher::{Recorded, TokenCipher};
use crate::database::layout::Layout;
use crate::database::row::StoredRow;
use crate::database::swap::{Fate, Locked, Writing};
use crate::error::StoreError;
use crate::plan::{CurrentKey, Goal, RowPlan, plan};
use crate::write_format::WriteFormat;

/// Its name in the audit trail.
const RESEAL: &str = "reseal";

impl TokenStore {
    pub(super) fn reseal_in_background(&self, layout: &Layout, row: StoredRow) {
        let format = self.write_format();
        if format == WriteFormat::Plaintext || !self.profile().can_store(format) {
            return;
        }
        let name = row.name(layout);
        let place = (layout.table.name.clone(), name.clone());
        // Of several readers of one old row the first seals it; a later one does where that fails.
        if let Some(later) = self.resealing().get_mut(&place) {
            *later = Some(row);
            return;
        }
        self.resealing().insert(place.clone(), None);
        let (store, layout) = (self.clone(), layout.clone());
        let reseal = async move {
            let mut row = row;
            loop {
                let done = store.reseal(&layout, row, format).await.unwrap_or_else(|error| {
                    tracing::warn!(
                        table = layout.table.name,
                        row = name,
                        class = error.class(),
                        "row was not sealed again"
                    );
                    store.trail(RESEAL).write_failed(&layout, &name, error.class(), None);
                    false
                });
                match store.later_read(&place, done) {
                    Some(later) => row = later,
                    None => return,
                }
            }
        };
        tokio::spawn(reseal.in_current_span());
    }

    /// The row of a later read, where the current one was not sealed; else the row is done.
    fn later_read(&self, place: &(String, String), done: bool) -> Option<StoredRow> {
        let mut resealing = self.resealing();
        let later = resealing.get_mut(place).and_then(Option::take).filter(|_| !done);
        if later.is_none() {
            resealing.remove(place);
        }
        later
    }

    fn resealing(&self) -> MutexGuard<'_, HashMap<(String, String), Option<StoredRow>>> {
        self.inner.resealing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seals a row that is in an older form, and returns whether it needs no more of it.
    async fn reseal(&self, layout: &Layout, row: StoredRow, format: WriteFormat) -> Result<bool, StoreError> {
        if !self.is_older(layout, &row, format) {
            return Ok(true);
        }
        let goal = Goal { format, rebind: false, dry_run: false };
        let name = row.name(layout);
        let trail = self.trail(RESEAL);
        let (unmarked, current_key) = (self.profile().unmarked, CurrentKey::default());
        let keys = self.index_keys_for(layout, goal).await?;
        let planned = plan(self.cipher(), layout, unmarked, row, goal, &current_key, keys).await;
        // One value that does not open keeps no other from being sealed; its next read reports it.
        let planned = if let RowPlan::Partly { rest, .. } = planned { *rest } else { planned };
        match planned {
            RowPlan::Change { change, .. } | RowPlan::Corrects(Some(change)) => {
                let changes = std::slice::from_ref(&change);
                let writing = Writing::tokens(Locked::PassOver);
                let fates = self.database().swap(layout, changes, &writing).await?;
                let (table, row) = (layout.table.name.clone(), name);
                match fates.into_iter().next() {
                    Some(Fate::Written) => {
                        self.inner.resealed.fetch_add(1, Ordering::Relaxed);
                        trail.changed(audit::ROW_RESEALED, layout, &change);
                        Ok(true)
                    }
                    Some(Fate::Altered) => Err(StoreError::Altered { table, row }),
                    Some(Fate::Refused(error)) => Err(error.into()),
                    Some(Fate::Stale) => {
                        self.held_keys().forget(&layout.table.name);
                        Ok(false)
                    }
                    Some(Fate::Unmatched | Fate::Blocked(_)) | None => Ok(false),
                }
            }
            // An outage would be reported for each old row that is read; the next read of this one tries again.
            RowPlan::Failed(failure) if failure.outage().is_none() => {
                failure.tell(trail, layout, &name);
                Ok(false)
            }
            RowPlan::Failed(_) => Ok(false),
            RowPlan::Already
            | RowPlan::Corrects(None)
            | RowPlan::WouldChange { .. }
            | RowPlan::Partly { .. } => Ok(true),
        }
    }

    /// Whether every token of a row is in an older form than this one: an instance that is configured for version 2
    /// does not undo what another wrote in version 3.
    fn is_older(&self, layout: &Layout, row: &StoredRow, format: WriteFormat) -> bool {
        let recorded = Recorded::of(row, layout, self.profile().unmarked);
        let mut texts = row.values.iter().flatten().filter(|text| !text.is_empty());
        let goal = age(self.cipher().goal(format));
        texts.all(|text| TokenCipher::classify(text, recorded).is_ok_and(|format| age(format) <= goal))
    }
}

/// In which order the forms came about.
fn age(format: Format) -> u8 {
    match format {
        Format::Plaintext => 0,
        Format::KmsEnvelope => 2,
        Format::BoundEnvelope => 3,
        _ => 1,
    }
}
