//! The values of one row: whether each opens, and what else is to be said of it.

use envelope_core::{BindingPolicy, Format, OpenError};

use super::VERIFY;
use crate::blind_index::{IndexProblem, check_index};
use crate::cipher::Recorded;
use crate::database::layout::Layout;
use crate::database::row::StoredRow;
use crate::migration::{Ended, Failure};
use crate::plan::concerns_every_value;
use crate::store::TokenStore;

/// The result of one value, next to whether it opened.
pub(super) enum Verdict {
    Fine,
    Legacy,
    Plaintext(Failure),
    Unbound(Failure),
    BelowFloor(Failure),
    /// The value opens, and its blind index is missing or of another value.
    Index(IndexProblem, Failure),
    Failed(Failure),
}

/// Opens every value of a row. Each has a verdict, or the reason why the whole verification ends.
pub(super) async fn check_row(
    store: &TokenStore,
    layout: &Layout,
    row: StoredRow,
) -> Vec<Result<(bool, Verdict), Ended>> {
    let row = &row;
    if let Some(unreadable) = &row.unreadable {
        let name = row.name(layout);
        let failure =
            Failure::new(&layout.table.name, name, &unreadable.column, "unreadable", &unreadable.reason);
        return vec![Ok((false, Verdict::Failed(failure)))];
    }
    let mut verdicts = Vec::with_capacity(row.values.len());
    for (column, value) in layout.table.tokens.iter().zip(&row.values) {
        match value.as_ref().filter(|text| !text.is_empty()) {
            Some(text) => verdicts.push(check_value(store, layout, row, column, text).await),
            None => match check_index(store, layout, row, column, None).await {
                Ok(None) => {}
                Ok(Some(problem)) => verdicts.push(Ok((true, misindexed(layout, row, column, problem)))),
                Err(error) => verdicts.push(Err(error.into())),
            },
        }
    }
    verdicts
}

fn misindexed(layout: &Layout, row: &StoredRow, column: &str, problem: IndexProblem) -> Verdict {
    Verdict::Index(
        problem,
        Failure {
            table: layout.table.name.clone(),
            row: row.name(layout),
            column: column.into(),
            class: problem.class().into(),
            error: problem.text().into(),
            correlation_id: None,
            needed: None,
        },
    )
}

async fn check_value(
    store: &TokenStore,
    layout: &Layout,
    row: &StoredRow,
    column: &str,
    text: &str,
) -> Result<(bool, Verdict), Ended> {
    let binds = store.cipher().key_service().is_some_and(|sealer| sealer.policy() != BindingPolicy::Off);
    let finding = |class: &str, error: &str| Failure {
        table: layout.table.name.clone(),
        row: row.name(layout),
        column: column.into(),
        class: class.into(),
        error: error.into(),
        correlation_id: None,
        needed: None,
    };
    let readable = match layout.is_of_fields {
        true => "readable by anyone with the table: seal it where it is written",
        false => "readable by anyone with the table",
    };
    let plaintext = || Verdict::Plaintext(finding("plaintext", readable));
    let unbound = || Verdict::Unbound(finding("unbound", "not bound to its row"));
    let recorded = Recorded::of(row, layout, store.profile().unmarked);
    let binding = row.binding(layout, column);
    let opened = match layout.is_of_fields {
        true => store.cipher().open_field(text, recorded, &binding).await,
        false => store.cipher().open(text, recorded, &binding).await,
    };
    match opened {
        Ok(cell) => {
            let verdict = match cell.format {
                Format::Plaintext => plaintext(),
                Format::KmsEnvelope if !cell.bound && binds => unbound(),
                Format::KmsEnvelope | Format::BoundEnvelope => Verdict::Fine,
                _ => Verdict::Legacy,
            };
            let opened = Some((&cell.plaintext, cell.format));
            let verdict = match check_index(store, layout, row, column, opened).await? {
                Some(problem) if matches!(verdict, Verdict::Fine | Verdict::Legacy) => {
                    misindexed(layout, row, column, problem)
                }
                _ => verdict,
            };
            Ok((true, verdict))
        }
        Err(OpenError::PlaintextRefused) => Ok((false, plaintext())),
        Err(OpenError::UnboundRefused) => Ok((false, unbound())),
        Err(error) => {
            let name = row.name(layout);
            let correlation_id = Some(store.trail(VERIFY).did_not_open(layout, &name, column, &error));
            if let Some(outage) = error.key_error().filter(|error| concerns_every_value(error)) {
                return Err(Ended::KeyService(outage.clone()));
            }
            let failure = Failure::new(&layout.table.name, name, column, error.class(), &error);
            let failure = Failure { correlation_id, ..failure };
            match error {
                OpenError::BelowFloor { .. } => Ok((false, Verdict::BelowFloor(failure))),
                _ => Ok((false, Verdict::Failed(failure))),
            }
        }
    }
}
