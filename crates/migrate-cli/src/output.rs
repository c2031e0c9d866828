//! Standard output: a table or lines for people, or exactly one JSON document for machines.

use std::io::Write as _;
#[cfg(feature = "secrets")]
use std::path::Path;

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::exit::{CliError, Failed, chain};

/// Whom the output is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Tables and lines.
    #[default]
    Human,
    /// One JSON document.
    Json,
    /// SARIF 2.1.0, of `manage-secrets scan` only.
    Sarif,
}

/// Text from outside with its control characters shown, so that it cannot change what a terminal displays.
pub(crate) fn printable(text: &str) -> String {
    // Marks that change the direction of text can hide a part of it as well.
    let is_hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    shown
}

/// Serializes a path. It need not be UTF-8, and a report is not lost for that.
#[cfg(feature = "secrets")]
pub(crate) fn path<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// Prints a result.
pub(crate) fn emit<T: Serialize>(
    format: Format,
    value: &T,
    human: impl FnOnce(&T) -> String,
) -> Result<(), CliError> {
    let text = match format {
        Format::Human => human(value),
        Format::Json => serde_json::to_string_pretty(value)
            .map_err(|error| CliError::usage(format!("report cannot be written as JSON: {error}")))?,
        Format::Sarif => return Err(sarif_is_for_scans()),
    };
    // A list without entries is no line.
    if text.is_empty() { Ok(()) } else { print(&text) }
}

/// The error for a command that has no report in this format.
pub(crate) fn sarif_is_for_scans() -> CliError {
    CliError::usage_with_hint("only `manage-secrets scan` reports in SARIF", "use --format json")
}

/// Prints lines to standard output; a closed pipe is not an error, a full disk is.
pub(crate) fn print(text: &str) -> Result<(), CliError> {
    print_value(text.trim_end_matches('\n'))
}

/// Prints a value, all of it, and one line break, which `set` and `put` take off again.
pub(crate) fn print_value(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CliError::io("standard output cannot be written")(error))
        }
        _ => Ok(()),
    }
}

/// Writes a value as it is: all of its bytes, and nothing else.
#[cfg(feature = "secrets")]
pub(crate) fn write_bytes(bytes: &[u8]) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CliError::io("standard output cannot be written")(error))
        }
        _ => Ok(()),
    }
}

/// Prints a line to standard error; there is nowhere to report that this failed.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Reports the failure and the next step, on standard error and, for machines, as the JSON document.
pub(crate) fn report_error(format: Format, error: &impl Failed) {
    note(&format!("error: {}", chain(error)));
    if let Some(hint) = error.hint() {
        note(&format!("hint:  {hint}"));
    }
    if format == Format::Json {
        print_error(error);
    }
}

/// Prints an error as the JSON document of a run.
pub(crate) fn print_error(error: &impl Failed) {
    let document = serde_json::json!({
        "error": { "class": error.class(), "message": chain(error), "hint": error.hint() }
    });
    let _ = print(&format!("{document:#}"));
}

/// A table in the plain style of this program.
pub(crate) fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headings);
    table
}
