//! `rewrap`: data keys under another key of the key service.

use kms_provider::KeyUri;
use token_store::migration::{self, RewrapOptions, RewrapReport};

use super::migrate::{How, failure_lines, print_report};
use super::{Options, connect};
use crate::exit::{CliError, Exit};
use crate::progress::Progress;
use crate::startup::stop_on_signals;
use tokenseal::Settings;
use tokenseal::database::Access;
use tokenseal::hints;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The key that data keys come under: an AWS KMS key, one of each Region, vault:<mount>/<key> for its newest version, or keyring:<file> for its active key
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
    if let Some(before) = settings.key.replace(args.to.clone()) {
        check_target(&before, &args.to)?;
        settings.allowed_keys.extend(before.aws_keys().iter().cloned());
        if let KeyUri::Vault(before) = before {
            settings.allowed_keys.push(before.to_string());
        }
    }
    settings.below_floor = args.how.below_floor;
    let access = if args.how.dry_run { Access::ReadOnly } else { Access::ReadWrite };
    let services = connect(settings, access, args.how.load(), &options).await?;
    let mut rewrap = RewrapOptions::default();
    rewrap.from = args.from;
    args.how.apply(&mut rewrap.run);
    let verb = if args.how.dry_run { "would have rewrapped" } else { "rewrapped" };
    let mut progress = Progress::new(verb, services.store().count_rows().await?, options.no_progress);
    let stop = stop_on_signals();
    let update = |report: &migration::MigrationReport| progress.update(report.migrated + report.already);
    let outcome = migration::rewrap(services.store(), &rewrap, &stop, update).await;
    progress.finish();
    let mut report = outcome.report;
    report.kms_calls += services.kms_calls();
    hints::complete(&mut report.failures);
    let exit = match () {
        () if report.interrupted => Exit::Interrupted,
        () if report.failed > 0 || report.conflicts > 0 => Exit::Partial,
        () => Exit::Done,
    };
    print_report(report, outcome.ended_by.map(CliError::from), exit, options, lines)
}

/// Data keys move between keys of AWS KMS, each in its own Region, between keys of Transit, and within a keyring.
fn check_target(before: &KeyUri, to: &KeyUri) -> Result<(), CliError> {
    if matches!((before, to), (KeyUri::Vault(_), KeyUri::Vault(_))) {
        return Ok(());
    }
    if before.aws_keys().is_empty() != to.aws_keys().is_empty() || (to.aws_keys().is_empty() && before != to)
    {
        return Err(CliError::usage_with_hint(
            format!("data keys under {before} cannot be wrapped under {to} without opening them"),
            "run `migrate-tokens rollback`, set KMS_KEY_ID to the new key and run `migrate-tokens migrate`",
        ));
    }
    if before.aws_keys().len() > 1 && to.aws_keys().len() != before.aws_keys().len() {
        return Err(CliError::usage_with_hint(
            "KMS_KEY_ID names a key in each of several Regions, and a data key stays in its Region",
            "name the new key of each Region: --to ARN,ARN",
        ));
    }
    Ok(())
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
