//! A run whose first rows are all refused: later rows are tried before it ends.

use super::Ended;
use super::batch::Batch;
use super::engine::{DATABASE, Run, Span};
use super::pipeline::Pipeline;
use super::worker::Worker;
use crate::database::layout::Layout;
use crate::database::row::StoredRow;
use crate::database::select::{Limits, Range};
use crate::error::StoreError;

/// Places in the rest of the table that rows are taken from, the last rows included.
const PLACES: u64 = 5;
/// Rows that are taken from each.
const ROWS: usize = 10;

impl<'a, P: FnMut(&super::MigrationReport)> Run<'a, P> {
    /// Where the database has refused every row so far in the same way, it is not single rows that are at fault.
    pub(super) fn all_refused(&self) -> Option<String> {
        const FIRST: usize = 100;
        let takes_envelopes = self.report.migrated > self.before.migrated || self.are_others_done;
        let of_table = self.report.failures.get(self.before.listed..)?;
        let first = of_table.get(..FIRST).filter(|_| !takes_envelopes)?;
        let one = first.first().filter(|failure| failure.class == DATABASE)?;
        let alike = first.iter().all(|failure| failure.class == one.class && failure.error == one.error);
        alike.then(|| format!("its first {FIRST} rows all failed alike: {}", one.error))
    }

    /// Whether single rows are at fault after all: the database writes one of those that were planned already, or one of those
    /// that are still to come.
    pub(super) async fn goes_on(
        &mut self,
        worker: Worker<'a>,
        pipeline: &mut Pipeline<'a>,
        rest: &Span,
    ) -> Result<bool, Ended> {
        const MOST: usize = PLACES as usize * ROWS;
        let most = self.remaining().map_or(MOST, |rows| usize::try_from(rows).unwrap_or(MOST).min(MOST));
        let mut batch = Batch::default();
        let goes_on = match worker.write(pipeline.take_some(most), &mut batch).await {
            Ok(lost) => {
                lost.changed.into_iter().for_each(|row| pipeline.take_again(row));
                self.locked.extend(lost.locked);
                match batch.report.migrated {
                    0 => self.writes_ahead(worker.layout, rest).await,
                    _ => Ok(true),
                }
            }
            Err(error) => Err(error),
        };
        if let Some(written) = &self.ahead {
            pipeline.pass_over(written);
        }
        // Where the run ends here, its first rows say enough.
        if !matches!(goes_on, Ok(false)) {
            self.count(batch);
        }
        goes_on
    }

    /// Whether the database writes one of the rows that are still to come, or those that are looked at are all written
    /// already, so that only the rows before are at fault. The one that it writes counts now, and is passed over when the walk
    /// comes to it; one that it refuses counts when the walk does, and is in the audit trail twice.
    async fn writes_ahead(&mut self, layout: &'a Layout, rest: &Span) -> Result<bool, Ended> {
        let rows = self.store.database().count(layout, rest.range()).await.map_err(StoreError::from)?;
        if rows == 0 {
            // The walk has passed all of them.
            self.are_others_done = self.report.already > self.before.already;
            return Ok(self.are_others_done);
        }
        let last = rows.saturating_sub(ROWS as u64);
        let (mut already, mut refused) = (0, 0);
        for place in (0..PLACES).rev() {
            let offset = last * place / (PLACES - 1);
            for row in self.rows_at(layout, rest, offset).await? {
                // The walk ends by itself, as interrupted.
                if self.stop.is_set() {
                    return Ok(true);
                }
                let key = row.key.clone();
                let holds_a_value = row.values.iter().flatten().any(|text| !text.is_empty());
                let mut batch = self.worker(layout).try_once(row).await?;
                if let Some(error) = batch.outage.take() {
                    return Err(Ended::KeyService(error));
                }
                if batch.report.migrated > 0 {
                    self.count(batch);
                    self.ahead = Some(key);
                    return Ok(true);
                }
                already += if holds_a_value { batch.report.already } else { 0 };
                refused += batch.report.failed;
            }
            if last == 0 {
                break;
            }
        }
        self.are_others_done = already > 0 && refused == 0;
        Ok(self.are_others_done)
    }

    /// Some rows of a span, from this offset on.
    async fn rows_at(&self, layout: &Layout, rest: &Span, offset: u64) -> Result<Vec<StoredRow>, StoreError> {
        let database = self.store.database();
        let before = match offset.checked_sub(1) {
            Some(before) => database.key_at(layout, rest.range(), before).await?,
            None => rest.after.clone(),
        };
        let range = Range { after: before.as_ref(), ..rest.range() };
        match database.page(layout, range, Limits::rows(ROWS)).await {
            // The walk names the row that cannot be read.
            Err(error) if error.is_about_rows() => Ok(Vec::new()),
            rows => Ok(rows?),
        }
    }
}
