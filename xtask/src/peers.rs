//! `cargo xtask peers`: sealing and opening a value, here and in other libraries, in one run.

use std::process::ExitCode;

use anyhow::bail;

use crate::bench::machine;
use crate::cargo::{cargo, run as run_command, target_dir};

/// The program that measures is outside the workspace, so that the other libraries are in no build of this project.
pub(crate) const MANIFEST: &str = "xtask/peers/Cargo.toml";

pub(crate) fn run(args: &[String]) -> anyhow::Result<ExitCode> {
    if !args.is_empty() {
        bail!("usage: cargo xtask peers");
    }
    let mut command = cargo();
    command.args(["run", "--release", "--locked", "--manifest-path", MANIFEST, "--target-dir"]);
    command.arg(target_dir()?.join("peers")).args(["--", &machine()?]);
    run_command(&mut command)?;
    Ok(ExitCode::SUCCESS)
}
