//! A service's connection to everything that the settings name.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use envelope_core::{BindingPolicy, KeyProvider, Sealer};
use token_store::{Database, FailureObserver, Floor, OpenOptions, TokenCipher, TokenStore};

use crate::audit::{AuditTrail, events, user_and_host};
use crate::database::{self, Access};
use crate::error::ConnectError;
use crate::key_service::{KeyService, Load};
#[cfg(feature = "oauth")]
use crate::oauth::Providers;
#[cfg(feature = "secrets")]
use crate::secrets::Secrets;
use crate::settings::{Settings, SettingsError};
use crate::telemetry::{Readiness, Telemetry};

/// A store of tokens, its key service, the service's own secrets, and what is counted about them. Cheap to clone; clones
/// share everything.
#[derive(Clone)]
pub struct Tokenseal {
    store: TokenStore,
    keys: Option<Arc<KeyService>>,
    #[cfg(feature = "secrets")]
    secrets: Option<Secrets>,
    #[cfg(feature = "oauth")]
    providers: Option<Arc<Providers>>,
    telemetry: Telemetry,
}

impl Tokenseal {
    /// Connects to everything that the settings name.
    ///
    /// # Errors
    /// [`ConnectError`]; naming what is missing or wrong.
    pub async fn connect(settings: Settings) -> Result<Self, ConnectError> {
        Self::builder(settings).connect().await
    }

    /// Connects after more has been said than the settings say.
    #[must_use]
    pub fn builder(settings: Settings) -> Builder {
        Builder {
            settings,
            actor: None,
            audit: None,
            access: Access::default(),
            load: Load::default(),
            telemetry: Telemetry::default(),
            database: None,
            pool: OpenOptions::default(),
            key_service: None,
            with_secrets: true,
            reseal_on_read: false,
        }
    }

    /// The tokens.
    #[must_use]
    pub fn store(&self) -> &TokenStore {
        &self.store
    }

    /// The same connection with another view of its tables, such as some of their rows only.
    #[must_use]
    pub fn with_store(self, store: TokenStore) -> Self {
        Self { store, ..self }
    }

    /// The same tables for a caller that may see the rows of some owners only: nothing opens but what is bound to its row,
    /// and nothing else is written.
    ///
    /// # Errors
    /// [`ConnectError::Settings`] without a key service, and those of [`TokenStore::open`].
    pub async fn bound_store(&self) -> Result<TokenStore, ConnectError> {
        let needs =
            |problem| SettingsError::of("KMS_KEY_ID", problem, "only a key service binds a value to its row");
        let sealer = self.sealer().ok_or_else(|| needs("is not set"))?;
        let profile = self.store.profile().clone();
        let bound = Sealer::new(sealer.provider().clone(), profile.base_context())
            .map_err(|_| needs("does not fit ENCRYPTION_CONTEXT"))?
            .with_writing(sealer.writing().bound())
            .refusing_unbound(true);
        let cipher = TokenCipher::new().with_sealer(bound).with_read_floor(Floor::Bound);
        let cipher = match self.telemetry.failure_observer() {
            Some(observer) => cipher.with_failure_observer(observer),
            None => cipher,
        };
        Ok(TokenStore::open(self.store.database().clone(), profile, cipher)
            .await?
            .with_actor(self.store.actor()))
    }

    /// The sealer of single values, if a key service is set.
    #[must_use]
    pub fn sealer(&self) -> Option<&Sealer> {
        self.store.cipher().key_service()
    }

    /// The key service, where one is set.
    #[must_use]
    pub fn key_service(&self) -> Option<&KeyService> {
        self.keys.as_deref()
    }

    /// The service's own secrets; none in a program that was connected without.
    #[cfg(feature = "secrets")]
    #[must_use]
    pub fn secrets(&self) -> Option<&Secrets> {
        self.secrets.as_ref()
    }

    /// The profile's OAuth providers, if it has any.
    #[cfg(feature = "oauth")]
    pub(crate) fn providers(&self) -> Option<&Providers> {
        self.providers.as_deref()
    }

    /// Metrics and readiness.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// Asks the key service for its key, where one is set.
    ///
    /// # Errors
    /// The answers of the key service.
    pub async fn check_key(&self) -> Result<(), ConnectError> {
        match &self.keys {
            Some(keys) => keys.check().await,
            None => Ok(()),
        }
    }

    /// Calls made to the key service so far.
    #[must_use]
    pub fn kms_calls(&self) -> u64 {
        self.keys.as_ref().map_or(0, |keys| keys.calls.counts().total())
    }
}

impl fmt::Debug for Tokenseal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenseal").field("profile", &self.store.profile().name).finish_non_exhaustive()
    }
}

/// More about a connection than the settings say.
pub struct Builder {
    settings: Settings,
    actor: Option<Arc<str>>,
    audit: Option<AuditTrail>,
    access: Access,
    load: Load,
    telemetry: Telemetry,
    database: Option<Database>,
    pool: OpenOptions,
    key_service: Option<Arc<dyn KeyProvider>>,
    with_secrets: bool,
    reseal_on_read: bool,
}

impl Builder {
    /// The name in audit events; `AUDIT_ACTOR`, or user and host of the process, if left out.
    #[must_use]
    pub fn actor(mut self, actor: impl Into<Arc<str>>) -> Self {
        self.actor = Some(actor.into());
        self
    }

    /// The trail that `AUDIT_LOG` is written by; its [layer](AuditTrail::layer) is in the subscriber of the process.
    #[must_use]
    pub fn audit(mut self, trail: &AuditTrail) -> Self {
        self.audit = Some(trail.clone());
        self
    }

    /// How the database is opened; for reading and writing, if left out.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// The calls that the process makes to its key service; those of a service, if left out.
    #[must_use]
    pub fn load(mut self, load: Load) -> Self {
        self.load = load;
        self
    }

    /// Counts into metrics that exist already.
    #[must_use]
    pub fn telemetry(mut self, telemetry: &Telemetry) -> Self {
        self.telemetry = telemetry.clone();
        self
    }

    /// Uses this database instead of the one that `DATABASE_URL` names.
    #[must_use]
    pub fn database(mut self, database: Database) -> Self {
        self.database = Some(database);
        self
    }

    /// How many connections to the database that `DATABASE_URL` names are kept at most; eight, four to a SQLite file, if
    /// left out.
    #[must_use]
    pub fn max_connections(mut self, connections: u32) -> Self {
        self.pool = self.pool.max_connections(connections);
        self
    }

    /// How long a caller waits for one of them while all are in use; ten seconds, if left out.
    #[must_use]
    pub fn acquire_timeout(mut self, timeout: Duration) -> Self {
        self.pool = self.pool.acquire_timeout(timeout);
        self
    }

    /// Uses this key service instead of the one that `KMS_KEY_ID` names. Deadline, retries, circuit, metrics and cache
    /// are put around it.
    #[must_use]
    pub fn key_service(mut self, provider: Arc<dyn KeyProvider>) -> Self {
        self.key_service = Some(provider);
        self
    }

    /// Re-seals a row when it is read in an older form; see
    /// [`with_reseal_on_read`](TokenStore::with_reseal_on_read).
    #[must_use]
    pub fn reseal_on_read(mut self) -> Self {
        self.reseal_on_read = true;
        self
    }

    /// Opens no secrets: the process has none of its own.
    #[must_use]
    pub fn without_secrets(mut self) -> Self {
        self.with_secrets = false;
        self
    }

    /// Connects.
    ///
    /// # Errors
    /// [`ConnectError`]; naming what is missing or wrong.
    pub async fn connect(self) -> Result<Tokenseal, ConnectError> {
        let Self { settings, actor, access, load, telemetry, .. } = self;
        let actor = actor
            .or_else(|| settings.audit_actor.as_deref().map(Into::into))
            .unwrap_or_else(|| user_and_host().into());
        let database = match self.database {
            Some(database) => database,
            None => database::open_with(&settings, access, self.pool).await?,
        };
        let keys = match self.key_service {
            Some(backend) => Some(KeyService::around(backend, &settings, load, &telemetry)),
            None => KeyService::open(&settings, load, &telemetry).await?,
        };
        start_audit(self.audit.as_ref(), &settings, &actor, keys.as_ref()).await?;
        events::configuration_loaded(&actor, &settings.profile.name);
        #[cfg(feature = "secrets")]
        let secrets = match self.with_secrets {
            true => Some(Secrets::connect(&settings, &actor, &telemetry).await?),
            false => None,
        };
        // A service's standard output is its log; a program's is its result.
        match load {
            Load::Service => telemetry.print_emf_to(&settings, std::io::stdout()),
            Load::Few | Load::EveryRow { .. } => telemetry.print_emf(&settings),
        }
        let (cipher, profile) = cipher(settings, keys.as_ref(), telemetry.failure_observer())?;
        let provider = keys.as_ref().map(|keys| keys.provider.clone());
        let readiness = Readiness { database: Some(database.clone()), provider };
        let mut store = TokenStore::open(database, profile, cipher).await?.with_actor(actor);
        if self.reseal_on_read {
            store = store.with_reseal_on_read();
        }
        for table in store.absent_tables() {
            tracing::info!(table, "table does not exist here and is passed over");
        }
        telemetry.watch_store(&store);
        telemetry.set_ready(readiness);
        #[cfg(feature = "oauth")]
        let providers = Providers::open(store.profile(), secrets.clone())?.map(Arc::new);
        Ok(Tokenseal {
            store,
            keys: keys.map(Arc::new),
            #[cfg(feature = "secrets")]
            secrets,
            #[cfg(feature = "oauth")]
            providers,
            telemetry,
        })
    }
}

/// Begins the audit trail that `AUDIT_LOG` asks for.
async fn start_audit(
    trail: Option<&AuditTrail>,
    settings: &Settings,
    actor: &str,
    keys: Option<&KeyService>,
) -> Result<(), ConnectError> {
    let provider = keys.map(|keys| &keys.provider);
    match (trail, &settings.audit_log) {
        (Some(trail), target) => {
            trail.start(target.as_ref(), actor, provider, &settings.profile.base_context()).await
        }
        (None, None) => Ok(()),
        (None, Some(_)) => Err(SettingsError::of(
            "AUDIT_LOG",
            "is set, and this program writes no audit trail",
            "unset it, or give the builder an `AuditTrail`",
        )
        .into()),
    }
}

/// Without a key service new tokens are written in an older form, which is below every floor but `any`.
fn check_floor(settings: &Settings, has_key_service: bool) -> Result<(), SettingsError> {
    let floor = settings.floor();
    if floor == Floor::Any || has_key_service {
        return Ok(());
    }
    Err(SettingsError::of(
        "KMS_KEY_ID",
        format_args!("is not set, and values written without a key service are below the floor ({floor})"),
        "set KMS_KEY_ID, or lower the floor: READ_FLOOR, else `floor` in the profile",
    ))
}

/// Everything that rows may be read and written with.
fn cipher(
    settings: Settings,
    keys: Option<&KeyService>,
    observer: Option<FailureObserver>,
) -> Result<(TokenCipher, token_store::Profile), ConnectError> {
    check_floor(&settings, keys.is_some())?;
    if !settings.seals && keys.is_some() {
        tracing::warn!(
            "USE_KMS is false: the key service opens what it sealed, and new tokens are written in an older form"
        );
    }
    let mut cipher = TokenCipher::new().with_plaintext_policy(settings.plaintext);
    if let Some(floor) = settings.read_floor {
        cipher = cipher.with_read_floor(floor);
    }
    if settings.below_floor {
        cipher = cipher.with_reading_below_floor();
    }
    if let Some(service) = keys {
        let refused = |variable: &'static str, error: &dyn std::error::Error| {
            SettingsError::of(
                variable,
                format_args!("is refused: {error}"),
                "docs/configuration.md has the rules",
            )
        };
        let sealer = Sealer::new(service.provider.clone(), settings.profile.base_context())
            .map_err(|error| refused("ENCRYPTION_CONTEXT", &error))?;
        let mut sealer = sealer
            .with_writing(settings.writing)
            .refusing_unbound(settings.binding == BindingPolicy::Require);
        if let Some(uncached) = &service.uncached {
            sealer = sealer.with_uncached(uncached.clone());
        }
        if let Some(observer) = observer.clone() {
            sealer = sealer.with_failure_observer(observer);
        }
        cipher = match settings.seals {
            true => cipher.with_sealer(sealer),
            false => cipher.with_sealer_for_reading(sealer),
        };
        if let Some(ring) = &service.ring {
            cipher = cipher.with_data_key_ring(ring.clone());
        }
    }
    if let Some(observer) = observer {
        cipher = cipher.with_failure_observer(observer);
    }
    if settings.fallback {
        cipher = cipher.with_local_fallback();
    }
    if let Some(key) = settings.direct_key {
        cipher = cipher.with_direct_key(key);
    }
    if let Some(keys) = settings.user_keys {
        cipher = cipher.with_user_keys(keys);
    }
    if let Some(key) = settings.development_key {
        cipher = cipher.with_development_key(key);
    }
    Ok((cipher, settings.profile))
}
