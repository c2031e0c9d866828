//! The rotated log files of a directory: which they are, and when they are complete.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use globset::{Glob, GlobSet, GlobSetBuilder};
use time::OffsetDateTime;

use super::closed::{FileId, writers};

/// The names that logrotate and logging libraries give to files that are no longer written to.
const ROTATED: [&str; 5] =
    ["*.log.*", "*.log-*", "*.[0-9]", "*.[0-9][0-9]", "*-20[0-9][0-9][0-9][0-9][0-9][0-9]*"];
/// The end of a sealed file's name.
const SEALED: &str = ".sealed";
/// The end of the name of an original between its sealing and its removal.
const REMOVING: &str = ".removing";

/// The files that are looked for.
pub(super) struct Rotated {
    directory: PathBuf,
    names: GlobSet,
    settle: Duration,
}

/// A file that is complete.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Candidate {
    pub(super) path: PathBuf,
    /// The name that it had before a removal that was not finished.
    name: OsString,
    state: State,
}

/// Whether programs that cannot be seen may write to the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unseen {
    MayWrite,
    /// The operator says that they do not write to them.
    DoNotWrite,
}

/// The outcome of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removal {
    Done,
    /// The file is not complete after all.
    Later,
    /// A program that cannot be seen may have it open.
    Unsure,
}

/// Attributes of a file that change when it is written to or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct State {
    id: FileId,
    length: u64,
    modified: SystemTime,
}

impl State {
    fn of(metadata: &Metadata) -> io::Result<Self> {
        Ok(Self { id: FileId::of(metadata), length: metadata.len(), modified: metadata.modified()? })
    }
}

impl Rotated {
    pub(super) fn new(directory: &Path, patterns: &[Glob], settle: Duration) -> Result<Self, globset::Error> {
        let mut names = GlobSetBuilder::new();
        for pattern in patterns {
            names.add(pattern.clone());
        }
        if patterns.is_empty() {
            for pattern in ROTATED {
                names.add(Glob::new(pattern)?);
            }
        }
        Ok(Self { directory: directory.to_owned(), names: names.build()?, settle })
    }

    /// The files that are complete now, oldest first, and whether programs can be at work that were not seen.
    pub(super) fn complete(&self) -> io::Result<(Vec<Candidate>, bool)> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if let Some(name) = self.name_of(&entry.file_name())
                && let Some(candidate) = self.settled(entry.path(), name)?
            {
                found.push(candidate);
            }
        }
        if found.is_empty() {
            return Ok((found, false));
        }
        let writers = writers()?;
        found.retain(|candidate| !writers.have_open(candidate.state.id));
        found.sort_by_key(|candidate| candidate.state.modified);
        Ok((found, writers.are_incomplete))
    }

    /// The name of a rotated file, if this is one.
    fn name_of(&self, name: &OsStr) -> Option<OsString> {
        let text = name.to_str()?;
        if let Some(removing) = text.strip_prefix('.').and_then(|rest| rest.strip_suffix(REMOVING)) {
            return Some(removing.into());
        }
        let is_ours = text.starts_with('.') || text.ends_with(SEALED);
        (!is_ours && self.names.is_match(text)).then(|| name.to_owned())
    }

    /// A regular file that has been left alone for long enough. A link is not followed.
    fn settled(&self, path: PathBuf, name: OsString) -> io::Result<Option<Candidate>> {
        let metadata = match path.symlink_metadata() {
            Ok(metadata) if metadata.is_file() => metadata,
            Ok(_) => return Ok(None),
            // The next rotation has renamed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let state = State::of(&metadata)?;
        // A time in the future says nothing: such a file waits until it has passed.
        let is_left_alone = state.modified.elapsed().is_ok_and(|age| age >= self.settle);
        Ok(is_left_alone.then_some(Candidate { path, name, state }))
    }
}

impl Candidate {
    /// The names for the sealed file, best first. Numbered logs get the same name at every rotation, so the second has
    /// the time of the last change.
    pub(super) fn targets(&self) -> impl Iterator<Item = PathBuf> {
        let name = self.name.to_string_lossy().into_owned();
        let at = OffsetDateTime::from(self.state.modified);
        let (date, clock) = (at.date(), at.time());
        let at = format!(
            "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
            date.year(),
            u8::from(date.month()),
            date.day(),
            clock.hour(),
            clock.minute(),
            clock.second()
        );
        let path = self.path.clone();
        let numbered = {
            let (name, at) = (name.clone(), at.clone());
            (2..).map(move |n| format!("{name}.{at}-{n}{SEALED}"))
        };
        let names = [format!("{name}{SEALED}"), format!("{name}.{at}{SEALED}")];
        names.into_iter().chain(numbered).map(move |name| path.with_file_name(name))
    }

    /// Removes the file, if it is unchanged since it was sealed and no program has it open. It gets another
    /// name first, so that no program can open it by its own in between.
    ///
    /// # Errors
    /// The file could not be renamed or removed. Under either name, the next run deals with it.
    pub(super) fn remove(&self, unseen: Unseen) -> io::Result<Removal> {
        if unseen == Unseen::MayWrite && writers()?.are_incomplete {
            return Ok(Removal::Unsure);
        }
        let hidden = self.path.with_file_name(format!(".{}{REMOVING}", self.name.to_string_lossy()));
        if hidden != self.path {
            if hidden.symlink_metadata().is_ok() {
                // Of a removal that was not finished: that one comes first.
                return Ok(Removal::Later);
            }
            fs::rename(&self.path, &hidden)?;
        }
        let is_same = State::of(&hidden.symlink_metadata()?)? == self.state;
        if !is_same || writers()?.have_open(self.state.id) {
            // Whatever it is now, it is sealed when it is complete.
            return Ok(Removal::Later);
        }
        fs::remove_file(&hidden)?;
        sync(&hidden)?;
        Ok(Removal::Done)
    }
}

fn sync(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| fs::File::open(directory)?.sync_all())
}
