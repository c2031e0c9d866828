//! The time that envelopes add to a refresh (read, refresh, write in the service's own code), compared with
//! direct AES.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench reports on standard output, and has no caller to return an error to"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode};
use envelope_core::{DataKey, KeyProvider, Sealer};
use example_service::Service;
use example_service::config::Config;
use example_service::refresh::refresh;
use kms_provider::Keyring;
use test_support::faults::{Fault, FaultyProvider};
use test_support::sql::Sql;
use token_store::{Database, NewToken, Profile, TokenCipher, TokenKey, TokenStore, schema};
use tokenseal::Settings;
use tokio::runtime::Runtime;
use tracing_subscriber::filter::LevelFilter;

/// How long the OAuth provider takes.
const PROVIDER: Duration = Duration::from_millis(500);
/// How long a call to the key service takes.
const KEY_SERVICE: Duration = Duration::from_millis(10);
/// Most time that envelopes may add to a refresh, as a share of the time with direct AES.
const MOST: f64 = 0.10;

/// One table, and the keys of both ways.
struct Place {
    db: Sql,
    directory: tempfile::TempDir,
    master: DataKey,
}

impl Place {
    async fn new() -> Self {
        let db = Sql::sqlite().await;
        db.execute(
            "CREATE TABLE oauth_tokens (provider TEXT NOT NULL, channel TEXT NOT NULL, access_token TEXT, \
             refresh_token TEXT, expires_at TEXT, scope TEXT, updated_at TEXT, PRIMARY KEY (provider, channel))",
        )
        .await;
        let database = Database::connect(db.url()).await.expect("the file opens");
        schema::migrate(&database, &profile()).await.expect("the table fits");
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join(".env"), "OAUTH_CLIENT_SECRET=made-up\n").expect("a file");
        let master = DataKey::generate();
        Keyring::init(directory.path().join("keys.json"), &master).expect("a keyring");
        Self { db, directory, master }
    }

    fn keyring(&self) -> Keyring {
        Keyring::open(self.directory.path().join("keys.json"), &self.master).expect("a keyring")
    }

    /// The service, with a key service that takes its time, or with direct AES alone.
    async fn service(&self, has_key_service: bool) -> Service {
        let slow = FaultyProvider::new(self.keyring());
        slow.faults().always(Fault::Delay(KEY_SERVICE));
        let config = config(self.db.url(), &self.directory.path().join(".env"));
        let service = Service::connect_with(config, |builder| match has_key_service {
            true => builder.key_service(Arc::new(slow)),
            false => builder,
        });
        service.await.expect("the service starts")
    }

    /// Another program, whose data keys the service has in no cache.
    async fn other_program(&self) -> TokenStore {
        let keys: Arc<dyn KeyProvider> = Arc::new(self.keyring());
        let sealer = Sealer::new(keys, profile().base_context()).expect("a context");
        let database = Database::connect(self.db.url()).await.expect("the file opens");
        let store = TokenStore::open(database, profile(), TokenCipher::new().with_sealer(sealer));
        store.await.expect("the table fits")
    }
}

fn profile() -> Profile {
    Profile::load("vod-tender").expect("the built-in profile")
}

fn config(database_url: &str, secrets: &Path) -> Config {
    let variables = BTreeMap::from([
        ("DATABASE_URL", database_url.to_owned()),
        ("ENCRYPTION_KEY", "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=".to_owned()),
        ("SECRETS_SOURCE", format!("dotenv:{}", secrets.display())),
    ]);
    let settings = Settings::from_variables(&|name| variables.get(name).map(Into::into));
    Config {
        refresh_pause_file: None,
        settings: settings.expect("the settings are right"),
        log_level: LevelFilter::OFF,
        listen: ([127, 0, 0, 1], 0).into(),
        oauth_lifetime: Duration::from_secs(3600),
        refresh_every: None,
        oauth_latency: PROVIDER,
    }
}

/// A pair of its own for each row: the provider takes a refresh token that comes twice for stolen.
fn token(name: &str, number: u64) -> NewToken {
    NewToken::new().access_token("an access token").refresh_token(format!("a refresh token: {name} {number}"))
}

/// Refreshes a row that is made beforehand by `store`, the same one each time or a new one; returns the median.
fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    runtime: &Runtime,
    name: &str,
    service: &Service,
    store: &TokenStore,
    is_cold: bool,
) -> Duration {
    let mut times = Vec::new();
    let (mut made, channel) = (0, |number: u64| TokenKey::new("twitch", format!("{name} {number}")));
    runtime.block_on(store.put(&channel(0), token(name, 0))).expect("a row");
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            let mut total = Duration::ZERO;
            for _ in 0..iterations {
                if is_cold {
                    made += 1;
                    runtime.block_on(store.put(&channel(made), token(name, made))).expect("a row");
                }
                let start = Instant::now();
                runtime.block_on(refresh(service, &channel(made), None)).expect("a refresh");
                times.push(start.elapsed());
                total += start.elapsed();
            }
            total
        });
    });
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn main() {
    let runtime = Runtime::new().expect("a runtime");
    let place = runtime.block_on(Place::new());
    let (direct, envelopes) = (runtime.block_on(place.service(false)), runtime.block_on(place.service(true)));
    let other = runtime.block_on(place.other_program());

    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("refresh, provider 500 ms, key service 10 ms");
    group.sampling_mode(SamplingMode::Flat).sample_size(10).measurement_time(Duration::from_secs(8));
    group.warm_up_time(Duration::from_millis(100));
    let mut median = |name, service: &Service, store: &TokenStore, is_cold| {
        measure(&mut group, &runtime, name, service, store, is_cold).as_secs_f64()
    };
    let base = median("direct AES", &direct, direct.store(), true);
    let warm = median("envelopes, keys in the cache", &envelopes, envelopes.store(), false);
    let cold = median("envelopes, keys in no cache", &envelopes, &other, true);
    group.finish();
    criterion.final_summary();

    if base > 0.0 && warm > 0.0 && cold > 0.0 {
        let (warm, cold) = (warm / base - 1.0, cold / base - 1.0);
        println!(
            "envelopes add {:.1} % to a refresh, {:.1} % with keys in the cache",
            cold * 100.0,
            warm * 100.0
        );
        assert!(cold < MOST, "envelopes may add {:.0} % at most", MOST * 100.0);
    }
}
