//! The service's settings: those of Tokenseal, and its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use tokenseal::Settings;
use tokenseal::secrets_cache::config::{Declared, Origins, Setting};
use tokenseal::secrets_cache::source::environment::EnvironmentVariables;
use tracing_subscriber::filter::LevelFilter;

/// The longest pause between two rounds of refreshing: a day.
const LONGEST_PAUSE: i64 = 24 * 60 * 60;

/// The values that the service is started with.
pub struct Config {
    /// The tokens, the key service and the secrets.
    pub settings: Settings,
    /// Which log lines are written.
    pub log_level: LevelFilter,
    /// The address to serve on.
    pub listen: SocketAddr,
    /// How often the loop refreshes every token; never, if left out.
    pub refresh_every: Option<Duration>,
    /// A file that stops the loop while it exists.
    pub refresh_pause_file: Option<PathBuf>,
    /// How long the made-up OAuth provider takes.
    pub oauth_latency: Duration,
    /// How long its tokens live.
    pub oauth_lifetime: Duration,
}

impl Config {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// Names the variables that are missing or wrong.
    pub async fn from_environment() -> anyhow::Result<Self> {
        let settings = Settings::from_environment()?;
        let own = Declared::new()
            .with(
                Setting::one_of("LOG_LEVEL", &["off", "error", "warn", "info", "debug", "trace"]).or("info"),
            )
            .with(Setting::text("LISTEN").or("127.0.0.1:8080"))
            .with(Setting::integer("REFRESH_EVERY_SECONDS", 0..=LONGEST_PAUSE).or("0"))
            .with(Setting::text("REFRESH_PAUSE_FILE").optional())
            .with(Setting::integer("OAUTH_LATENCY_MS", 0..=60_000).or("500"))
            .with(Setting::integer("OAUTH_LIFETIME_SECONDS", 1..=LONGEST_PAUSE).or("3600"));
        let environment = EnvironmentVariables::new();
        let own = own.load(&Origins::environment(&environment)).await?;
        let texts = own.public();
        let text = |name: &str| texts.get(name).map(String::as_str).unwrap_or_default();
        let every: u64 = own.get("REFRESH_EVERY_SECONDS")?;
        Ok(Self {
            settings,
            log_level: text("LOG_LEVEL").parse().context("LOG_LEVEL")?,
            listen: text("LISTEN").parse().context("LISTEN")?,
            refresh_every: (every > 0).then(|| Duration::from_secs(every)),
            refresh_pause_file: texts.get("REFRESH_PAUSE_FILE").map(PathBuf::from),
            oauth_latency: Duration::from_millis(own.get("OAUTH_LATENCY_MS")?),
            oauth_lifetime: Duration::from_secs(own.get("OAUTH_LIFETIME_SECONDS")?),
        })
    }
}
