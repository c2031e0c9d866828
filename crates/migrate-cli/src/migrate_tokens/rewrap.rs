//! `rewrap`: data keys under another key of the key service.

use std::path::Path;

use kms_provider::KeyUri;
use token_store::migration::{self, RewrapOptions, RewrapReport};

use super::former_key::FormerKey;
use super::migrate::{How, failure_lines, print_report};
use super::{Options, connect};
use crate::exit::{CliError, Exit};
use crate::output::note;
use crate::progress::Progress;
use crate::startup::stop_on_signals;
use tokenseal::database::Access;
use tokenseal::{Settings, Tokenseal, hints};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The key that data keys come under: an AWS KMS key, one of each Region, vault:<mount>/<key> for its newest version, or
    /// keyring:<file> for its active key. From one key service to another, values are opened and sealed again
    #[arg(long, value_name = "KEY")]
    to: KeyUri,
    /// Only data keys of rows that name this key
    #[arg(long, value_name = "KEY")]
    from: Option<String>,
    #[command(flatten)]
    how: How,
}

pub(super) async fn run(args: Args, mut settings: Settings, options: Options) -> Result<Exit, CliError> {
    // The existing data keys are under the current key: it must be allowed for reading.
    settings.allowed_keys.extend(args.from.clone().filter(|key| is_read_by_itself(key)));
    if let Some(before) = settings.key.replace(args.to.clone()) {
        let opens = check_target(&before, &args.to)?;
        match &before {
            KeyUri::Aws(_) | KeyUri::AwsRegions(_) => {
                settings.allowed_keys.extend(before.aws_keys().iter().cloned());
            }
            other => settings.allowed_keys.push(other.to_string()),
        }
        if opens {
            note(&format!(
                "{} does not wrap data keys under {}: values are opened and sealed again",
                before.redacted(),
                args.to.redacted()
            ));
        }
    }
    settings.below_floor = args.how.below_floor;
    let former = args.from.as_deref().map(|from| FormerKey::read(from, &settings)).transpose()?;
    let access = if args.how.dry_run { Access::ReadOnly } else { Access::ReadWrite };
    let services = connect(settings, access, args.how.load(), &options).await?;
    let mut rewrap = RewrapOptions::default();
    if let Some(former) = former {
        let names = former.names(services.store(), &args.to).await?;
        if !former.is_recorded(services.store(), &names).await? {
            note("no row names the key of --from");
        }
        rewrap.from = Some(names);
    }
    rewrap.also = keys_of_regions(&services).await;
    let limited = args.how.limit.is_some();
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
    let counts = &report;
    let exit = match () {
        () if counts.interrupted => Exit::Interrupted,
        () if counts.failed > 0 || counts.conflicts > 0 => Exit::Partial,
        () if counts.left > Some(0) && !counts.dry_run && !limited => Exit::Partial,
        () => Exit::Done,
    };
    print_report(report, outcome.ended_by.map(CliError::from), exit, options, lines)
}

/// Whether a key is to be read besides those of the settings. A data key of a keyring goes with its file.
fn is_read_by_itself(key: &str) -> bool {
    key.strip_prefix("keyring:").is_none_or(|file| Path::new(file).is_file())
}

/// The key of each of several Regions: a data key stays in its own. A Region that does not answer moves nothing now.
async fn keys_of_regions(services: &Tokenseal) -> Vec<String> {
    let regions = services.key_service().and_then(|service| service.regions.clone());
    let mut keys = Vec::new();
    for region in regions.iter().flat_map(|regions| regions.regions()) {
        keys.extend(region.provider().describe().await.map(|key| key.key_id));
    }
    keys
}

/// Returns whether values must be opened. Data keys move between keys of AWS KMS, each in its own Region, between keys of
/// Transit, and within a keyring; not from one key service to another.
fn check_target(before: &KeyUri, to: &KeyUri) -> Result<bool, CliError> {
    if matches!((before, to), (KeyUri::Vault(_), KeyUri::Vault(_))) {
        return Ok(false);
    }
    if before.aws_keys().is_empty() || to.aws_keys().is_empty() {
        return Ok(!before.is_same(to));
    }
    if before.aws_keys().len() > 1 && to.aws_keys().len() != before.aws_keys().len() {
        return Err(CliError::usage_with_hint(
            "KMS_KEY_ID names a key in each of several Regions, and a data key stays in its Region",
            "name the new key of each Region: --to ARN,ARN",
        ));
    }
    Ok(false)
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
    if let Some(left @ 1..) = report.left.filter(|_| !report.dry_run) {
        lines.push(format!("{left} rows are under other keys, or have no key that names them"));
    }
    lines.join("\n")
}
