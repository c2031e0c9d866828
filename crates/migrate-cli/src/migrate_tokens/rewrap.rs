//! `rewrap`: data keys under another key of the key service.

use kms_provider::KeyUri;
use token_store::migration::{self, RewrapOptions, RewrapReport};

use super::Options;
use super::migrate::{How, failure_lines, print_report};
use crate::exit::{CliError, Exit};
use crate::progress::Progress;
use crate::services::{Access, Services};
use crate::settings::Settings;
use crate::startup::stop_on_signals;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The key that data keys come under: an AWS KMS key, or keyring:<file> for its active key
    #[arg(long, value_name = "KEY")]
    to: KeyUri,
    /// Only data keys of rows that name this key
    #[arg(long, value_name = "KEY")]
    from: Option<String>,
    #[command(flatten)]
    how: How,
}

pub(super) async fn run(args: Args, mut settings: Settings, options: Options) -> Result<Exit, CliError> {
    // The data keys that are there are under the key of today: it must be allowed for reading.
    settings.allowed_keys.extend(args.from.clone());
    match settings.key.replace(args.to.clone()) {
        Some(KeyUri::Aws(key)) if matches!(args.to, KeyUri::Aws(_)) => settings.allowed_keys.push(key),
        Some(key) if key != args.to => {
            return Err(CliError::usage_with_hint(
                format!("data keys under {key} cannot be wrapped under {} without opening them", args.to),
                "run `migrate-tokens rollback`, set KMS_KEY_ID to the new key and run `migrate-tokens migrate`",
            ));
        }
        _ => {}
    }
    let access = if args.how.dry_run { Access::ReadOnly } else { Access::ReadWrite };
    let services = Services::connect(settings, access, args.how.rate, &options.telemetry).await?;
    let mut rewrap = RewrapOptions::default();
    rewrap.from = args.from;
    args.how.apply(&mut rewrap.run);
    let verb = if args.how.dry_run { "would have rewrapped" } else { "rewrapped" };
    let mut progress = Progress::new(verb, services.store.count_rows().await?, options.no_progress);
    let stop = stop_on_signals();
    let update = |report: &migration::MigrationReport| progress.update(report.migrated + report.already);
    let outcome = migration::rewrap(&services.store, &rewrap, &stop, update).await;
    progress.finish();
    let mut report = outcome.report;
    report.kms_calls = services.kms_calls() + if report.dry_run { report.values } else { 0 };
    let exit = match () {
        () if report.interrupted => Exit::Interrupted,
        () if report.failed > 0 || report.conflicts > 0 => Exit::Partial,
        () => Exit::Done,
    };
    print_report(report, outcome.ended_by.map(CliError::from), exit, options, lines)
}

fn lines(report: &RewrapReport) -> String {
    let verb = if report.dry_run { "would be rewrapped" } else { "rewrapped" };
    let mut lines = vec![format!(
        "{} rows: {} {verb} ({} values), {} already there, {} conflicts, {} failed; {} key service calls, {:.1} s",
        report.scanned,
        report.rewrapped,
        report.values,
        report.already,
        report.conflicts,
        report.failed,
        report.kms_calls,
        report.elapsed_seconds
    )];
    lines.extend(failure_lines(&report.failures));
    lines.join("\n")
}
