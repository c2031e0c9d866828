//! The migration engine: walks tables in key order and moves every row that is not there yet.
//!
//! It keeps no state of its own: finished work is recognised by the row itself, so a run that was killed is simply
//! run again, and several runs at once share the work. Sealing happens outside any transaction; a batch is written
//! in one statement that only writes rows whose stored text is unchanged since it was read, so that a token
//! refreshed meanwhile is never overwritten.

mod ahead;
mod batch;
mod come_back;
mod drive;
mod engine;
mod left;
mod pipeline;
mod relocate;
mod report;
mod rewrap;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use envelope_core::{ErrorClass, KeyError};

use engine::{Run, Work};
pub(crate) use left::pending;
pub use relocate::{Former, relocate};
pub use report::{Failure, MAX_LISTED, MigrationReport, RelocateReport, RewrapReport};
use rewrap::RewrapGoal;
pub(crate) use rewrap::is_chosen;

use crate::blind_index::{ReindexGoal, rewrap_keys};
use crate::error::StoreError;
use crate::plan::{CurrentKey, Goal};
use crate::store::TokenStore;
use crate::write_format::WriteFormat;

/// The target form of a migration.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MigrationOptions {
    /// The target of every row.
    pub to: WriteFormat,
    /// Also open envelopes, and rewrite those that are not bound to their row.
    pub rebind: bool,
    /// How it goes about it.
    pub run: RunOptions,
}

impl MigrationOptions {
    /// Every row becomes this, with the usual [`RunOptions`].
    #[must_use]
    pub fn to(format: WriteFormat) -> Self {
        Self { to: format, rebind: false, run: RunOptions::default() }
    }
}

/// Which data keys are re-wrapped by a rewrap, under the key that the store's key service seals with now.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RewrapOptions {
    /// Only those of rows that name one of these keys, as they are stored next to the rows; all, if left out. A key of Transit
    /// without its version is each of its versions. Tables without version columns and fields name no key, and are rewrapped
    /// in either case.
    pub from: Option<Vec<String>>,
    /// Further keys that a row may come under, as they are stored next to it: those of other Regions.
    pub also: Vec<String>,
    /// How it goes about it.
    pub run: RunOptions,
}

/// How a run goes about it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunOptions {
    /// Decide and count everything, write nothing.
    pub dry_run: bool,
    /// Rows read and written at once.
    pub batch_size: usize,
    /// Rows worked on at once.
    pub concurrency: usize,
    /// Rows to change at most.
    pub limit: Option<u64>,
}

impl Default for RunOptions {
    /// Batches of 500 rows, 16 rows at a time, without a limit.
    fn default() -> Self {
        Self { dry_run: false, batch_size: 500, concurrency: 16, limit: None }
    }
}

/// A flag that ends a run after the current batch.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Asks the run to stop.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether a stop was requested.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How a run ended: always with a report, even where the key service or the database gave up on the way.
#[derive(Debug)]
#[must_use = "a run that ended early, or with failures, says so here"]
#[non_exhaustive]
pub struct Outcome<R> {
    /// The work that was done until then.
    pub report: R,
    /// Why it ended early, if it did.
    pub ended_by: Option<Ended>,
}

/// Why a run ended before the last row.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Ended {
    /// The key service is unavailable or refuses.
    #[error("key service gave up")]
    KeyService(#[source] KeyError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Ended {
    /// The label of this kind of failure in metrics, logs and reports.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::KeyService(error) => error.class().label(),
            Self::Store(error) => error.class(),
        }
    }
}

/// Moves every row of the store's tables. `progress` is called as rows are decided and written.
pub async fn run(
    store: &TokenStore,
    options: &MigrationOptions,
    stop: &StopFlag,
    progress: impl FnMut(&MigrationReport),
) -> Outcome<MigrationReport> {
    if let Err(error) = store.check_storable(options.to) {
        let report = MigrationReport { dry_run: options.run.dry_run, ..MigrationReport::default() };
        return Outcome { report, ended_by: Some(Ended::Store(error)) };
    }
    let goal = Goal { format: options.to, rebind: options.rebind, dry_run: options.run.dry_run };
    let work = Work::Convert(goal, CurrentKey::default());
    Run::new(store, &work, &options.run, stop, progress).finish().await
}

/// Rewrites the blind indexes of the store's tables under their active keys. `progress` is called as rows are decided and written.
pub(crate) async fn reindex(
    store: &TokenStore,
    goal: ReindexGoal,
    options: &RunOptions,
    stop: &StopFlag,
    progress: impl FnMut(&MigrationReport),
) -> Outcome<MigrationReport> {
    let work = Work::Reindex(goal);
    Run::new(store, &work, options, stop, progress).finish().await
}

/// Wraps the data keys of every row again, without opening a token; one whose data key is another service's is opened and
/// sealed again. `progress` is called as rows are decided and written.
pub async fn rewrap(
    store: &TokenStore,
    options: &RewrapOptions,
    stop: &StopFlag,
    progress: impl FnMut(&MigrationReport),
) -> Outcome<RewrapReport> {
    let to =
        match store.cipher().key_service() {
            Some(sealer) => sealer.provider().describe().await,
            None => Err(KeyError::new(ErrorClass::Misconfigured, "no key service is configured")
                .with_hint("set {key}")),
        };
    let to = match to {
        Ok(key) => key.key_id,
        Err(error) => {
            return Outcome { report: RewrapReport::default(), ended_by: Some(Ended::KeyService(error)) };
        }
    };
    let index_keys = match rewrap_keys(store, options.from.as_deref(), &to, options.run.dry_run).await {
        Ok(index_keys) => index_keys,
        Err(error) => return Outcome { report: RewrapReport::default(), ended_by: Some(error.into()) },
    };
    let unmarked = store.profile().unmarked;
    let (from, also) = (options.from.clone(), options.also.clone());
    let opened = Arc::default();
    let goal =
        RewrapGoal { from, to, also, unmarked, dry_run: options.run.dry_run, opened: Arc::clone(&opened) };
    let store = &store.with_fields();
    let work = Work::Rewrap(goal);
    let outcome = Run::new(store, &work, &options.run, stop, progress).finish().await;
    let opened = opened.load(Ordering::Relaxed);
    let report = RewrapReport { index_keys, opened, ..outcome.report.into() };
    Outcome { report, ended_by: outcome.ended_by }
}
