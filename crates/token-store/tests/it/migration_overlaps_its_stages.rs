//! Reading, sealing and writing overlap in a run: what goes wrong in one of them is neither lost nor counted twice, and keeps
//! none of the others waiting.

use std::sync::Arc;
use std::time::Duration;

use kms_provider::{Reuse, ReuseLimits};
use test_support::faults::Fault;
use token_store::migration::{self, Ended, MigrationOptions, MigrationReport, Outcome, StopFlag};
use token_store::{StoreError, TokenStore, WriteFormat};

use crate::support::{Keys, Sql, carry_out, counts, eventually, profile_of, to, verified};

/// Longer than any run here takes, and shorter than anyone waits.
const PATIENCE: Duration = Duration::from_secs(30);

async fn table(db: &Sql, rows: usize) -> Keys {
    db.execute("CREATE TABLE users (id varchar(20) PRIMARY KEY, token text)").await;
    let values: Vec<String> = (0..rows).map(|n| format!("('r{n:03}', 'token {n}')")).collect();
    db.execute(&format!("INSERT INTO users VALUES {}", values.join(", "))).await;
    Keys::toml(&profile_of("users", &["id"], &["token"], ""))
}

/// The database writes no row before this one.
async fn refuse_before(db: &Sql, id: &str) {
    db.execute(&match db.is_postgres() {
        true => format!("ALTER TABLE users ADD CHECK (id >= '{id}' OR length(token) < 30)"),
        false => format!(
            "CREATE TRIGGER t BEFORE UPDATE ON users WHEN OLD.id < '{id}' BEGIN SELECT RAISE(ABORT, 'x'); END"
        ),
    })
    .await;
}

async fn sealed(db: &Sql) -> usize {
    db.rows("SELECT id FROM users WHERE token LIKE 'kms:%'").await.len()
}

/// Runs a migration, and fails if it does not end.
async fn ends(store: &TokenStore, options: &MigrationOptions, stop: &StopFlag) -> Outcome<MigrationReport> {
    let run = migration::run(store, options, stop, |_| {});
    tokio::time::timeout(PATIENCE, run).await.expect("the run ends")
}

on_postgresql_and_sqlite! {
    async fn rows_that_were_planned_while_the_first_hundred_were_refused_are_written(db) {
        let keys = table(&db, 130).await;
        refuse_before(&db, "r100").await;
        let report = carry_out(&keys.store(&db).await, &to(WriteFormat::KmsEnvelope, 100)).await;
        assert_eq!(counts(&report), [130, 30, 0, 0, 100, 30]);
        assert_eq!((report.left.unwrap(), sealed(&db).await), (100, 30));
    }

    async fn a_row_that_was_planned_among_refused_ones_is_written(db) {
        let keys = table(&db, 150).await;
        let only = "r105";
        db.execute(&match db.is_postgres() {
            true => format!("ALTER TABLE users ADD CHECK (id = '{only}' OR length(token) < 30)"),
            false => format!(
                "CREATE TRIGGER t BEFORE UPDATE ON users WHEN OLD.id <> '{only}' BEGIN SELECT RAISE(ABORT, 'x'); END"
            ),
        })
        .await;
        let report = carry_out(&keys.store(&db).await, &to(WriteFormat::KmsEnvelope, 100)).await;
        assert_eq!(counts(&report), [150, 1, 0, 0, 149, 1]);
        assert_eq!((report.left.unwrap(), sealed(&db).await), (149, 1));
    }

    async fn a_row_that_was_read_and_then_written_ahead_counts_once(db) {
        let keys = table(&db, 125).await;
        refuse_before(&db, "r121").await;
        // The last rows are read, and not yet planned, when one of them is tried.
        let mut options = to(WriteFormat::KmsEnvelope, 20);
        options.run.concurrency = 40;
        let report = carry_out(&keys.store(&db).await, &options).await;
        assert_eq!(counts(&report), [125, 4, 0, 0, 121, 4]);
        assert_eq!((report.left.unwrap(), sealed(&db).await), (121, 4));
    }

    async fn a_limit_is_kept_although_the_first_hundred_rows_are_refused(db) {
        for limit in [1, 5, 60] {
            let keys = table(&db, 300).await;
            refuse_before(&db, "r200").await;
            let mut options = to(WriteFormat::KmsEnvelope, 60);
            options.run.limit = Some(limit);
            let report = carry_out(&keys.store(&db).await, &options).await;
            assert_eq!((report.migrated, sealed(&db).await as u64), (limit, limit));
            db.execute("DROP TABLE users").await;
        }
    }

    async fn calls_under_way_end_before_rows_further_on_are_tried(db) {
        // Callers who need the next shared key at the same time wait for one of them to fetch it.
        let limits: ReuseLimits = "messages=7".parse().unwrap();
        let keys = table(&db, 200).await.v3().decorated(move |slow| Arc::new(Reuse::new(slow, limits)));
        refuse_before(&db, "r150").await;
        keys.faults().always_for("generate", Fault::Delay(Duration::from_millis(20)));
        let outcome = ends(&keys.store(&db).await, &to(WriteFormat::KmsEnvelope, 50), &StopFlag::default()).await;
        assert!(outcome.ended_by.is_none(), "{outcome:?}");
        assert_eq!(counts(&outcome.report), [200, 50, 0, 0, 150, 50]);
    }
}

on_each_database! {
    async fn a_stop_waits_for_no_call_and_keeps_what_is_sealed(db) {
        let keys = table(&db, 40).await;
        let store = keys.store(&db).await;
        let faults = keys.faults().clone();
        let stop = StopFlag::default();
        faults.next_for("generate", 1, Fault::Hold);
        let run = tokio::spawn({
            let (store, stop) = (store.clone(), stop.clone());
            let mut options = to(WriteFormat::KmsEnvelope, 30);
            options.run.concurrency = 4;
            async move { ends(&store, &options, &stop).await }
        });
        faults.wait_for_calls("generate", 40).await;
        stop.stop();
        let outcome = run.await.unwrap();
        assert!(outcome.ended_by.is_none() && outcome.report.interrupted, "{outcome:?}");
        // Calls that were made last may have been given up as well.
        let moved = outcome.report.migrated;
        assert!((35..=39).contains(&moved), "{moved}");
        assert_eq!((sealed(&db).await as u64, outcome.report.scanned, outcome.report.left.unwrap()), (moved, moved, 40 - moved));
    }

    async fn a_database_that_fails_ends_the_run_although_a_call_is_under_way(db) {
        let keys = table(&db, 40).await;
        let store = keys.store(&db).await;
        let faults = keys.faults().clone();
        faults.next_for("generate", 2, Fault::Hold);
        faults.next_for("generate", 10, Fault::Delay(Duration::ZERO));
        faults.always_for("generate", Fault::Delay(Duration::from_millis(300)));
        let run = tokio::spawn({
            let store = store.clone();
            let mut options = to(WriteFormat::KmsEnvelope, 10);
            options.run.concurrency = 4;
            async move { ends(&store, &options, &StopFlag::default()).await }
        });
        eventually("a batch is written", async || sealed(&db).await >= 10).await;
        db.execute("DROP TABLE users").await;
        let outcome = run.await.unwrap();
        assert!(matches!(outcome.ended_by, Some(Ended::Store(StoreError::Database(_)))), "{outcome:?}");
        assert_eq!(outcome.report.failed, 0);
    }

    async fn verify_reports_in_the_order_of_the_keys_whichever_value_opens_first(db) {
        let keys = table(&db, 30).await;
        let store = keys.store(&db).await;
        carry_out(&store, &to(WriteFormat::KmsEnvelope, 500)).await;
        // Each value is in another's row.
        let texts = db.rows("SELECT id, token FROM users ORDER BY id").await;
        for (row, other) in texts.iter().zip(texts.iter().rev()) {
            let (id, token) = (row[0].as_deref().unwrap(), other[1].as_deref().unwrap());
            db.execute(&format!("UPDATE users SET token = '{token}' WHERE id = '{id}'")).await;
        }
        keys.faults().next_for("unwrap", 3, Fault::Delay(Duration::from_millis(200)));
        let report = verified(&store).await;
        let named: Vec<&str> = report.failures.iter().map(|failure| failure.row.as_str()).collect();
        let expected: Vec<String> = (0..30).map(|n| format!("id=r{n:03}")).collect();
        assert_eq!((named, report.rows, report.failed), (expected.iter().map(String::as_str).collect(), 30, 30));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_were_read_are_written_although_the_next_page_cannot_be_read() {
    let db = Sql::postgres(test_support::part!(postgres)).await;
    table(&db, 300).await;
    // The end of the session is no error of a row.
    db.execute(
        "CREATE FUNCTION public.is_readable(id text) RETURNS boolean LANGUAGE plpgsql AS \
         $$ BEGIN IF id > 'r150' THEN PERFORM pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid()); \
         PERFORM pg_catalog.pg_sleep(5); END IF; RETURN true; END $$",
    )
    .await;
    let filter = "filter = \"public.is_readable(id)\"";
    let keys = Keys::toml(&profile_of("users", &["id"], &["token"], filter));
    // The next page is read, and fails, while most rows of the first one wait for their turn.
    keys.faults().always_for("generate", Fault::Delay(Duration::from_millis(20)));
    let outcome =
        ends(&keys.store(&db).await, &to(WriteFormat::KmsEnvelope, 100), &StopFlag::default()).await;
    assert!(matches!(outcome.ended_by, Some(Ended::Store(StoreError::Database(_)))), "{outcome:?}");
    assert_eq!((outcome.report.migrated, sealed(&db).await), (100, 100));
}

/// Two transactions of one run could wait for each other in what triggers lock. Without triggers they write at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_with_triggers_is_written_by_one_transaction_at_a_time() {
    let db = Sql::postgres(test_support::part!(postgres)).await;
    let keys = table(&db, 200).await;
    db.execute("CREATE SEQUENCE overlap").await;
    // The lock of a transaction that is still at work keeps another one from getting it.
    db.execute(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF NOT pg_catalog.pg_try_advisory_xact_lock(1) THEN PERFORM pg_catalog.nextval('public.overlap'); END IF; \
         PERFORM pg_catalog.pg_sleep(0.005); RETURN NEW; END $$",
    )
    .await;
    db.execute("CREATE TRIGGER note BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION note()").await;
    let report = carry_out(&keys.store(&db).await, &to(WriteFormat::KmsEnvelope, 10)).await;
    assert_eq!((report.migrated, sealed(&db).await), (200, 200));
    assert_eq!(db.rows("SELECT is_called::text FROM overlap").await, [[Some("false".to_owned())]]);
}
