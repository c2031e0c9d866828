//! The cost of a data key: made with the keyring, unwrapped with it, and found in a warm cache.
#![expect(clippy::unwrap_used, reason = "a benchmark reports by panicking")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use envelope_core::{DataKey, EncryptionContext, KeyProvider};
use kms_provider::{CacheOptions, Caching, Keyring};
use tokio::runtime::Runtime;

fn data_keys(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let keyring = Arc::new(Keyring::init(directory.path().join("keys.json"), &DataKey::generate()).unwrap());
    let context = EncryptionContext::new([
        ("Application", "vod-tender"),
        ("Purpose", "oauth-token"),
        ("table", "oauth_tokens"),
        ("column", "access_token"),
        ("provider", "twitch"),
        ("channel", "my-channel"),
    ])
    .unwrap();
    let made = runtime.block_on(keyring.generate(&context)).unwrap();
    let cached = Caching::new(keyring.clone());
    runtime.block_on(cached.unwrap(&made.wrapped, &context)).unwrap();
    let forgetful = CacheOptions::default().with_remember_generated(false);
    let cold = Caching::with_options(keyring.clone(), forgetful.with_max_entries(0));

    let mut group = criterion.benchmark_group("keyring");
    group.bench_function("generate", |bench| {
        bench.to_async(&runtime).iter(|| keyring.generate(black_box(&context)));
    });
    group.bench_function("unwrap", |bench| {
        bench.to_async(&runtime).iter(|| keyring.unwrap(black_box(&made.wrapped), &context));
    });
    group.finish();

    let mut group = criterion.benchmark_group("cache");
    group.bench_function("unwrap_cached, hit", |bench| {
        bench.iter(|| cached.unwrap_cached(black_box(&made.wrapped), &context));
    });
    group.bench_function("unwrap, hit", |bench| {
        bench.to_async(&runtime).iter(|| cached.unwrap(black_box(&made.wrapped), &context));
    });
    group.bench_function("unwrap, miss", |bench| {
        bench.to_async(&runtime).iter(|| cold.unwrap(black_box(&made.wrapped), &context));
    });
    group.bench_function("generate, kept", |bench| {
        bench.to_async(&runtime).iter(|| cached.generate(black_box(&context)));
    });
    group.finish();
}

criterion_group!(benches, data_keys);
criterion_main!(benches);
