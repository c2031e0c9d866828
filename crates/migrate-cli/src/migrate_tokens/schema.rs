//! `schema`: adds missing tables, columns and indexes of the profile.

use serde::Serialize;
use token_store::schema::{self, SchemaReport};

use super::Options;
use crate::exit::{CliError, Exit};
use crate::output::emit;
use tokenseal::Settings;
use tokenseal::database::{self, Access};
use tokenseal::key_service::{KeyService, Load};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Only show what is missing; exit 4 if anything is
    #[arg(long)]
    check: bool,
}

#[derive(Serialize)]
struct Report {
    applied: Vec<String>,
    pending: Vec<String>,
    absent: Vec<String>,
}

pub(super) async fn run(args: Args, settings: Settings, options: Options) -> Result<Exit, CliError> {
    let access = if args.check { Access::ReadOnly } else { Access::ReadWrite };
    if settings.audit_log.is_some() {
        let keys = KeyService::open(&settings, Load::Few, &options.telemetry).await?;
        let (actor, base) = (options.actor(&settings), settings.profile.base_context());
        let provider = keys.as_ref().map(|keys| &keys.provider);
        options.audit.start(settings.audit_log.as_ref(), &actor, provider, &base).await?;
    }
    let database = database::open(&settings, access).await?;
    let SchemaReport { applied, pending, absent, .. } = match args.check {
        true => schema::check(&database, &settings.profile).await?,
        false => schema::migrate(&database, &settings.profile).await?,
    };
    let report = Report { applied, pending, absent };
    emit(options.format, &report, lines)?;
    Ok(if report.pending.is_empty() { Exit::Done } else { Exit::Problems })
}

fn lines(report: &Report) -> String {
    let mut lines: Vec<String> =
        report.applied.iter().map(|statement| format!("applied  {statement}")).collect();
    lines.extend(report.pending.iter().map(|statement| format!("pending  {statement}")));
    lines.extend(report.absent.iter().map(|table| format!("absent   {table}, which is optional")));
    if report.applied.is_empty() && report.pending.is_empty() {
        lines.push("schema is complete".into());
    }
    lines.join("\n")
}
