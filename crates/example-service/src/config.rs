//! The service's settings, read from the environment in one place.

use std::env::VarError;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use envelope_core::DataKey;
use kms_provider::KeyUri;
use secrets_cache::Environment;
use secrets_cache::source::SourceUri;
use tracing_subscriber::filter::LevelFilter;

/// What the service is started with.
pub struct Config {
    /// Where the tokens are.
    pub database_url: String,
    /// What new tokens are sealed under.
    pub key: Option<KeyUri>,
    /// Opens a local keyring.
    pub master_key: Option<DataKey>,
    /// Opens rows in direct AES.
    pub direct_key: Option<DataKey>,
    /// Where the service's own secrets are; in its environment, if left out.
    pub secrets: Option<SourceUri>,
    /// What the names of its secrets begin with there.
    pub secrets_prefix: Option<String>,
    /// Where the service runs.
    pub environment: Environment,
    /// How often a line of metrics for CloudWatch is printed; never, if left out.
    pub emf_every: Option<Duration>,
    /// Which log lines are written.
    pub log_level: LevelFilter,
    /// Where to serve.
    pub listen: SocketAddr,
    /// How often the loop refreshes every token; never, if left out.
    pub refresh_every: Option<Duration>,
    /// How long the made-up OAuth provider takes.
    pub oauth_latency: Duration,
}

impl Config {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// Names the variable that is missing or wrong.
    pub fn from_environment() -> anyhow::Result<Self> {
        let every = number("REFRESH_EVERY_SECONDS", 0)?;
        Ok(Self {
            database_url: variable("DATABASE_URL")?.context("DATABASE_URL is not set")?,
            key: parsed("KMS_KEY_ID")?,
            master_key: parsed("KMS_MASTER_KEY")?,
            direct_key: parsed("ENCRYPTION_KEY")?,
            secrets: parsed("SECRETS_SOURCE")?,
            secrets_prefix: variable("SECRETS_PREFIX")?,
            environment: parsed("ENVIRONMENT")?.unwrap_or(Environment::Development),
            emf_every: emf_period()?,
            log_level: parsed("LOG_LEVEL")?.unwrap_or(LevelFilter::INFO),
            listen: parsed("LISTEN")?.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080))),
            refresh_every: (every > 0).then(|| Duration::from_secs(every)),
            oauth_latency: Duration::from_millis(number("OAUTH_LATENCY_MS", 500)?),
        })
    }
}

/// `EMF_METRICS`: `off`, or a period such as `1m`.
fn emf_period() -> anyhow::Result<Option<Duration>> {
    let Some(text) = variable("EMF_METRICS")?.filter(|text| text.trim() != "off") else { return Ok(None) };
    let period = humantime::parse_duration(text.trim()).ok().filter(|period| !period.is_zero());
    Ok(Some(period.context("EMF_METRICS: is neither off nor a time such as 1m")?))
}

/// A variable's value; an empty one counts as not set. One that is no text does not: a key would be lost without a word.
fn variable(name: &str) -> anyhow::Result<Option<String>> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.trim().is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        // Not the error itself, which quotes the value.
        Err(VarError::NotUnicode(_)) => bail!("{name} is not UTF-8 text"),
    }
}

fn parsed<T>(name: &'static str) -> anyhow::Result<Option<T>>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    variable(name)?.map(|text| text.trim().parse()).transpose().context(name)
}

fn number(name: &'static str, otherwise: u64) -> anyhow::Result<u64> {
    Ok(parsed(name)?.unwrap_or(otherwise))
}
