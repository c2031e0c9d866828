//! The command line: reads the configuration, connects, serves, and says why it could not.

use std::ffi::OsString;
use std::io::Write as _;
use std::net::SocketAddr;

use clap::{Command, CommandFactory as _, Parser};
use tokenseal::settings::{AgentAddress, AgentSettings};
use tokenseal::{AuditTrail, Settings, SettingsError, Telemetry, Tokenseal, startup};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::level_filters::LevelFilter;

use crate::agent::{Agent, Config};
use crate::audit;
use crate::error::{StartError, shown};
use crate::files;
use crate::listen::Listener;
use crate::policy::Policy;
use crate::serve::MAX_CONNECTIONS;
use crate::tokens::Tokens;

/// The name in audit events that are about no caller.
const ACTOR: &str = "tokenseal-agent";

const EXAMPLES: &str = "\
Examples:
  DATABASE_URL=postgres://… KMS_KEY_ID=alias/tokens tokenseal-agent
  AGENT_LISTEN=unix:/tmp/agent.sock tokenseal-agent --log-level debug
  AGENT_POLICY=policy.toml tokenseal-agent --check

The configuration comes from the environment: docs/configuration.md and docs/agent.md.";

/// Opens, seals and keeps a service's tokens over a Unix socket, for any language
#[derive(Parser)]
#[command(name = "tokenseal-agent", version, after_help = EXAMPLES)]
struct Arguments {
    /// Which log lines go to standard error: off, error, warn, info, debug or trace
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    log_level: LevelFilter,
    /// Also serve /metrics, /healthz and /readyz on this address
    #[arg(long, value_name = "ADDR")]
    metrics_listen: Option<SocketAddr>,
    /// Check configuration, policy and connections, and serve nothing
    #[arg(long)]
    check: bool,
}

/// The command line, for its man page.
#[must_use]
pub fn command() -> Command {
    Arguments::command()
}

/// Runs the program with its arguments, the first being its own name, and returns its exit code.
pub async fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { 2 } else { 0 };
        }
    };
    let trail = AuditTrail::new(ACTOR);
    let level = arguments.log_level;
    startup::logging(level, level, "tokenseal_agent", &trail, LevelFilter::DEBUG);
    startup::forbid_core_dumps();
    files::raise_limit(MAX_CONNECTIONS);
    let ended = serve(&arguments, &trail).await;
    trail.finish();
    match ended {
        Ok(()) => 0,
        Err(error) => {
            let mut stderr = std::io::stderr().lock();
            let _ = writeln!(stderr, "error: {}", shown(&error));
            if let Some(hint) = error.hint() {
                let _ = writeln!(stderr, "hint: {hint}");
            }
            error.exit_code()
        }
    }
}

async fn serve(arguments: &Arguments, trail: &AuditTrail) -> Result<(), StartError> {
    let no_signals = |source| StartError::Io { what: "signals cannot be caught", source };
    // Caught before anything is connected: a signal in between ends the process in order.
    let shutdown = startup::shutdown().map_err(no_signals)?;
    let hangups = signal(SignalKind::hangup()).map_err(no_signals)?;
    let settings = Settings::from_environment()?;
    let config = config(&settings)?;
    let agent_settings = settings.agent.clone();
    // Before the connections, so that a caller that starts together with the agent finds the socket and waits.
    let listener = match arguments.check {
        true => {
            Listener::check(&agent_settings)?;
            None
        }
        false => Some(Listener::open(&agent_settings).await?),
    };
    if listener.as_ref().is_some_and(Listener::is_tcp) {
        check_tcp(&agent_settings)?;
    }
    let telemetry = Telemetry::default();
    if let Some(address) = arguments.metrics_listen {
        let refused = |source| StartError::Io { what: "--metrics-listen cannot be listened on", source };
        telemetry.serve(address).await.map_err(refused)?;
    }
    let connecting = Tokenseal::builder(settings).actor(ACTOR).audit(trail).telemetry(&telemetry).connect();
    let agent = Agent::new(connecting.await?, config).await?;
    let Some(listener) = listener else {
        agent.tokenseal().check_key().await?;
        return Ok(());
    };
    serve_until(shutdown, hangups, agent, listener, &agent_settings).await;
    telemetry.finish();
    Ok(())
}

/// Serves until a signal ends it, and reads the tokens again at each SIGHUP.
async fn serve_until(
    shutdown: impl Future<Output = ()> + Send,
    mut hangups: Signal,
    agent: Agent,
    listener: Listener,
    settings: &AgentSettings,
) {
    let address = listener.tcp_address().map_or_else(|| settings.listen.to_string(), |tcp| tcp.to_string());
    audit::started(ACTOR, &address);
    tracing::info!(address, "serving");
    let reloading = agent.clone();
    let reload = tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            reload_tokens(&reloading);
        }
    });
    let finished = agent.serve(listener, shutdown).await;
    reload.abort();
    audit::stopped(ACTOR, if finished { "ok" } else { "cut_off" });
    tracing::info!(finished, "stopped");
}

/// The policy and the tokens that the settings name.
fn config(settings: &Settings) -> Result<Config, SettingsError> {
    let agent = &settings.agent;
    if matches!(agent.listen, AgentAddress::Tcp(_)) {
        check_tcp(agent)?;
    }
    let hint = "docs/agent.md describes the file";
    let tokens = match &agent.token_file {
        Some(path) => {
            let refused =
                |error| SettingsError::of("AGENT_TOKEN_FILE", format_args!("is refused: {error}"), hint);
            Some(Tokens::read(path).map_err(refused)?)
        }
        None => None,
    };
    let policy = match &agent.policy {
        Some(path) => Policy::read(path, &settings.profile)
            .map_err(|error| SettingsError::of("AGENT_POLICY", format_args!("is refused: {error}"), hint))?,
        None => Policy::only(rustix::process::geteuid().as_raw()),
    };
    Ok(Config::new(policy, tokens, settings))
}

/// Over TCP the kernel does not say who connects.
fn check_tcp(agent: &AgentSettings) -> Result<(), SettingsError> {
    let hint = "over TCP callers show a token, and a policy says what each may do: docs/agent.md";
    if agent.token_file.is_none() {
        return Err(SettingsError::of(
            "AGENT_TOKEN_FILE",
            "is not set, and AGENT_LISTEN is a TCP address",
            hint,
        ));
    }
    if agent.policy.is_none() {
        return Err(SettingsError::of("AGENT_POLICY", "is not set, and AGENT_LISTEN is a TCP address", hint));
    }
    Ok(())
}

/// A file that is refused changes nothing.
fn reload_tokens(agent: &Agent) {
    let Some(tokens) = agent.tokens() else { return };
    match tokens.reload() {
        Ok(count) => tracing::info!(count, "AGENT_TOKEN_FILE was read again"),
        Err(error) => tracing::error!(%error, "AGENT_TOKEN_FILE is refused; the tokens stay as they were"),
    }
}
