//! `cargo xtask outside`: the service in `examples/customers`, built as a user of the crates builds it, and its tests.

use super::test::Programs;
use super::test_output::{run_tests, summarize};
use crate::cargo::{cargo, target_dir};
use crate::options::Options;
use crate::parts::Servers;
use crate::report::Report;

/// The workspace's profile for dependencies, so that those with the same features are not compiled twice.
const PROFILE: [&str; 2] =
    ["profile.dev.debug=\"line-tables-only\"", "profile.dev.package.\"*\".opt-level=1"];

pub(crate) fn run(options: &Options) -> anyhow::Result<Report> {
    let servers = Servers::start(Programs::build()?.find("test-servers")?)?;
    let mut command = cargo();
    command.args(["test", "--manifest-path", "examples/customers/Cargo.toml", "--no-fail-fast"]);
    command.arg("--target-dir").arg(target_dir()?);
    for setting in PROFILE {
        command.args(["--config", setting]);
    }
    servers.announce(&mut command, options);
    run_tests(&mut command).map(summarize)
}
