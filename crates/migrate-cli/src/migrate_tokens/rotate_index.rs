//! `rotate-index`: another key for blind indexes, while they are in use.

use token_store::blind_index::{IndexColumn, RotateReport, rotate};
use token_store::migration::{MigrationReport, RunOptions};

use super::migrate::{failure_lines, print_report};
use super::{Options, connect};
use crate::exit::{CliError, Exit};
use crate::progress::Progress;
use crate::startup::stop_on_signals;
use tokenseal::Settings;
use tokenseal::database::Access;
use tokenseal::key_service::Load;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Only the index over this token column
    #[arg(long, value_name = "C")]
    column: Option<String>,
    /// Only indexes of this table
    #[arg(long, value_name = "T")]
    table: Option<String>,
    /// Count what would be rewritten, write nothing
    #[arg(long)]
    dry_run: bool,
    /// Rows read and written at once
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch_size: u32,
}

pub(super) async fn run(args: Args, settings: Settings, options: Options) -> Result<Exit, CliError> {
    let is_named = settings.profile.tables.iter().any(|table| {
        args.table.as_ref().is_none_or(|name| *name == table.name)
            && table.index.iter().any(|index| args.column.as_ref().is_none_or(|name| *name == index.column))
    });
    if !is_named {
        return Err(CliError::usage_with_hint(
            "the profile has no such blind index",
            "name a table and a token column of [[tables.index]]",
        ));
    }
    let access = if args.dry_run { Access::ReadOnly } else { Access::ReadWrite };
    let services = connect(settings, access, Load::EveryRow { rate: None }, &options).await?;
    let mut run = RunOptions::default();
    run.dry_run = args.dry_run;
    run.batch_size = args.batch_size as usize;
    let verb = if args.dry_run { "would have rewritten" } else { "rewritten" };
    let mut progress = Progress::new(verb, services.store().count_rows().await?, options.no_progress);
    let stop = stop_on_signals();
    let update = |report: &MigrationReport| progress.update(report.migrated + report.already);
    let which = IndexColumn::new(args.table, args.column);
    let outcome = rotate(services.store(), &which, &run, &stop, update).await;
    progress.finish();
    let report = outcome.report;
    let exit = match () {
        () if report.interrupted => Exit::Interrupted,
        () if report.failed + report.conflicts > 0 => Exit::Partial,
        () if report.left > 0 && !report.dry_run => Exit::Partial,
        () => Exit::Done,
    };
    print_report(report, outcome.ended_by.map(CliError::from), exit, options, lines)
}

fn lines(report: &RotateReport) -> String {
    let verb = if report.dry_run { "would be rewritten" } else { "rewritten" };
    let mut lines = vec![format!(
        "{} rows: {} {verb}, {} already there, {} conflicts, {} failed; {} keys made, {} removed",
        report.scanned,
        report.rewritten,
        report.already,
        report.conflicts,
        report.failed,
        report.made,
        report.removed
    )];
    if report.left > 0 && !report.dry_run {
        lines.push(format!(
            "{} rows are still indexed under the key before, which stays in use: run the command again",
            report.left
        ));
    }
    lines.extend(failure_lines(&report.failures));
    lines.join("\n")
}
