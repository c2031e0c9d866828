//! A dry run of a rotation counts and names the rows that the rotation itself then rewrites and leaves.

use token_store::TokenStore;
use token_store::blind_index::{IndexColumn, RotateReport, rotate};
use token_store::migration::StopFlag;

use crate::blind_indexes_find_sealed_values as pair;
use crate::blind_indexes_rotate_under_look_ups::{UNIQUE, fill, options, ready, under};
use crate::support::{alike, told};

async fn run(store: &TokenStore, column: Option<&str>, dry_run: bool) -> RotateReport {
    let which = IndexColumn::new(None, column.map(ToOwned::to_owned));
    let mut run = options(2);
    run.dry_run = dry_run;
    let outcome = rotate(store, &which, &run, &StopFlag::default(), |_| {}).await;
    if let Some(ended) = outcome.ended_by {
        panic!("ended early: {}", told(&ended));
    }
    outcome.report
}

/// Rows, as a dry run and then the run count them.
async fn agree(store: &TokenStore, column: Option<&str>) -> (u64, u64, u64) {
    let counts = |report: &RotateReport| (report.rewritten, report.already, report.failed);
    let (dry, real) = (run(store, column, true).await, run(store, column, false).await);
    assert_eq!(counts(&dry), counts(&real), "{dry:?} {real:?}");
    assert_eq!(alike(&dry.failures), alike(&real.failures));
    counts(&real)
}

on_each_database! {
    async fn rows_that_do_not_open_are_named_by_the_dry_run(db) {
        let store = ready(&db, UNIQUE).await.store(&db).await;
        fill(&store, 6).await;
        db.execute("UPDATE users SET v = 7 WHERE id = 2").await;
        db.execute("UPDATE users SET email = 'kms:v2:AAAA:AAAA' WHERE id = 3").await;
        db.execute("UPDATE users SET email = NULL WHERE id = 4").await;
        db.execute("UPDATE users SET email_index = NULL WHERE id = 5").await;
        assert_eq!(agree(&store, None).await, (3, 1, 2));
    }

    async fn an_index_that_is_not_rotated_counts_no_row(db) {
        let store = pair::ready(&db).await.store(&db).await;
        for id in 1..=3 {
            pair::put(&store, id, &format!("user{id}@example.org")).await.unwrap();
        }
        assert_eq!(agree(&store, Some("phone")).await, (0, 3, 0));
        assert_eq!(agree(&store, Some("email")).await, (3, 0, 0));
    }

    async fn a_rotation_that_was_cut_off_has_the_rest_left(db) {
        let store = ready(&db, UNIQUE).await.store(&db).await;
        fill(&store, 20).await;
        let stop = StopFlag::default();
        let stopper = stop.clone();
        let cut = rotate(&store, &IndexColumn::default(), &options(5), &stop, move |_| stopper.stop()).await;
        assert!(cut.report.interrupted, "{cut:?}");
        let left = under(&db).await.0.iter().filter(|mark| *mark == "k1").count() as u64;
        assert_eq!(agree(&store, None).await, (left, 20 - left, 0));
    }
}

on_postgresql_and_sqlite! {
    async fn what_a_rotation_refuses_its_dry_run_refuses(db) {
        let store = ready(&db, "CREATE UNIQUE INDEX partly ON users (email_index) WHERE tenant = 'a'").await.store(&db).await;
        fill(&store, 2).await;
        let mut dry = options(5);
        dry.dry_run = true;
        let outcome = rotate(&store, &IndexColumn::default(), &dry, &StopFlag::default(), |_| {}).await;
        assert!(told(&outcome.ended_by.unwrap()).contains("\"partly\""));
    }
}
