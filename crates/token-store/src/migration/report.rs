//! The result of a migration, counted and named.

use envelope_core::OpenError;
use serde::Serialize;

use crate::database::layout::Layout;
use crate::error::{CorrelationId, Needed};
use crate::plan::CellCause;

/// How many failures a report names; further ones are only counted, so that its size does not grow with the table.
pub const MAX_LISTED: usize = 10_000;

/// The outcome of a migration. The first four counts divide up `scanned`.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct MigrationReport {
    /// Rows that were decided upon.
    pub scanned: u64,
    /// Rows that were written, or would be in a dry run.
    pub migrated: u64,
    /// Rows that were there already, as their version columns and the marks of their texts have it. Their values are not
    /// opened, so that a damaged one counts here too: finding those is what [`verify`](crate::verify::verify) is for.
    pub already: u64,
    /// Of those that were there already, rows whose method column older programs had left untrue, and that were corrected;
    /// their values were not touched.
    pub corrected: u64,
    /// Rows that others kept changing or had locked; their values are whole, and the next run finds them. One that meets a lock
    /// while it is written is among the `failures` too.
    pub conflicts: u64,
    /// Rows that could not be moved.
    pub failed: u64,
    /// Rows of the filter that are not at the target, counted by the database after the run by their marks: rows that
    /// failed or are in conflict, rows beyond a limit, rows that were added meanwhile. `None` where they were not counted.
    pub left: Option<u64>,
    /// Token values that were sealed.
    pub values: u64,
    /// Calls to the key service. The engine does not see those that are made, and leaves them to its caller to add; in a
    /// dry run it counts those that a real run would make beyond them.
    pub kms_calls: u64,
    /// Whether nothing was written.
    pub dry_run: bool,
    /// Whether the run was stopped before its end.
    pub interrupted: bool,
    /// How long it took, in seconds.
    pub elapsed_seconds: f64,
    /// The rows that could not be moved, at most [`MAX_LISTED`], in the order in which that turned out.
    pub failures: Vec<Failure>,
}

/// The outcome of a rewrap. `rewrapped`, `already` and `failed`, with `conflicts`, divide up `scanned`.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct RewrapReport {
    /// Rows that were decided upon.
    pub scanned: u64,
    /// Rows whose data keys were re-wrapped, or would be in a dry run, and rows that came to name the key that they are under.
    pub rewrapped: u64,
    /// Rows under the right key already, and rows without an envelope.
    pub already: u64,
    /// Rows that others kept changing; the next run finds them.
    pub conflicts: u64,
    /// Rows whose data keys could not be re-wrapped.
    pub failed: u64,
    /// Rows whose version columns name another key than the one asked for, counted by the database after the run; of
    /// tables without such columns those that no key names. `None` where they were not counted.
    pub left: Option<u64>,
    /// Values whose data keys were re-wrapped.
    pub values: u64,
    /// Whether values were opened and sealed again, or would be in a dry run, because the one key service cannot wrap under the
    /// other's key.
    pub opened: bool,
    /// Keys of blind indexes that were wrapped again, or sealed under another key service, or would be in a dry run.
    pub index_keys: u64,
    /// Calls to the key service, counted as in [`MigrationReport`].
    pub kms_calls: u64,
    /// Whether nothing was written.
    pub dry_run: bool,
    /// Whether the run was stopped before its end.
    pub interrupted: bool,
    /// How long it took, in seconds.
    pub elapsed_seconds: f64,
    /// The rows that could not be rewrapped, at most [`MAX_LISTED`].
    pub failures: Vec<Failure>,
}

/// The outcome of relocating rows. `relocated`, `already` and `failed` divide up `scanned`.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct RelocateReport {
    /// Rows that were looked at.
    pub scanned: u64,
    /// Rows that were sealed for the address that they are at, or would be in a dry run.
    pub relocated: u64,
    /// Rows whose values all open where they are.
    pub already: u64,
    /// Rows that are not there, that do not open at the former address either, or that were not written.
    pub failed: u64,
    /// Rows that are still to be relocated: those that failed. `None` where the run ended before the last row.
    pub left: Option<u64>,
    /// Values that opened at their former address.
    pub values: u64,
    /// Whether nothing was written.
    pub dry_run: bool,
    /// The rows that were not relocated, at most [`MAX_LISTED`].
    pub failures: Vec<Failure>,
}

impl From<MigrationReport> for RewrapReport {
    fn from(report: MigrationReport) -> Self {
        Self {
            opened: false,
            scanned: report.scanned,
            rewrapped: report.migrated,
            already: report.already,
            conflicts: report.conflicts,
            failed: report.failed,
            left: report.left,
            values: report.values,
            index_keys: 0,
            kms_calls: report.kms_calls,
            dry_run: report.dry_run,
            interrupted: report.interrupted,
            elapsed_seconds: report.elapsed_seconds,
            failures: report.failures,
        }
    }
}

/// A value that could not be moved or opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Failure {
    /// The table.
    pub table: String,
    /// The row's key, as `column=value,…`.
    pub row: String,
    /// The column.
    pub column: String,
    /// The kind of failure.
    pub class: String,
    /// The failure, without any part of the value.
    pub error: String,
    /// The name of this failure in the log and the audit trail, if the value does not open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<CorrelationId>,
    /// The setting that is missing, where that is the cause.
    #[serde(skip)]
    pub needed: Option<Needed>,
}

impl Failure {
    /// The rows of a table that no key names, if there are any.
    pub(crate) fn of_unnamed(layout: &Layout, rows: u64) -> Option<Self> {
        let key = layout.table.key.join(",");
        (rows > 0).then(|| Self {
            table: layout.table.name.clone(),
            row: format!("{key} is NULL"),
            column: layout.table.tokens.join(","),
            class: "null_key".into(),
            error: format!(
                "{rows} rows with values have a key that is NULL, which nothing names and no value is bound to: fill it in, or \
                 leave such rows out with `filter`"
            ),
            correlation_id: None,
            needed: None,
        })
    }

    pub(crate) fn new(
        table: &str,
        row: String,
        column: &str,
        class: &str,
        error: &(dyn std::error::Error + 'static),
    ) -> Self {
        let (table, column, class) = (table.into(), column.into(), class.into());
        Self { table, row, column, class, error: chain(error), correlation_id: None, needed: needed(error) }
    }
}

/// The setting that is missing, if that is the error.
fn needed(error: &(dyn std::error::Error + 'static)) -> Option<Needed> {
    let of_cell = error.downcast_ref().and_then(CellCause::needed);
    of_cell.or_else(|| error.downcast_ref().and_then(OpenError::needed))
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
