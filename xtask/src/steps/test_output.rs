//! Reading what test programs print, while it passes through.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::report::{NotRun, Report, Tally};

/// The output of `cargo test`.
#[derive(Debug, Default)]
pub(crate) struct TestOutput {
    tally: Tally,
    failed: Vec<String>,
    ignored: Vec<NotRun>,
    /// Whether cargo itself was content.
    success: bool,
}

/// Runs `cargo test` with its output going where ours goes.
pub(crate) fn run_tests(command: &mut Command) -> anyhow::Result<TestOutput> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot run `cargo test`")?;
    let stdout = child.stdout.take().context("`cargo test` has no output")?;
    let mut output = TestOutput::default();
    for line in BufReader::new(stdout).split(b'\n') {
        // A test may print anything, text or not.
        let line = line.context("cannot read what `cargo test` prints")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        output.read(&line);
    }
    output.success = child.wait().context("cannot wait for `cargo test`")?.success();
    Ok(output)
}

/// Turns the output into a step's report.
pub(crate) fn summarize(output: TestOutput) -> Report {
    let failure = match (output.success, output.tally.failed) {
        (true, 0) if output.tally.passed == 0 => Some("no test ran".to_owned()),
        (true, 0) => None,
        (_, 0) => Some("`cargo test` failed outside of a test: its output says where".to_owned()),
        (_, failed) => Some(format!("{failed} failed")),
    };
    Report {
        failure,
        tally: output.tally,
        failed_tests: output.failed,
        not_run: output.ignored,
        parts: Vec::new(),
    }
}

impl TestOutput {
    fn read(&mut self, line: &str) {
        if let Some(result) = line.strip_prefix("test result: ") {
            self.tally += parse_tally(result);
        } else if let Some((name, verdict)) =
            line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "))
        {
            self.read_verdict(name, verdict.trim());
        } else if let Some(name) =
            line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"))
        {
            // All that a quiet run says of a failed test.
            self.note_failed(name);
        }
    }

    fn read_verdict(&mut self, name: &str, verdict: &str) {
        if verdict == "FAILED" {
            self.note_failed(name);
        } else if let Some(reason) = verdict.strip_prefix("ignored") {
            let reason = reason.trim_start_matches([',', ' ']);
            let reason = if reason.is_empty() { "marked so" } else { reason };
            self.ignored.push(NotRun { part: "ignored".into(), test: name.into(), reason: reason.into() });
        }
    }

    fn note_failed(&mut self, name: &str) {
        if !self.failed.iter().any(|known| known == name) {
            self.failed.push(name.to_owned());
        }
    }
}

fn parse_tally(result: &str) -> Tally {
    let number = |label: &str| {
        let before = result.split(label).next().filter(|before| before.len() < result.len())?;
        before.split_whitespace().last()?.parse().ok()
    };
    Tally {
        passed: number(" passed").unwrap_or(0),
        failed: number(" failed").unwrap_or(0),
        ignored: number(" ignored").unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, success: bool) -> Report {
        let mut output = TestOutput { success, ..TestOutput::default() };
        text.lines().for_each(|line| output.read(line));
        summarize(output)
    }

    #[test]
    fn results_of_several_programs_add_up() {
        let report = read(
            "test it::a ... ok\n\
             test it::b ... ignored, needs an AWS account\n\
             test it::c ... ignored\n\
             test result: ok. 14 passed; 0 failed; 2 ignored; 0 measured; 3 filtered out; finished in 1.38s\n\
             test src/lib.rs - part (line 3) - compile ... FAILED\n\
             ---- src/lib.rs - part (line 3) - compile stdout ----\n\
             test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s\n",
            false,
        );
        assert_eq!(report.tally, Tally { passed: 15, failed: 1, ignored: 2 });
        assert_eq!(report.failed_tests, ["src/lib.rs - part (line 3) - compile"]);
        assert_eq!(report.not_run[0].reason, "needs an AWS account");
        assert_eq!(report.not_run[1].test, "it::c");
        assert!(report.failure.is_some());
    }

    #[test]
    fn a_run_without_a_test_is_a_failure_and_so_is_a_broken_build() {
        assert!(read("", true).failure.is_some());
        assert!(read("test result: ok. 1 passed; 0 failed; 0 ignored", false).failure.is_some());
        assert!(read("test result: ok. 1 passed; 0 failed; 0 ignored", true).failure.is_none());
    }
}
