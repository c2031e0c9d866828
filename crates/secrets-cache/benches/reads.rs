//! The cost of a read: warm from the cache, and from a local store of 100,000 secrets.
#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![expect(clippy::unwrap_used, reason = "a benchmark that fails, fails")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use secrecy::SecretString;
use secrets_cache::source::memory::MemorySource;
use secrets_cache::{NewSecret, SecretSource, SecretsCache};
use tokio::runtime::Runtime;

fn secret(name: &str) -> NewSecret {
    NewSecret::new(name.parse().unwrap(), SecretString::from("a value of the usual length, or thereabouts"))
}

fn warm(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let source = Arc::new(MemorySource::new());
    runtime.block_on(source.put(&secret("database/password"))).unwrap();
    let cache = SecretsCache::new(source);
    runtime.block_on(cache.get("database/password")).unwrap();
    criterion.bench_function("get, warm", |bencher| {
        bencher
            .to_async(&runtime)
            .iter(|| async { black_box(cache.get("database/password").await.unwrap()) });
    });
    criterion.bench_function("read as text, warm", |bencher| {
        bencher
            .to_async(&runtime)
            .iter(|| async { black_box(cache.read::<SecretString>("database/password").await.unwrap()) });
    });
}

#[cfg(feature = "local-store")]
mod local {
    use super::*;

    use envelope_core::DataKey;
    use envelope_core::format::node_json::DataKeyRing;
    use futures_util::StreamExt;
    use secrets_cache::Stage;
    use secrets_cache::local::LocalStore;
    use secrets_cache::source::ListRequest;

    struct OneKey(Arc<DataKey>);

    impl DataKeyRing for OneKey {
        fn data_key(&self, id: &str) -> Option<Arc<DataKey>> {
            (id == "only").then(|| Arc::clone(&self.0))
        }

        fn active(&self) -> (String, Arc<DataKey>) {
            ("only".into(), Arc::clone(&self.0))
        }
    }

    pub(super) fn hundred_thousand(criterion: &mut Criterion) {
        let runtime = Runtime::new().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let ring = Arc::new(OneKey(Arc::new(DataKey::generate())));
        let store = runtime.block_on(async {
            let store = LocalStore::open_or_create(directory.path().join("store.db"), ring).await.unwrap();
            let all = futures_util::stream::iter((0..100_000).map(|n| Ok(secret(&format!("secret/{n:06}")))));
            store.put_all(all.boxed()).await.unwrap();
            store
        });
        let name = "secret/050000".parse().unwrap();
        criterion.bench_function("look up one of 100,000", |bencher| {
            bencher
                .to_async(&runtime)
                .iter(|| async { black_box(store.get(&name, &Stage::Current).await.unwrap()) });
        });
        let page = ListRequest::default().after(Some("secret/050000".into()));
        criterion.bench_function("list 1,000 of 100,000", |bencher| {
            bencher.to_async(&runtime).iter(|| async { black_box(store.list(&page).await.unwrap()) });
        });
    }
}

#[cfg(feature = "local-store")]
criterion_group!(benches, warm, local::hundred_thousand);
#[cfg(not(feature = "local-store"))]
criterion_group!(benches, warm);
criterion_main!(benches);
