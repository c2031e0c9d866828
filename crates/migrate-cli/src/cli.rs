//! The command line that both programs share: its options, and how a program begins and ends.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;

use clap::Parser;
use tokenseal::audit::user_and_host;
use tokenseal::settings::{ACTOR_RULE, Settings, is_actor};
use tokenseal::{AuditTrail, Telemetry};
use tracing_subscriber::filter::LevelFilter;

use crate::exit::{CliError, Exit, Failed};
use crate::output::{Format, note, print, print_error, report_error, sarif_is_for_scans};
use crate::{misuse, startup};

/// The heading in `--help` for options that every command takes; a command's own options come before them.
pub(crate) const COMMON: &str = "Common options";

/// Options that are accepted before and after the command.
#[derive(clap::Args, Clone)]
#[group(skip)]
pub(crate) struct Options {
    /// Tables and lines for people, or one JSON document on standard output
    #[arg(long, global = true, help_heading = COMMON, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// Which log lines go to standard error: off, error, warn, info, debug or trace; audit events from info on
    #[arg(long, global = true, help_heading = COMMON, default_value = "warn", value_name = "LEVEL")]
    pub(crate) log_level: LevelFilter,
    /// Do not show progress
    #[arg(long, global = true, help_heading = COMMON)]
    pub(crate) no_progress: bool,
    /// Serve /metrics, /healthz and /readyz on this address while the program runs
    #[arg(long, global = true, help_heading = COMMON, value_name = "ADDR")]
    metrics_listen: Option<SocketAddr>,
    /// The operator's name in audit events; AUDIT_ACTOR, or user and host, if left out
    #[arg(long, global = true, help_heading = COMMON, value_name = "NAME", value_parser = parse_actor)]
    actor: Option<String>,
    #[arg(skip)]
    pub(crate) telemetry: Telemetry,
    #[arg(skip)]
    pub(crate) audit: AuditTrail,
}

/// Parses the arguments, the first being the program's own name, runs the command, and returns its exit code.
pub(crate) async fn run<C: Parser, E: Failed + From<CliError>>(
    arguments: impl IntoIterator<Item = OsString>,
    options: impl FnOnce(&C) -> &Options,
    command: impl AsyncFnOnce(C) -> Result<Exit, E>,
) -> Exit {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match C::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return not_run(&error, &arguments),
    };
    let options = options(&cli).clone();
    options.audit.name_program(C::command().get_name());
    startup::logging(options.log_level, &options.audit);
    tokenseal::startup::forbid_core_dumps();
    // Found out before the work, not after it.
    let is_scan = arguments.iter().any(|argument| argument == "scan");
    let outcome = match options.serve().await {
        Ok(()) if options.format == Format::Sarif && !is_scan => Err(sarif_is_for_scans().into()),
        Ok(()) => command(cli).await,
        Err(error) => Err(error.into()),
    };
    options.finish();
    outcome.unwrap_or_else(|error| {
        report_error(options.format, &error);
        error.exit()
    })
}

/// Ends a program whose command line asks for help, or is invalid.
fn not_run(error: &clap::Error, arguments: &[OsString]) -> Exit {
    if !error.use_stderr() {
        let _ = error.print();
        return Exit::Done;
    }
    let text = misuse::text(error);
    note(text.trim_end());
    if asks_for_json(arguments) {
        print_error(&misused(&text));
    }
    Exit::Usage
}

/// Whether the output is for a machine, as far as that can be seen in a command line that cannot be parsed.
fn asks_for_json(arguments: &[OsString]) -> bool {
    let own: Vec<&OsStr> =
        arguments.iter().map(OsString::as_os_str).take_while(|argument| *argument != "--").collect();
    own.contains(&OsStr::new("--format=json")) || own.windows(2).any(|pair| pair == ["--format", "json"])
}

/// The parser's first paragraph describes the error, the others a correct call.
fn misused(text: &str) -> CliError {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut paragraphs = text.split("\n\n").map(words);
    let problem = paragraphs.next().unwrap_or_default();
    CliError::usage_with_hint(problem, paragraphs.collect::<Vec<_>>().join("; "))
}

fn parse_actor(text: &str) -> Result<String, String> {
    if is_actor(text.trim()) { Ok(text.trim().to_owned()) } else { Err(ACTOR_RULE.into()) }
}

impl Options {
    /// The name in audit events.
    pub(crate) fn actor(&self, settings: &Settings) -> String {
        self.actor.clone().or_else(|| settings.audit_actor.clone()).unwrap_or_else(user_and_host)
    }

    /// Prints the last line of metrics, and ends the audit trail.
    pub(crate) fn finish(&self) {
        self.telemetry.finish();
        self.audit.finish();
    }

    /// Writes into the audit trail that a value is about to be revealed. Without the line, it is not.
    pub(crate) fn record_reveal(&self, event: &str, fields: &[(&str, &str)]) -> Result<(), CliError> {
        self.audit
            .record(event, fields)
            .map_err(CliError::io("the audit trail cannot be written, so the value is not revealed"))
    }

    async fn serve(&self) -> Result<(), CliError> {
        match self.metrics_listen {
            Some(address) => self
                .telemetry
                .serve(address)
                .await
                .map_err(|error| CliError::usage(format!("--metrics-listen {address}: {error}"))),
            None => Ok(()),
        }
    }
}

/// Prints a completion script.
pub(crate) fn completions<C: clap::CommandFactory>(shell: clap_complete::Shell) -> Result<Exit, CliError> {
    let mut command = C::command();
    let name = command.get_name().to_owned();
    // Into memory first: written to standard output directly, a full disk would be a panic.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
