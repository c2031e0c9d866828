//! Databases, tables, keys and stores for the tests.

mod heard;
mod keys;
mod meddling;
mod refreshing;
mod tables;

use std::error::Error;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use token_store::migration::{self, Failure, MigrationOptions, MigrationReport, StopFlag};
use token_store::status::Group;
use token_store::verify::VerifyReport;
use token_store::{Token, TokenKey, TokenStore, WriteFormat};

pub(crate) use heard::{Ear, Heard, listen};
pub(crate) use keys::{DIRECT_KEY, Keys, MASTER_KEY, OneDataKey, direct_key};
pub(crate) use meddling::Meddling;
pub(crate) use refreshing::{
    Refused, counter, exchange, expired, grant, refreshed_profile, refreshed_table, replica, short,
    slow_grant,
};
pub(crate) use tables::{
    VodRow, create_vod_tender, create_vod_tender_named, insert_vod, profile_of, pulseplan_row, user_id,
    vod_rows,
};
pub(crate) use test_support::sql::Sql;

/// Runs one body on each database, as tests named after the promise.
macro_rules! on_each_database {
    ($(async fn $name:ident($db:ident) $body:block)+) => {
        $(mod $name {
            #[allow(unused_imports, reason = "not every body needs what its module imports")]
            use super::*;

            async fn holds($db: crate::support::Sql) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                holds(crate::support::Sql::sqlite().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgresql() {
                let database = test_support::part!(postgres);
                holds(crate::support::Sql::postgres(database).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_mariadb() {
                let database = test_support::part!(mariadb);
                holds(crate::support::Sql::mariadb(database).await).await;
            }
        })+
    };
}

/// The same without MariaDB, for bodies whose tables, indexes or triggers it cannot have.
macro_rules! on_postgresql_and_sqlite {
    ($(async fn $name:ident($db:ident) $body:block)+) => {
        $(mod $name {
            #[allow(unused_imports, reason = "not every body needs what its module imports")]
            use super::*;

            async fn holds($db: crate::support::Sql) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                holds(crate::support::Sql::sqlite().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgresql() {
                let database = test_support::part!(postgres);
                holds(crate::support::Sql::postgres(database).await).await;
            }
        })+
    };
}

/// A token in words, for comparing.
pub(crate) fn shown(token: Option<&SecretString>) -> Option<&str> {
    token.map(|token| token.expose_secret())
}

/// Both tokens of a row.
pub(crate) fn both(token: &Token) -> (Option<&str>, Option<&str>) {
    (shown(token.access_token()), shown(token.refresh_token()))
}

/// Demands that a row's access token reads as this.
pub(crate) async fn assert_access(store: &TokenStore, key: TokenKey, expected: &str) {
    match store.get(&key).await {
        Ok(token) => assert_eq!(shown(token.access_token()), Some(expected), "{key:?}"),
        Err(error) => panic!("{key:?} does not read as {expected}: {}", told(&error)),
    }
}

/// An error as all of its words, printed in every way there is: itself and every cause.
pub(crate) fn told(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(|error| format!("{error} | {error:?} | {error:#?}")).collect::<Vec<_>>().join(" || ")
}

/// Waits for something that happens in the background, and fails if it never does.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waited = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(30), waited).await.is_err() {
        panic!("never happened: {what}");
    }
}

/// A migration to this format, with batches of this size.
pub(crate) fn to(format: WriteFormat, batch_size: usize) -> MigrationOptions {
    let mut options = MigrationOptions::to(format);
    options.run.batch_size = batch_size;
    options
}

/// Runs a migration that nothing interrupts, in batches of three rows so that even small tables have several.
pub(crate) async fn migrate(store: &TokenStore, format: WriteFormat) -> MigrationReport {
    carry_out(store, &to(format, 3)).await
}

/// Runs a migration that nothing interrupts.
pub(crate) async fn carry_out(store: &TokenStore, options: &MigrationOptions) -> MigrationReport {
    let outcome = migration::run(store, options, &StopFlag::default(), |_| {}).await;
    if let Some(ended) = outcome.ended_by {
        panic!("ended early: {}", told(&ended));
    }
    outcome.report
}

/// Failures without the ids that differ in each run, for comparing two runs.
pub(crate) fn alike(failures: &[Failure]) -> Vec<Failure> {
    let mut failures = failures.to_vec();
    failures.iter_mut().for_each(|failure| failure.correlation_id = None);
    failures
}

/// The counts of a report: scanned, migrated, already, conflicts, failed, values.
pub(crate) fn counts(report: &MigrationReport) -> [u64; 6] {
    let MigrationReport { scanned, migrated, already, conflicts, failed, values, .. } = report;
    [*scanned, *migrated, *already, *conflicts, *failed, *values]
}

/// Opens everything.
pub(crate) async fn verified(store: &TokenStore) -> VerifyReport {
    token_store::verify::verify(store, None, &StopFlag::default(), |_| {}).await.unwrap()
}

/// The distribution, as version, method, key and count.
pub(crate) async fn distribution(store: &TokenStore) -> Vec<(Option<i64>, String, Option<String>, u64)> {
    let status = token_store::status::status(store).await.unwrap();
    let group = |group: Group| {
        let method = group.encryption_method.unwrap_or_default();
        (group.encryption_version, method, group.encryption_key_id, group.count)
    };
    let mut groups: Vec<_> = status.groups.into_iter().map(group).collect();
    groups.sort();
    groups
}
