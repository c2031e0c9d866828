//! The speed of a table's migration, compared with a loop of one SELECT and one UPDATE in a transaction per row, with one
//! UPDATE of the whole table, and with what a slow key service allows.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench reports on standard output, and has no caller to return an error to"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use envelope_core::{Binding, DataKey, EncryptionContext, KeyProvider, Sealer};
use kms_provider::{Keyring, Memory};
use sqlx::{AssertSqlSafe, Row as _};
use test_support::faults::{Fault, FaultyProvider};
use test_support::sql::Sql;
use token_store::migration::{self, MigrationOptions, StopFlag};
use token_store::{Database, Profile, TokenCipher, TokenStore, WriteFormat};
use tokio::runtime::Runtime;

/// Rows that the engine migrates, as many as are promised to be measured.
const ROWS: u32 = 10_000;
/// Rows of the loop: a tenth, because it takes as long.
const NAIVE_ROWS: u32 = 1_000;

/// One database, a keyring, and the same table again and again.
struct Bench {
    db: Sql,
    store: TokenStore,
    sealer: Sealer,
    naive: Naive,
    _directory: tempfile::TempDir,
}

enum Naive {
    Sqlite(sqlx::SqlitePool),
    Postgres(sqlx::PgPool),
}

impl Bench {
    async fn new(db: Sql) -> Self {
        let time = db.either("TIMESTAMPTZ", "TEXT");
        if !db.is_postgres() {
            db.rows("PRAGMA journal_mode = WAL").await;
        }
        db.execute(&format!(
            "CREATE TABLE oauth_tokens (provider TEXT NOT NULL, channel TEXT NOT NULL, access_token TEXT, \
             refresh_token TEXT, expires_at {time}, scope TEXT, updated_at {time}, encryption_version INTEGER, \
             encryption_method TEXT, encryption_key_id TEXT, PRIMARY KEY (provider, channel))"
        ))
        .await;
        let directory = tempfile::tempdir().expect("a directory");
        let keyring =
            Keyring::init(directory.path().join("keys.json"), &DataKey::generate()).expect("a keyring");
        let keyring: Arc<dyn KeyProvider> = Arc::new(keyring);
        let profile = Profile::load("vod-tender").expect("the built-in profile");
        let sealer = || Sealer::new(keyring.clone(), profile.base_context()).expect("a context");
        let database = Database::connect(db.url()).await.expect("the database answers");
        let cipher = TokenCipher::new().with_sealer(sealer());
        let store = TokenStore::open(database, profile.clone(), cipher).await.expect("the table fits");
        let naive = match db.is_postgres() {
            true => Naive::Postgres(sqlx::PgPool::connect(db.url()).await.expect("the database answers")),
            false => Naive::Sqlite(sqlx::SqlitePool::connect(db.url()).await.expect("the file opens")),
        };
        Self { sealer: sealer(), store, naive, db, _directory: directory }
    }

    /// Readable tokens of 64 characters.
    async fn refill(&self, rows: u32) {
        self.db.execute("DELETE FROM oauth_tokens").await;
        let numbers = match self.db.is_postgres() {
            true => format!("SELECT n FROM generate_series(1, {rows}) AS s(n)"),
            false => format!(
                "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {rows}) SELECT n FROM s"
            ),
        };
        self.db
            .execute(&format!(
                "INSERT INTO oauth_tokens (provider, channel, access_token, encryption_version) \
                 SELECT 'twitch', 'channel-' || n, 'token-0123456789012345678901234567890123456789012345678-' || n, 0 FROM ({numbers}) AS t"
            ))
            .await;
        if self.db.is_postgres() {
            self.db.execute("VACUUM ANALYZE oauth_tokens").await;
        }
    }

    async fn engine(&self) -> Duration {
        self.refill(ROWS).await;
        let options = MigrationOptions::to(WriteFormat::KmsEnvelope);
        let outcome = migration::run(&self.store, &options, &StopFlag::default(), |_| {}).await;
        assert_eq!((outcome.report.migrated, outcome.report.left), (u64::from(ROWS), Some(0)), "{outcome:?}");
        // Without the count of remaining rows, which comes after the rows.
        Duration::from_secs_f64(outcome.report.elapsed_seconds)
    }

    async fn loop_of_rows(&self) -> Duration {
        self.refill(NAIVE_ROWS).await;
        let start = Instant::now();
        for number in 1..=NAIVE_ROWS {
            self.one_row(&format!("channel-{number}")).await.expect("a row is migrated");
        }
        start.elapsed()
    }

    /// The work of a script per row: read it, seal its token, write it back.
    async fn one_row(&self, channel: &str) -> sqlx::Result<()> {
        const SELECT: &str = "SELECT access_token FROM oauth_tokens WHERE provider = 'twitch' AND channel = $1 AND encryption_version = 0";
        const UPDATE: &str = "UPDATE oauth_tokens SET access_token = $1, encryption_version = 2, encryption_method = 'kms-envelope', \
                              encryption_key_id = $2 WHERE provider = 'twitch' AND channel = $3";
        let cell =
            Binding::new("oauth_tokens", "access_token").key("provider", "twitch").key("channel", channel);
        match &self.naive {
            Naive::Sqlite(pool) => {
                let mut transaction = pool.begin().await?;
                let row =
                    sqlx::query(AssertSqlSafe(SELECT)).bind(channel).fetch_one(&mut *transaction).await?;
                let sealed = self.sealer.seal(row.get(0), &cell).await.expect("seals");
                let update =
                    sqlx::query(AssertSqlSafe(UPDATE)).bind(sealed.text).bind(sealed.key_id).bind(channel);
                update.execute(&mut *transaction).await?;
                transaction.commit().await
            }
            Naive::Postgres(pool) => {
                let mut transaction = pool.begin().await?;
                let row =
                    sqlx::query(AssertSqlSafe(SELECT)).bind(channel).fetch_one(&mut *transaction).await?;
                let sealed = self.sealer.seal(row.get(0), &cell).await.expect("seals");
                let update =
                    sqlx::query(AssertSqlSafe(UPDATE)).bind(sealed.text).bind(sealed.key_id).bind(channel);
                update.execute(&mut *transaction).await?;
                transaction.commit().await
            }
        }
    }
}

fn measure(criterion: &mut Criterion, runtime: &Runtime, name: &str, bench: &Bench) {
    let mut group = criterion.benchmark_group("migrate");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.warm_up_time(Duration::from_millis(1)).measurement_time(Duration::from_millis(10));
    group.throughput(Throughput::Elements(u64::from(ROWS)));
    group.bench_function(BenchmarkId::new("engine, 10,000 rows", name), |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| runtime.block_on(bench.engine())).sum());
    });
    group.throughput(Throughput::Elements(u64::from(NAIVE_ROWS)));
    group.bench_function(BenchmarkId::new("a transaction a row, 1,000 rows", name), |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| runtime.block_on(bench.loop_of_rows())).sum());
    });
    group.finish();
}

/// Rows per second of both, alternating, as medians of five.
fn factor(runtime: &Runtime, name: &str, bench: &Bench) {
    let mut times = (Vec::new(), Vec::new());
    for _ in 0..5 {
        times.0.push(runtime.block_on(bench.engine()));
        times.1.push(runtime.block_on(bench.loop_of_rows()));
    }
    let rate = |mut times: Vec<Duration>, rows: u32| {
        times.sort();
        f64::from(rows) / times[times.len() / 2].as_secs_f64()
    };
    let (engine, naive) = (rate(times.0, ROWS), rate(times.1, NAIVE_ROWS));
    println!(
        "{name}: engine {engine:.0} rows/s, a transaction a row {naive:.0} rows/s: {:.1} times",
        engine / naive
    );
}

/// Rows per second with a key service that answers after 10 ms, next to what so many calls at once allow.
async fn in_flight(name: &str, bench: &Bench) {
    const LATENCY: Duration = Duration::from_millis(10);
    let slow = Arc::new(FaultyProvider::new(Memory::new()));
    slow.faults().always_for("generate", Fault::Delay(LATENCY));
    let context = EncryptionContext::new([("Application", "bench")]).expect("a context");
    let start = Instant::now();
    for _ in 0..50 {
        slow.generate(&context).await.expect("a data key");
    }
    // The clock of the runtime rounds up.
    let call = start.elapsed() / 50;
    let sealer = Sealer::new(slow, bench.store.profile().base_context()).expect("a context");
    let database = Database::connect(bench.db.url()).await.expect("the database answers");
    let cipher = TokenCipher::new().with_sealer(sealer);
    let store =
        TokenStore::open(database, bench.store.profile().clone(), cipher).await.expect("the table fits");
    for concurrency in [16_u32, 32, 64] {
        let rows = concurrency * 150;
        bench.refill(rows).await;
        let mut options = MigrationOptions::to(WriteFormat::KmsEnvelope);
        options.run.concurrency = concurrency as usize;
        let outcome = migration::run(&store, &options, &StopFlag::default(), |_| {}).await;
        assert_eq!(outcome.report.migrated, u64::from(rows), "{outcome:?}");
        let rate = f64::from(rows) / outcome.report.elapsed_seconds;
        let ideal = f64::from(concurrency) / call.as_secs_f64();
        println!(
            "{name}: {concurrency} calls in flight, {:.1} ms each: {rate:.0} rows/s, {:.0} % of {ideal:.0}",
            call.as_secs_f64() * 1e3,
            100.0 * rate / ideal
        );
    }
}

/// Rows per second of the engine and of one UPDATE that writes texts of the same length into the same columns, in turn, as
/// medians of five.
async fn share_of_the_limit(name: &str, bench: &Bench) {
    const UPDATE: &str = "UPDATE oauth_tokens SET access_token = access_token || access_token || access_token || access_token, \
                          encryption_version = 2, encryption_method = 'kms-envelope', encryption_key_id = 'keyring:key'";
    let mut times = (Vec::new(), Vec::new());
    for _ in 0..5 {
        times.0.push(bench.engine().await);
        bench.refill(ROWS).await;
        let start = Instant::now();
        bench.db.execute(UPDATE).await;
        times.1.push(start.elapsed());
    }
    times.0.sort();
    times.1.sort();
    let share = times.1[2].as_secs_f64() / times.0[2].as_secs_f64();
    println!("{name}: engine at {:.0} % of one UPDATE of the whole table", 100.0 * share);
}

fn main() {
    let runtime = Runtime::new().expect("a runtime");
    let mut criterion = Criterion::default().configure_from_args();
    let mut benches = vec![("SQLite", runtime.block_on(async { Bench::new(Sql::sqlite().await).await }))];
    match runtime.block_on(test_support::postgres::try_database("bench_migrate")) {
        Ok(database) => {
            let bench = runtime.block_on(async { Bench::new(Sql::postgres(database).await).await });
            benches.push(("PostgreSQL", bench));
        }
        Err(reason) => println!("PostgreSQL: not measured: {reason}"),
    }
    for (name, bench) in &benches {
        measure(&mut criterion, &runtime, name, bench);
    }
    criterion.final_summary();
    for (name, bench) in &benches {
        factor(&runtime, name, bench);
        runtime.block_on(share_of_the_limit(name, bench));
        runtime.block_on(in_flight(name, bench));
    }
}
