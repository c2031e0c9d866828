//! Verification: opens every token, and reports what does not open, what is readable and what is not bound.

use envelope_core::{BindingPolicy, Format, OpenError};
use serde::Serialize;

use crate::database::layout::Layout;
use crate::database::rows::StoredRow;
use crate::error::StoreError;
use crate::migration::{Ended, Failure, MAX_LISTED, StopFlag, recorded};
use crate::store::TokenStore;

/// What a verification found. Every count is of token values; empty ones and NULLs are left out.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Values looked at.
    pub checked: u64,
    /// Values that opened.
    pub ok: u64,
    /// Values that did not open.
    pub failed: u64,
    /// Values that anybody with the table can read.
    pub plaintext: u64,
    /// Envelopes that are not bound to their row although the configuration binds.
    pub unbound: u64,
    /// Values in a format of the time before the key service, which cannot be bound to a row.
    pub legacy: u64,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
    /// The values that did not open, at most [`MAX_LISTED`].
    pub failures: Vec<Failure>,
    /// The readable and the unbound values, at most [`MAX_LISTED`].
    pub findings: Vec<Failure>,
}

impl VerifyReport {
    /// Whether something has to be done.
    #[must_use]
    pub fn found_problems(&self) -> bool {
        self.failed + self.plaintext + self.unbound > 0
    }
}

/// Opens every token, or those of a random sample of rows of each table.
///
/// # Errors
/// [`StoreError::Database`]; a value that does not open is part of the report.
pub async fn verify(
    store: &TokenStore,
    sample: Option<usize>,
    stop: &StopFlag,
    mut progress: impl FnMut(&VerifyReport),
) -> Result<VerifyReport, Ended> {
    const PAGE: usize = 500;
    let mut report = VerifyReport::default();
    for layout in store.layouts() {
        if let Some(size) = sample {
            let rows = layout.sample(store.database(), size).await.map_err(StoreError::from)?;
            check_rows(store, layout, &rows, &mut report).await?;
            continue;
        }
        let mut page = store.page(layout, None, PAGE).await?;
        while let Some(last) = page.last().map(|row| row.key.clone()) {
            if stop.is_set() {
                report.interrupted = true;
                return Ok(report);
            }
            check_rows(store, layout, &page, &mut report).await?;
            progress(&report);
            page = store.page(layout, Some(&last), PAGE).await?;
        }
    }
    Ok(report)
}

async fn check_rows(
    store: &TokenStore,
    layout: &Layout,
    rows: &[StoredRow],
    report: &mut VerifyReport,
) -> Result<(), Ended> {
    for row in rows {
        let recorded = recorded(row, layout, store.profile().unmarked);
        for (column, value) in layout.table.tokens.iter().zip(&row.values) {
            let Some(text) = value.as_ref().filter(|text| !text.is_empty()) else { continue };
            report.checked += 1;
            match store.cipher().open(text, recorded, &row.binding(layout, column)).await {
                Ok(cell) => {
                    report.ok += 1;
                    judge(store, layout, row, column, cell.format, cell.bound, report);
                }
                Err(OpenError::PlaintextRefused) => {
                    judge(store, layout, row, column, Format::Plaintext, false, report);
                }
                Err(OpenError::Key(error)) if error.class().is_retryable() => return Err(Ended::KeyService(error)),
                Err(error) => {
                    report.failed += 1;
                    let failure = Failure::new(&layout.table.name, row.name(layout), column, error.class(), &error);
                    push(&mut report.failures, failure);
                }
            }
        }
    }
    Ok(())
}

/// Counts a value that opens by what is still wrong with it.
fn judge(
    store: &TokenStore,
    layout: &Layout,
    row: &StoredRow,
    column: &str,
    format: Format,
    bound: bool,
    report: &mut VerifyReport,
) {
    let binds = store.cipher().sealer().is_some_and(|sealer| sealer.policy() != BindingPolicy::Off);
    let (class, message) = match format {
        Format::Plaintext => {
            report.plaintext += 1;
            ("plaintext", "readable by anybody with the table: run migrate")
        }
        Format::KmsEnvelope if !bound && binds => {
            report.unbound += 1;
            ("unbound", "not bound to its row: run migrate --rebind")
        }
        Format::KmsEnvelope | Format::BoundEnvelope => return,
        _ => {
            report.legacy += 1;
            return;
        }
    };
    let finding = Failure {
        table: layout.table.name.clone(),
        row: row.name(layout),
        column: column.into(),
        class: class.into(),
        error: message.into(),
    };
    push(&mut report.findings, finding);
}

fn push(list: &mut Vec<Failure>, failure: Failure) {
    if list.len() < MAX_LISTED {
        list.push(failure);
    }
}
