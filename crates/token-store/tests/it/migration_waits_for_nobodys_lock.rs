//! An application that keeps rows locked in a transaction: a migration skips them and delays no one, so that
//! the two cannot deadlock. PostgreSQL only; SQLite locks no rows.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use test_support::part;
use token_store::{NewToken, TokenKey, WriteFormat};
use tokio::time::{sleep, timeout};

use crate::support::{Keys, Sql, VodRow, both, counts, create_vod_tender, insert_vod, migrate};

const ROWS: u64 = 60;

async fn table(database: test_support::postgres::TestDatabase) -> Sql {
    let db = Sql::postgres(database).await;
    create_vod_tender(&db).await;
    for number in 0..ROWS {
        insert_vod(&db, &VodRow::plain(&format!("c{number:02}"), "access", "refresh")).await;
    }
    db
}

/// The application, in the middle of a transaction that has changed this row.
async fn holding(db: &Sql, channel: &str) -> PgConnection {
    let mut application = PgConnection::connect(db.url()).await.unwrap();
    sqlx::query("BEGIN").execute(&mut application).await.unwrap();
    change(&mut application, channel).await;
    application
}

async fn change(application: &mut PgConnection, channel: &str) {
    let update = sqlx::query("UPDATE oauth_tokens SET scope = 'theirs' WHERE channel = $1").bind(channel);
    let done = timeout(Duration::from_secs(5), update.execute(application)).await;
    assert_eq!(done.expect("the application is held up").expect("a deadlock").rows_affected(), 1);
}

async fn commit(mut application: PgConnection) {
    sqlx::query("COMMIT").execute(&mut application).await.unwrap();
}

async fn moved(db: &Sql) -> usize {
    db.rows("SELECT channel FROM oauth_tokens WHERE encryption_version = 2").await.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_row_holds_up_neither_the_others_nor_the_application() {
    let db = table(part!(postgres)).await;
    let mut application = holding(&db, "c10").await;
    let keys = Keys::new("vod-tender");
    let store = keys.store(&db).await;
    let run = tokio::spawn({
        let store = store.clone();
        async move { migrate(&store, WriteFormat::KmsEnvelope).await }
    });
    let others_are_moved = async {
        while moved(&db).await < 59 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), others_are_moved).await.expect("the others are moved");
    assert!(!run.is_finished(), "the row is tried again");
    for neighbour in ["c09", "c11", "c12"] {
        change(&mut application, neighbour).await;
    }
    assert_eq!(counts(&run.await.unwrap()), [ROWS, ROWS - 1, 0, 1, 0, 2 * (ROWS - 1)]);
    assert_eq!(keys.faults().calls("generate"), 2 * ROWS, "nothing is sealed twice");
    commit(application).await;
    assert_eq!(counts(&migrate(&store, WriteFormat::KmsEnvelope).await), [ROWS, 1, ROWS - 1, 0, 0, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_of_a_moment_is_no_conflict() {
    let db = table(part!(postgres)).await;
    let application = holding(&db, "c10").await;
    let keys = Keys::new("vod-tender");
    let store = keys.store(&db).await;
    let release = async {
        keys.faults().wait_for_calls("generate", 2 * ROWS).await;
        sleep(Duration::from_millis(200)).await;
        commit(application).await;
    };
    let (report, ()) = tokio::join!(migrate(&store, WriteFormat::KmsEnvelope), release);
    assert_eq!(counts(&report), [ROWS, ROWS, 0, 0, 0, 2 * ROWS]);
    assert_eq!(keys.faults().calls("generate"), 2 * ROWS, "nothing is sealed twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_writes_one_token_waits_for_its_row() {
    let db = table(part!(postgres)).await;
    let application = holding(&db, "c10").await;
    let store = Keys::new("vod-tender").store(&db).await;
    let key = TokenKey::new("twitch", "c10");
    let put = tokio::spawn({
        let (store, key) = (store.clone(), key.clone());
        async move { store.put(&key, NewToken::new().access_token("refreshed")).await }
    });
    sleep(Duration::from_millis(300)).await;
    assert!(!put.is_finished());
    commit(application).await;
    put.await.unwrap().unwrap();
    assert_eq!(both(&store.get(&key).await.unwrap()), (Some("refreshed"), Some("refresh")));
}
