//! The parts of the example service, so that its tests and benches drive the same code as its program.

pub mod config;
pub mod http;
pub mod keys;
pub mod oauth;
pub mod observe;
pub mod refresh;
pub mod secrets;
pub mod startup;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use envelope_core::{KeyProvider, Sealer};
use kms_provider::KmsMetrics;
use kms_provider::metrics::emf::EmfEmitter;
use prometheus_client::registry::Registry;
use secrets_cache::Environment;
use token_store::{Database, Profile, TokenCipher, TokenStore};
use tokio::task::JoinSet;

use config::Config;
use oauth::OAuthProvider;
use observe::Observed;
use secrets::Secrets;

/// Who is named in audit events.
const ACTOR: &str = "example-service";

/// Everything that a request needs. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    /// The tokens.
    pub store: TokenStore,
    /// The key service, for readiness.
    pub keys: Option<Arc<dyn KeyProvider>>,
    /// The service's own secrets.
    pub secrets: Secrets,
    /// Whom tokens are refreshed at.
    pub oauth: OAuthProvider,
    /// What is counted.
    pub observed: Observed,
    environment: Environment,
    emf_every: Option<Duration>,
    refresh_every: Option<Duration>,
}

impl Service {
    /// Connects to the key service, the secrets and the database.
    ///
    /// # Errors
    /// Whatever keeps the service from starting.
    pub async fn connect(config: Config) -> anyhow::Result<Self> {
        Self::connect_with(config, keys::connect).await
    }

    /// The same with another way to come by a key service.
    ///
    /// # Errors
    /// Whatever keeps the service from starting.
    pub async fn connect_with(
        config: Config,
        keys: impl AsyncFnOnce(&Config, &Arc<KmsMetrics>) -> anyhow::Result<Option<Arc<dyn KeyProvider>>>,
    ) -> anyhow::Result<Self> {
        let profile = Profile::load("vod-tender")?;
        let mut registry = Registry::default();
        let kms = KmsMetrics::register(&mut registry, &profile.metrics_prefix);
        let keys = keys(&config, &kms).await?;
        let secrets = Secrets::connect(&config, &mut registry).await?;
        let store = open_store(&config.database_url, profile, keys.clone(), config.direct_key).await?;
        token_store::metrics::register(&mut registry, &store);
        let registry = Arc::new(Mutex::new(registry));
        let observed = Observed { registry, kms, secrets: secrets.metrics().clone() };
        Ok(Self {
            store,
            keys,
            secrets,
            oauth: OAuthProvider::new(config.oauth_latency),
            observed,
            environment: config.environment,
            emf_every: config.emf_every,
            refresh_every: config.refresh_every,
        })
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
        // They end when this function does.
        let mut background = JoinSet::new();
        background.spawn(self.secrets.clone().take_inventory_forever());
        if let Some(every) = self.refresh_every {
            background.spawn(refresh::forever(self.clone(), every));
        }
        let emf = self.print_emf();
        let served = axum::serve(listener, http::router(self)).with_graceful_shutdown(shutdown).await;
        if let Some(emf) = emf {
            emf.finish();
        }
        tracing::info!("stopped");
        Ok(served?)
    }

    fn print_emf(&self) -> Option<EmfEmitter> {
        let application = self.store.profile().context.get("Application").map_or("unnamed", String::as_str);
        Some(self.observed.print_emf(application, self.environment, self.emf_every?))
    }
}

async fn open_store(
    database_url: &str,
    profile: Profile,
    keys: Option<Arc<dyn KeyProvider>>,
    direct_key: Option<envelope_core::DataKey>,
) -> anyhow::Result<TokenStore> {
    let mut cipher = TokenCipher::new();
    if let Some(keys) = keys {
        cipher = cipher.with_sealer(Sealer::new(keys, profile.base_context())?);
    }
    if let Some(key) = direct_key {
        cipher = cipher.with_direct_key(key);
    }
    let database = Database::connect(database_url).await.context("DATABASE_URL")?;
    let store =
        TokenStore::open(database, profile, cipher).await.context("run `migrate-tokens schema` first?")?;
    token_store::status::status(&store).await?;
    Ok(store.with_actor(ACTOR).with_reseal_on_read())
}
