//! `cargo xtask demo`.

use std::process::{ExitCode, Stdio};

use anyhow::Context;

use crate::cargo::cargo;

/// The smallest build that can run the demo: SQLite and the local keyring.
const BUILD: [&str; 9] = [
    "run",
    "--quiet",
    "-p",
    "migrate-cli",
    "--no-default-features",
    "--features",
    "demo",
    "--bin",
    "migrate-tokens",
];

pub(crate) fn run(args: &[String]) -> anyhow::Result<ExitCode> {
    let status = cargo()
        .args(BUILD)
        .args(["--", "demo"])
        .args(args)
        .current_dir(std::env::current_dir().context("no current directory")?)
        .stdin(Stdio::inherit())
        .status()
        .context("cannot run cargo")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
