//! `seal-file --watch`: rotated log files are sealed as they close, and the originals removed.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use envelope_core::DataKey;
use secrets_cache::sealed_stream::{
    Existing, Opens, StreamError, StreamKind, StreamReader, seal_file as seal,
};
use serde::Serialize;
use token_store::migration::StopFlag;

use super::rotated::{Candidate, Rotated};
use super::{SealArgs, blocking};
use crate::exit::{CliError, Exit, Failed as _, chain};
use crate::manage_secrets::Options;
use crate::manage_secrets::failure::Failure;
use crate::manage_secrets::file_key::FileKeys;
use crate::output::{Format, emit, note, print, printable};
use crate::startup;

/// How often the directory is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How often a signal is looked for.
const STOP_EVERY: Duration = Duration::from_millis(50);
/// Names that are tried for a sealed file.
const MAX_NAMES: usize = 1_000;

/// What a run did.
#[derive(Default, Serialize)]
struct Report {
    sealed: u64,
    failures: Vec<NotSealed>,
}

#[derive(PartialEq, Eq, Serialize)]
struct NotSealed {
    file: PathBuf,
    class: &'static str,
    error: String,
}

pub(super) async fn run(
    directory: &Path,
    args: &SealArgs,
    keys: &FileKeys<'_>,
    options: &Options,
) -> Result<Exit, Failure> {
    if !directory.is_dir() {
        let problem = format!("{} is not a directory", directory.display());
        return Err(Failure::usage(problem, "name the directory of the log files after --watch"));
    }
    let rotated = Rotated::new(directory, &args.patterns, args.settle);
    let rotated = rotated.map_err(|error| Failure::usage(error.to_string(), "check --pattern"))?;
    let stop = startup::stop_on_signals();
    let mut report = Report::default();
    loop {
        pass(&rotated, keys, options, &stop, &mut report).await?;
        if args.once || !wait(&stop).await {
            break;
        }
    }
    emit(options.common.format, &report, |report| format!("{} files sealed", report.sealed))?;
    Ok(match (stop.is_set(), report.failures.is_empty()) {
        (true, _) => Exit::Interrupted,
        (false, true) => Exit::Done,
        (false, false) => Exit::Partial,
    })
}

/// Waits for the next look; false if a signal came.
async fn wait(stop: &StopFlag) -> bool {
    for _ in 0..EVERY.as_millis() / STOP_EVERY.as_millis() {
        if stop.is_set() {
            return false;
        }
        tokio::time::sleep(STOP_EVERY).await;
    }
    true
}

/// Seals what is complete now. A failure is reported when it appears, and tried again at every look.
async fn pass(
    rotated: &Rotated,
    keys: &FileKeys<'_>,
    options: &Options,
    stop: &StopFlag,
    report: &mut Report,
) -> Result<(), Failure> {
    let complete = rotated.complete().map_err(CliError::io("the directory cannot be looked at"))?;
    let mut failures = Vec::new();
    for candidate in complete {
        if stop.is_set() {
            break;
        }
        match seal_one(&candidate, keys).await {
            Ok(Some(sealed)) => {
                report.sealed += 1;
                if options.common.format == Format::Human {
                    print(&printable(&format!("{} sealed", sealed.display())))?;
                }
            }
            Ok(None) => {}
            Err(error) => {
                let (file, class) = (candidate.path, error.class());
                failures.push(NotSealed { file, class, error: chain(&error) });
            }
        }
    }
    for failure in failures.iter().filter(|failure| !report.failures.contains(failure)) {
        note(&printable(&format!("failed: {}: {}", failure.file.display(), failure.error)));
    }
    report.failures = failures;
    Ok(())
}

/// Seals a file, reads the sealed one again, and removes the original. None if the original is not complete after all.
async fn seal_one(candidate: &Candidate, keys: &FileKeys<'_>) -> Result<Option<PathBuf>, Failure> {
    for target in candidate.targets().take(MAX_NAMES) {
        let is_sealed = match target.symlink_metadata() {
            Ok(_) => is_sealed_already(candidate, &target, keys).await?,
            Err(_) => seal_into(candidate, &target, keys).await?,
        };
        if is_sealed {
            let original = candidate.clone();
            let removed = blocking(move || Ok(original.remove()?)).await?;
            return Ok(removed.then_some(target));
        }
    }
    Err(Failure::usage("no name is left for the sealed file", "move sealed files elsewhere"))
}

/// Whether a file of this name is the sealed original already: of a run that was killed before it removed it.
async fn is_sealed_already(
    candidate: &Candidate,
    target: &Path,
    keys: &FileKeys<'_>,
) -> Result<bool, Failure> {
    // What does not open with these keys is another file.
    let Ok(key) = keys.of(target).await else {
        return Ok(false);
    };
    let (sealed, original) = (target.to_owned(), candidate.path.clone());
    blocking(move || Ok(is_same(&key, &sealed, &original).unwrap_or(false))).await
}

async fn seal_into(candidate: &Candidate, target: &Path, keys: &FileKeys<'_>) -> Result<bool, Failure> {
    let key = keys.for_new(StreamKind::File).await?;
    let (original, sealed) = (candidate.path.clone(), target.to_owned());
    blocking(move || {
        match seal(&key, StreamKind::File, &original, &sealed, Existing::Refuse) {
            Err(StreamError::File(durable_file::FileError::Exists { .. })) => return Ok(false),
            other => other?,
        }
        match is_same(key.key(), &sealed, &original)? {
            true => Ok(true),
            false => Err(StreamError::Damaged),
        }
    })
    .await
}

/// Whether a sealed file opens to the bytes of another.
fn is_same(key: &DataKey, sealed: &Path, original: &Path) -> Result<bool, StreamError> {
    let opens = Opens::Only(StreamKind::File);
    let mut reader = StreamReader::new(BufReader::new(File::open(sealed)?), key, opens)?;
    let mut original = BufReader::new(File::open(original)?);
    while let Some(chunk) = reader.next_chunk()? {
        let mut expected = vec![0; chunk.len()];
        match original.read_exact(&mut expected) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            other => other?,
        }
        if expected != chunk {
            return Ok(false);
        }
    }
    Ok(original.read(&mut [0])? == 0)
}
