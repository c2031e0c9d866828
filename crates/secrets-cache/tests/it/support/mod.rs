//! Shared by the tests: a ring of data keys, a source that can be broken, and short cuts.
#![allow(dead_code, reason = "which of it is used depends on the features")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use envelope_core::DataKey;
use envelope_core::format::node_json::DataKeyRing;
use envelope_core::ledger::{Ledger, LedgerError, StoreRecord};
use secrecy::SecretString;
use secrets_cache::source::memory::MemorySource;
use secrets_cache::source::{ListPage, ListRequest, Stored};
use secrets_cache::{NewSecret, Secret, SecretName, SecretSource, SecretValue, SourceError, Stage};

pub(crate) fn name(name: &str) -> SecretName {
    SecretName::new(name).unwrap()
}

pub(crate) fn new(secret: &str, value: &str) -> NewSecret {
    NewSecret::new(name(secret), SecretString::from(value))
}

pub(crate) fn value(text: &str) -> SecretValue {
    SecretValue::text(SecretString::from(text))
}

pub(crate) fn text(secret: &Secret) -> &str {
    secret.value.expose_text().unwrap()
}

/// A ring in memory.
pub(crate) struct Ring(Mutex<(String, BTreeMap<String, Arc<DataKey>>)>);

impl Ring {
    /// A ring whose keys are the same in every process.
    pub(crate) fn of(keys: u8) -> Arc<Self> {
        let key = |n: u8| (format!("key-{n}"), Arc::new(DataKey::from_slice(&[n; 32]).unwrap()));
        Arc::new(Self(Mutex::new((format!("key-{keys}"), (1..=keys).map(key).collect()))))
    }

    pub(crate) fn add(&self, id: &str, key: DataKey, active: bool) {
        let mut ring = self.0.lock().unwrap();
        ring.1.insert(id.to_owned(), Arc::new(key));
        if active {
            ring.0 = id.to_owned();
        }
    }
}

impl DataKeyRing for Ring {
    fn data_key(&self, id: &str) -> Option<Arc<DataKey>> {
        self.0.lock().unwrap().1.get(id).cloned()
    }

    fn active(&self) -> (String, Arc<DataKey>) {
        let ring = self.0.lock().unwrap();
        (ring.0.clone(), ring.1[&ring.0].clone())
    }
}

/// A ring that remembers stores, as a keyring does.
pub(crate) struct Remembering {
    ring: Arc<Ring>,
    pub(crate) stores: Mutex<Vec<StoreRecord>>,
    pub(crate) read_only: AtomicBool,
}

impl Remembering {
    pub(crate) fn new(ring: Arc<Ring>) -> Arc<Self> {
        Arc::new(Self { ring, stores: Mutex::default(), read_only: AtomicBool::new(false) })
    }

    /// The record of the one store.
    pub(crate) fn record(&self) -> StoreRecord {
        let stores = self.stores.lock().unwrap();
        assert_eq!(stores.len(), 1);
        stores[0].clone()
    }
}

impl DataKeyRing for Remembering {
    fn data_key(&self, id: &str) -> Option<Arc<DataKey>> {
        self.ring.data_key(id)
    }

    fn active(&self) -> (String, Arc<DataKey>) {
        self.ring.active()
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        Some(self)
    }
}

impl Ledger for Remembering {
    fn records(&self) -> Result<Vec<StoreRecord>, LedgerError> {
        Ok(self.stores.lock().unwrap().clone())
    }

    fn update(&self, change: &mut dyn FnMut(&mut Vec<StoreRecord>)) -> Result<(), LedgerError> {
        if self.read_only.load(Ordering::SeqCst) {
            return Err(LedgerError::ReadOnly);
        }
        change(&mut self.stores.lock().unwrap());
        Ok(())
    }
}

/// A source in memory that counts requests, and fails or waits on request.
#[derive(Default)]
pub(crate) struct Flaky {
    pub(crate) memory: MemorySource,
    gets: AtomicU64,
    batches: AtomicU64,
    failure: Mutex<Option<SourceError>>,
    delay: Mutex<Duration>,
}

impl Flaky {
    pub(crate) async fn with(secrets: &[(&str, &str)]) -> Arc<Self> {
        let flaky = Self::default();
        for (secret, value) in secrets {
            flaky.memory.put(&new(secret, value)).await.unwrap();
        }
        Arc::new(flaky)
    }

    pub(crate) fn gets(&self) -> u64 {
        self.gets.load(Ordering::SeqCst)
    }

    pub(crate) fn batches(&self) -> u64 {
        self.batches.load(Ordering::SeqCst)
    }

    pub(crate) fn fail(&self, failure: SourceError) {
        *self.failure.lock().unwrap() = Some(failure);
    }

    pub(crate) fn heal(&self) {
        *self.failure.lock().unwrap() = None;
    }

    pub(crate) fn dawdle(&self, delay: Duration) {
        *self.delay.lock().unwrap() = delay;
    }

    async fn trouble(&self) -> Result<(), SourceError> {
        let (failure, delay) = (self.failure.lock().unwrap().clone(), *self.delay.lock().unwrap());
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        failure.map_or(Ok(()), Err)
    }
}

#[async_trait]
impl SecretSource for Flaky {
    fn id(&self) -> Arc<str> {
        "flaky".into()
    }

    async fn get(&self, name: &SecretName, stage: &Stage) -> Result<Secret, SourceError> {
        self.gets.fetch_add(1, Ordering::SeqCst);
        self.trouble().await?;
        self.memory.get(name, stage).await
    }

    async fn get_many(&self, names: &[SecretName]) -> Result<Vec<Result<Secret, SourceError>>, SourceError> {
        self.batches.fetch_add(1, Ordering::SeqCst);
        self.trouble().await?;
        self.memory.get_many(names).await
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, SourceError> {
        self.trouble().await?;
        self.memory.list(request).await
    }

    async fn put(&self, secret: &NewSecret) -> Result<Stored, SourceError> {
        self.trouble().await?;
        self.memory.put(secret).await
    }

    async fn rotate(&self, name: &SecretName, value: &SecretValue) -> Result<Stored, SourceError> {
        self.trouble().await?;
        self.memory.rotate(name, value).await
    }
}

pub(crate) fn outage() -> SourceError {
    SourceError::Unavailable { operation: "get a secret", cause: None }
}

pub(crate) fn denied() -> SourceError {
    SourceError::Denied { operation: "get a secret", cause: None }
}

/// Every text of an error: its message, its debug form, and those of all its sources.
pub(crate) fn whole(error: &dyn std::error::Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(" {error} {error:?}");
        cause = error.source();
    }
    text
}
