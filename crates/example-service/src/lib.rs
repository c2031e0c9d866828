//! The parts of the example service, so that its tests and benches drive the same code as its program.

pub mod config;
pub mod http;
pub mod keys;
pub mod oauth;
pub mod refresh;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use envelope_core::{KeyProvider, Sealer};
use prometheus_client::registry::Registry;
use token_store::{Database, Profile, TokenCipher, TokenStore};

use config::Config;
use oauth::OAuthProvider;

/// Everything that a request needs. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    /// The tokens.
    pub store: TokenStore,
    /// The key service, for readiness.
    pub keys: Option<Arc<dyn KeyProvider>>,
    /// Whom tokens are refreshed at.
    pub oauth: OAuthProvider,
    /// What `/metrics` shows.
    pub registry: Arc<Mutex<Registry>>,
    refresh_every: Option<Duration>,
}

impl Service {
    /// Connects to the database and the key service.
    ///
    /// # Errors
    /// Whatever keeps the service from starting.
    pub async fn connect(config: Config) -> anyhow::Result<Self> {
        let profile = Profile::load("vod-tender")?;
        let mut registry = Registry::default();
        let keys = keys::connect(&config, &profile.metrics_prefix, &mut registry).await?;
        let mut cipher = TokenCipher::new();
        if let Some(keys) = &keys {
            cipher = cipher.with_sealer(Sealer::new(keys.clone(), profile.base_context())?);
        }
        if let Some(key) = config.direct_key {
            cipher = cipher.with_direct_key(key);
        }
        let database = Database::connect(&config.database_url).await.context("DATABASE_URL")?;
        let store = TokenStore::open(database, profile, cipher)
            .await
            .context("run `migrate-tokens schema` first?")?;
        let store = store.with_reseal_on_read();
        token_store::metrics::register(&mut registry, &store);
        token_store::status::status(&store).await?;
        let oauth = OAuthProvider::new(config.oauth_latency);
        let registry = Arc::new(Mutex::new(registry));
        Ok(Self { store, keys, oauth, registry, refresh_every: config.refresh_every })
    }

    /// Serves until `shutdown` ends, then finishes the requests in hand.
    ///
    /// # Errors
    /// If the listener fails.
    pub async fn serve(
        self,
        listener: tokio::net::TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let address = listener.local_addr()?;
        tracing::info!(%address, "serving");
        let refreshing = self.refresh_every.map(|every| tokio::spawn(refresh::forever(self.clone(), every)));
        let served = axum::serve(listener, http::router(self)).with_graceful_shutdown(shutdown).await;
        if let Some(task) = refreshing {
            task.abort();
        }
        Ok(served?)
    }
}
