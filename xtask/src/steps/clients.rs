//! `cargo xtask clients`: the clients in Python, Node and Go, against each other, the programs and real servers.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

use super::test::Programs;
use crate::cargo::{program, text};
use crate::options::Options;
use crate::parts::Servers;
use crate::report::{NotRun, PartOutcome, Report};

/// The part of this step: every language's tools and packages.
const CLIENTS: &str = "clients";
/// Servers that the checks use; without one of them, the checks that need it are not run.
const SERVERS: [&str; 2] = ["postgres", "moto"];

/// How a check ended, as `run.py` says it in a line of JSON.
struct Ended {
    name: String,
    outcome: String,
    said: String,
    seconds: f64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Report> {
    let programs = Programs::build()?;
    let servers = Servers::start_only(&SERVERS, programs.find("test-servers")?)?;
    let mut command = program("python3");
    command.arg("clients/checks/run.py").arg("--program").arg(programs.find("migrate-tokens")?);
    servers.announce(&mut command, options);
    let ended = run_checks(&mut command)?;
    let mut report = report(&ended);
    report.parts.extend(servers.outcomes());
    Ok(report)
}

/// Runs the checks, and shows each as it ends.
fn run_checks(command: &mut Command) -> anyhow::Result<Vec<Ended>> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("python3 cannot be run")?;
    let stdout = child.stdout.take().context("the checks have no output")?;
    let mut ended = Vec::new();
    for line in BufReader::new(stdout).lines() {
        let check = parse(&line.context("cannot read from the checks")?)?;
        println!("{:<13} | {:<7} | {:>6.1} s | {}", check.name, check.outcome, check.seconds, check.said);
        ended.push(check);
    }
    let status = child.wait().context("the checks cannot be waited for")?;
    if ended.is_empty() {
        bail!("the checks ended with {status} before the first of them");
    }
    Ok(ended)
}

fn parse(line: &str) -> anyhow::Result<Ended> {
    let parsed: Value = serde_json::from_str(line).context("the checks printed no JSON")?;
    Ok(Ended {
        name: text(&parsed["check"]).to_owned(),
        outcome: text(&parsed["outcome"]).to_owned(),
        said: text(&parsed["said"]).to_owned(),
        seconds: parsed["seconds"].as_f64().unwrap_or_default(),
    })
}

fn report(ended: &[Ended]) -> Report {
    let mut report = Report::default();
    for Ended { name, outcome, said, .. } in ended {
        let test = format!("clients {name}");
        match outcome.as_str() {
            "ok" => report.tally.passed += 1,
            "not run" => {
                report.tally.ignored += 1;
                report.not_run.push(NotRun { part: CLIENTS.to_owned(), test, reason: said.clone() });
            }
            _ => {
                report.tally.failed += 1;
                report.failed_tests.push(test);
            }
        }
    }
    if report.tally.failed > 0 {
        report.failure = Some(format!("{} of its checks failed", report.tally.failed));
    }
    let outcome = match report.not_run.first() {
        Some(first) => Err(first.reason.clone()),
        None => Ok("Python, Node and Go, and what their checks need".to_owned()),
    };
    report.parts.push(PartOutcome { name: CLIENTS.to_owned(), outcome });
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(outcome: &str) -> anyhow::Result<Ended> {
        parse(&format!(r#"{{"check":"go","outcome":"{outcome}","said":"go: gone","seconds":1.5}}"#))
    }

    #[test]
    fn a_check_of_the_clients_that_could_not_run_is_named_with_its_reason() -> anyhow::Result<()> {
        let report = report(&[parsed("ok")?, parsed("not run")?]);
        assert_eq!((report.tally.passed, report.tally.failed, report.tally.ignored), (1, 0, 1));
        assert_eq!(report.not_run[0].test, "clients go");
        assert_eq!(report.parts[0].outcome, Err("go: gone".into()));
        assert!(report.failure.is_none());
        Ok(())
    }

    #[test]
    fn a_check_of_the_clients_that_failed_fails_the_step() -> anyhow::Result<()> {
        for outcome in ["failed", "", "unheard of"] {
            let report = report(&[parsed("ok")?, parsed(outcome)?]);
            assert_eq!((report.tally.failed, report.failed_tests.len()), (1, 1), "{outcome}");
            assert!(report.failure.is_some());
        }
        Ok(())
    }

    #[test]
    fn what_is_no_line_of_json_is_an_error() {
        assert!(parse("a traceback").is_err());
    }
}
