//! `cargo xtask outside`: the service in `examples/customers`, built as a user of the crates builds it, and its tests.

use super::test::Programs;
use super::test_output::{run_tests, summarize};
use crate::cargo::cargo;
use crate::options::Options;
use crate::parts::Servers;
use crate::report::Report;

pub(crate) fn run(options: &Options) -> anyhow::Result<Report> {
    let servers = Servers::start(Programs::build()?.find("test-servers")?)?;
    let mut command = cargo();
    command.args(["test", "--manifest-path", "examples/customers/Cargo.toml", "--no-fail-fast"]);
    servers.announce(&mut command, options);
    run_tests(&mut command).map(summarize)
}
