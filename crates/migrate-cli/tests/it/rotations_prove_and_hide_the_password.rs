//! `rotation-step`: a password that the database never got is not promoted, and no password is in a log.

use std::io::Write as _;
use std::time::{Duration, Instant};

use secrets_cache::Stage;
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, PgConnection, Row as _};
use test_support::part;
use tokio::task::{JoinHandle, block_in_place, spawn_blocking};

use crate::credentials_rotate_without_a_failed_login::{
    Rotating, STEPS, demand_passwords, on_mariadb, on_postgresql, on_trusting_postgresql, pg, run_pg, token,
    until_refused, users,
};

/// Longer than the time from which the driver takes a statement for a slow one.
const SLOW: Duration = Duration::from_millis(1_300);
/// The longest that a statement takes to reach its lock.
const PATIENCE: Duration = Duration::from_secs(60);

async fn verifier_of(server: &mut PgConnection, user: &str) -> Option<String> {
    let query =
        sqlx::query_scalar("SELECT rolpassword FROM pg_authid WHERE rolname = $1").bind(user.to_owned());
    query.fetch_optional(server).await.unwrap().flatten()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_takes_any_password_gets_the_new_one_and_does_not_prove_it() {
    let (database, moto) = (part!(postgres), part!(moto));
    let rotating = on_trusting_postgresql(&moto, &database).await;
    let mut server = PgConnection::connect(database.url()).await.unwrap();
    let (user, admin) = users(database.name());
    let second = format!("{user}_clone");
    let create =
        format!("CREATE ROLE {second} LOGIN PASSWORD 'stale'; GRANT {second} TO {admin} WITH ADMIN OPTION");
    run_pg(&mut server, create).await;
    let stale = verifier_of(&mut server, &second).await;
    let before = rotating.value(&Stage::Current).await;
    block_in_place(|| {
        rotating.step(STEPS[0], &token(1), 0);
        for _ in 0..2 {
            assert_eq!(rotating.step(STEPS[1], &token(1), 0).document()["already"], false);
        }
        for step in &STEPS[2..] {
            let refused = rotating.step(step, &token(1), 6);
            assert_eq!(refused.document()["error"]["class"], "database");
            refused.says(&["any password", "scram-sha-256"]);
        }
    });
    assert_ne!(verifier_of(&mut server, &second).await, stale, "the database has the new password");
    assert_eq!(rotating.value(&Stage::Current).await, before, "and it is not current");

    demand_passwords(&mut server, &format!("{user},{second},{admin}")).await;
    until_refused(rotating.value(&Stage::Pending).await).await;
    block_in_place(|| STEPS.iter().for_each(|step| drop(rotating.step(step, &token(1), 0))));
    pg(rotating.value(&Stage::Current).await).await.unwrap();
}

/// Begins the step that sets the password, at the level of the log that shows most; returns all that it writes.
fn set_secret(rotating: &Rotating) -> JoinHandle<String> {
    let mut child =
        rotating.program.secrets_command(&["rotation-step", "--log-level", "trace"]).spawn().unwrap();
    let event = rotating.event(STEPS[1], &token(1));
    child.stdin.take().unwrap().write_all(event.as_bytes()).unwrap();
    spawn_blocking(move || {
        let output = child.wait_with_output().unwrap();
        let written = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        assert!(output.status.success(), "{written}");
        written
    })
}

async fn assert_hidden(rotating: &Rotating, written: &str) {
    let pending = rotating.value(&Stage::Pending).await;
    assert!(!written.contains(pending["password"].as_str().unwrap()), "{written}");
    assert!(!written.contains("SCRAM-SHA-256$") && !written.contains("slow statement"), "{written}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slow_statement_of_a_rotation_is_in_no_log_on_postgresql() {
    let (database, moto) = (part!(postgres), part!(moto));
    let rotating = on_postgresql(&moto, &database).await;
    block_in_place(|| rotating.step(STEPS[0], &token(1), 0));
    let mut lock = PgConnection::connect(database.url()).await.unwrap();
    let mut locked = lock.begin().await.unwrap();
    run_pg(&mut locked, "LOCK TABLE pg_authid IN SHARE MODE".into()).await;
    let step = set_secret(&rotating);
    let waiting = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) \
                   WHERE NOT granted AND relation = 'pg_authid'::regclass AND usename = $1";
    let administrator = users(database.name()).1;
    // Outside of the transaction, which sees the activity of one moment only.
    let mut server = PgConnection::connect(database.url()).await.unwrap();
    let is_waiting = || sqlx::query(waiting).bind(administrator.clone());
    let limit = Instant::now() + PATIENCE;
    while is_waiting().fetch_one(&mut server).await.unwrap().get::<i64, _>(0) == 0 {
        assert!(!step.is_finished() && Instant::now() < limit, "the statement did not wait for the lock");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(SLOW).await;
    assert!(!step.is_finished(), "the statement was not slow");
    locked.rollback().await.unwrap();
    assert_hidden(&rotating, &step.await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slow_statement_of_a_rotation_is_in_no_log_on_mariadb() {
    let (database, moto) = (part!(mariadb), part!(moto));
    let (rotating, user) = on_mariadb(&moto, &database).await;
    block_in_place(|| rotating.step(STEPS[0], &token(1), 0));
    let run = |statement: String| sqlx::raw_sql(AssertSqlSafe(statement));
    let mut lock = MySqlConnection::connect(database.url()).await.unwrap();
    run("LOCK TABLES mysql.global_priv READ".into()).execute(&mut lock).await.unwrap();
    let step = set_secret(&rotating);
    let mut server = MySqlConnection::connect(database.url()).await.unwrap();
    let waiting = "SELECT count(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for table%' AND user = ?";
    let is_waiting = || sqlx::query(waiting).bind(format!("a{user}"));
    let limit = Instant::now() + PATIENCE;
    while is_waiting().fetch_one(&mut server).await.unwrap().get::<i64, _>(0) == 0 {
        assert!(!step.is_finished() && Instant::now() < limit, "the statement did not wait for the lock");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(SLOW).await;
    assert!(!step.is_finished(), "the statement was not slow");
    run("UNLOCK TABLES".into()).execute(&mut lock).await.unwrap();
    assert_hidden(&rotating, &step.await.unwrap()).await;
    for account in [user.clone(), format!("{user}_clone"), format!("a{user}")] {
        run(format!("DROP USER IF EXISTS '{account}'@'%'")).execute(&mut lock).await.unwrap();
    }
}

/// Every file of the programs and libraries that makes a connection turns the driver's log of statements off.
#[test]
fn no_connection_has_the_drivers_log_of_statements() {
    let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() && !["tests", "target", "test-support", "benches", "examples"].contains(&&*name)
            {
                folders.push(path);
            } else if name.ends_with(".rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let makes = ["PgConnectOptions", "MySqlConnectOptions", "SqliteConnectOptions"];
                if makes.iter().any(|kind| text.contains(kind)) {
                    seen += 1;
                    let is_quiet = text.contains("disable_statement_logging")
                        || text.contains("database::connect(options)");
                    assert!(is_quiet, "{}", path.display());
                }
            }
        }
    }
    assert!(seen >= 7, "{seen} files make connections");
}
