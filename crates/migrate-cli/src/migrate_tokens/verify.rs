//! `verify`: opens every token.

mod report;

use std::path::PathBuf;

use token_store::verify::{VerifyReport, verify_each};

use self::report::ReportFile;

use super::findings::Where;
use super::migrate::{check_rows, failure_lines};
use super::{Options, connect};
use crate::exit::{CliError, Exit};
use crate::output::emit;
use crate::progress::Progress;
use crate::startup::stop_on_signals;
use tokenseal::Settings;
use tokenseal::database::Access;
use tokenseal::hints;
use tokenseal::key_service::Load;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Open the tokens of N random rows of each table instead of all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    sample: Option<u32>,
    #[command(flatten)]
    rows: Where,
    /// Write every failure and finding into this file, as a line of JSON each: table, row, column, class, error. Replaces an
    /// earlier report, and no other file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

pub(super) async fn run(args: Args, settings: Settings, options: Options) -> Result<Exit, CliError> {
    let mut file = args.report.as_deref().map(ReportFile::begin).transpose()?;
    let load = Load::EveryRow { rate: None };
    let services = connect(settings, Access::ReadOnly, load, &options).await?;
    let services = args.rows.narrow(services).await?;
    if check_rows(&services).await? {
        services.check_key().await?;
    }
    let total = services.store().count_sampled(args.sample.map_or(u64::MAX, u64::from)).await?;
    let mut progress = Progress::new("verified", total, options.no_progress);
    let stop = stop_on_signals();
    let sample = args.sample.map(|size| size as usize);
    let update = |report: &VerifyReport| progress.update(report.rows);
    let mut report = verify_each(services.store(), sample, &stop, update, |found, failure| {
        if let Some(file) = &mut file {
            file.add(found, failure);
            if file.is_broken() {
                stop.stop();
            }
        }
    })
    .await?;
    hints::complete(&mut report.failures);
    hints::complete_findings(&mut report.findings);
    progress.finish();
    file.map_or(Ok(()), ReportFile::commit)?;
    emit(options.format, &report, lines)?;
    Ok(match () {
        () if report.interrupted => Exit::Interrupted,
        () if report.found_problems() => Exit::Problems,
        () => Exit::Done,
    })
}

pub(super) fn lines(report: &VerifyReport) -> String {
    let mut lines = vec![format!(
        "{} values: {} open, {} fail, {} plaintext, {} unbound, {} in a legacy format, which binds no value to its row",
        report.checked, report.ok, report.failed, report.plaintext, report.unbound, report.legacy
    )];
    lines.extend(failure_lines(&report.failures));
    lines.extend(failure_lines(&report.findings));
    lines.join("\n")
}
