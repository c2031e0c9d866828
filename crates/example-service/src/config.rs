//! The service's settings, read from the environment in one place.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use envelope_core::DataKey;
use kms_provider::KeyUri;

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
            database_url: variable("DATABASE_URL").context("DATABASE_URL is not set")?,
            key: variable("KMS_KEY_ID").map(|text| text.parse()).transpose().context("KMS_KEY_ID")?,
            master_key: key("KMS_MASTER_KEY")?,
            direct_key: key("ENCRYPTION_KEY")?,
            listen: variable("LISTEN")
                .unwrap_or_else(|| "127.0.0.1:8080".into())
                .parse()
                .context("LISTEN")?,
            refresh_every: (every > 0).then(|| Duration::from_secs(every)),
            oauth_latency: Duration::from_millis(number("OAUTH_LATENCY_MS", 500)?),
        })
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

fn key(name: &'static str) -> anyhow::Result<Option<DataKey>> {
    variable(name).map(|text| text.parse()).transpose().context(name)
}

fn number(name: &'static str, otherwise: u64) -> anyhow::Result<u64> {
    Ok(variable(name).map(|text| text.trim().parse()).transpose().context(name)?.unwrap_or(otherwise))
}
