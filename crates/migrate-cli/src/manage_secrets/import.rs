//! `import`: a `.env` file into the source.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use secrets_cache::source::dotenv::{self, DotenvEntry};
use secrets_cache::{NewSecret, Secret, SecretName, SecretValue, SourceError};
use serde::Serialize;
use zeroize::Zeroizing;

use super::Options;
use super::failure::Failure;
use super::source::Opened;
use crate::exit::{CliError, Exit, chain};
use crate::output::{emit, note};
use crate::startup;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The .env file
    file: PathBuf,
    /// Only print what would be done
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Replace values that are in the source already and differ; without this they stay, and are listed
    #[arg(long)]
    overwrite: bool,
    /// When all values are in the source, leave only the names in the file, and settings without a value as they are
    #[arg(long)]
    strip: bool,
}

#[derive(Default, Serialize)]
struct Report {
    dry_run: bool,
    total: usize,
    created: Vec<String>,
    updated: Vec<String>,
    unchanged: Vec<String>,
    /// In the source with another value, and left alone.
    conflicts: Vec<String>,
    /// Without a value: there is nothing to move.
    empty: Vec<String>,
    failures: Vec<Failed>,
    warnings: Vec<String>,
    stripped: bool,
    interrupted: bool,
}

/// A secret that a command could not do its work on.
#[derive(Serialize)]
pub(super) struct Failed {
    name: String,
    class: &'static str,
    error: String,
}

pub(super) async fn run(args: Args, opened: &Opened, options: &Options) -> Result<Exit, Failure> {
    let stop = startup::stop_on_signals();
    let entries = dotenv::read_every_setting(&args.file).map_err(|error| {
        Failure::usage(chain(&error), "check the path: the file holds lines of NAME=value, in UTF-8")
    })?;
    let (entries, earlier) = last_of_each_name(entries);
    let mut report = Report { dry_run: args.dry_run, total: entries.len(), ..Report::default() };
    report.warnings = warnings(&entries, &earlier);
    let names: Vec<SecretName> = entries.iter().map(|entry| entry.name.clone()).collect();
    let there = opened.source.get_many(&names).await?;
    for (entry, there) in entries.iter().zip(there) {
        if stop.is_set() {
            report.interrupted = true;
            break;
        }
        move_one(&args, opened, entry, there, &mut report).await;
    }
    // Without its last line, a name that stands twice would have the value that did not count.
    let hides_another = args.strip && earlier.iter().any(|entry| !is_same_again(entry, &entries));
    let has_values = report.total > report.empty.len();
    let is_moved =
        report.failures.is_empty() && report.conflicts.is_empty() && !report.interrupted && !hides_another;
    if args.strip && !args.dry_run && is_moved && has_values {
        verify(opened, &entries).await?;
        strip(&args.file, &entries, options)?;
        report.stripped = true;
    }
    emit(options.common.format, &report, |report| lines(report, &args.file))?;
    if has_values && !report.stripped && !report.dry_run {
        note(&format!(
            "the values are still in {}: {}",
            args.file.display(),
            way_out(args.strip, hides_another)
        ));
    }
    Ok(match (report.interrupted, is_moved) {
        (true, _) => Exit::Interrupted,
        (false, true) => Exit::Done,
        (false, false) => Exit::Partial,
    })
}

/// How the values get out of the file.
fn way_out(strip: bool, hides_another: bool) -> &'static str {
    match (strip, hides_another) {
        (false, _) => "--strip removes them",
        (true, false) => "--strip removes them once all are in the source",
        (true, true) => "leave one line of each name, then --strip removes them",
    }
}

/// The settings that count, and those that a later line of the same name makes void.
fn last_of_each_name(entries: Vec<DotenvEntry>) -> (Vec<DotenvEntry>, Vec<DotenvEntry>) {
    let last: HashMap<SecretName, u32> =
        entries.iter().map(|entry| (entry.name.clone(), entry.line)).collect();
    entries.into_iter().partition(|entry| last.get(&entry.name) == Some(&entry.line))
}

fn is_same_again(earlier: &DotenvEntry, entries: &[DotenvEntry]) -> bool {
    let value = SecretValue::text(earlier.value.clone());
    let last = entries.iter().find(|entry| entry.name == earlier.name);
    last.is_some_and(|last| SecretValue::text(last.value.clone()).same_as(&value))
}

async fn move_one(
    args: &Args,
    opened: &Opened,
    entry: &DotenvEntry,
    there: Result<Secret, SourceError>,
    report: &mut Report,
) {
    let name = entry.name.to_string();
    let value = SecretValue::text(entry.value.clone());
    if value.is_empty() {
        return report.empty.push(name);
    }
    let list = match there {
        Ok(secret) if secret.value.same_as(&value) => return report.unchanged.push(name),
        Ok(_) if !args.overwrite => return report.conflicts.push(name),
        Ok(_) => &mut report.updated,
        Err(SourceError::NotFound { .. } | SourceError::NoSuchStage { .. }) => &mut report.created,
        Err(error) => return report.failures.push(failed(name, &error)),
    };
    if !args.dry_run
        && let Err(error) = opened.source.put(&NewSecret::new(entry.name.clone(), value)).await
    {
        return report.failures.push(failed(name, &error));
    }
    list.push(name);
}

fn has_value(entry: &&DotenvEntry) -> bool {
    !SecretValue::text(entry.value.clone()).is_empty()
}

/// Reads everything back before anything is taken out of the file.
async fn verify(opened: &Opened, entries: &[DotenvEntry]) -> Result<(), Failure> {
    let entries = || entries.iter().filter(has_value);
    let names: Vec<SecretName> = entries().map(|entry| entry.name.clone()).collect();
    for (entry, there) in entries().zip(opened.source.get_many(&names).await?) {
        if !there?.value.same_as(&SecretValue::text(entry.value.clone())) {
            return Err(SourceError::Conflict { name: entry.name.clone() }.into());
        }
    }
    Ok(())
}

/// Leaves the names of what was moved, where their values are now, and the lines of settings without a value.
/// The file is replaced whole or not at all.
fn strip(path: &Path, entries: &[DotenvEntry], options: &Options) -> Result<(), Failure> {
    let failed = || CliError::io(format!("{} cannot be rewritten", path.display()));
    let prefix = options.prefix.as_deref().unwrap_or_default();
    let mut text = format!("# Moved to {} by `manage-secrets import`:\n", options.source);
    for entry in entries.iter().filter(has_value) {
        text.push_str(&format!("# {prefix}{}\n", entry.name));
    }
    let before = Zeroizing::new(fs::read_to_string(path).map_err(failed())?);
    let before = Zeroizing::new(before.replace("\r\n", "\n"));
    let before: Vec<&str> = before.trim_start_matches('\u{feff}').split(['\n', '\r']).collect();
    for entry in entries.iter().filter(|entry| !has_value(entry)) {
        let line = (entry.line as usize).checked_sub(1).and_then(|line| before.get(line));
        text.extend(line.into_iter().flat_map(|line| [*line, "\n"]));
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    let permissions = fs::metadata(path).map_err(failed())?.permissions();
    let mut file = fs::File::create(&part).map_err(failed())?;
    file.set_permissions(permissions).map_err(failed())?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed())?;
    fs::rename(&part, path).map_err(failed())?;
    Ok(())
}

fn warnings(entries: &[DotenvEntry], earlier: &[DotenvEntry]) -> Vec<String> {
    let last =
        |name: &SecretName| entries.iter().find(|entry| entry.name == *name).map_or(0, |entry| entry.line);
    let again = earlier.iter().map(|DotenvEntry { name, line, .. }| {
        format!("{name} (line {line}): stands again on line {}, and that value counts", last(name))
    });
    let cut = entries.iter().filter(|entry| entry.cut_at_hash);
    let warning = |entry: &DotenvEntry| {
        format!("{} (line {}): the value ends at `#`; quote it if that is part of it", entry.name, entry.line)
    };
    again.chain(cut.map(warning)).collect()
}

pub(super) fn failed(name: String, error: &SourceError) -> Failed {
    Failed { name, class: error.class(), error: chain(error) }
}

fn lines(report: &Report, file: &Path) -> String {
    let (verb, will) = if report.dry_run { ("would create", "would update") } else { ("created", "updated") };
    let mut lines = Vec::new();
    lines.extend(report.created.iter().map(|name| format!("{verb} {name}")));
    lines.extend(report.updated.iter().map(|name| format!("{will} {name}")));
    lines.extend(
        report.conflicts.iter().map(|name| format!("differs, left alone: {name} (--overwrite replaces it)")),
    );
    lines.extend(report.empty.iter().map(|name| format!("empty, nothing to move: {name}")));
    lines
        .extend(report.failures.iter().map(|failure| format!("failed: {}: {}", failure.name, failure.error)));
    lines.extend(report.warnings.iter().map(|warning| format!("warning: {warning}")));
    lines.push(format!(
        "{}: {} settings, {} {verb}, {} {will}, {} unchanged{}",
        file.display(),
        report.total,
        report.created.len(),
        report.updated.len(),
        report.unchanged.len(),
        if report.stripped { "; only the names are left in the file" } else { "" }
    ));
    lines.join("\n")
}
