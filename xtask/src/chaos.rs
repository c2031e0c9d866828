//! `cargo xtask chaos`: what happens when the key service fails, scenario by scenario, as a table.

use std::process::{ExitCode, Stdio};

use anyhow::Context;

use crate::cargo::cargo;

/// The test modules whose tests are scenarios of a failing key service.
const MODULES: [&str; 4] = ["aws_errors::", "outages::", "resilience::", "wire::"];

pub(crate) fn run(_args: &[String]) -> anyhow::Result<ExitCode> {
    let mut command = cargo();
    command.args([
        "test",
        "--quiet",
        "-p",
        "kms-provider",
        "--all-features",
        "--test",
        "it",
        "--no-fail-fast",
        "--",
    ]);
    command.args(MODULES).args(["--format", "pretty"]);
    let output = command.stderr(Stdio::inherit()).output().context("cannot run `cargo test`")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut scenarios: Vec<(String, &str)> = text.lines().filter_map(scenario).collect();
    scenarios.sort();
    println!("{:<8} | scenario", "result");
    println!("---------+---------");
    for (name, result) in &scenarios {
        println!("{result:<8} | {name}");
    }
    let failed = scenarios.iter().filter(|(_, result)| *result != "ok").count();
    if !output.status.success() {
        print!("{text}");
    }
    println!("\n{} passed, {failed} failed", scenarios.len() - failed);
    let fine = output.status.success() && failed == 0 && !scenarios.is_empty();
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `test outages::a_thing_happens ... ok` as words.
fn scenario(line: &str) -> Option<(String, &str)> {
    let (name, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
    Some((name.replace("::", ": ").replace('_', " "), result))
}

#[cfg(test)]
mod tests {
    use super::scenario;

    #[test]
    fn a_test_is_told_as_a_scenario() {
        assert_eq!(scenario("test outages::a_b ... ok"), Some(("outages: a b".to_owned(), "ok")));
        assert_eq!(scenario("running 3 tests"), None);
    }
}
