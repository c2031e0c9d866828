//! `import-node`: secrets that the Node key service sealed, into a local store.

use std::collections::HashSet;
use std::path::PathBuf;

use durable_file::{Content, Links};
use secrets_cache::local::{Imported, LocalStore, OtherValue};
use secrets_cache::{SecretName, SourceError};
use serde::{Deserialize, Serialize};

use super::Options;
use super::failure::Failure;
use super::source::Opened;
use crate::exit::{CliError, Exit, chain};
use crate::input;
use crate::output::emit;

/// Longest file that is read, in bytes.
const MAX_FILE_LEN: u64 = 256 << 20;

#[derive(clap::Args)]
pub(super) struct ImportArgs {
    /// JSON: [{"name", "envelope", "aad"}, …]; `aad` is the text that the old service bound the value to, by default
    /// the name, and null if it was bound to nothing
    file: PathBuf,
    /// Replace values that are in the store already and differ; without this they stay, and are listed
    #[arg(long)]
    overwrite: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    envelope: serde_json::Value,
    #[serde(default, deserialize_with = "present")]
    aad: Option<Option<String>>,
}

#[derive(Default, Serialize)]
struct Report {
    imported: Vec<String>,
    /// In the store already.
    unchanged: Vec<String>,
    failures: Vec<Failed>,
}

#[derive(Serialize)]
struct Failed {
    name: String,
    class: &'static str,
    error: String,
}

pub(super) async fn run(args: ImportArgs, opened: &Opened, options: &Options) -> Result<Exit, Failure> {
    let store = opened.local()?;
    if options.prefix.is_some() {
        return Err(CliError::usage(
            "--prefix does not go with import-node: write whole names into the file",
        )
        .into());
    }
    input::check(&args.file)?;
    let content = Content::read(&args.file, Links::Follow, MAX_FILE_LEN)?;
    let hint = "it has to be [{\"name\", \"envelope\", \"aad\"}, …]";
    let entries: Vec<Entry> = serde_json::from_slice(content.bytes())
        .map_err(|_| Failure::usage(format!("{} is not such a file", args.file.display()), hint))?;
    let mut report = Report::default();
    let mut seen = HashSet::new();
    for entry in entries {
        let name = entry.name.clone();
        // Of a name that is given twice, neither value is known to be the right one: the first is not replaced.
        let is_first = seen.insert(name.clone());
        let other = if args.overwrite && is_first { OtherValue::Replace } else { OtherValue::Keep };
        match import(store, entry, other).await {
            Ok(Imported::Unchanged { .. }) => report.unchanged.push(name),
            Ok(_) => report.imported.push(name),
            Err(SourceError::Conflict { .. }) => report.failures.push(conflict(name, is_first)),
            Err(error) => {
                report.failures.push(Failed { name, class: error.class(), error: chain(&error) });
            }
        }
    }
    emit(options.common.format, &report, |report| {
        let mut lines: Vec<String> = report
            .failures
            .iter()
            .map(|failure| format!("failed: {}: {}", failure.name, failure.error))
            .collect();
        let (imported, unchanged) = (report.imported.len(), report.unchanged.len());
        lines.push(format!("{imported} imported, {unchanged} unchanged, {} failed", report.failures.len()));
        lines.join("\n")
    })?;
    Ok(if report.failures.is_empty() { Exit::Done } else { Exit::Partial })
}

fn conflict(name: String, is_first: bool) -> Failed {
    let error = match is_first {
        true => "the store has another value, which is left alone; --overwrite replaces it",
        false => "the name is given twice with different values; the first one counts",
    };
    Failed { name, class: "conflict", error: error.into() }
}

async fn import(store: &LocalStore, entry: Entry, other: OtherValue) -> Result<Imported, SourceError> {
    let name = SecretName::new(&entry.name)?;
    // An envelope is an object, or the text of one.
    let envelope = match entry.envelope {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    };
    let aad = entry.aad.unwrap_or_else(|| Some(entry.name.clone()));
    store.import_envelope(&name, aad.as_deref().map(str::as_bytes), &envelope, other).await
}

/// Distinguishes a field that is null from one that is missing.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
