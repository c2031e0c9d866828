//! `seal-file --watch`: rotated log files are sealed as they close, and the originals removed.

use std::collections::HashMap;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use envelope_core::DataKey;
use secrets_cache::sealed_stream::{
    Existing, Opens, StreamError, StreamKind, StreamReader, regular, seal_file as seal,
};
use serde::Serialize;
use token_store::migration::StopFlag;

use super::rotated::{Candidate, Removal, Rotated, Unseen};
use super::{SealArgs, blocking};
use crate::exit::{CliError, Exit, Failed as _, chain};
use crate::manage_secrets::Options;
use crate::manage_secrets::failure::Failure;
use crate::manage_secrets::file_key::FileKeys;
use crate::output::{Format, emit, note, print, printable};

/// How often the directory is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How often a signal is looked for.
const STOP_EVERY: Duration = Duration::from_millis(50);
/// Names that are tried for a sealed file.
const MAX_NAMES: usize = 1_000;

/// The counts of a run.
#[derive(Default, Serialize)]
struct Report {
    sealed: u64,
    failures: Vec<NotSealed>,
}

#[derive(Clone, PartialEq, Eq, Serialize)]
struct NotSealed {
    #[serde(serialize_with = "crate::output::path")]
    file: PathBuf,
    class: &'static str,
    error: String,
}

pub(super) async fn run(
    directory: &Path,
    args: &SealArgs,
    keys: &FileKeys<'_>,
    options: &Options,
    stop: &StopFlag,
) -> Result<Exit, Failure> {
    if !directory.is_dir() {
        let problem = format!("{} is not a directory", directory.display());
        return Err(Failure::usage(problem, "name the directory of the log files after --watch"));
    }
    let rotated = Rotated::new(directory, &args.patterns, args.settle);
    let rotated = rotated.map_err(|error| Failure::usage(error.to_string(), "check --pattern"))?;
    let unseen = if args.only_visible_writers { Unseen::DoNotWrite } else { Unseen::MayWrite };
    let (mut report, mut watch) = (Report::default(), Watch { rotated, unseen, kept: HashMap::new() });
    loop {
        watch.pass(keys, options, stop, &mut report).await?;
        if args.once || !wait(stop).await {
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

/// A directory that is watched.
struct Watch {
    rotated: Rotated,
    unseen: Unseen,
    /// Originals that are sealed and were not removed: as long as they do not change, there is nothing to do.
    kept: HashMap<Candidate, NotSealed>,
}

/// The outcome for a file.
enum Outcome {
    Sealed(PathBuf),
    /// It is not complete after all.
    Later,
    /// It is sealed, and the original is kept.
    Kept(PathBuf),
}

impl Watch {
    /// Seals the files that are complete now. A failure is reported when it appears, and tried again at every
    /// look.
    async fn pass(
        &mut self,
        keys: &FileKeys<'_>,
        options: &Options,
        stop: &StopFlag,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let (complete, are_incomplete) =
            self.rotated.complete().map_err(CliError::io("the directory cannot be looked at"))?;
        // Once every program is seen, an original that was kept can go.
        self.kept.retain(|kept, _| are_incomplete && complete.contains(kept));
        let mut failures: Vec<NotSealed> = self.kept.values().cloned().collect();
        for candidate in complete {
            if stop.is_set() {
                break;
            }
            if self.kept.contains_key(&candidate) {
                continue;
            }
            match seal_one(&candidate, self.unseen, keys).await {
                Ok(Outcome::Sealed(sealed)) => {
                    report.sealed += 1;
                    if options.common.format == Format::Human {
                        print(&printable(&format!("{} sealed", sealed.display())))?;
                    }
                }
                Ok(Outcome::Later) => {}
                Ok(Outcome::Kept(sealed)) => {
                    let kept = not_removed(&candidate, &sealed);
                    failures.push(kept.clone());
                    self.kept.insert(candidate, kept);
                }
                Err(error) => {
                    let (file, class) = (candidate.path, error.class());
                    failures.push(NotSealed { file, class, error: chain(&error) });
                }
            }
        }
        failures.sort_by(|one, other| one.file.cmp(&other.file));
        for failure in failures.iter().filter(|failure| !report.failures.contains(failure)) {
            note(&printable(&format!("failed: {}: {}", failure.file.display(), failure.error)));
        }
        report.failures = failures;
        Ok(())
    }
}

fn not_removed(candidate: &Candidate, sealed: &Path) -> NotSealed {
    let error = format!(
        "sealed as {}, and the original is kept: not every program can be seen, and one may still write to it; run this \
         outside of containers as root or with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, or say --only-visible-writers",
        sealed.display()
    );
    NotSealed { file: candidate.path.clone(), class: "unseen_writers", error }
}

/// Seals a file, reads the sealed one again, and removes the original.
async fn seal_one(candidate: &Candidate, unseen: Unseen, keys: &FileKeys<'_>) -> Result<Outcome, Failure> {
    for target in candidate.targets().take(MAX_NAMES) {
        let is_sealed = match target.symlink_metadata() {
            Ok(_) => is_sealed_already(candidate, &target, keys).await?,
            Err(_) => seal_into(candidate, &target, keys).await?,
        };
        if is_sealed {
            let original = candidate.clone();
            return Ok(match blocking(move || Ok(original.remove(unseen)?)).await? {
                Removal::Done => Outcome::Sealed(target),
                Removal::Later => Outcome::Later,
                Removal::Unsure => Outcome::Kept(target),
            });
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
    // A file that does not open with these keys is a different file.
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
        match seal(&key, StreamKind::File, &original, &sealed, Existing::Refuse, &|| false) {
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
    let mut reader = StreamReader::new(BufReader::new(regular(sealed)?), key, opens)?;
    let mut original = BufReader::new(regular(original)?);
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
