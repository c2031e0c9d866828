//! Settings: every variable of this project, in the one place that reads them.

mod agent;
pub(crate) mod aws;
mod endpoints;
mod error;
mod reader;
mod secret_file;
mod variables;
#[cfg(feature = "vault")]
mod vault;

use std::ffi::OsString;
use std::fmt;
use std::time::Duration;

use envelope_core::format::autonomous::DevKey;
use envelope_core::{BindingPolicy, DataKey, Environment, Writing};
#[cfg(feature = "metrics")]
use kms_provider::metrics::emf::EmfDimensions;
use kms_provider::{KeyUri, ReuseLimits};
use secrecy::SecretString;
#[cfg(feature = "secrets")]
use secrets_cache::source::SourceUri;
use token_store::profile::LegacyFormat;
use token_store::{Floor, PlaintextPolicy, Profile, Timeouts, UserKeys};

pub use self::agent::{AgentAddress, AgentAddressError, AgentSettings, DEFAULT_AGENT_SOCKET};
#[cfg(feature = "aws")]
pub(crate) use self::endpoints::reaches_kms_alone;
pub use self::error::{Problem, SettingsError};
use self::reader::Reader;
pub use self::reader::{ACTOR_RULE, is_actor};
pub use self::secret_file::MAX_SECRET_FILE_LEN;
pub use self::variables::{VARIABLES, Variable, set_variables};
use crate::audit::AuditTarget;

/// How to make a key for the variables that hold one.
pub const KEY_HINT: &str = "make one with `openssl rand -base64 32`";

/// The treatment of a setting that contradicts the floor.
pub(crate) const LOWER_FLOOR: &str = "change one of them; the floor is READ_FLOOR, else `floor` in the profile, and \
    always bound with BINDING=require and PLAINTEXT_POLICY=forbid";

/// The configuration of a service or a program, parsed. No key and no address is printed.
///
/// `docs/configuration.md` lists the variables with their values and defaults.
#[non_exhaustive]
pub struct Settings {
    /// `DATABASE_URL`. It may hold a password.
    pub database_url: Option<SecretString>,
    /// `DATABASE_LOCK_TIMEOUT` and `DATABASE_STATEMENT_TIMEOUT`.
    pub database_timeouts: Timeouts,
    /// `TOKEN_PROFILE`, with the pairs of `ENCRYPTION_CONTEXT`.
    pub profile: Profile,
    /// `KMS_KEY_ID`, or `TOKEN_ENCRYPTION_KEY_ID`: the key that wraps data keys.
    pub key: Option<KeyUri>,
    /// `KMS_ALLOWED_KEYS`: further keys whose data keys may be unwrapped.
    pub allowed_keys: Vec<String>,
    /// `ENCRYPTION_KEY`: direct AES.
    pub direct_key: Option<DataKey>,
    /// `KMS_MASTER_KEY`: wraps the local keyring.
    pub master_key: Option<DataKey>,
    /// `TOKEN_ENCRYPTION_KEY` and `ENCRYPTION_KEY_VERSION`: PulsePlan's keys for each user.
    pub user_keys: Option<UserKeys>,
    /// `DEV_ENCRYPTION_KEY`; never read in production.
    pub development_key: Option<DevKey>,
    /// `DEK_CACHE_TTL`: how long an unwrapped data key is kept.
    pub cache_ttl: Duration,
    /// `DEK_CACHE_MAX`: how many are kept.
    pub cache_max: u64,
    /// `DATA_KEY_REUSE`.
    pub reuse: ReuseLimits,
    /// `ENVELOPE_FORMAT` and `BINDING`: the form of new envelopes.
    pub writing: Writing,
    /// `BINDING`: whether unbound values are read.
    pub binding: BindingPolicy,
    /// `PLAINTEXT_POLICY`.
    pub plaintext: PlaintextPolicy,
    /// Whether new tokens are sealed under the key service: `USE_KMS=false` leaves it to reading, for PulsePlan.
    pub seals: bool,
    /// `KMS_FALLBACK`: whether a token is written in the profile's older form while the key service is unavailable.
    pub fallback: bool,
    /// `READ_FLOOR`, where it is set; it overrides the profile's floor.
    pub read_floor: Option<Floor>,
    /// Whether this process may read below the floor: for one run that moves what is there.
    pub below_floor: bool,
    /// `ENVIRONMENT`, `APP_ENV` or `NODE_ENV`.
    pub environment: Environment,
    /// `EMF_METRICS`: how often a line of metrics for CloudWatch is printed; never, if left out.
    pub emf_every: Option<Duration>,
    /// `EMF_DIMENSIONS`: the dimensions of these metrics. If left out, `Application` is the profile's pair of that name, or
    /// `unnamed`, and `Environment` is the environment.
    #[cfg(feature = "metrics")]
    pub emf_dimensions: Option<EmfDimensions>,
    /// `LOG_ACCOUNT_IDS`: whether the log shortens the account in a key's ARN.
    pub short_accounts: bool,
    /// `AUDIT_ACTOR`: the name in audit events.
    pub audit_actor: Option<String>,
    /// `AUDIT_LOG`: where audit events are written, whatever the log level.
    pub audit_log: Option<AuditTarget>,
    /// The `AGENT_*` variables.
    pub agent: AgentSettings,
    /// The `VAULT_*` variables, or what is wrong with them.
    #[cfg(feature = "vault")]
    vault: Result<vault_client::VaultOptions, SettingsError>,
    /// `SECRETS_SOURCE`: where a service's own secrets are; in its environment, if left out.
    #[cfg(feature = "secrets")]
    pub secrets: Option<SourceUri>,
    /// `SECRETS_PREFIX`: the beginning of their names there.
    #[cfg(feature = "secrets")]
    pub secrets_prefix: Option<String>,
}

impl Settings {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// [`SettingsError`], which lists every problem and not only the first.
    pub fn from_environment() -> Result<Self, SettingsError> {
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let endpoints: Vec<String> = names.filter(|name| endpoints::is_one(name)).collect();
        Self::read(&|name| std::env::var_os(name), &endpoints)
    }

    /// Reads variables from wherever `lookup` finds them.
    ///
    /// # Errors
    /// As [`from_environment`](Self::from_environment).
    pub fn from_variables(lookup: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, SettingsError> {
        Self::read(lookup, &endpoints::KNOWN.map(String::from))
    }

    fn read(lookup: &dyn Fn(&str) -> Option<OsString>, endpoints: &[String]) -> Result<Self, SettingsError> {
        let mut reader = Reader::new(lookup);
        reader.refuse_what_is_no_text();
        endpoints::check(&mut reader, endpoints);
        #[cfg(feature = "vault")]
        ["VAULT_TOKEN", "VAULT_SECRET_ID"].into_iter().for_each(|name| reader.refuse_twice(name));
        let environment = reader.environment();
        let profile = reader.profile();
        let (writing, binding) = reader.writing();
        let settings = Self {
            database_url: reader.database_url(),
            database_timeouts: reader.database_timeouts(),
            seals: reader.seals(profile.as_ref()),
            key: reader.key_uri(),
            allowed_keys: reader.list("KMS_ALLOWED_KEYS"),
            direct_key: reader.key("ENCRYPTION_KEY"),
            master_key: reader.key("KMS_MASTER_KEY"),
            user_keys: reader.user_keys(),
            development_key: reader.development_key(environment),
            cache_ttl: reader.duration("DEK_CACHE_TTL").unwrap_or(Duration::from_secs(300)),
            cache_max: reader.number("DEK_CACHE_MAX").unwrap_or(10_000),
            reuse: reader.reuse(),
            writing,
            binding,
            plaintext: reader.choice(
                "PLAINTEXT_POLICY",
                &[
                    ("allow", PlaintextPolicy::Allow),
                    ("allow-read", PlaintextPolicy::AllowRead),
                    ("forbid", PlaintextPolicy::Forbid),
                ],
            ),
            fallback: reader.choice("KMS_FALLBACK", &[("off", false), ("local", true)]),
            read_floor: reader.parsed("READ_FLOOR"),
            below_floor: false,
            environment,
            emf_every: reader.emf_period(),
            #[cfg(feature = "metrics")]
            emf_dimensions: reader.emf_dimensions(),
            short_accounts: reader.choice("LOG_ACCOUNT_IDS", &[("full", false), ("short", true)]),
            audit_actor: reader.actor(),
            audit_log: reader.parsed("AUDIT_LOG"),
            agent: agent::read(&mut reader),
            #[cfg(feature = "vault")]
            vault: vault::read(lookup),
            #[cfg(feature = "secrets")]
            secrets: reader.parsed("SECRETS_SOURCE"),
            #[cfg(feature = "secrets")]
            secrets_prefix: reader.text("SECRETS_PREFIX"),
            profile: profile.unwrap_or_else(fallback_profile),
        };
        aws::check(&mut reader, settings.key.as_ref());
        settings.check_together(&mut reader);
        reader.finish().map(|()| settings)
    }

    /// How to reach OpenBao or Vault.
    ///
    /// # Errors
    /// [`SettingsError`] naming each variable that is missing or wrong.
    #[cfg(feature = "vault")]
    pub fn vault(&self) -> Result<&vault_client::VaultOptions, SettingsError> {
        self.vault.as_ref().map_err(Clone::clone)
    }

    #[cfg(feature = "vault")]
    fn needs_vault(&self) -> bool {
        #[cfg(feature = "secrets")]
        if matches!(self.secrets, Some(SourceUri::Vault(_) | SourceUri::VaultLease(_))) {
            return true;
        }
        matches!(self.key, Some(KeyUri::Vault(_)))
    }

    /// The weakest form of a value that is read.
    #[must_use]
    pub fn floor(&self) -> Floor {
        Floor::effective(self.read_floor, &self.profile, self.binding, self.plaintext)
    }

    /// Refuses settings that are each right and contradict one another.
    fn check_together(&self, reader: &mut Reader<'_>) {
        #[cfg(feature = "vault")]
        if self.needs_vault()
            && let Err(error) = &self.vault
        {
            reader.add(error);
        }
        let falls_back_to = match self.profile.legacy {
            Some(LegacyFormat::PulseplanLocal) => "TOKEN_ENCRYPTION_KEY",
            _ => "ENCRYPTION_KEY",
        };
        if self.fallback && !reader.is_set(falls_back_to) {
            reader.problem(falls_back_to, "is not set, and KMS_FALLBACK=local writes under it");
        }
        let floor = self.floor();
        if self.fallback && floor > Floor::Any {
            reader.problem(
                "KMS_FALLBACK",
                format_args!("is local, which writes below the floor ({floor}): {LOWER_FLOOR}"),
            );
        }
        if !self.seals && floor > Floor::Any {
            reader.problem(
                "USE_KMS",
                format_args!(
                    "is false, and what is written then is below the floor ({floor}): {LOWER_FLOOR}"
                ),
            );
        }
        if self.binding == BindingPolicy::Off && floor == Floor::Bound {
            reader.problem(
                "BINDING",
                format_args!("is off, which writes below the floor ({floor}): {LOWER_FLOOR}"),
            );
        }
        if !self.reuse.is_off() && self.writing != Writing::V3 {
            reader.problem(
                "DATA_KEY_REUSE",
                "needs ENVELOPE_FORMAT=v3: a version 2 data key is bound to one value and can serve no other",
            );
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("profile", &self.profile.name)
            .field("key", &self.key.as_ref().map(KeyUri::redacted))
            .field("environment", &self.environment)
            .finish_non_exhaustive()
    }
}

/// Only there to go on collecting problems after the profile was refused; it never leaves this module.
fn fallback_profile() -> Profile {
    #[expect(clippy::expect_used, reason = "the built-in profiles are tested to load")]
    Profile::load("vod-tender").expect("the built-in profile loads")
}
