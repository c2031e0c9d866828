//! The cache: the interface through which a service reads its secrets.

mod candidates;
mod entry;
mod fetch;
mod flight;
mod many;
mod options;
mod watch;

use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use moka::future::Cache;
use secrecy::SecretString;
use tokio::sync::Mutex;

use self::entry::{Answer, Entry};
use self::flight::{Flight, Need};
use crate::audit::{self, Record};
use crate::error::SourceError;
use crate::metrics::Metrics;
use crate::name::SecretName;
use crate::secret::{Secret, Stage};
use crate::source::audited::Audited;
use crate::source::{NewSecret, SecretSource};

pub use candidates::Candidates;
pub use options::Builder;
pub use watch::SecretWatch;

/// A cache before a source. Clones share it.
///
/// A read within the time to live costs no call, and however many tasks ask for a name that is not there, one call
/// is made. Failures are not remembered, except briefly that there is no such secret. While the source is not
/// answering, the last value is served for a bounded time; never after the source has answered that access is
/// denied, or that the secret is gone or expired.
#[derive(Clone)]
pub struct SecretsCache {
    inner: Arc<Inner>,
}

struct Inner {
    source: Audited,
    source_id: Arc<str>,
    metrics: Option<Arc<Metrics>>,
    options: options::Options,
    kept: Cache<Arc<str>, Arc<Entry>>,
    flights: Cache<Arc<str>, Arc<Flight>>,
    /// When a name was last forgotten: an answer that was asked for before is not kept.
    forgotten: Cache<Arc<str>, Instant>,
    /// Held while names are fetched together, so that the same ones are not fetched twice at once.
    together: Mutex<()>,
    janitor: OnceLock<()>,
}

impl SecretsCache {
    /// A cache with the default settings: see [`Builder`].
    #[must_use]
    pub fn new(source: Arc<dyn SecretSource>) -> Self {
        Self::builder(source).build()
    }

    /// Settles how the cache behaves.
    #[must_use]
    pub fn builder(source: Arc<dyn SecretSource>) -> Builder {
        Builder::new(source)
    }

    /// The current version of a secret.
    ///
    /// # Errors
    /// [`SourceError`].
    pub async fn get(&self, name: &str) -> Result<Arc<Secret>, SourceError> {
        match self.inner.fresh(name).await {
            Some(entry) => self.inner.hit(name, &entry),
            None => self.inner.miss(&SecretName::new(name)?, &Stage::Current).await,
        }
    }

    /// The version of a secret under a stage.
    ///
    /// # Errors
    /// [`SourceError`].
    pub async fn get_stage(&self, name: &str, stage: &Stage) -> Result<Arc<Secret>, SourceError> {
        let name = SecretName::new(name)?;
        match self.inner.fresh(&key(&name, stage)).await {
            Some(entry) => self.inner.hit(name.as_str(), &entry),
            None => self.inner.miss(&name, stage).await,
        }
    }

    /// The current version as the source has it now, for use when the caller's value has just been refused.
    ///
    /// It costs one call, and callers who come while it is under way share the next one. A value that is read afterwards
    /// from the cache is at least as new.
    ///
    /// # Errors
    /// [`SourceError`], in an outage as well.
    pub async fn get_fresh(&self, name: &str) -> Result<Arc<Secret>, SourceError> {
        self.inner.force(&SecretName::new(name)?).await
    }

    /// The current version, or `default` where there is no such secret. Every other failure stays a failure: an
    /// outage must not switch a service to its defaults.
    ///
    /// # Errors
    /// [`SourceError`], other than that there is no such secret.
    pub async fn get_or(
        &self,
        name: &str,
        default: impl Into<SecretString>,
    ) -> Result<Arc<Secret>, SourceError> {
        match self.get(name).await {
            Err(SourceError::NotFound { name }) => {
                let default: SecretString = default.into();
                Ok(Arc::new(Secret::new(name, default.into(), "default")))
            }
            outcome => outcome,
        }
    }

    /// The current versions of several secrets, fetched together where they are not in memory.
    ///
    /// Returns one result per name, in the order of `names`.
    pub async fn get_many(&self, names: &[&str]) -> Vec<Result<Arc<Secret>, SourceError>> {
        self.inner.get_many(names).await
    }

    /// The current version, and the previous one while the current is younger than the grace period.
    ///
    /// A connection pool tries the one and then the other: in the middle of a rotation, either may be right.
    ///
    /// # Errors
    /// [`SourceError`] for the current version. Without a previous one there is just none.
    pub async fn candidates(&self, name: &str) -> Result<Candidates, SourceError> {
        candidates::candidates(self, name).await
    }

    /// Watches a secret: asks the source every `poll`, and reports each new version.
    ///
    /// # Errors
    /// [`SourceError`], if there is no first version.
    pub async fn watch(&self, name: &str, poll: Duration) -> Result<SecretWatch, SourceError> {
        watch::start(self, name, poll).await
    }

    /// The source's own spelling of a name, as [`SecretSource::own_name`].
    #[must_use]
    pub fn own_name(&self, name: &SecretName) -> SecretName {
        self.inner.source.own_name(name)
    }

    /// Stores a value in the source and forgets the value cached under its name.
    ///
    /// # Errors
    /// As [`SecretSource::put`].
    pub async fn put(&self, secret: &NewSecret) -> Result<(), SourceError> {
        self.inner.source.put(secret).await?;
        self.forget(secret.name.as_str()).await;
        Ok(())
    }

    /// Forgets a secret, also the value kept for outages. A fetch that is under way does not bring it back.
    pub async fn forget(&self, name: &str) {
        if let Ok(name) = SecretName::new(name) {
            for stage in [Stage::Current, Stage::Previous, Stage::Pending] {
                let key = key(&name, &stage);
                // Noted first: a fetch that is under way sees it, before or after it keeps its answer.
                self.inner.forgotten.insert(Arc::clone(&key), Instant::now()).await;
                self.inner.kept.invalidate(&key).await;
            }
        }
    }

    /// Forgets every secret, also the values kept for outages, and wipes them from memory. A fetch that is under way does
    /// not bring one back.
    pub async fn clear(&self) {
        self.inner.forgotten.insert(fetch::EVERYTHING.into(), Instant::now()).await;
        self.inner.kept.invalidate_all();
        self.run_pending_tasks().await;
    }

    /// Drops expired entries now. A background task does so every few seconds.
    pub async fn run_pending_tasks(&self) {
        self.inner.run_pending_tasks().await;
    }
}

impl Inner {
    async fn fresh(&self, key: &str) -> Option<Arc<Entry>> {
        self.kept.get(key).await.filter(|entry| entry.is_fresh(Instant::now()))
    }

    fn hit(self: &Arc<Self>, name: &str, entry: &Arc<Entry>) -> Result<Arc<Secret>, SourceError> {
        let record = Record { secret: Some(name), ..Record::default() };
        let record = record.by(self.source.actor()).source(&self.source_id);
        match &entry.answer {
            Answer::Found(secret) => {
                self.count(|cache| &cache.hit);
                audit::hit(record.version(&secret.version).outcome("ok"));
                if entry.claim_refresh(Instant::now()) {
                    self.refresh_early(Arc::clone(secret));
                }
                Ok(Arc::clone(secret))
            }
            Answer::Stale(secret) => {
                self.count(|cache| &cache.stale);
                audit::hit(record.version(&secret.version).outcome("stale"));
                Ok(Arc::clone(secret))
            }
            Answer::Absent(error) => {
                self.count(|cache| &cache.negative);
                audit::hit(record.outcome("not_found"));
                Err(error.clone())
            }
        }
    }

    async fn miss(self: &Arc<Self>, name: &SecretName, stage: &Stage) -> Result<Arc<Secret>, SourceError> {
        self.missed(name, stage);
        let entry = self.fly(name, stage, Need::Fresh).await?;
        self.answer(&entry)
    }

    fn missed(&self, name: &SecretName, stage: &Stage) {
        self.count(|cache| &cache.miss);
        let record = Record::of(name).by(self.source.actor()).stage(stage).source(&self.source_id);
        audit::noted(audit::CACHE_MISS, record);
    }

    fn answer(&self, entry: &Entry) -> Result<Arc<Secret>, SourceError> {
        match &entry.answer {
            Answer::Found(secret) => Ok(Arc::clone(secret)),
            Answer::Stale(secret) => {
                self.count(|cache| &cache.stale);
                Ok(Arc::clone(secret))
            }
            Answer::Absent(error) => Err(error.clone()),
        }
    }

    fn refresh_early(self: &Arc<Self>, secret: Arc<Secret>) {
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            // A failure is not the reader's: at the end of the time to live it meets the same one.
            let _ = inner.force(&secret.name).await;
        });
    }

    async fn run_pending_tasks(&self) {
        self.kept.run_pending_tasks().await;
        self.flights.run_pending_tasks().await;
        self.forgotten.run_pending_tasks().await;
    }

    fn count(
        &self,
        counter: impl Fn(&crate::metrics::CacheCounters) -> &prometheus_client::metrics::counter::Counter,
    ) {
        if let Some(metrics) = &self.metrics {
            counter(&metrics.cache).inc();
        }
    }

    /// A cache without reads drops nothing by itself: an expired value would stay in memory until the next read.
    fn start_janitor(self: &Arc<Self>) {
        self.janitor.get_or_init(|| {
            let inner = Arc::downgrade(self);
            let pause = (self.options.ttl / 4).clamp(Duration::from_millis(50), Duration::from_secs(5));
            tokio::spawn(tidy(inner, pause));
        });
    }
}

async fn tidy(inner: Weak<Inner>, pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        let Some(inner) = inner.upgrade() else {
            return;
        };
        inner.run_pending_tasks().await;
    }
}

/// A name is its own key; other stages follow after a NUL, which no name has.
fn key(name: &SecretName, stage: &Stage) -> Arc<str> {
    match stage {
        Stage::Current => name.shared(),
        stage => format!("{name}\0{stage}").into(),
    }
}
