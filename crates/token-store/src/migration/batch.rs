//! The result of a part of a run, and the rows that other transactions blocked.

use envelope_core::KeyError;

use super::{Failure, MigrationReport};
use crate::database::change::Change;
use crate::database::row::StoredRow;
use crate::error::DatabaseError;

/// The result of a part of a run.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) report: MigrationReport,
    pub(super) outage: Option<KeyError>,
    /// Rows that were to be written at first, and those of them that another writer had changed by then.
    pub(super) planned: usize,
    pub(super) lost: usize,
}

impl Batch {
    /// The result of writing these changes, of which nothing is known yet.
    pub(super) fn of<'c>(changes: impl IntoIterator<Item = &'c PlannedChange>) -> Self {
        let planned = changes.into_iter().filter(|planned| planned.tries == 0).count();
        Self { planned, ..Self::default() }
    }

    /// Whether another run works on the same rows: every second row was changed first by another writer.
    pub(super) fn trails(&self) -> bool {
        self.lost >= 2 && 2 * self.lost >= self.planned
    }

    pub(super) fn decided(&mut self, count: impl FnOnce(&mut MigrationReport)) {
        self.report.scanned += 1;
        count(&mut self.report);
    }

    /// Rows that other transactions block.
    pub(super) fn conflicts(&mut self, rows: usize) {
        self.report.conflicts += rows as u64;
        self.report.scanned += rows as u64;
    }

    /// A row that met a lock of another transaction at every attempt: it is named, and counts as in conflict.
    pub(super) fn contended(&mut self, failure: Failure) {
        self.conflicts(1);
        self.report.failures.push(failure);
    }

    pub(super) fn failed(&mut self, failure: Failure) {
        self.decided(|report| report.failed += 1);
        self.report.failures.push(failure);
    }

    /// A row that was written. It counts as failed where one of its values could not be sealed.
    pub(super) fn written(&mut self, counts: Counts) {
        self.report.values += counts.values;
        match counts.failure {
            Some(failure) => self.failed(failure),
            None if counts.corrects => self.decided(|report| {
                report.already += 1;
                report.corrected += 1;
            }),
            None => self.decided(|report| report.migrated += 1),
        }
    }
}

/// The new contents of a row, and how many of its values were sealed for it.
pub(super) struct PlannedChange {
    pub(super) change: Change,
    pub(super) sealed: u64,
    /// A value of the row that could not be sealed, while the others were.
    pub(super) failure: Option<Failure>,
    /// Whether the row is there already, and only the name of its method is corrected.
    pub(super) corrects: bool,
    /// How often the row was tried before.
    pub(super) tries: usize,
    /// The lock, deadlock or serialization failure that writing it met last.
    pub(super) blocked: Option<DatabaseError>,
}

/// How a row that is written counts.
pub(super) struct Counts {
    pub(super) values: u64,
    pub(super) failure: Option<Failure>,
    pub(super) corrects: bool,
    pub(super) tries: usize,
}

/// A row that is to be planned.
pub(super) struct Tried {
    pub(super) row: StoredRow,
    /// How often it was planned before, and then changed by another writer.
    pub(super) tries: usize,
}

impl PlannedChange {
    pub(super) fn new(change: Change, counts: Counts) -> Self {
        let Counts { values, failure, corrects, tries } = counts;
        Self { change, sealed: values, failure, corrects, tries, blocked: None }
    }

    pub(super) fn parts(self) -> (Counts, Change) {
        let Self { change, sealed, failure, corrects, tries, blocked: _ } = self;
        (Counts { values: sealed, failure, corrects, tries }, change)
    }

    /// Bytes of its texts, old and new.
    pub(super) fn bytes(&self) -> usize {
        let new = self.change.values.iter().flatten().map(|text| text.len());
        self.change.old.bytes() + new.sum::<usize>()
    }
}

/// The rows that were not written because of other writers.
#[derive(Default)]
pub(super) struct Lost {
    /// Rows as they are now, after another writer's change.
    pub(super) changed: Vec<Tried>,
    /// Changes of rows that another transaction has locked.
    pub(super) locked: Vec<PlannedChange>,
}

impl Lost {
    pub(super) fn add(&mut self, planned: PlannedChange, now: StoredRow) {
        if planned.change.is_to_come(&now) {
            self.locked.push(planned);
        } else {
            self.changed.push(Tried { row: now, tries: planned.tries });
        }
    }

    /// How many of them were written for the first time.
    pub(super) fn first_time(&self) -> usize {
        let changed = self.changed.iter().filter(|row| row.tries == 0).count();
        let is_new = |planned: &&PlannedChange| planned.tries == 0 && planned.blocked.is_none();
        changed + self.locked.iter().filter(is_new).count()
    }

    pub(super) fn len(&self) -> usize {
        self.changed.len() + self.locked.len()
    }
}
