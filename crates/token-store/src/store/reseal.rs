//! Sealing anew on a read: a row in an older form is moved in the background.

use std::collections::HashSet;
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

/// What the audit trail calls it.
const RESEAL: &str = "reseal";

impl TokenStore {
    pub(super) fn reseal_in_background(&self, layout: &Layout, row: StoredRow) {
        let format = self.write_format();
        if format == WriteFormat::Plaintext || !self.profile().can_store(format) {
            return;
        }
        let name = row.name(layout);
        let place = (layout.table.name.clone(), name.clone());
        // Of several readers of one old row, the first seals it.
        if !self.resealing().insert(place.clone()) {
            return;
        }
        let (store, layout) = (self.clone(), layout.clone());
        let reseal = async move {
            if let Err(error) = store.reseal(&layout, row, format).await {
                tracing::warn!(
                    table = layout.table.name,
                    row = name,
                    class = error.class(),
                    "row was not sealed anew"
                );
                store.trail(RESEAL).write_failed(&layout, &name, error.class(), None);
            }
            store.resealing().remove(&place);
        };
        tokio::spawn(reseal.in_current_span());
    }

    fn resealing(&self) -> MutexGuard<'_, HashSet<(String, String)>> {
        self.inner.resealing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn reseal(&self, layout: &Layout, row: StoredRow, format: WriteFormat) -> Result<(), StoreError> {
        if !self.is_older(layout, &row, format) {
            return Ok(());
        }
        let goal = Goal { format, rebind: false, dry_run: false };
        let name = row.name(layout);
        let trail = self.trail(RESEAL);
        let (unmarked, current_key) = (self.profile().unmarked, CurrentKey::default());
        match plan(self.cipher(), layout, unmarked, row, goal, &current_key).await {
            RowPlan::Change { change, .. } => {
                let changes = std::slice::from_ref(&change);
                let writing = Writing::tokens(Locked::PassOver);
                let fates = self.database().swap(layout, changes, &writing).await?;
                let (table, row) = (layout.table.name.clone(), name);
                match fates.into_iter().next() {
                    Some(Fate::Written) => {
                        self.inner.resealed.fetch_add(1, Ordering::Relaxed);
                        trail.changed(audit::ROW_RESEALED, layout, &change);
                    }
                    Some(Fate::Altered) => return Err(StoreError::Altered { table, row }),
                    Some(Fate::Refused(error)) => return Err(error.into()),
                    Some(Fate::Unmatched) | None => {}
                }
            }
            // An outage would be told for each old row that is read; the next read of this one tries again.
            RowPlan::Failed(failure) if failure.outage().is_none() => {
                failure.tell(trail, layout, &name);
            }
            _ => {}
        }
        Ok(())
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
