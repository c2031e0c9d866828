//! `verify --report FILE`: every failure and finding, as a line of JSON.

use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::path::Path;

use durable_file::{FileError, Links, NewFile, Options};
use serde::Deserialize;
use serde::de::IgnoredAny;
use token_store::migration::Failure;
use token_store::verify::Found;
use tokenseal::hints;

use crate::exit::{CliError, chain};

/// The most bytes of an existing file's first line that are read.
const MAX_LINE: u64 = 1 << 20;

/// A report that is moved to its path when the walk has ended. Dropped without a commit, it leaves the file
/// as it was.
pub(super) struct ReportFile {
    file: BufWriter<NewFile>,
    refused: Option<io::Error>,
}

/// The members that every line has.
#[derive(Deserialize)]
#[expect(dead_code, reason = "only their presence counts")]
struct Line {
    table: IgnoredAny,
    row: IgnoredAny,
    column: IgnoredAny,
    class: IgnoredAny,
    error: IgnoredAny,
}

impl ReportFile {
    /// Begins a file that only its owner reads. An earlier report is replaced; any other file is refused, so that a
    /// mistyped name costs neither a database nor a profile.
    ///
    /// # Errors
    /// [`CliError::Usage`] if the file cannot be written.
    pub(super) fn begin(path: &Path) -> Result<Self, CliError> {
        if !may_be_replaced(path).map_err(|error| unwritable(path, &error))? {
            return Err(CliError::usage_with_hint(
                format!("--report: {} is not a report of `verify`, and would be replaced", path.display()),
                "name a new file",
            ));
        }
        let new = NewFile::begin(path, &Options::replace().with_widest_mode(0o600));
        let file = BufWriter::new(new.map_err(|error| unwritable(path, &error))?);
        Ok(Self { file, refused: None })
    }

    /// Adds a line. The first line that cannot be written is remembered, and the rest is left out.
    pub(super) fn add(&mut self, found: Found, failure: &Failure) {
        let mut completed = [failure.clone()];
        match found {
            Found::Finding => hints::complete_findings(&mut completed),
            _ => hints::complete(&mut completed),
        }
        if self.refused.is_none() {
            self.refused = self.write(&completed[0]).err();
        }
    }

    fn write(&mut self, failure: &Failure) -> io::Result<()> {
        serde_json::to_writer(&mut self.file, failure)?;
        self.file.write_all(b"\n")
    }

    /// Whether a line could not be written.
    pub(super) fn is_broken(&self) -> bool {
        self.refused.is_some()
    }

    /// Puts the file in its place, on disk.
    ///
    /// # Errors
    /// [`CliError::Io`]; then the file is as it was.
    pub(super) fn commit(self) -> Result<(), CliError> {
        let refused = |error| CliError::io("the report cannot be written")(error);
        if let Some(error) = self.refused {
            return Err(refused(error));
        }
        let file = self.file.into_inner().map_err(|error| refused(error.into_error()))?;
        file.commit().map_err(|error| refused(io::Error::other(error)))
    }
}

/// Whether there is no such file, or an empty one, or an earlier report.
fn may_be_replaced(path: &Path) -> Result<bool, FileError> {
    let opened = match durable_file::open(path, Links::Follow) {
        Err(FileError::Missing { .. }) => return Ok(true),
        opened => opened?,
    };
    let mut line = Vec::new();
    let read = BufReader::new(opened).take(MAX_LINE).read_until(b'\n', &mut line);
    read.map_err(FileError::io("read", path))?;
    Ok(line.is_empty() || serde_json::from_slice::<Line>(&line).is_ok())
}

fn unwritable(path: &Path, error: &FileError) -> CliError {
    CliError::usage_with_hint(
        format!("--report: {} cannot be written: {}", path.display(), chain(error)),
        error.hint(),
    )
}
