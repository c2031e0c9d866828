//! What became of one page of a run.

use envelope_core::KeyError;

use super::{Failure, MigrationReport};

/// What became of one page.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) report: MigrationReport,
    pub(super) outage: Option<KeyError>,
    /// Rows that were to be written at first, and those of them that somebody else had changed by then.
    pub(super) planned: usize,
    pub(super) lost: usize,
}

impl Batch {
    /// Whether another run works on the same rows: every second row was changed first by somebody else.
    pub(super) fn trails(&self) -> bool {
        self.lost >= 2 && 2 * self.lost >= self.planned
    }

    pub(super) fn decided(&mut self, count: impl FnOnce(&mut MigrationReport)) {
        self.report.scanned += 1;
        count(&mut self.report);
    }

    pub(super) fn failed(&mut self, failure: Failure) {
        self.decided(|report| report.failed += 1);
        self.report.failures.push(failure);
    }

    pub(super) fn written(&mut self, values: u64) {
        self.decided(|report| {
            report.migrated += 1;
            report.values += values;
        });
    }
}
