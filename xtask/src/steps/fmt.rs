//! `cargo xtask fmt`.

use crate::cargo::{cargo, run as run_command};
use crate::options::Options;
use crate::peers::MANIFEST as PEERS;
use crate::report::Report;

pub(crate) fn run(_options: &Options) -> anyhow::Result<Report> {
    run_command(cargo().args(["fmt", "--all", "--check"]))?;
    run_command(cargo().args(["fmt", "--manifest-path", PEERS, "--check"]))?;
    Ok(Report::default())
}
