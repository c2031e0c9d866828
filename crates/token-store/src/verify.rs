//! Verification: opens every token, and reports those that do not open, are readable or are not bound.

use envelope_core::{BindingPolicy, Format, OpenError};
use futures_util::{StreamExt as _, future, stream};
use serde::Serialize;

use crate::audit::VerificationCounts;
use crate::blind_index::{IndexProblem, check_index};
use crate::cipher::Recorded;
use crate::database::layout::Layout;
use crate::database::row::{StoredKey, StoredRow};
use crate::database::select::Walk;
use crate::error::StoreError;
use crate::migration::{Ended, Failure, MAX_LISTED, StopFlag};
use crate::plan::concerns_every_value;
use crate::store::TokenStore;

/// Its name in the audit trail.
const VERIFY: &str = "verify";

/// The result of a verification. Every count is of token values; empty ones and NULLs are left out.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Rows looked at.
    pub rows: u64,
    /// Values looked at.
    pub checked: u64,
    /// Values that opened.
    pub ok: u64,
    /// Values that did not open.
    pub failed: u64,
    /// Values that every reader of the table can read.
    pub plaintext: u64,
    /// Envelopes that are not bound to their row although the configuration binds.
    pub unbound: u64,
    /// Values below the floor, which are not read. They are counted in `failed` too.
    pub below_floor: u64,
    /// Sealed values without their blind index: they are not found by their value.
    pub index_missing: u64,
    /// Blind indexes that are not those of their values.
    pub index_misfit: u64,
    /// Rows with values that no key names, because their key is NULL: nothing in them was looked at.
    pub unnamed: u64,
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
        let values = self.failed + self.plaintext + self.unbound + self.index_missing + self.index_misfit;
        values + self.unnamed > 0
    }

    /// How the verification ended, as the audit trail calls it.
    fn outcome(&self, ended_by: Option<&Ended>) -> &'static str {
        match ended_by {
            Some(ended) => ended.class(),
            None if self.interrupted => "interrupted",
            None if self.found_problems() => "problems",
            None => "ok",
        }
    }

    fn counts(&self) -> VerificationCounts {
        let Self { rows, checked, failed, plaintext, unbound, .. } = *self;
        VerificationCounts { rows, checked, failed, plaintext, unbound }
    }
}

/// The list of a report that a value belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Found {
    /// [`VerifyReport::failures`].
    Failure,
    /// [`VerifyReport::findings`].
    Finding,
}

/// Opens every token, or those of a random sample of rows of each table.
///
/// # Errors
/// [`StoreError::Database`]; a value that does not open is part of the report.
pub async fn verify(
    store: &TokenStore,
    sample: Option<usize>,
    stop: &StopFlag,
    progress: impl FnMut(&VerifyReport),
) -> Result<VerifyReport, Ended> {
    verify_each(store, sample, stop, progress, |_, _| {}).await
}

/// The same, and hands over each failure and finding as it is found: also those that the report has no room for.
///
/// # Errors
/// As [`verify`].
pub async fn verify_each(
    store: &TokenStore,
    sample: Option<usize>,
    stop: &StopFlag,
    progress: impl FnMut(&VerifyReport),
    mut found: impl FnMut(Found, &Failure),
) -> Result<VerifyReport, Ended> {
    let mut report = VerifyReport::default();
    let store = &store.with_fields();
    let ended = check_tables(store, sample, stop, progress, &mut report, &mut found).await;
    store.trail(VERIFY).verified(report.outcome(ended.as_ref().err()), &report.counts());
    ended.map(|()| report)
}

async fn check_tables(
    store: &TokenStore,
    sample: Option<usize>,
    stop: &StopFlag,
    mut progress: impl FnMut(&VerifyReport),
    report: &mut VerifyReport,
    found: &mut impl FnMut(Found, &Failure),
) -> Result<(), Ended> {
    const PAGE: usize = 500;
    for layout in store.layouts() {
        let unnamed = store.database().count_unnamed(layout).await.map_err(StoreError::from)?;
        report.unnamed += unnamed;
        if let Some(failure) = Failure::of_unnamed(layout, unnamed) {
            report.list(Found::Failure, failure, found);
        }
        let mut keys = match sample {
            Some(size) => Some(store.database().sample(layout, size).await.map_err(StoreError::from)?),
            None => None,
        };
        let mut walk = Walk::new(store.database(), layout, PAGE);
        loop {
            let page = match &mut keys {
                Some(keys) => sampled(store, layout, keys).await?,
                None => walk.next().await?,
            };
            if page.is_empty() {
                break;
            }
            check_rows(store, layout, &page, stop, report, found).await?;
            progress(report);
            if report.interrupted {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Reads the next few rows of a sample; those that are gone by now are left out, and none is left at the end.
async fn sampled(
    store: &TokenStore,
    layout: &Layout,
    keys: &mut Vec<StoredKey>,
) -> Result<Vec<StoredRow>, StoreError> {
    const AT_ONCE: usize = 4;
    let mut rows = Vec::new();
    while let Some(key) = keys.pop() {
        match store.database().fetch(layout, &key).await {
            Ok(row) => rows.extend(row),
            Err(error) if error.is_about_rows() => rows.push(StoredRow::without_content(layout, key, error)),
            Err(error) => return Err(error.into()),
        }
        if rows.len() == AT_ONCE {
            break;
        }
    }
    Ok(rows)
}

/// Opens the rows of one page, several at once, and counts them in their order.
async fn check_rows(
    store: &TokenStore,
    layout: &Layout,
    rows: &[StoredRow],
    stop: &StopFlag,
    report: &mut VerifyReport,
    found: &mut impl FnMut(Found, &Failure),
) -> Result<(), Ended> {
    const CONCURRENCY: usize = 16;
    // Once a stop is asked for no further row is begun; those in hand still count.
    let wanted = stream::iter(rows).take_while(|_| future::ready(!stop.is_set()));
    let mut checked = wanted.map(|row| check_row(store, layout, row)).buffered(CONCURRENCY);
    while let Some(verdicts) = checked.next().await {
        report.rows += 1;
        for verdict in verdicts {
            let (opened, verdict) = verdict?;
            report.add(opened, verdict, found);
        }
    }
    report.interrupted |= stop.is_set();
    Ok(())
}

/// The result of one value.
enum Verdict {
    Fine,
    Legacy,
    Plaintext(Failure),
    Unbound(Failure),
    BelowFloor(Failure),
    /// The value opens, and its blind index is missing or of another value.
    Index(IndexProblem, Failure),
    Failed(Failure),
}

async fn check_row(
    store: &TokenStore,
    layout: &Layout,
    row: &StoredRow,
) -> Vec<Result<(bool, Verdict), Ended>> {
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

impl VerifyReport {
    fn add(&mut self, opened: bool, verdict: Verdict, found: &mut impl FnMut(Found, &Failure)) {
        self.checked += 1;
        self.ok += u64::from(opened);
        let (kind, failure) = match verdict {
            Verdict::Fine => return,
            Verdict::Legacy => {
                self.legacy += 1;
                return;
            }
            Verdict::Plaintext(finding) => {
                self.plaintext += 1;
                (Found::Finding, finding)
            }
            Verdict::Unbound(finding) => {
                self.unbound += 1;
                (Found::Finding, finding)
            }
            Verdict::Index(problem, finding) => {
                match problem {
                    IndexProblem::Missing => self.index_missing += 1,
                    IndexProblem::Misfit => self.index_misfit += 1,
                }
                (Found::Finding, finding)
            }
            Verdict::BelowFloor(failure) => {
                self.failed += 1;
                self.below_floor += 1;
                (Found::Failure, failure)
            }
            Verdict::Failed(failure) => {
                self.failed += 1;
                (Found::Failure, failure)
            }
        };
        self.list(kind, failure, found);
    }

    fn list(&mut self, kind: Found, failure: Failure, found: &mut impl FnMut(Found, &Failure)) {
        found(kind, &failure);
        let list = match kind {
            Found::Failure => &mut self.failures,
            Found::Finding => &mut self.findings,
        };
        if list.len() < MAX_LISTED {
            list.push(failure);
        }
    }
}
