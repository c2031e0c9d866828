//! Verification: opens every token, and reports those that do not open, are readable or are not bound.

mod value;

use std::collections::VecDeque;

use futures_util::stream::{self, BoxStream, FuturesOrdered, StreamExt as _};
use serde::Serialize;

use self::value::{Verdict, check_row};
use crate::audit::VerificationCounts;
use crate::blind_index::IndexProblem;
use crate::database::layout::Layout;
use crate::database::row::{StoredKey, StoredRow};
use crate::database::select::Walk;
use crate::error::StoreError;
use crate::migration::{Ended, Failure, MAX_LISTED, StopFlag};
use crate::store::TokenStore;

/// Its name in the audit trail.
const VERIFY: &str = "verify";
/// Rows that are read at once.
const PAGE: usize = 500;
/// Rows that are opened at once.
const CONCURRENCY: usize = 16;
/// Bytes of stored text that wait to be opened, beyond which no further page is read.
const MOST_BYTES: usize = 4 << 20;

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

/// The same, and passes on each failure and finding as it is found, also those that the report has no room
/// for.
///
/// # Errors
/// As [`verify`].
pub async fn verify_each(
    store: &TokenStore,
    sample: Option<usize>,
    stop: &StopFlag,
    progress: impl FnMut(&VerifyReport),
    found: impl FnMut(Found, &Failure),
) -> Result<VerifyReport, Ended> {
    let store = &store.with_fields();
    let mut tally = Tally { report: VerifyReport::default(), progress, found };
    let ended = check_tables(store, sample, stop, &mut tally).await;
    let report = tally.report;
    store.trail(VERIFY).verified(report.outcome(ended.as_ref().err()), &report.counts());
    ended.map(|()| report)
}

async fn check_tables(
    store: &TokenStore,
    sample: Option<usize>,
    stop: &StopFlag,
    tally: &mut Tally<impl FnMut(&VerifyReport), impl FnMut(Found, &Failure)>,
) -> Result<(), Ended> {
    store.check_filters().await?;
    for layout in store.layouts() {
        let unnamed = store.database().count_unnamed(layout).await.map_err(StoreError::from)?;
        tally.report.unnamed += unnamed;
        if let Some(failure) = Failure::of_unnamed(layout, unnamed) {
            tally.list(Found::Failure, failure);
        }
        let keys = match sample {
            Some(size) => Some(store.database().sample(layout, size).await.map_err(StoreError::from)?),
            None => None,
        };
        check_table(store, layout, pages(store, layout, keys), stop, tally).await?;
        if tally.report.interrupted {
            return Ok(());
        }
    }
    Ok(())
}

/// The rows of a table in key order, or those of a sample.
fn pages<'a>(
    store: &'a TokenStore,
    layout: &'a Layout,
    sample: Option<Vec<StoredKey>>,
) -> BoxStream<'a, Result<Vec<StoredRow>, StoreError>> {
    match sample {
        Some(keys) => stream::try_unfold(keys, move |mut keys| async move {
            let page = sampled(store, layout, &mut keys).await?;
            Ok((!page.is_empty()).then_some((page, keys)))
        })
        .boxed(),
        None => stream::try_unfold(Walk::new(store.database(), layout, PAGE), |mut walk| async move {
            let page = walk.next().await?;
            Ok((!page.is_empty()).then_some((page, walk)))
        })
        .boxed(),
    }
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

/// Opens the rows of a table, several at once, while the next ones are read, and counts them in their order.
async fn check_table(
    store: &TokenStore,
    layout: &Layout,
    mut pages: BoxStream<'_, Result<Vec<StoredRow>, StoreError>>,
    stop: &StopFlag,
    tally: &mut Tally<impl FnMut(&VerifyReport), impl FnMut(Found, &Failure)>,
) -> Result<(), Ended> {
    let mut read: VecDeque<StoredRow> = VecDeque::new();
    let (mut bytes, mut is_at_end) = (0, false);
    let mut checks = FuturesOrdered::new();
    loop {
        // Once a stop is requested, no further row is begun; rows in progress still count.
        while checks.len() < CONCURRENCY && !stop.is_set() {
            let Some(row) = read.pop_front() else { break };
            bytes -= row.bytes();
            checks.push_back(check_row(store, layout, row));
        }
        let wants_page = !is_at_end && !stop.is_set() && read.len() < PAGE && bytes < MOST_BYTES;
        if checks.is_empty() && !wants_page {
            break;
        }
        // Rows may all be ready at once: others on this thread get their turn.
        tokio::task::consume_budget().await;
        tokio::select! {
            biased;
            page = pages.next(), if wants_page => match page.transpose()? {
                None => is_at_end = true,
                Some(page) => {
                    bytes += page.iter().map(StoredRow::bytes).sum::<usize>();
                    read.extend(page);
                }
            },
            Some(verdicts) = checks.next(), if !checks.is_empty() => tally.count(verdicts)?,
        }
    }
    (tally.progress)(&tally.report);
    tally.report.interrupted |= stop.is_set();
    Ok(())
}

/// The findings so far, and the functions that receive them.
struct Tally<P, F> {
    report: VerifyReport,
    progress: P,
    found: F,
}

impl<P: FnMut(&VerifyReport), F: FnMut(Found, &Failure)> Tally<P, F> {
    /// Counts the values of a row.
    fn count(&mut self, verdicts: Vec<Result<(bool, Verdict), Ended>>) -> Result<(), Ended> {
        self.report.rows += 1;
        for verdict in verdicts {
            let (opened, verdict) = verdict?;
            self.add(opened, verdict);
        }
        if self.report.rows.is_multiple_of(PAGE as u64) {
            (self.progress)(&self.report);
        }
        Ok(())
    }

    fn add(&mut self, opened: bool, verdict: Verdict) {
        let report = &mut self.report;
        report.checked += 1;
        report.ok += u64::from(opened);
        let (kind, failure) = match verdict {
            Verdict::Fine => return,
            Verdict::Legacy => {
                report.legacy += 1;
                return;
            }
            Verdict::Plaintext(finding) => {
                report.plaintext += 1;
                (Found::Finding, finding)
            }
            Verdict::Unbound(finding) => {
                report.unbound += 1;
                (Found::Finding, finding)
            }
            Verdict::Index(problem, finding) => {
                match problem {
                    IndexProblem::Missing => report.index_missing += 1,
                    IndexProblem::Misfit => report.index_misfit += 1,
                }
                (Found::Finding, finding)
            }
            Verdict::BelowFloor(failure) => {
                report.failed += 1;
                report.below_floor += 1;
                (Found::Failure, failure)
            }
            Verdict::Failed(failure) => {
                report.failed += 1;
                (Found::Failure, failure)
            }
        };
        self.list(kind, failure);
    }

    fn list(&mut self, kind: Found, failure: Failure) {
        (self.found)(kind, &failure);
        let list = match kind {
            Found::Failure => &mut self.report.failures,
            Found::Finding => &mut self.report.findings,
        };
        if list.len() < MAX_LISTED {
            list.push(failure);
        }
    }
}
