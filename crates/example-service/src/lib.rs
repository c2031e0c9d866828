//! The parts of the example service, so that its tests and benches drive the same code as its program.

pub mod config;
pub mod http;
pub mod oauth;
pub mod refresh;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use tokenseal::connect::Builder;
use tokenseal::database::{self, Access};
use tokenseal::secrecy::SecretString;
use tokenseal::secrets::Secrets;
use tokenseal::token_store::profile::{ProfileError, Refresh};
use tokenseal::token_store::{Profile, TokenStore, schema, status};
use tokenseal::{Settings, Tokenseal};
use tokio::task::JoinSet;

use config::Config;
use oauth::OAuthProvider;

/// The name in audit events.
const ACTOR: &str = "example-service";
/// The secret by which the OAuth provider knows this service.
const CLIENT_SECRET: &str = "OAUTH_CLIENT_SECRET";
/// The pause between two counts of the rows, which the metric of rows by version shows.
const COUNT_EVERY: Duration = Duration::from_secs(300);

/// Everything that a request needs. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    /// The store, the key service, the secrets and the metrics.
    pub tokenseal: Tokenseal,
    /// The provider that refreshes tokens.
    pub oauth: OAuthProvider,
    secrets: Secrets,
    refresh_every: Option<Duration>,
    refresh_pause_file: Option<PathBuf>,
}

impl Service {
    /// Connects to the key service, the secrets and the database.
    ///
    /// # Errors
    /// Whatever keeps the service from starting.
    pub async fn connect(config: Config) -> anyhow::Result<Self> {
        Self::connect_with(config, |builder| builder).await
    }

    /// The same, after more has been said about the connection.
    ///
    /// # Errors
    /// Whatever keeps the service from starting.
    pub async fn connect_with(config: Config, more: impl FnOnce(Builder) -> Builder) -> anyhow::Result<Self> {
        let mut settings = config.settings;
        settings.profile = refreshed(settings.profile)?;
        lease_table(&settings).await?;
        let builder = Tokenseal::builder(settings).actor(ACTOR).reseal_on_read();
        let tokenseal = more(builder).connect().await?;
        if tokenseal.key_service().is_none() {
            tracing::warn!("KMS_KEY_ID is not set: new tokens are not sealed under a key service");
        }
        let secrets = tokenseal.secrets().context("there are no secrets")?.clone();
        let service = Self {
            tokenseal,
            oauth: OAuthProvider::new(config.oauth_latency, config.oauth_lifetime),
            secrets,
            refresh_every: config.refresh_every,
            refresh_pause_file: config.refresh_pause_file,
        };
        let needed = service.client_secret().await;
        needed.context("OAUTH_CLIENT_SECRET is neither in the environment nor in SECRETS_SOURCE")?;
        status::status(service.store()).await?;
        Ok(service)
    }

    /// The tokens.
    #[must_use]
    pub fn store(&self) -> &TokenStore {
        self.tokenseal.store()
    }

    /// The client secret: from memory, and from its source again when it has become old.
    ///
    /// # Errors
    /// If it cannot be fetched, or is no text.
    pub async fn client_secret(&self) -> anyhow::Result<SecretString> {
        Ok(self.secrets.cache().read(CLIENT_SECRET).await?)
    }

    /// Serves until `shutdown` ends, then finishes the current requests.
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
        background.spawn(count_rows_forever(self.store().clone()));
        if let Some(every) = self.refresh_every {
            background.spawn(refresh::forever(self.clone(), every));
        }
        let telemetry = self.tokenseal.telemetry().clone();
        let served = axum::serve(listener, http::router(self)).with_graceful_shutdown(shutdown).await;
        telemetry.finish();
        tracing::info!("stopped");
        Ok(served?)
    }
}

/// The profile with its first table's tokens refreshed, as vod-tender's are, unless it says how itself.
fn refreshed(profile: Profile) -> Result<Profile, ProfileError> {
    match profile.tables.first() {
        Some(table) if table.refresh.is_none() => {
            let name = table.name.clone();
            profile.with_refresh(&name, Refresh::new("access_token", "refresh_token", "expires_at"))
        }
        _ => Ok(profile),
    }
}

/// Makes the table of leases. With a profile that has `[tables.refresh]`, `migrate-tokens schema` makes it.
async fn lease_table(settings: &Settings) -> anyhow::Result<()> {
    let database = database::open(settings, Access::default()).await?;
    schema::migrate(&database, &settings.profile).await?;
    database.close().await;
    Ok(())
}

/// An alert on readable rows needs a count that is not older than the last minutes.
async fn count_rows_forever(store: TokenStore) {
    loop {
        tokio::time::sleep(COUNT_EVERY).await;
        if let Err(error) = status::status(&store).await {
            tracing::warn!(%error, "the rows were not counted");
        }
    }
}
