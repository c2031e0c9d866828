//! The agent: the store, the policy, the callers' tokens, and what bounds its work.

use std::fmt;
use std::sync::Arc;

use axum::body::Bytes;
use tokenseal::envelope_core::BindingPolicy;
use tokenseal::secrets_cache::SecretName;
use tokenseal::secrets_cache::source::SourceUri;
use tokenseal::settings::{VARIABLES, Variable};
use tokenseal::token_store::TokenStore;
use tokenseal::{ConnectError, Settings, SettingsError, Tokenseal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::audit;
use crate::body::Room;
use crate::document;
use crate::error::{ApiError, StartError};
use crate::listen::Listener;
use crate::metrics::Metrics;
use crate::policy::Policy;
use crate::readiness::Readiness;
use crate::routes::{self, OPERATIONS};
use crate::searches::Searches;
use crate::tokens::Tokens;

/// The most requests in progress at once.
const MAX_AT_ONCE: u32 = 256;

/// Variables that the drivers of the databases read: passwords, and files with passwords or keys.
const OPENERS: [&str; 10] = [
    "PGPASSFILE",
    "PGPASSWORD",
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGSSLCERT",
    "PGSSLKEY",
    "PGSSLPASSWORD",
    "MYSQL_PWD",
    "MYSQL_HOME",
    "MARIADB_PWD",
];
/// The beginnings of those that the clients of key services and sources read.
const OPENER_PREFIXES: [&str; 3] = ["AWS_", "BAO_", "VAULT_"];

/// The callers that may send requests.
#[derive(Debug)]
#[non_exhaustive]
pub struct Config {
    /// Which caller may do what.
    pub policy: Policy,
    /// The callers' tokens.
    pub tokens: Option<Tokens>,
    /// The beginning of the variables' names, where the source of secrets is the agent's own environment or a `.env` file.
    variable_prefix: Option<String>,
}

impl Config {
    /// A policy, and tokens where there are any, for an agent with these settings.
    #[must_use]
    pub fn new(policy: Policy, tokens: Option<Tokens>, settings: &Settings) -> Self {
        let prefix = settings.secrets_prefix.clone().unwrap_or_default();
        let has_variables = matches!(settings.secrets, None | Some(SourceUri::Dotenv(_)));
        Self { policy, tokens, variable_prefix: has_variables.then_some(prefix) }
    }

    /// In an environment and in a `.env` file names are variables, in any spelling. A rule names the variables.
    fn check_patterns(&self) -> Result<(), SettingsError> {
        let pattern = self.variable_prefix.as_ref().and_then(|_| self.policy.pattern_of_no_variable());
        match pattern {
            None => Ok(()),
            Some(pattern) => {
                let problem =
                    format!("names the secrets {pattern:?}, but the name of no variable can begin with this");
                let hint =
                    "write the beginning as the variables have it, such as CRM_*, or set SECRETS_SOURCE";
                Err(SettingsError::of("AGENT_POLICY", problem, hint))
            }
        }
    }
}

/// The agent. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Agent {
    shared: Arc<Shared>,
}

struct Shared {
    tokenseal: Tokenseal,
    bound: Option<TokenStore>,
    config: Config,
    metrics: Metrics,
    readiness: Readiness,
    busy: Arc<Semaphore>,
    room: Room,
    searches: Searches,
    openapi: Bytes,
}

impl Agent {
    /// An agent for these connections.
    ///
    /// # Errors
    /// [`StartError`] where the policy has owner rules and values are not bound to their rows, or a rule that fits no secret
    /// of the source.
    pub async fn new(tokenseal: Tokenseal, config: Config) -> Result<Self, StartError> {
        config.check_patterns()?;
        let bound = match config.policy.has_owner_rules() {
            true => Some(bound_store(&tokenseal).await?),
            false => None,
        };
        for name in config.policy.token_names() {
            if !config.tokens.as_ref().is_some_and(|tokens| tokens.has(name)) {
                tracing::warn!(
                    token = name,
                    "AGENT_POLICY names a token that AGENT_TOKEN_FILE does not have"
                );
            }
        }
        let store = tokenseal.store();
        let openapi = document::for_profile(&routes::openapi(), store.profile(), store.absent_tables());
        let metrics = Metrics::register(tokenseal.telemetry(), &OPERATIONS);
        let shared = Shared {
            tokenseal,
            bound,
            config,
            metrics,
            readiness: Readiness::new(),
            busy: Arc::new(Semaphore::new(MAX_AT_ONCE as usize)),
            room: Room::default(),
            searches: Searches::default(),
            openapi: Bytes::from(openapi),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Serves until `shutdown` ends, then finishes the current requests, for 25 s at most. Returns whether
    /// all were finished.
    pub async fn serve(&self, listener: Listener, shutdown: impl Future<Output = ()> + Send) -> bool {
        let telemetry = self.tokenseal().telemetry().clone();
        self.readiness().ask(&telemetry).await;
        let kept = tokio::spawn(self.readiness().clone().keep(telemetry));
        let finished = crate::serve::serve(self, listener, shutdown).await;
        kept.abort();
        finished
    }

    pub(crate) fn tokenseal(&self) -> &Tokenseal {
        &self.shared.tokenseal
    }

    pub(crate) fn store(&self) -> &TokenStore {
        self.shared.tokenseal.store()
    }

    /// The store for callers that may see some owners' rows only.
    pub(crate) fn bound_store(&self) -> Option<&TokenStore> {
        self.shared.bound.as_ref()
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.shared.config.policy
    }

    /// Whether a secret of this name would be a setting of the agent itself, such as the key of its keyring,
    /// or open the values that the agent opens. Those are in its environment or its `.env` file, and for no
    /// caller.
    pub(crate) fn is_own_setting(&self, name: &SecretName) -> bool {
        let Some(prefix) = &self.shared.config.variable_prefix else { return false };
        let Ok(name) = SecretName::new(&format!("{prefix}{name}")) else { return true };
        is_setting(&name.variable().to_ascii_uppercase())
    }

    pub(crate) fn tokens(&self) -> Option<&Tokens> {
        self.shared.config.tokens.as_ref()
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    pub(crate) fn readiness(&self) -> &Readiness {
        &self.shared.readiness
    }

    pub(crate) fn room(&self) -> &Room {
        &self.shared.room
    }

    pub(crate) fn searches(&self) -> &Searches {
        &self.shared.searches
    }

    pub(crate) fn openapi(&self) -> Bytes {
        self.shared.openapi.clone()
    }

    /// A place among the requests that are worked on.
    pub(crate) fn begin(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        self.shared.busy.clone().try_acquire_owned().map_err(|_| ApiError::too_many())
    }

    /// Waits until no request is in progress; no further request begins.
    pub(crate) async fn idle(&self) {
        if let Ok(all) = self.shared.busy.acquire_many(MAX_AT_ONCE).await {
            all.forget();
        }
    }

    /// Counts and records that something was refused.
    pub(crate) fn refused(&self, actor: &dyn fmt::Display, operation: &str, reason: &'static str) {
        self.metrics().refused(reason);
        audit::refused(actor, operation, reason);
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").field("tokenseal", self.tokenseal()).finish_non_exhaustive()
    }
}

/// Under owner rules only values that are bound to their row open, so only such values may be written.
async fn bound_store(tokenseal: &Tokenseal) -> Result<TokenStore, ConnectError> {
    if tokenseal.sealer().is_some_and(|sealer| sealer.policy() == BindingPolicy::Off) {
        return Err(SettingsError::of(
            "BINDING",
            "is off, and AGENT_POLICY has owner rules, under which only bound values open",
            "set BINDING=accept-unbound or require, or write rules without `owner`",
        )
        .into());
    }
    tokenseal.bound_store().await
}

/// Whether a variable is one that this program, or a driver that it uses, reads.
fn is_setting(variable: &str) -> bool {
    let is_one =
        |one: &Variable| one.name == variable || one.file_name().is_some_and(|name| name == variable);
    OPENERS.contains(&variable)
        || OPENER_PREFIXES.iter().any(|prefix| variable.starts_with(prefix))
        || VARIABLES.iter().any(is_one)
}
