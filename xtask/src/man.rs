//! `cargo xtask man`: the man pages of the programs.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::cargo::{cargo, run as run_command, target_dir};

/// The crates and their programs that know the command lines; this one does not depend on them, so that it compiles quickly.
const WRITERS: [(&str, &str); 2] = [("migrate-cli", "man-pages"), ("tokenseal-agent", "man-page")];

pub(crate) fn run(args: &[String]) -> anyhow::Result<ExitCode> {
    let directory = match args {
        [] => target_dir()?.join("man"),
        // Relative to where the command was called, and not to the workspace's root.
        [named] => std::env::current_dir().context("no current directory")?.join(PathBuf::from(named)),
        _ => bail!("usage: cargo xtask man [DIR]"),
    };
    for (package, example) in WRITERS {
        let words = ["run", "--quiet", "-p", package, "--all-features", "--example", example, "--"];
        run_command(cargo().args(words).arg(&directory))?;
    }
    println!("wrote the man pages to {}", directory.display());
    Ok(ExitCode::SUCCESS)
}
