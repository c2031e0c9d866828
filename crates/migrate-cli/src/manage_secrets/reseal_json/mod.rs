//! `reseal-json`: values in exported documents, opened and sealed again under the active key of a keyring.

mod document;
mod sealing;

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::PathBuf;

use durable_file::{FileError, NewFile, Options as FileOptions};
use kms_provider::KeyUri;
use secrets_cache::local::LocalStore;
use serde::Serialize;
use tokenseal::Settings;
use tokenseal::key_service::open_keyring;

use self::document::{Document, MemberPath};
use self::sealing::{Outcome, Resealing};
use super::Options;
use super::backup::check_target;
use super::failure::Failure;
use super::source::SourceUri;
use crate::exit::{CliError, Exit, chain};
use crate::input;
use crate::output::{Format, emit, note, printable};

/// The longest line, in bytes: a document of MongoDB has 16 MiB at most, and base64 in JSON is longer.
const MAX_LINE: u64 = 64 * 1024 * 1024;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The export, a JSON document per line as `mongoexport` writes it; standard input if left out
    file: Option<PathBuf>,
    /// The member with the envelope, such as mnemonicEnvelope or wallet.seed
    #[arg(long, value_name = "MEMBER")]
    field: MemberPath,
    /// The member that each value is bound to, such as _id
    #[arg(long, value_name = "MEMBER")]
    aad: MemberPath,
    /// The file to write; standard output if left out
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file to write if it is there
    #[arg(long, requires = "output")]
    overwrite: bool,
    /// What to seal for: this project's programs, or the Node service
    #[arg(long, value_enum, default_value_t)]
    to: Form,
    /// Accept values without a purpose although a `reseal` under this keyring was completed
    #[arg(long)]
    unlabelled: bool,
}

/// The form of new envelopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// Version 2: it has a purpose and commits to its key.
    #[default]
    Field,
    /// Version 1, which the Node service reads.
    Node,
}

/// The counts of a run; every document is in the output, changed or not.
#[derive(Default, Serialize)]
struct Report {
    documents: u64,
    resealed: u64,
    already: u64,
    /// Documents without a value in the field.
    without: u64,
    failed: u64,
    failures: Vec<NotResealed>,
}

/// A document that is in the output as it was.
#[derive(Serialize)]
struct NotResealed {
    line: u64,
    /// The text that its value is bound to, where it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    aad: Option<String>,
    class: &'static str,
    error: String,
}

pub(super) async fn run(args: Args, settings: &Settings, options: &Options) -> Result<Exit, Failure> {
    let keyring = open_keyring(settings, &keyring_file(settings, &options.source)?)?;
    let resealing = Resealing::new(keyring, args.to, args.unlabelled);
    let resealing = resealing.map_err(|error| Failure::usage(chain(&error), "check the keyring file"))?;
    let to_file = args.output.is_some();
    let work = tokio::task::spawn_blocking(move || all(&args, &resealing)).await;
    let report = work.map_err(|error| CliError::io("the work was cut short")(io::Error::other(error)))??;
    match to_file {
        true => emit(options.common.format, &report, lines)?,
        // Standard output has the documents.
        false => note(&match options.common.format {
            Format::Human => lines(&report),
            _ => serde_json::to_string_pretty(&report).unwrap_or_default(),
        }),
    }
    Ok(if report.failed == 0 { Exit::Done } else { Exit::Partial })
}

/// The keyring that `KMS_KEY_ID` names, or the one next to a local store.
fn keyring_file(settings: &Settings, source: &SourceUri) -> Result<PathBuf, Failure> {
    match (&settings.key, source) {
        (Some(KeyUri::Keyring(file)), _) => Ok(file.clone()),
        (None, SourceUri::Local(store)) => Ok(LocalStore::keyring_beside(store)),
        _ => Err(Failure::usage(
            "KMS_KEY_ID names no keyring, and such values are under the keys of one",
            "import the old keys with `migrate-tokens keyring import`, and set KMS_KEY_ID=keyring:<file>",
        )),
    }
}

fn all(args: &Args, resealing: &Resealing) -> Result<Report, Failure> {
    let input: Box<dyn Read> = match &args.file {
        Some(file) => Box::new(input::open(file)?),
        None => Box::new(io::stdin()),
    };
    let mut input = BufReader::new(input);
    let Some(path) = &args.output else {
        let mut output = BufWriter::new(io::stdout().lock());
        let report = documents(args, resealing, &mut input, &mut output)?;
        output.flush().map_err(CliError::io("standard output cannot be written"))?;
        return Ok(report);
    };
    check_target(path, args.overwrite, args.file.iter().map(PathBuf::as_path))?;
    let options = if args.overwrite { FileOptions::replace() } else { FileOptions::create() };
    let mut output = BufWriter::new(NewFile::begin(path, &options)?);
    let report = documents(args, resealing, &mut input, &mut output)?;
    output.into_inner().map_err(|error| FileError::io("write", path)(error.into_error()))?.commit()?;
    Ok(report)
}

fn documents(
    args: &Args,
    resealing: &Resealing,
    input: &mut impl BufRead,
    output: &mut impl Write,
) -> Result<Report, Failure> {
    let mut report = Report::default();
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        let read = input.by_ref().take(MAX_LINE).read_line(&mut line);
        let read = read.map_err(CliError::io("the export cannot be read, or is not UTF-8 text"))?;
        if read == 0 {
            break;
        }
        refuse_other_files(&line, number, read)?;
        let text = line.trim_end_matches(['\n', '\r']);
        let end = &line[text.len()..];
        let new = match text.trim().is_empty() {
            true => None,
            false => one(args, resealing, text, number, &mut report),
        };
        let written = output.write_all(new.as_deref().unwrap_or(text).as_bytes());
        written
            .and_then(|()| output.write_all(end.as_bytes()))
            .map_err(CliError::io("output cannot be written"))?;
    }
    Ok(report)
}

/// The new line of a document, or none if it stays as it is.
fn one(args: &Args, resealing: &Resealing, text: &str, line: u64, report: &mut Report) -> Option<String> {
    report.documents += 1;
    let mut failed = |aad: Option<String>, class: &'static str, error: String| {
        report.failed += 1;
        report.failures.push(NotResealed { line, aad, class, error });
    };
    let document = match Document::read(text, &args.field, &args.aad) {
        Ok(Some(document)) => document,
        Ok(None) => {
            report.without += 1;
            return None;
        }
        Err(error) => {
            failed(None, "malformed", error.to_string());
            return None;
        }
    };
    match resealing.reseal(&document) {
        Ok(Outcome::Already) => {
            report.already += 1;
            None
        }
        Ok(Outcome::Resealed(new)) => {
            report.resealed += 1;
            Some(document.with(&new))
        }
        Err(error) => {
            failed(Some(document.aad.clone()), error.class(), chain(&error));
            None
        }
    }
}

fn refuse_other_files(line: &str, number: u64, read: usize) -> Result<(), Failure> {
    if read as u64 == MAX_LINE && !line.ends_with('\n') {
        return Err(Failure::usage(
            format!("line {number} is longer than {MAX_LINE} bytes"),
            "export one document per line",
        ));
    }
    if number == 1 && line.trim_start().starts_with('[') {
        return Err(Failure::usage("the export is one array", "run `mongoexport` without --jsonArray"));
    }
    Ok(())
}

fn lines(report: &Report) -> String {
    let failed = |failed: &NotResealed| {
        let aad = failed.aad.as_deref().map(|aad| format!(" ({aad})")).unwrap_or_default();
        printable(&format!("failed: line {}{aad}: {}", failed.line, failed.error))
    };
    let mut lines: Vec<String> = report.failures.iter().map(failed).collect();
    lines.push(format!(
        "{} documents: {} sealed again, {} already, {} without a value, {} failed and left as they are",
        report.documents, report.resealed, report.already, report.without, report.failed
    ));
    lines.join("\n")
}
