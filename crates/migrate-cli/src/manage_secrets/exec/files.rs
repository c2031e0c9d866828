//! Secrets as files in a private directory, for as long as the program runs.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use durable_file::{FileError, Options};
use tempfile::TempDir;

use super::select::Collected;

/// In memory where the system has such a directory: values are then never on a disk.
const IN_MEMORY: &str = "/dev/shm";

/// A directory for its owner only, removed when it is dropped.
pub(super) struct PrivateFiles {
    directory: TempDir,
    paths: BTreeMap<String, PathBuf>,
}

impl PrivateFiles {
    /// Writes a file per secret.
    pub(super) fn write(collected: &Collected) -> Result<Self, FileError> {
        let place = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let place = place.into_iter().chain([PathBuf::from(IN_MEMORY)]).find(|place| place.is_dir());
        let place = place.unwrap_or_else(std::env::temp_dir);
        let failed = FileError::io("create a private directory in", &place);
        let mut private = tempfile::Builder::new();
        let private = private.prefix("manage-secrets-").permissions(fs::Permissions::from_mode(0o700));
        let directory = private.tempdir_in(&place).map_err(failed)?;
        let mut files = Self { directory, paths: BTreeMap::new() };
        files.update(collected)?;
        Ok(files)
    }

    /// Writes new values in place of the old ones; a reader sees one or the other.
    pub(super) fn update(&mut self, collected: &Collected) -> Result<(), FileError> {
        for (variable, given) in &collected.files {
            let path = self.path().join(variable);
            durable_file::write(&path, &Options::replace(), given.value.expose_bytes())?;
            self.paths.insert(variable.clone(), path);
        }
        Ok(())
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Each variable with the path that it gets.
    pub(super) fn paths(&self) -> impl Iterator<Item = (&str, &OsStr)> {
        self.paths.iter().map(|(variable, path)| (variable.as_str(), path.as_os_str()))
    }
}
