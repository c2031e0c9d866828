//! `import-node`: secrets that the Node key service sealed, into a local store.

use std::path::PathBuf;

use secrets_cache::{SecretName, SourceError};
use serde::{Deserialize, Serialize};

use super::Options;
use super::failure::Failure;
use super::source::Opened;
use crate::exit::{CliError, Exit, chain};
use crate::input;
use crate::output::emit;

#[derive(clap::Args)]
pub(super) struct ImportArgs {
    /// JSON: [{"name", "envelope", "aad"}, …]; `aad` is the text that the old service bound the value to, by default
    /// the name, and null if it was bound to nothing
    file: PathBuf,
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
    let text = input::read_text(&args.file)?;
    let hint = "it has to be [{\"name\", \"envelope\", \"aad\"}, …]";
    let entries: Vec<Entry> = serde_json::from_str(&text)
        .map_err(|_| Failure::usage(format!("{} is not such a file", args.file.display()), hint))?;
    let mut report = Report::default();
    for entry in entries {
        let name = entry.name.clone();
        match import(store, entry).await {
            Ok(()) => report.imported.push(name),
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
        lines.push(format!("{} imported, {} failed", report.imported.len(), report.failures.len()));
        lines.join("\n")
    })?;
    Ok(if report.failures.is_empty() { Exit::Done } else { Exit::Partial })
}

async fn import(store: &secrets_cache::local::LocalStore, entry: Entry) -> Result<(), SourceError> {
    let name = SecretName::new(&entry.name)?;
    // An envelope is an object, or the text of one.
    let envelope = match entry.envelope {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    };
    let aad = entry.aad.unwrap_or_else(|| Some(entry.name.clone()));
    store.import_envelope(&name, aad.as_deref().map(str::as_bytes), &envelope).await.map(drop)
}

/// Distinguishes a field that is null from one that is missing.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
