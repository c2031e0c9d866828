//! While the key of a blind index is rotated, every look-up finds its row, no value is registered twice, and a run that was
//! cut off continues; racing writers never leave a value with the index of another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use secrecy::SecretString;
use token_store::blind_index::{IndexColumn, RotateReport, rotate};
use token_store::migration::{Outcome, RunOptions, StopFlag};
use token_store::{Database, NewToken, StoreError, TokenKey, TokenStore, WriteFormat, schema};
use tokio::task::JoinHandle;

use crate::support::{Keys, Sql, carry_out, to, told, verified};

const PROFILE: &str = r#"
    name = "crm"
    [context]
    Application = "crm"
    [[tables]]
    name = "users"
    key = ["id"]
    tokens = ["email"]
    owner = ["tenant"]
    index = [{ column = "email", into = "email_index", normalize = "email" }]
    [tables.version]
    version = "v"
    method = "m"
    key_id = "k"
"#;

pub(crate) async fn ready(db: &Sql, unique: &str) -> Keys {
    db.execute("CREATE TABLE users (id bigint PRIMARY KEY, tenant varchar(40) NOT NULL DEFAULT 'a', email text, v integer, m text, k text)").await;
    let keys = Keys::toml(PROFILE);
    schema::migrate(&Database::connect(db.url()).await.unwrap(), &keys.profile).await.unwrap();
    if !unique.is_empty() {
        db.execute(unique).await;
    }
    keys
}

pub(crate) const UNIQUE: &str = "CREATE UNIQUE INDEX users_email ON users (email_index)";

pub(crate) fn address(id: u32) -> String {
    format!("user{id}@example.org")
}

pub(crate) async fn put(store: &TokenStore, id: u32, tenant: &str, email: &str) -> Result<(), StoreError> {
    let token = NewToken::new().column("email", Some(SecretString::from(email))).plain("tenant", tenant);
    store.put(&TokenKey::from_values([id.to_string()]), token).await.map(drop)
}

pub(crate) async fn fill(store: &TokenStore, rows: u32) {
    for id in 1..=rows {
        put(store, id, "a", &address(id)).await.unwrap();
    }
}

pub(crate) async fn found(store: &TokenStore, email: &str) -> Vec<String> {
    let rows = store.find(None, "email", &SecretString::from(email)).await;
    let rows = rows.unwrap_or_else(|error| panic!("{email}: {}", told(&error)));
    rows.iter().map(|row| row.name().to_owned()).collect()
}

pub(crate) fn options(batch_size: usize) -> RunOptions {
    let mut options = RunOptions::default();
    options.batch_size = batch_size;
    options
}

pub(crate) async fn rotated(store: &TokenStore) -> RotateReport {
    let outcome = rotate(store, &IndexColumn::default(), &options(5), &StopFlag::default(), |_| {}).await;
    match outcome.ended_by {
        None => outcome.report,
        Some(ended) => panic!("ended early: {}", told(&ended)),
    }
}

/// The number of the key that each row's index is under, and the stored keys with their states.
pub(crate) async fn under(db: &Sql) -> (Vec<String>, Vec<(String, String)>) {
    let marks = db.table("users", &["email_index"]).await.into_iter().flatten().flatten();
    let marks = marks.map(|index| index.split_once(':').unwrap().0.to_owned()).collect();
    let keys = db.table("tokenseal_index_keys", &["key_number", "state"]).await;
    let keys = keys.into_iter().map(|key| (key[0].clone().unwrap(), key[1].clone().unwrap()));
    (marks, keys.collect())
}

pub(crate) fn one(number: &str, state: &str) -> (String, String) {
    (number.into(), state.into())
}

on_each_database! {
    async fn every_index_comes_under_the_new_key_and_the_old_one_is_removed(db) {
        let keys = ready(&db, UNIQUE).await;
        let store = keys.store(&db).await;
        fill(&store, 12).await;
        let mut dry = options(5);
        dry.dry_run = true;
        let would = rotate(&store, &IndexColumn::default(), &dry, &StopFlag::default(), |_| {}).await;
        assert_eq!((would.report.rewritten, would.report.made), (12, 0), "{would:?}");
        assert_eq!(under(&db).await, (vec!["k1".into(); 12], vec![one("1", "active")]));
        let sealed = db.table("users", &["id", "email", "v", "m", "k"]).await;
        let report = rotated(&store).await;
        assert_eq!((report.rewritten, report.failed, report.left, report.made, report.removed), (12, 0, 0, 1, 1), "{report:?}");
        assert_eq!(under(&db).await, (vec!["k2".into(); 12], vec![one("2", "active")]));
        assert_eq!(db.table("users", &["id", "email", "v", "m", "k"]).await, sealed, "values stay as they are");
        // A store that held the old key finds every row, and so does a new one.
        for store in [store, keys.store(&db).await] {
            for id in 1..=12 {
                assert_eq!(found(&store, &address(id).to_uppercase()).await, [format!("id={id}")]);
            }
            assert!(!verified(&store).await.found_problems());
        }
    }

    async fn a_rotation_that_was_cut_off_goes_on_and_misses_no_row_meanwhile(db) {
        let keys = ready(&db, UNIQUE).await;
        let (store, other) = (keys.store(&db).await, keys.store(&db).await);
        fill(&store, 20).await;
        assert_eq!(found(&other, &address(1)).await, ["id=1"]);
        let stop = StopFlag::default();
        let stopper = stop.clone();
        let cut = rotate(&store, &IndexColumn::default(), &options(5), &stop, move |_| stopper.stop()).await;
        assert!(cut.report.interrupted && cut.report.left > 0 && cut.report.removed == 0, "{cut:?}");
        let (marks, states) = under(&db).await;
        assert!(marks.contains(&"k1".into()) && marks.contains(&"k2".into()), "{marks:?}");
        assert_eq!(states, [one("1", "retiring"), one("2", "active")]);
        // Both stores know only one key until they see the other.
        for store in [&other, &keys.store(&db).await] {
            for id in 1..=20 {
                assert_eq!(found(store, &address(id)).await, [format!("id={id}")], "{marks:?}");
            }
            assert!(!verified(store).await.found_problems());
        }
        let rest = rotated(&store).await;
        assert_eq!((rest.made, rest.removed, rest.left), (0, 1, 0), "no third key: {rest:?}");
        assert_eq!(under(&db).await, (vec!["k2".into(); 20], vec![one("2", "active")]));
        let again = rotated(&other).await;
        assert_eq!((again.made, again.removed, again.rewritten), (1, 1, 20));
    }

    async fn no_value_is_registered_twice_while_two_keys_are_in_use(db) {
        let keys = ready(&db, UNIQUE).await;
        let (store, stale) = (keys.store(&db).await, keys.store(&db).await);
        fill(&store, 10).await;
        assert_eq!(found(&stale, &address(10)).await, ["id=10"]);
        let stop = StopFlag::default();
        let stopper = stop.clone();
        let _: Outcome<_> = rotate(&store, &IndexColumn::default(), &options(3), &stop, move |_| stopper.stop()).await;
        assert!(under(&db).await.0.contains(&"k1".into()));
        // `stale` does not know the second key.
        for (store, id) in [(&stale, 101), (&store, 102), (&keys.store(&db).await, 103)] {
            for taken in [1, 10] {
                for row in [id, 5] {
                    let error = put(store, row, "a", &format!(" USER{taken}@Example.org")).await.unwrap_err();
                    assert!(matches!(error, StoreError::NotUnique { .. }), "{row} {taken}: {}", told(&error));
                }
            }
            put(store, id, "a", &address(id)).await.unwrap();
            put(store, 7, "a", "seven@example.org").await.unwrap();
            put(store, 7, "a", &address(7)).await.unwrap();
        }
        rotated(&store).await;
        assert!(!verified(&store).await.found_problems());
        assert_eq!(under(&db).await, (vec!["k2".into(); 13], vec![one("2", "active")]));
    }

    async fn uniqueness_within_an_owner_holds_while_two_keys_are_in_use(db) {
        let keys = ready(&db, "CREATE UNIQUE INDEX users_email ON users (tenant, email_index)").await;
        let store = keys.store(&db).await;
        fill(&store, 6).await;
        let stop = StopFlag::default();
        let stopper = stop.clone();
        let _: Outcome<_> = rotate(&store, &IndexColumn::default(), &options(2), &stop, move |_| stopper.stop()).await;
        put(&store, 50, "b", &address(6)).await.unwrap();
        for id in [1, 6] {
            let error = put(&store, 51, "a", &address(id)).await.unwrap_err();
            assert!(matches!(error, StoreError::NotUnique { .. }), "{}", told(&error));
        }
        assert_eq!(found(&store, &address(6)).await, ["id=50", "id=6"]);
        rotated(&store).await;
        assert_eq!(found(&store, &address(6)).await, ["id=50", "id=6"]);
    }

    async fn look_ups_and_writes_during_rotations_miss_nothing(db) {
        const ROWS: u32 = 40;
        const READERS: u32 = 4;
        const LOOK_UPS: u64 = 400;
        let keys = Arc::new(ready(&db, UNIQUE).await);
        let store = keys.store(&db).await;
        fill(&store, ROWS).await;
        let (done, looked_up) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut tasks = Vec::new();
        for reader in 0..READERS {
            let (store, done, looked_up) = (keys.store(&db).await, done.clone(), looked_up.clone());
            tasks.push(tokio::spawn(async move {
                let mut id = reader;
                // A tick that comes late is made up for.
                let mut pace = tokio::time::interval(Duration::from_secs(1) / 200 * READERS);
                while !done.load(Ordering::Relaxed) {
                    pace.tick().await;
                    id = id % ROWS + 1;
                    assert_eq!(found(&store, &address(id)).await, [format!("id={id}")]);
                    looked_up.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        // A writer that changes how rows are spelt, and back: each is found at every moment.
        let (writer, stop) = (keys.store(&db).await, done.clone());
        tasks.push(tokio::spawn(async move {
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                round += 1;
                let id = round % ROWS + 1;
                let email = if (round / ROWS).is_multiple_of(2) { address(id) } else { address(id).to_uppercase() };
                match put(&writer, id, "a", &email).await {
                    Ok(()) | Err(StoreError::Contended { .. }) => {}
                    Err(error) => panic!("{}", told(&error)),
                }
            }
        }));
        let mut rotations = 0;
        while rotations < 3 || looked_up.load(Ordering::Relaxed) < LOOK_UPS && !tasks.iter().any(JoinHandle::is_finished) {
            while rotated(&store).await.left > 0 {}
            rotations += 1;
        }
        done.store(true, Ordering::Relaxed);
        for task in tasks {
            task.await.unwrap();
        }
        let store = keys.store(&db).await;
        assert!(!verified(&store).await.found_problems());
        assert_eq!(under(&db).await.1.len(), 1);
    }

    async fn racing_writers_never_leave_a_value_with_the_index_of_another(db) {
        let keys = Arc::new(ready(&db, "").await);
        for id in 1..=8_u32 {
            let id = id.to_string();
            db.insert("users", &[("id::bigint", Some(&id)), ("email", Some("first@example.org"))]).await;
        }
        let mut tasks = Vec::new();
        for writer in 0..4_u32 {
            let store = keys.store(&db).await;
            tasks.push(tokio::spawn(async move {
                for round in 0..10_u32 {
                    match put(&store, (round + writer) % 8 + 1, "a", &format!("w{writer}r{round}@example.org")).await {
                        Ok(()) | Err(StoreError::Contended { .. }) => {}
                        Err(error) => panic!("{}", told(&error)),
                    }
                }
            }));
        }
        let store = keys.store(&db).await;
        for _ in 0..3 {
            carry_out(&store, &to(WriteFormat::KmsEnvelope, 3)).await;
            let _: Outcome<_> = rotate(&store, &IndexColumn::default(), &options(3), &StopFlag::default(), |_| {}).await;
        }
        for task in tasks {
            task.await.unwrap();
        }
        carry_out(&store, &to(WriteFormat::KmsEnvelope, 3)).await;
        let report = verified(&store).await;
        assert!(!report.found_problems(), "{:?}", report.findings);
    }
}

on_postgresql_and_sqlite! {
    async fn a_rotation_does_not_begin_where_uniqueness_could_not_be_kept(db) {
        let keys = ready(&db, "CREATE UNIQUE INDEX partly ON users (email_index) WHERE tenant = 'a'").await;
        let store = keys.store(&db).await;
        fill(&store, 2).await;
        let outcome = rotate(&store, &IndexColumn::default(), &options(5), &StopFlag::default(), |_| {}).await;
        let ended = outcome.ended_by.unwrap();
        assert!(told(&ended).contains("\"partly\""), "{}", told(&ended));
        assert_eq!(under(&db).await, (vec!["k1".into(); 2], vec![one("1", "active")]));
    }
}

#[tokio::test]
async fn a_rotation_applies_the_normalisation_and_the_bits_of_the_profile() {
    let db = Sql::sqlite().await;
    let mut keys = ready(&db, "").await;
    fill(&keys.store(&db).await, 3).await;
    keys.profile =
        Keys::toml(&PROFILE.replace("normalize = \"email\"", "normalize = \"none\", bits = 64")).profile;
    let store = keys.store(&db).await;
    assert_eq!(found(&store, "USER1@example.org").await, ["id=1"], "as the key has it, until it is rotated");
    rotated(&store).await;
    assert_eq!(found(&store, "USER1@example.org").await, [] as [&str; 0]);
    assert_eq!(found(&store, "user1@example.org").await, ["id=1"]);
    let indexes = db.table("users", &["email_index"]).await;
    assert!(indexes.iter().flatten().flatten().all(|index| index.len() == "k2:".len() + 16), "{indexes:?}");
}

/// The statement that begins a caller's transaction of one snapshot, and the statement that takes the
/// snapshot.
struct OneSnapshot {
    begin: &'static str,
    look: &'static str,
}

async fn holds_for_old_snapshots<DB>(db: &Sql, pool: sqlx::Pool<DB>, snapshots: &[OneSnapshot])
where
    DB: sqlx::Database,
    Database: From<sqlx::Pool<DB>>,
    for<'t> token_store::InTransaction<'t>: From<&'t mut DB::Connection>,
    for<'c> &'c mut DB::Connection: sqlx::Executor<'c, Database = DB>,
{
    let keys = ready(db, UNIQUE).await;
    let store = keys.store(db).await;
    fill(&store, 4).await;
    let own =
        TokenStore::open(Database::from(pool.clone()), keys.profile.clone(), keys.cipher()).await.unwrap();
    let token = || NewToken::new().column("email", Some(SecretString::from("new@example.org")));
    for OneSnapshot { begin, look } in snapshots {
        for id in ["1", "77"] {
            let key = TokenKey::from_values([id]).owned_by("tenant", "a");
            let before = own.prepare(&key).await.unwrap();
            let mut connection = pool.acquire().await.unwrap();
            sqlx::raw_sql(*begin).execute(&mut *connection).await.unwrap();
            sqlx::raw_sql(*look).execute(&mut *connection).await.unwrap();
            rotated(&store).await;
            let stored = db.table("users", &["id", "email", "email_index"]).await;
            let error = own.put_in(&mut *connection, before, token()).await.unwrap_err();
            assert!(error.is_retryable(), "{begin} {id}: {}", told(&error));
            sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await.unwrap();
            assert_eq!(db.table("users", &["id", "email", "email_index"]).await, stored, "{begin} {id}");

            let again = own.prepare(&key).await;
            sqlx::raw_sql(*begin).execute(&mut *connection).await.unwrap();
            sqlx::raw_sql(*look).execute(&mut *connection).await.unwrap();
            let done = match own.put_in(&mut *connection, again.unwrap(), token()).await {
                // The store still held the keys of before.
                Err(StoreError::NotPrepared { .. }) => {
                    let again = own.prepare(&key).await.unwrap();
                    own.put_in(&mut *connection, again, token()).await
                }
                done => done,
            };
            done.unwrap_or_else(|error| panic!("{begin} {id}: {}", told(&error)));
            sqlx::raw_sql("COMMIT").execute(&mut *connection).await.unwrap();
            assert_eq!(found(&store, "new@example.org").await, [format!("id={id}")]);
            put(&store, id.parse().unwrap(), "a", &address(id.parse().unwrap())).await.unwrap();
            assert!(!verified(&store).await.found_problems());
        }
    }
}

const USERS: &str = "SELECT id FROM users";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_before_a_rotation_writes_no_index_under_the_retired_key_on_postgresql() {
    let db = Sql::postgres(test_support::part!(postgres)).await;
    let pool = sqlx::PgPool::connect(db.url()).await.unwrap();
    let begin = ["BEGIN ISOLATION LEVEL REPEATABLE READ", "BEGIN ISOLATION LEVEL SERIALIZABLE"];
    holds_for_old_snapshots(&db, pool, &begin.map(|begin| OneSnapshot { begin, look: USERS })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_before_a_rotation_writes_no_index_under_the_retired_key_on_mariadb() {
    let db = Sql::mariadb(test_support::part!(mariadb)).await;
    let pool = sqlx::MySqlPool::connect(db.url()).await.unwrap();
    let begin = ["START TRANSACTION", "START TRANSACTION WITH CONSISTENT SNAPSHOT"];
    holds_for_old_snapshots(&db, pool, &begin.map(|begin| OneSnapshot { begin, look: USERS })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_may_not_lock_the_index_keys_writes_under_read_committed_only() {
    let database = test_support::part!(postgres);
    let role = format!("{}_app", database.name());
    let db = Sql::postgres(database).await;
    let keys = ready(&db, UNIQUE).await;
    let store = keys.store(&db).await;
    fill(&store, 1).await;
    db.execute(&format!("CREATE ROLE {role}")).await;
    db.execute(&format!("GRANT SELECT, UPDATE, INSERT ON users TO {role}")).await;
    db.execute(&format!("GRANT SELECT ON tokenseal_index_keys TO {role}")).await;
    let pool = sqlx::PgPool::connect(db.url()).await.unwrap();
    for (isolation, is_written) in [("REPEATABLE READ", false), ("READ COMMITTED", true)] {
        let prepared = store.prepare(&TokenKey::from_values(["1"])).await.unwrap();
        let mut connection = pool.acquire().await.unwrap();
        let begin = format!("BEGIN ISOLATION LEVEL {isolation}; SET LOCAL ROLE {role}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(begin)).execute(&mut *connection).await.unwrap();
        let token = NewToken::new().column("email", Some(SecretString::from("new@example.org")));
        let done = store.put_in(&mut *connection, prepared, token).await;
        assert_eq!(done.is_ok(), is_written, "{isolation}: {done:?}");
        if let Err(error) = done {
            assert!(
                !error.is_retryable() && told(&error).contains("UPDATE tokenseal_index_keys"),
                "{}",
                told(&error)
            );
        }
        sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await.unwrap();
    }
    db.execute(&format!("DROP OWNED BY {role}")).await;
    db.execute(&format!("DROP ROLE {role}")).await;
}
