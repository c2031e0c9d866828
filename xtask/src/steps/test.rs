//! `cargo xtask test`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde_json::Value;

use super::test_output::{run_tests, summarize};
use crate::cargo::{array, capture, cargo, text};
use crate::options::Options;
use crate::parts::Servers;
use crate::report::{NotRun, PartOutcome, Report};
use crate::tools;

/// The documentation's examples are a step of their own; benches are compiled by `clippy`.
const TARGETS: [&str; 4] = ["--lib", "--bins", "--tests", "--examples"];

/// Parts about which only the tests that want them find out whether this machine has them, and how it is there.
const FOUND_OUT: [(&str, &str); 2] = [
    ("core_dumps", "a process that does not forbid them leaves one"),
    ("root", "a test can become another user"),
];

pub(crate) fn run(options: &Options) -> anyhow::Result<Report> {
    let servers = Servers::start(Programs::build()?.find("test-servers")?)?;
    let mut command = cargo_test();
    command.args(TARGETS).arg("--no-fail-fast").args(&options.cargo_test);
    servers.announce(&mut command, options);
    let mut report = summarize(run_tests(&mut command)?);
    report.parts = servers.outcomes();
    // No server of ours: each test that wants one starts its own.
    report.parts.push(PartOutcome { name: "prometheus".to_owned(), outcome: tools::prometheus() });
    let ended_early = servers.not_run();
    for (part, how) in FOUND_OUT {
        report.parts.push(found_out(part, how, &ended_early));
    }
    add_ended_early(&mut report, ended_early);
    Ok(report)
}

fn found_out(part: &str, how: &str, ended_early: &[NotRun]) -> PartOutcome {
    let outcome = match ended_early.iter().find(|test| test.part == part) {
        Some(test) => Err(test.reason.clone()),
        None => Ok(how.to_owned()),
    };
    PartOutcome { name: part.to_owned(), outcome }
}

/// A test that ended early because a part is missing counts as passed in its harness.
fn add_ended_early(report: &mut Report, tests: Vec<NotRun>) {
    report.tally.passed = report.tally.passed.saturating_sub(tests.len());
    report.tally.ignored += tests.len();
    report.not_run.extend(tests);
}

/// The workspace's programs, as the tests use them.
pub(crate) struct Programs(BTreeMap<String, PathBuf>);

impl Programs {
    /// Builds them together with all tests, so that everything is compiled once.
    pub(crate) fn build() -> anyhow::Result<Self> {
        println!("building the tests and the programs");
        Self::of(cargo_test().args(TARGETS))
    }

    /// Builds what a `cargo test` would run, and what that needs.
    pub(crate) fn of(cargo_test: &mut Command) -> anyhow::Result<Self> {
        let messages =
            capture(cargo_test.args(["--no-run", "--quiet", "--message-format", "json-render-diagnostics"]))?;
        let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(Self(messages.filter_map(|message| built_program(&message)).collect()))
    }

    pub(crate) fn find(&self, name: &str) -> anyhow::Result<&Path> {
        let found = self.0.get(name).map(PathBuf::as_path);
        found.with_context(|| format!("the build made no program `{name}`"))
    }
}

fn built_program(message: &Value) -> Option<(String, PathBuf)> {
    let target = &message["target"];
    let is_program = array(&target["kind"]).iter().any(|kind| text(kind) == "bin");
    let executable =
        message["executable"].as_str().filter(|_| is_program && message["profile"]["test"] == false)?;
    Some((text(&target["name"]).to_owned(), executable.into()))
}

fn cargo_test() -> Command {
    let mut command = cargo();
    command.args(["test", "--workspace", "--all-features"]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Tally;

    #[test]
    fn a_test_that_ended_early_is_skipped_and_not_passed() {
        let mut report = Report { tally: Tally { passed: 3, failed: 0, ignored: 1 }, ..Report::default() };
        let lacking = NotRun { part: "moto".into(), test: "it::a".into(), reason: "gone".into() };
        add_ended_early(&mut report, vec![lacking]);
        assert_eq!(report.tally, Tally { passed: 2, failed: 0, ignored: 2 });
        assert_eq!(report.not_run.len(), 1);
    }
}
