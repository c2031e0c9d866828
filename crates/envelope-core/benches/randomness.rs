//! The cost of randomness: one draw from the operating system, and its share of sealing a value.
#![allow(missing_docs, reason = "criterion writes public functions without any")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use envelope_core::format::direct_aes;
use envelope_core::{DataKey, random};
use rand::Rng;

fn draws(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("randomness");
    group.bench_function("12 bytes, operating system", |bench| bench.iter(random::bytes::<12>));
    group.bench_function("32 bytes, operating system", |bench| bench.iter(random::bytes::<32>));
    // For comparison: a generator that is not fork-safe.
    group.bench_function("12 bytes, generator of the thread", |bench| {
        bench.iter(|| {
            let mut bytes = [0; 12];
            rand::rng().fill_bytes(&mut bytes);
            bytes
        });
    });
    let (key, token) = (DataKey::generate(), "x".repeat(256));
    group.bench_function("direct AES, 256 bytes sealed", |bench| {
        bench.iter(|| direct_aes::seal(&key, black_box(&token)));
    });
    group.finish();
}

criterion_group!(benches, draws);
criterion_main!(benches);
