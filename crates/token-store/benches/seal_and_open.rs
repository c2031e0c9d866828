//! The cost of sealing and opening a token, compared with AES-256-GCM alone in the same run.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench reports on standard output, and has no caller to return an error to"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aes_gcm::aead::Aead as _;
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use criterion::{Criterion, Throughput};
use envelope_core::{Binding, DataKey, EnvelopeFormat, KeyProvider, Sealed, Sealer};
use futures_util::FutureExt as _;
use kms_provider::{CacheOptions, Caching, Keyring};

/// A token of the usual length for a signed one.
const TOKEN: &str = match std::str::from_utf8(&[b'x'; 256]) {
    Ok(token) => token,
    Err(_) => panic!(),
};

/// A program that uses the cipher and nothing else: one prepared key, a random nonce and an output buffer for
/// each value.
struct Raw {
    cipher: Aes256Gcm,
}

impl Raw {
    fn new() -> Self {
        Self { cipher: Aes256Gcm::new(DataKey::generate().expose_secret().into()) }
    }

    fn both_ways(&mut self) {
        let nonce = Nonce::from(rand::random::<[u8; 12]>());
        let sealed = self.cipher.encrypt(&nonce, black_box(TOKEN.as_bytes())).expect("seals");
        let opened = self.cipher.decrypt(&nonce, black_box(sealed.as_slice())).expect("opens");
        black_box(opened);
    }
}

/// The identity of a row's cell, made again for every value as a store does.
fn binding(channel: &str) -> Binding<'_> {
    Binding::new("oauth_tokens", "access_token").key("provider", "twitch").key("channel", channel)
}

/// A sealer on a keyring file, with or without a cache.
struct Setup {
    sealer: Sealer,
    _directory: tempfile::TempDir,
}

impl Setup {
    fn new(format: EnvelopeFormat, cache: Option<CacheOptions>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let keyring =
            Keyring::init(directory.path().join("keys.json"), &DataKey::generate()).expect("a keyring");
        let keyring: Arc<dyn KeyProvider> = Arc::new(keyring);
        let provider = match cache {
            Some(options) => Arc::new(Caching::with_options(keyring, options)),
            None => keyring,
        };
        let base = [("Application", "vod-tender"), ("Purpose", "oauth-token")];
        let base = base.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let sealer = Sealer::new(provider, base).expect("the pairs make a context").with_writing(format);
        Self { sealer, _directory: directory }
    }

    fn seal(&self, channel: &str) -> Sealed {
        let seal = async { self.sealer.seal(black_box(TOKEN), &binding(channel)).await };
        seal.now_or_never().expect("the keyring does not wait").expect("seals")
    }

    fn open(&self, sealed: &Sealed, channel: &str) {
        let open =
            async { self.sealer.open(&sealed.text, sealed.key_id.as_deref(), &binding(channel)).await };
        let opened = open.now_or_never().expect("nothing waits").expect("opens");
        black_box(opened.plaintext);
    }

    /// Opens without waiting being ruled out: a cold cache asks the keyring in a task of its own.
    fn open_cold(&self, runtime: &tokio::runtime::Runtime, sealed: &Sealed, channel: &str) {
        let binding = binding(channel);
        let open = self.sealer.open(&sealed.text, sealed.key_id.as_deref(), &binding);
        runtime.block_on(async { black_box(open.await.expect("opens").plaintext) });
    }
}

/// Fresh keys are kept for the read that follows.
fn remembering() -> Option<CacheOptions> {
    Some(CacheOptions::default())
}

/// Fresh keys are not kept, as in bulk writes.
fn forgetting() -> Option<CacheOptions> {
    Some(CacheOptions::default().with_remember_generated(false))
}

fn name(format: EnvelopeFormat) -> &'static str {
    match format {
        EnvelopeFormat::V2 => "v2",
        EnvelopeFormat::V3 => "v3",
    }
}

/// A value whose data key the cache holds.
fn warm(setup: &Setup, runtime: &tokio::runtime::Runtime) -> Sealed {
    let sealed = setup.seal("warm");
    setup.open_cold(runtime, &sealed, "warm");
    sealed
}

/// The one figure that is promised: a value sealed under a fresh data key, and one opened from a warm cache.
fn pair(setup: &Setup, warm: &Sealed) {
    black_box(setup.seal("my-channel"));
    setup.open(warm, "warm");
}

fn benches(criterion: &mut Criterion, runtime: &tokio::runtime::Runtime) {
    let mut group = criterion.benchmark_group("seal and open 256 bytes");
    group.throughput(Throughput::Elements(1));
    let mut raw = Raw::new();
    group.bench_function("raw AES-256-GCM, both ways", |bencher| bencher.iter(|| raw.both_ways()));
    for format in [EnvelopeFormat::V2, EnvelopeFormat::V3] {
        let version = name(format);
        let setup = Setup::new(format, forgetting());
        let value = warm(&setup, runtime);
        group.bench_function(
            format!("{version}: seal under a fresh key, open from a warm cache"),
            |bencher| {
                bencher.iter(|| pair(&setup, &value));
            },
        );
        group.bench_function(format!("{version}: seal"), |bencher| bencher.iter(|| setup.seal("my-channel")));
        group.bench_function(format!("{version}: open from the cache"), |bencher| {
            bencher.iter(|| setup.open(&value, "warm"));
        });
        let keeping = Setup::new(format, remembering());
        group.bench_function(format!("{version}: seal, keep the key, open that value"), |bencher| {
            bencher.iter(|| {
                let sealed = keeping.seal("my-channel");
                keeping.open(&sealed, "my-channel");
            });
        });
        let bare = Setup::new(format, None);
        let cold = bare.seal("cold");
        group.bench_function(format!("{version}: open cold, with the keyring"), |bencher| {
            bencher.iter(|| bare.open(&cold, "cold"));
        });
    }
    group.finish();
}

/// Median time of one call, each round of one thing next to a round of the other, so that both see the same machine.
fn side_by_side(mut one: impl FnMut(), mut other: impl FnMut()) -> (Duration, Duration) {
    const ROUNDS: usize = 61;
    const CALLS: u32 = 2_000;
    let round = |call: &mut dyn FnMut()| {
        let start = Instant::now();
        (0..CALLS).for_each(|_| call());
        start.elapsed() / CALLS
    };
    let mut times = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        times.0.push(round(&mut one));
        times.1.push(round(&mut other));
    }
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[ROUNDS / 2]
    };
    (median(times.0), median(times.1))
}

fn ratios(runtime: &tokio::runtime::Runtime) {
    for format in [EnvelopeFormat::V2, EnvelopeFormat::V3] {
        let setup = Setup::new(format, forgetting());
        let value = warm(&setup, runtime);
        let mut plain = Raw::new();
        let (whole, alone) = side_by_side(|| pair(&setup, &value), || plain.both_ways());
        println!(
            "{}: seal under a fresh key and open from a warm cache {whole:?}, raw AES-256-GCM both ways {alone:?}: {:.2} times",
            name(format),
            whole.as_secs_f64() / alone.as_secs_f64()
        );
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    // The cache keeps a task that wipes what has expired.
    let _entered = runtime.enter();
    let mut criterion = Criterion::default().configure_from_args();
    benches(&mut criterion, &runtime);
    criterion.final_summary();
    ratios(&runtime);
}
