//! A list of 2,000 rows: by the store's stream, and by one SELECT and a `Sealer::open` for each row.
//!
//! PostgreSQL is measured where `TOKENSEAL_TEST_POSTGRES_URL` names a server.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench has no caller to return an error to, and talks to people"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use envelope_core::{Binding, EnvelopeFormat, Sealer};
use futures_util::StreamExt as _;
use kms_provider::{Caching, Memory};
use sqlx::Row as _;
use test_support::sql::Sql;
use token_store::{Database, NewToken, Profile, TokenCipher, TokenKey, TokenStore};

const ROWS: usize = 2_000;

/// How often each way is timed for their ratio.
const TURNS: usize = 101;

const PROFILE: &str = "name = \"customers\"\n[context]\nApplication = \"crm\"\n[[tables]]\nname = \"customers\"\n\
                       key = [\"id\"]\ntokens = [\"email\"]\n";

struct Setup {
    store: TokenStore,
    sealer: Sealer,
    db: Sql,
}

impl Setup {
    /// A table of sealed rows, whose data keys the cache holds.
    async fn new(db: Sql, format: EnvelopeFormat) -> Self {
        db.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY, email TEXT)").await;
        let profile = Profile::from_toml(PROFILE).expect("a profile");
        let provider = Arc::new(Caching::new(Arc::new(Memory::new())));
        let sealer = || {
            let sealer = Sealer::new(provider.clone(), profile.base_context()).expect("a context");
            sealer.with_writing(format)
        };
        let cipher = TokenCipher::new().with_sealer(sealer());
        let database = Database::connect(db.url()).await.expect("a database");
        let store = TokenStore::open(database, profile.clone(), cipher).await.expect("a store");
        for id in 0..ROWS {
            let email = format!("customer-{id}@example.org");
            let token = NewToken::new().column("email", Some(email.into()));
            store.put(&TokenKey::from_values([id.to_string()]), token).await.expect("a row");
        }
        Self { store, sealer: sealer(), db }
    }

    async fn by_stream(&self) -> usize {
        let mut rows = std::pin::pin!(self.store.rows(None, &["email"]).expect("a column"));
        let mut opened = 0;
        while let Some(row) = rows.next().await {
            let row = row.expect("a row");
            opened += usize::from(row.token("email").is_ok_and(|email| email.is_some()));
        }
        opened
    }

    async fn by_hand(&self, pool: &Pool) -> usize {
        let mut opened = 0;
        for (id, text) in pool.rows().await {
            let binding = Binding::new("customers", "email").key("id", &id);
            black_box(self.sealer.open(&text, None, &binding).await.expect("opens"));
            opened += 1;
        }
        opened
    }
}

enum Pool {
    Sqlite(sqlx::SqlitePool),
    Postgres(sqlx::PgPool),
}

impl Pool {
    async fn rows(&self) -> Vec<(String, String)> {
        match self {
            Self::Sqlite(pool) => {
                let sql = "SELECT CAST(id AS TEXT), email FROM customers ORDER BY id";
                let rows = sqlx::query(sql).fetch_all(pool).await.expect("rows");
                rows.iter().map(|row| (row.get(0), row.get(1))).collect()
            }
            Self::Postgres(pool) => {
                let sql = "SELECT id::text, email FROM customers ORDER BY customers.id";
                let rows = sqlx::query(sql).fetch_all(pool).await.expect("rows");
                rows.iter().map(|row| (row.get(0), row.get(1))).collect()
            }
        }
    }
}

fn lists(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for format in [EnvelopeFormat::V2, EnvelopeFormat::V3] {
        let setup = runtime.block_on(async { Setup::new(Sql::sqlite().await, format).await });
        let url = setup.db.url().to_owned();
        let pool =
            runtime.block_on(async { Pool::Sqlite(sqlx::SqlitePool::connect(&url).await.expect("a pool")) });
        compare(criterion, &runtime, &format!("SQLite, {format:?}"), &setup, &pool);
        let Ok(database) = runtime.block_on(test_support::postgres::try_database("stream")) else { continue };
        let setup = runtime.block_on(async { Setup::new(Sql::postgres(database).await, format).await });
        let url = setup.db.url().to_owned();
        let pool =
            runtime.block_on(async { Pool::Postgres(sqlx::PgPool::connect(&url).await.expect("a pool")) });
        compare(criterion, &runtime, &format!("PostgreSQL, {format:?}"), &setup, &pool);
    }
}

fn compare(
    criterion: &mut Criterion,
    runtime: &tokio::runtime::Runtime,
    name: &str,
    setup: &Setup,
    pool: &Pool,
) {
    assert_eq!(runtime.block_on(setup.by_stream()), ROWS);
    assert_eq!(runtime.block_on(setup.by_hand(pool)), ROWS);
    let mut group = criterion.benchmark_group(format!("2,000 rows on {name}"));
    group.sample_size(20).throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("one SELECT and Sealer::open", |bencher| {
        bencher.iter(|| runtime.block_on(setup.by_hand(pool)));
    });
    group.bench_function("TokenStore::rows", |bencher| bencher.iter(|| runtime.block_on(setup.by_stream())));
    group.finish();
    print_ratio(runtime, name, setup, pool);
}

/// Both by turns, so that a machine that is busy for a while is busy for both.
fn print_ratio(runtime: &tokio::runtime::Runtime, name: &str, setup: &Setup, pool: &Pool) {
    let time = |list: &dyn Fn() -> usize| {
        let start = Instant::now();
        assert_eq!(list(), ROWS);
        start.elapsed()
    };
    let (mut by_stream, mut by_hand) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        by_hand.push(time(&|| runtime.block_on(setup.by_hand(pool))));
        by_stream.push(time(&|| runtime.block_on(setup.by_stream())));
    }
    by_hand.sort_unstable();
    by_stream.sort_unstable();
    let (by_hand, by_stream) = (by_hand[TURNS / 2], by_stream[TURNS / 2]);
    let ratio = by_stream.as_secs_f64() / by_hand.as_secs_f64();
    println!("{name}: {by_stream:.1?} by the stream, {by_hand:.1?} by hand: {ratio:.2} times (limit 1.3)");
}

criterion_group!(benches, lists);
criterion_main!(benches);
