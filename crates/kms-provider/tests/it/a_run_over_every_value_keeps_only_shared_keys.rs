//! A run that opens every value once keeps no data key that serves one value, and still keeps those that
//! serve many.

use std::sync::Arc;

use envelope_core::{Binding, EnvelopeFormat, KeyProvider, Sealer, Writing};
use kms_provider::{CacheOptions, Caching, Counting, Memory, Reuse, ReuseLimits};
use secrecy::ExposeSecret as _;

/// The key service of a run, the count of its calls, and its cache.
fn run() -> (Arc<Counting>, Arc<Caching>) {
    let calls = Arc::new(Counting::new(Arc::new(Memory::new())));
    let options = CacheOptions::default().with_remember_generated(false);
    (calls.clone(), Arc::new(Caching::with_options(calls, options)))
}

fn sealer(cache: &Caching, provider: Arc<dyn KeyProvider>, format: EnvelopeFormat) -> Sealer {
    let sealer = Sealer::new(provider, vec![("Application".into(), "test".into())]).unwrap();
    sealer.with_writing(format).with_uncached(cache.uncached())
}

async fn opens(sealer: &Sealer, text: &str, row: &str) {
    let opened = sealer.open(text, None, &Binding::new("users", "token").key("id", row)).await.unwrap();
    assert_eq!(opened.plaintext.expose_secret(), "a token");
}

#[tokio::test]
async fn keys_of_version_2_are_not_kept() {
    let (calls, cache) = run();
    let sealer = sealer(&cache, cache.clone(), EnvelopeFormat::V2);
    for row in ["1", "2", "3"] {
        let sealed = sealer.seal("a token", &Binding::new("users", "token").key("id", row)).await.unwrap();
        opens(&sealer, &sealed.text, row).await;
    }
    assert_eq!(calls.counts().unwrap, 3);
    assert!(cache.is_empty());
    let counts = cache.counts();
    assert_eq!((counts.hits, counts.misses, counts.loads, counts.load_failures), (0, 3, 3, 0));
}

#[tokio::test]
async fn refused_unwraps_are_counted_too() {
    let (_, cache) = run();
    let sealer = sealer(&cache, cache.clone(), EnvelopeFormat::V2);
    let binding = Binding::new("users", "token").key("id", "1");
    let sealed = sealer.seal("a token", &binding).await.unwrap();
    let copied = Binding::new("users", "token").key("id", "2");
    assert!(sealer.open(&sealed.text, None, &copied).await.is_err());
    let counts = cache.counts();
    assert_eq!((counts.misses, counts.loads, counts.load_failures), (2, 2, 2), "bound first, then unbound");
}

#[tokio::test]
async fn keys_of_version_3_are_kept() {
    let (calls, cache) = run();
    let limits: ReuseLimits = "messages=1000".parse().unwrap();
    let sealer = sealer(&cache, Arc::new(Reuse::new(cache.clone(), limits)), EnvelopeFormat::V3);
    for row in ["1", "2", "3"] {
        let sealed = sealer.seal("a token", &Binding::new("users", "token").key("id", row)).await.unwrap();
        opens(&sealer, &sealed.text, row).await;
    }
    assert_eq!((calls.counts().generate, calls.counts().unwrap), (1, 1));
}

#[tokio::test]
async fn an_unbound_value_of_version_2_opens_too() {
    let (calls, cache) = run();
    let unbound = sealer(&cache, cache.clone(), EnvelopeFormat::V2).with_writing(Writing::UnboundV2);
    let sealed = unbound.seal("a token", &Binding::new("users", "token").key("id", "1")).await.unwrap();
    opens(&sealer(&cache, cache.clone(), EnvelopeFormat::V2), &sealed.text, "1").await;
    assert_eq!(calls.counts().unwrap, 2, "bound first, then unbound");
}
