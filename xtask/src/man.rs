//! `cargo xtask man`: the man pages of both programs.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::cargo::{cargo, run as run_command, target_dir};

/// The program that knows both command lines; this one does not depend on them, so that it compiles quickly.
const WRITER: [&str; 7] = ["run", "--quiet", "-p", "migrate-cli", "--all-features", "--example", "man-pages"];

pub(crate) fn run(args: &[String]) -> anyhow::Result<ExitCode> {
    let directory = match args {
        [] => target_dir()?.join("man"),
        // Relative to where the command was called, and not to the workspace's root.
        [named] => std::env::current_dir().context("no current directory")?.join(PathBuf::from(named)),
        _ => bail!("usage: cargo xtask man [DIR]"),
    };
    run_command(cargo().args(WRITER).arg("--").arg(&directory))?;
    println!("wrote the man pages to {}", directory.display());
    Ok(ExitCode::SUCCESS)
}
