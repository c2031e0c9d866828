//! `cargo xtask doctest`.

use super::test_output::{run_tests, summarize};
use crate::cargo::cargo;
use crate::options::Options;
use crate::report::Report;

pub(crate) fn run(options: &Options) -> anyhow::Result<Report> {
    let mut command = cargo();
    command
        .args(["test", "--workspace", "--all-features", "--doc", "--no-fail-fast"])
        .args(&options.cargo_test);
    run_tests(&mut command).map(summarize)
}
