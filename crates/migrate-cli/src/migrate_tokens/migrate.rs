//! `migrate` and `rollback`: move every row to one format.

use envelope_core::BindingPolicy;
use serde::Serialize;
use token_store::error::Needed;
use token_store::findings::Finding;
use token_store::migration::{self, Failure, MigrationOptions, MigrationReport, RunOptions};
use token_store::status::Group;
use token_store::{Floor, WriteFormat, profile::LegacyFormat};

use super::findings::{self, Where};
use super::{Options, connect};
use crate::exit::{CliError, Exit, Failed, chain};
use crate::output::{Format, emit, note};
use crate::progress::Progress;
use crate::startup::stop_on_signals;
use tokenseal::Settings;
use tokenseal::Tokenseal;
use tokenseal::database::Access;
use tokenseal::hints;
use tokenseal::key_service::Load;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The form that every row gets
    #[arg(long, value_enum, default_value_t)]
    to: Target,
    /// Also open envelopes, and rewrite those that are not bound to their row
    #[arg(long)]
    rebind: bool,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    rows: Where,
}

#[derive(clap::Args)]
pub(super) struct RollbackArgs {
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    rows: Where,
}

/// How a run over all rows goes about it.
#[derive(clap::Args)]
pub(super) struct How {
    /// Decide and count everything, write nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Rows read and written at once
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) batch_size: u32,
    /// Rows worked on at once
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(super) concurrency: u32,
    /// Rows to change at most
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<u64>,
    /// Maximum key service calls per second
    #[arg(long, value_name = "KMS_CALLS_PER_SECOND", value_parser = parse_rate)]
    pub(super) rate: Option<f64>,
    /// Read and write below the floor in this run; it is audited. Be sure that every value is in its own row: what was
    /// copied there is sealed for it
    #[arg(long)]
    pub(super) below_floor: bool,
}

impl How {
    pub(super) fn load(&self) -> Load {
        Load::EveryRow { rate: self.rate }
    }

    pub(super) fn apply(&self, run: &mut RunOptions) {
        run.dry_run = self.dry_run;
        run.batch_size = self.batch_size as usize;
        run.concurrency = self.concurrency as usize;
        run.limit = self.limit;
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Target {
    /// Envelopes whose data keys the key service wraps
    #[default]
    KmsEnvelope,
    /// AES-256-GCM under ENCRYPTION_KEY
    DirectAes,
    /// PulsePlan's per-user keys under TOKEN_ENCRYPTION_KEY
    PulseplanLocal,
}

pub(super) async fn run(args: Args, settings: Settings, options: Options) -> Result<Exit, CliError> {
    let format = match args.to {
        Target::KmsEnvelope => WriteFormat::KmsEnvelope,
        Target::DirectAes => WriteFormat::DirectAes,
        Target::PulseplanLocal => WriteFormat::PulseplanLocal,
    };
    migrate(
        Run { to: format, rebind: args.rebind, asks: true, how: args.how, rows: args.rows },
        settings,
        options,
    )
    .await
}

/// `rollback`: the same as migrating to the profile's legacy format.
pub(super) async fn run_rollback(
    args: RollbackArgs,
    settings: Settings,
    options: Options,
) -> Result<Exit, CliError> {
    let format = match settings.profile.legacy {
        Some(LegacyFormat::DirectAes) => WriteFormat::DirectAes,
        Some(LegacyFormat::PulseplanLocal) => WriteFormat::PulseplanLocal,
        _ => {
            return Err(CliError::usage_with_hint(
                format!("profile {:?} has no legacy format that can be written", settings.profile.name),
                "restore the tokens from a backup, or keep reading them through the key service",
            ));
        }
    };
    // The way back is not barred by what sealing would have cost.
    migrate(Run { to: format, rebind: false, asks: false, how: args.how, rows: args.rows }, settings, options)
        .await
}

/// The target of a run, and its options.
struct Run {
    to: WriteFormat,
    rebind: bool,
    /// Whether it asks for obstacles.
    asks: bool,
    how: How,
    rows: Where,
}

async fn migrate(run: Run, mut settings: Settings, options: Options) -> Result<Exit, CliError> {
    let Run { to, rebind, asks, how, rows } = run;
    check_settings(to, rebind, &settings)?;
    let floor = settings.floor();
    check_floor(to, floor, how.below_floor)?;
    settings.below_floor = how.below_floor;
    let access = if how.dry_run { Access::ReadOnly } else { Access::ReadWrite };
    let services = connect(settings, access, how.load(), &options).await?;
    let services = rows.narrow(services).await?;
    let findings = if asks { findings::ask(services.store(), to).await? } else { Vec::new() };
    if let Some(error) = findings::refusal(&findings) {
        if options.format == Format::Human {
            findings::lines(&findings).iter().for_each(|line| note(line));
            return Err(error);
        }
        let mut report = MigrationReport::default();
        report.dry_run = how.dry_run;
        return finish(report, findings, how.limit.is_some(), Some(error), Vec::new(), options);
    }
    let rows_need_key_service = check_rows(&services).await?;
    if (rows_need_key_service || to == WriteFormat::KmsEnvelope)
        && let Err(error) = services.check_key().await.map_err(CliError::from)
    {
        let mut report = MigrationReport::default();
        report.dry_run = how.dry_run;
        return finish(report, findings, how.limit.is_some(), Some(error), Vec::new(), options);
    }
    let before = services.kms_calls();
    let mut migration = MigrationOptions::to(to);
    migration.rebind = rebind;
    how.apply(&mut migration.run);

    let total = services.store().count_rows().await?;
    let verb = if how.dry_run { "would have migrated" } else { "migrated" };
    let mut progress = Progress::new(verb, total, options.no_progress);
    let stop = stop_on_signals();
    let outcome = migration::run(services.store(), &migration, &stop, |report| {
        progress.update(report.migrated + report.already);
    })
    .await;
    progress.finish();

    let mut report = outcome.report;
    report.kms_calls += services.kms_calls() - before;
    let notes = match &outcome.ended_by {
        None => floor_notes(to, floor, &report),
        Some(_) => Vec::new(),
    };
    finish(report, findings, how.limit.is_some(), outcome.ended_by.map(CliError::from), notes, options)
}

/// A run that writes below the floor says so first: nothing would read its values.
fn check_floor(to: WriteFormat, floor: Floor, below_floor: bool) -> Result<(), CliError> {
    if to == WriteFormat::KmsEnvelope || floor == Floor::Any || below_floor {
        return Ok(());
    }
    Err(CliError::usage_with_hint(
        format!(
            "{} is below the floor ({floor}): no service with this floor would read it",
            to.method().unwrap_or("plaintext")
        ),
        "set READ_FLOOR=any (or `floor = \"any\"` in the profile) for every service first, then repeat with --below-floor",
    ))
}

/// The floor in the report of a finished run.
fn floor_notes(to: WriteFormat, floor: Floor, report: &MigrationReport) -> Vec<&'static str> {
    let is_done = !report.dry_run
        && !report.interrupted
        && report.failed == 0
        && report.conflicts == 0
        && report.left == Some(0);
    match to {
        WriteFormat::KmsEnvelope if is_done && floor < Floor::Bound => vec![
            "to close the door on older forms: run `verify`, then set `floor = \"bound\"` in the profile or READ_FLOOR=bound",
        ],
        WriteFormat::KmsEnvelope => Vec::new(),
        _ if floor > Floor::Any => vec![
            "services read these rows with READ_FLOOR=any (or `floor = \"any\"` in the profile); the way back is `migrate`, \
             `verify`, then the floor as it was",
        ],
        _ => Vec::new(),
    }
}

fn finish(
    mut report: MigrationReport,
    findings: Vec<Finding>,
    limited: bool,
    ended_by: Option<CliError>,
    notes: Vec<&'static str>,
    options: Options,
) -> Result<Exit, CliError> {
    let exit = match () {
        () if report.interrupted => Exit::Interrupted,
        () if report.failed > 0 || report.conflicts > 0 => Exit::Partial,
        () if report.left > Some(0) && !report.dry_run && !limited => Exit::Partial,
        () => Exit::Done,
    };
    hints::complete(&mut report.failures);
    let report = Checked { report, findings };
    print_report(report, ended_by, exit, options, |checked| {
        let notes = notes.into_iter().map(Into::into);
        std::iter::once(lines(&checked.report)).chain(notes).collect::<Vec<_>>().join("\n")
    })
}

/// A report, and the obstacles in the tables.
#[derive(Serialize)]
struct Checked {
    #[serde(flatten)]
    report: MigrationReport,
    findings: Vec<Finding>,
}

/// Prints a report, also of a run that failed.
pub(super) fn print_report<R: Serialize>(
    report: R,
    ended_by: Option<CliError>,
    exit: Exit,
    options: Options,
    lines: impl FnOnce(&R) -> String,
) -> Result<Exit, CliError> {
    let exit = ended_by.as_ref().map_or(exit, Failed::exit);
    let error = ended_by.as_ref().map(|error| ErrorReport {
        class: error.class(),
        message: chain(error),
        hint: error.hint(),
    });
    if let Some(error) = &error {
        note(&format!("error: {}", error.message));
        error.hint.iter().for_each(|hint| note(&format!("hint:  {hint}")));
        note("everything written so far is consistent; run the same command again to continue");
    }
    emit(options.format, &FullReport { report, error }, |full| lines(&full.report))?;
    Ok(exit)
}

#[derive(Serialize)]
struct FullReport<R> {
    #[serde(flatten)]
    report: R,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorReport>,
}

#[derive(Serialize)]
struct ErrorReport {
    class: &'static str,
    message: String,
    hint: Option<String>,
}

/// The settings that must exist before the first row is read.
fn check_settings(to: WriteFormat, rebind: bool, settings: &Settings) -> Result<(), CliError> {
    let missing = |variable: &str, what: &str| {
        Err(CliError::usage_with_hint(format!("{variable} is not set"), format!("set it to {what}")))
    };
    match to {
        WriteFormat::KmsEnvelope if settings.key.is_none() => {
            missing("KMS_KEY_ID", "an alias, ARN or id of an AWS KMS key, or keyring:<file>")
        }
        WriteFormat::KmsEnvelope if !settings.seals => Err(CliError::usage_with_hint(
            "USE_KMS is false: nothing is sealed under the key service",
            "set USE_KMS=true, or name another form with --to",
        )),
        WriteFormat::DirectAes if settings.direct_key.is_none() => {
            missing("ENCRYPTION_KEY", "base64 of 32 bytes")
        }
        WriteFormat::PulseplanLocal if settings.user_keys.is_none() => {
            missing("TOKEN_ENCRYPTION_KEY", "PulsePlan's master key")
        }
        _ if rebind && (to != WriteFormat::KmsEnvelope || settings.binding == BindingPolicy::Off) => {
            Err(CliError::usage("--rebind needs --to kms-envelope and BINDING other than off"))
        }
        _ => Ok(()),
    }
}

/// Rows that no configured key can open are a configuration error to fix before anything is done. Returns whether some of
/// them can be opened by the key service only.
pub(super) async fn check_rows(services: &Tokenseal) -> Result<bool, CliError> {
    let status = token_store::status::status(services.store()).await?;
    let cipher = services.store().cipher();
    let missing = |variable: &str, method: &str| {
        Err(CliError::usage_with_hint(
            format!("{variable} is not set, and the tables hold {method} rows"),
            format!("set {variable} to what those rows were written with"),
        ))
    };
    let mut need_key_service = false;
    for (method, needed) in status.groups.iter().flat_map(Group::methods) {
        match needed {
            Some(Needed::DirectKey) if !cipher.has_direct_key() => return missing("ENCRYPTION_KEY", method),
            Some(Needed::UserKeys) if !cipher.has_user_keys() => {
                return missing("TOKEN_ENCRYPTION_KEY", method);
            }
            Some(Needed::KeyService) => {
                if cipher.key_service().is_none() {
                    return missing("KMS_KEY_ID", method);
                }
                need_key_service = true;
            }
            _ => {}
        }
    }
    Ok(need_key_service)
}

pub(super) fn lines(report: &MigrationReport) -> String {
    let verb = if report.dry_run { "would be migrated" } else { "migrated" };
    let mut lines = vec![format!(
        "{} rows: {} {verb} ({} values), {} already there, {} conflicts, {} failed; {} key service calls, {:.1} s",
        report.scanned,
        report.migrated,
        report.values,
        report.already,
        report.conflicts,
        report.failed,
        report.kms_calls,
        report.elapsed_seconds
    )];
    if report.corrected > 0 {
        let verb = if report.dry_run { "would have" } else { "have" };
        lines.push(format!(
            "{} rows that were there {verb} the true name of their method now",
            report.corrected
        ));
    }
    lines.extend(failure_lines(&report.failures));
    if let Some(left @ 1..) = report.left.filter(|_| !report.dry_run) {
        lines.push(format!("{left} rows are not moved"));
    }
    if report.conflicts > 0 {
        lines.push("rows in conflict were changed by others meanwhile; run the command again".into());
    }
    if report.interrupted {
        lines.push("interrupted; run the same command again to continue".into());
    }
    lines.join("\n")
}

/// One line for each value that could not be moved or opened.
pub(super) fn failure_lines(failures: &[Failure]) -> impl Iterator<Item = String> {
    failures.iter().map(|f| {
        let id = f.correlation_id.map(|id| format!(", correlation id {id}")).unwrap_or_default();
        format!("{}  {} {}: {} ({}{id})", f.class, f.table, f.row, f.error, f.column)
    })
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err("not a number of calls a second above zero".into()),
    }
}
