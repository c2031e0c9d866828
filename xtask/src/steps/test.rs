//! `cargo xtask test`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use serde_json::Value;

use super::test_output::{run_tests, summarize};
use crate::cargo::{array, capture, cargo, text};
use crate::options::Options;
use crate::parts::Servers;
use crate::report::Report;

/// The documentation's examples are a step of their own; benches are compiled by `clippy`.
const TARGETS: [&str; 4] = ["--lib", "--bins", "--tests", "--examples"];

pub(crate) fn run(options: &Options) -> anyhow::Result<Report> {
    let servers = Servers::start(&build()?)?;
    let mut command = cargo_test();
    command.args(TARGETS).arg("--no-fail-fast").args(&options.cargo_test);
    servers.announce(&mut command, options);
    let mut report = summarize(run_tests(&mut command)?);
    report.parts = servers.outcomes();
    report.not_run.extend(servers.not_run());
    Ok(report)
}

/// Builds all tests, and finds the program among them that holds the servers up.
fn build() -> anyhow::Result<PathBuf> {
    println!("building the tests");
    let messages = capture(cargo_test().args(TARGETS).args([
        "--no-run",
        "--quiet",
        "--message-format",
        "json-render-diagnostics",
    ]))?;
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|message| supervisor(&message))
        .context("the build made no program `test-servers`: look at crates/test-support")
}

fn supervisor(message: &Value) -> Option<PathBuf> {
    let target = &message["target"];
    let is_program = array(&target["kind"]).iter().any(|kind| text(kind) == "bin");
    let is_it = text(&target["name"]) == "test-servers" && is_program && message["profile"]["test"] == false;
    if is_it { message["executable"].as_str().map(PathBuf::from) } else { None }
}

fn cargo_test() -> Command {
    let mut command = cargo();
    command.args(["test", "--workspace", "--all-features"]);
    command
}
