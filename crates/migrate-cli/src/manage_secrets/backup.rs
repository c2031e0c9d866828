//! `backup` and `restore`: all secrets in one encrypted file.

use std::path::{Path, PathBuf};

use kms_provider::KeyUri;
use secrets_cache::SecretName;
use secrets_cache::backup::{self, Restored, Unlabelled};
use secrets_cache::local::LocalStore;
use secrets_cache::sealed_stream::{Existing, StreamKind};
use serde::Serialize;

use super::failure::Failure;
use super::file_key::FileKeys;
use super::source::{Opened, SourceUri};
use super::{Options, unless_stopped};
use crate::exit::{Exit, failures_exit};
use crate::input;
use crate::output::emit;
use token_store::migration::StopFlag;
use tokenseal::Settings;

#[derive(clap::Args)]
pub(super) struct BackupArgs {
    /// The file to write
    file: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    overwrite: bool,
}

#[derive(clap::Args)]
pub(super) struct RestoreArgs {
    /// The backup
    file: PathBuf,
    /// Only show the differences
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Accept a backup from before backups said that they are, also for a store that refuses such values
    #[arg(long)]
    unlabelled: bool,
}

#[derive(Serialize)]
struct BackupReport {
    #[serde(serialize_with = "crate::output::path")]
    file: PathBuf,
    secrets: u64,
    versions: u64,
    failures: Vec<LeftOut>,
}

#[derive(Serialize)]
struct LeftOut {
    name: String,
    class: &'static str,
    /// The version that is missing, where the current one is in the backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<&'static str>,
}

#[derive(Serialize)]
struct RestoreReport {
    dry_run: bool,
    added: Vec<String>,
    changed: Vec<String>,
    unchanged: u64,
    versions: u64,
    without_schedule: u64,
    interrupted: bool,
    /// The class of the outage that ended it after some secrets were stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    outage: Option<&'static str>,
    /// Over since the backup: restored, and not served until they get a new value.
    expired: Vec<String>,
    failures: Vec<NotRestored>,
}

#[derive(Serialize)]
struct NotRestored {
    name: String,
    class: &'static str,
    error: String,
    /// The version that is missing, where the current one is restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<&'static str>,
}

pub(super) async fn write(
    args: BackupArgs,
    settings: &Settings,
    opened: &Opened,
    options: &Options,
    stop: &StopFlag,
) -> Result<Exit, Failure> {
    let in_use = files_in_use(settings, &options.source);
    check_target(&args.file, args.overwrite, in_use.iter().map(PathBuf::as_path))?;
    let key = async { FileKeys::open(settings, options).await?.for_new(StreamKind::Backup).await };
    let key = unless_stopped(stop, key).await?;
    let written =
        backup::write(&*opened.source, key, &args.file, existing(args.overwrite), &|| stop.is_set()).await?;
    let left_out = |stage| {
        move |(name, class): &(SecretName, &'static str)| LeftOut { name: name.to_string(), class, stage }
    };
    let previous = written.without_previous.iter().map(left_out(Some("AWSPREVIOUS")));
    let report = BackupReport {
        file: args.file,
        secrets: written.secrets,
        versions: written.versions,
        failures: written.left_out.iter().map(left_out(None)).chain(previous).collect(),
    };
    emit(options.common.format, &report, |report| {
        let version = |left: &LeftOut| left.stage.map(|stage| format!(", {stage}")).unwrap_or_default();
        let left_out = |left: &LeftOut| format!("left out: {}{} ({})", left.name, version(left), left.class);
        let mut lines: Vec<String> = report.failures.iter().map(left_out).collect();
        let (secrets, versions) = (report.secrets, report.versions);
        lines.push(format!("{}: {secrets} secrets, {versions} versions", report.file.display()));
        lines.join("\n")
    })?;
    // An expired secret is not served, so not backed up either; that is no failure.
    let is_whole =
        written.without_previous.is_empty() && written.left_out.iter().all(|(_, class)| *class == "expired");
    Ok(match () {
        () if is_whole => Exit::Done,
        () if written.secrets == 0 => failures_exit(written.left_out.iter().map(|(_, class)| *class)),
        () => Exit::Partial,
    })
}

pub(super) async fn restore(
    args: RestoreArgs,
    settings: &Settings,
    opened: &Opened,
    options: &Options,
    stop: &StopFlag,
) -> Result<Exit, Failure> {
    input::check(&args.file)?;
    let unlabelled = unlabelled(&args, opened)?;
    let key = async { FileKeys::open(settings, options).await?.of(&args.file).await };
    let key = unless_stopped(stop, key).await?;
    let is_stopped = || stop.is_set();
    let Restored { plan, versions, interrupted, outage, .. } = match args.dry_run {
        true => {
            let mut planned = Restored::default();
            planned.plan = backup::plan(&args.file, key, unlabelled, &*opened.source, &is_stopped).await?;
            planned
        }
        false => backup::restore(&args.file, key, unlabelled, &*opened.source, &is_stopped).await?,
    };
    let names = |names: &[SecretName]| names.iter().map(ToString::to_string).collect();
    let previous = plan.without_previous.into_iter().map(not_restored(Some("AWSPREVIOUS")));
    let report = RestoreReport {
        dry_run: args.dry_run,
        added: names(&plan.added),
        changed: names(&plan.changed),
        unchanged: plan.unchanged,
        versions,
        without_schedule: plan.without_schedule,
        interrupted,
        outage,
        expired: names(&plan.expired),
        failures: plan.failed.into_iter().map(not_restored(None)).chain(previous).collect(),
    };
    emit(options.common.format, &report, restore_lines)?;
    let is_nothing_but_failures = report.added.len() + report.changed.len() == 0 && report.unchanged == 0;
    Ok(match () {
        () if report.interrupted => Exit::Interrupted,
        () if let Some(class) = report.outage => failures_exit([class]),
        () if report.failures.is_empty() => Exit::Done,
        () if is_nothing_but_failures => failures_exit(report.failures.iter().map(|failed| failed.class)),
        () => Exit::Partial,
    })
}

pub(super) fn existing(overwrite: bool) -> Existing {
    if overwrite { Existing::Replace } else { Existing::Refuse }
}

/// A store in which every value carries its purpose takes no backup that carries none, unless the operator says so.
fn unlabelled(args: &RestoreArgs, opened: &Opened) -> Result<Unlabelled, Failure> {
    let refuses = match opened.local_if_any() {
        Some(store) if !args.unlabelled => store.refuses_unlabelled()?,
        _ => false,
    };
    Ok(if refuses { Unlabelled::Refuse } else { Unlabelled::Accept })
}

/// Refuses to replace a file without the operator's word, and in any case the file that is read.
pub(super) fn check_target<'a>(
    to: &Path,
    overwrite: bool,
    in_use: impl IntoIterator<Item = &'a Path>,
) -> Result<(), Failure> {
    let is_to = |other: &Path| resolved(other).is_some_and(|other| resolved(to) == Some(other));
    if in_use.into_iter().any(is_to) {
        let problem = format!("{} would replace what it is made from", to.display());
        return Err(Failure::usage(problem, "name a new file to write"));
    }
    if !overwrite && to.symlink_metadata().is_ok() {
        let problem = format!("{} is there already", to.display());
        return Err(Failure::usage(problem, "name a new file, or replace this one with --overwrite"));
    }
    Ok(())
}

/// Where a path leads; for a file that is not there, where it would be.
fn resolved(path: &Path) -> Option<PathBuf> {
    let parent = || {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some(parent.canonicalize().ok()?.join(path.file_name()?))
    };
    path.canonicalize().ok().or_else(parent)
}

/// The files that a source lives in.
fn files_in_use(settings: &Settings, source: &SourceUri) -> Vec<PathBuf> {
    match source {
        SourceUri::SecretsManager | SourceUri::Vault(_) | SourceUri::VaultLease(_) => Vec::new(),
        SourceUri::Dotenv(path) => vec![path.clone()],
        SourceUri::Local(path) => {
            let keyring = match &settings.key {
                Some(KeyUri::Keyring(file)) => file.clone(),
                _ => LocalStore::keyring_beside(path),
            };
            let with_suffixes = |file: &Path, suffixes: &[&str]| -> Vec<PathBuf> {
                suffixes.iter().map(|suffix| with_suffix(file, suffix)).collect()
            };
            // SQLite keeps its log next to the file, and the keyring its lock.
            [
                with_suffixes(path, &["", "-wal", "-shm", "-journal"]),
                with_suffixes(&keyring, &["", ".lock", ".tmp"]),
            ]
            .concat()
        }
    }
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn not_restored(stage: Option<&'static str>) -> impl Fn(backup::NotRestored) -> NotRestored {
    move |failed| {
        let (name, class, error) = (failed.name.to_string(), failed.class, failed.reason);
        NotRestored { name, class, error, stage }
    }
}

fn restore_lines(report: &RestoreReport) -> String {
    let (add, change) = if report.dry_run { ("would add", "would change") } else { ("added", "changed") };
    let mut lines = Vec::new();
    lines.extend(report.added.iter().map(|name| format!("{add} {name}")));
    lines.extend(report.changed.iter().map(|name| format!("{change} {name}")));
    let failed = |failed: &NotRestored| match failed.stage {
        Some(stage) => format!("left out: {}, {stage}: {}", failed.name, failed.error),
        None => format!("failed: {}: {}", failed.name, failed.error),
    };
    lines.extend(report.failures.iter().map(failed));
    if report.without_schedule > 0 {
        let secrets = report.without_schedule;
        lines.push(format!("{secrets} secrets lose their expiry or rotation policy: this source keeps none"));
    }
    if report.interrupted {
        lines.push("interrupted: run it again to restore the rest".to_owned());
    }
    if report.outage.is_some() {
        lines.push("ended by an outage: run it again to restore the rest".to_owned());
    }
    let expired = |name| format!("{name} has expired since the backup: it is served again with a new value");
    lines.extend(report.expired.iter().map(expired));
    lines.push(format!(
        "{} {add}, {} {change}, {} unchanged",
        report.added.len(),
        report.changed.len(),
        report.unchanged
    ));
    lines.join("\n")
}
