//! `rotation-step` and `rotation-function`: database credentials that AWS Secrets Manager rotates.

mod credentials;
mod database;
mod error;
mod event;
mod function;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "mysql")]
mod mysql_demands;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
mod postgres_settings;
mod step;

use secrets_cache::SecretName;
use secrets_cache::source::secrets_manager::SecretsManager;
use serde::Serialize;
use tokenseal::Settings;
use tokenseal::secrets::connect_secrets_manager;
use tokio::io::AsyncReadExt as _;

pub(super) use self::error::RotationError;
use self::event::{Event, MAX_LEN, Step};
use self::function::Runtime;
use self::step::Outcome;
use super::Options;
use super::failure::Failure;
use super::source::SourceUri;
use crate::exit::{CliError, Exit, chain};
use crate::output::emit;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The secret of a user who may create others, where the secret itself has no masterarn
    #[arg(long, value_name = "NAME")]
    administrator: Option<SecretName>,
}

#[derive(Serialize)]
struct Report {
    step: Step,
    secret: String,
    version: String,
    /// Whether the step was taken before.
    already: bool,
}

/// Takes the step of the event on standard input.
pub(super) async fn step(args: Args, settings: &Settings, options: &Options) -> Result<Exit, Failure> {
    let manager = connect(settings, options).await?;
    let mut text = Vec::new();
    let mut input = tokio::io::stdin().take(MAX_LEN as u64);
    input.read_to_end(&mut text).await.map_err(CliError::io("standard input cannot be read"))?;
    let report = take(&text, &args, &manager).await?;
    emit(options.common.format, &report, |report| {
        let step = serde_json::to_value(report.step).unwrap_or_default();
        let how = if report.already { "was done before" } else { "done" };
        format!("{} of {}: {how}", step.as_str().unwrap_or_default(), report.secret)
    })?;
    Ok(Exit::Done)
}

/// Answers the events of AWS Lambda until the runtime ends the process.
pub(super) async fn function(args: Args, settings: &Settings, options: &Options) -> Result<Exit, Failure> {
    let address = std::env::var(function::ADDRESS).map_err(|_| {
        Failure::usage(
            format!("{} is not set", function::ADDRESS),
            "this is the entry point of a Lambda function; `rotation-step` takes one step",
        )
    })?;
    let (runtime, manager) = (Runtime::new(address), connect(settings, options).await?);
    loop {
        let invocation = runtime.next().await?;
        match take(&invocation.event, &args, &manager).await {
            Ok(report) => {
                tracing::info!(step = ?report.step, secret = report.secret, "step taken");
                runtime.succeed(&invocation).await?;
            }
            Err(error) => {
                let message = chain(&error);
                tracing::error!(class = error.class(), error = message, hint = error.hint(), "step failed");
                runtime.fail(&invocation, error.class(), &message).await?;
            }
        }
    }
}

async fn take(event: &[u8], args: &Args, manager: &SecretsManager) -> Result<Report, RotationError> {
    let event = Event::parse(event)?;
    let outcome = step::take(&event, manager, args.administrator.as_ref()).await?;
    let (secret, version) = (event.version.secret.to_string(), event.version.token);
    Ok(Report { step: event.step, secret, version, already: outcome == Outcome::Already })
}

async fn connect(settings: &Settings, options: &Options) -> Result<SecretsManager, Failure> {
    if options.source != SourceUri::SecretsManager {
        return Err(Failure::usage("only AWS Secrets Manager sends such events", "leave --source out"));
    }
    options.common.telemetry.print_emf(settings);
    Ok(connect_secrets_manager().await?)
}
