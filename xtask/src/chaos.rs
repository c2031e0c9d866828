//! `cargo xtask chaos`: the behaviour while the key service fails, scenario by scenario, as a table.

use std::collections::BTreeSet;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, bail};

use crate::cargo::cargo;
use crate::options::Options;
use crate::parts::Servers;
use crate::steps::test::Programs;

/// The scenarios that are played through real sockets, in the order of the table. Each says how it went, or is missed.
const SCENARIOS: [&str; 23] = [
    "unreachable: the port is closed",
    "hanging: never answers",
    "too slow: 4 s a call",
    "slow: 2 s a call",
    "throttling",
    "internal errors, HTTP 500",
    "bad gateway, HTTP 502",
    "connection reset in the answer",
    "garbage instead of an answer",
    "access denied",
    "key disabled",
    "key pending deletion",
    "wrong Region: no such key",
    "key rotated",
    "1,000 cold reads of one token",
    "3 s throttled, 100 readers of 500 tokens",
    "30 s outage, 100 readers of 500 tokens",
    "OpenBao: sealed",
    "OpenBao: version retired",
    "OpenBao: token expired",
    "OpenBao: policy revoked",
    "OpenBao: restarted with another key",
    "OpenBao: a standby that redirects",
];

/// The test modules about a failing key service: those on the wire, and those on a clock that runs ahead.
const MODULES: [&str; 7] = [
    "behind_a_proxy::",
    "openbao_fails::",
    "an_outage_of_half_a_minute::",
    "leaks_on_the_wire::",
    "aws_errors::",
    "outages::",
    "resilience::",
];

pub(crate) fn run(args: &[String]) -> anyhow::Result<ExitCode> {
    if !args.is_empty() {
        bail!("usage: cargo xtask chaos");
    }
    println!("building");
    let servers =
        Servers::start_only(&["moto", "openbao"], Programs::of(&mut tests())?.find("test-servers")?)?;
    let mut command = tests();
    command.args(["--no-fail-fast", "--"]).args(MODULES).args(["--nocapture", "--format", "pretty"]);
    servers.announce(
        &mut command,
        &Options { require: vec!["moto".to_owned(), "openbao".to_owned()], ..Options::default() },
    );
    println!("playing {} scenarios, which takes a minute", SCENARIOS.len());
    let output = command.stderr(Stdio::inherit()).output().context("cannot run `cargo test`")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        print!("{text}");
    }
    let all_fine = print_all(&text);
    Ok(if output.status.success() && all_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints both tables, and says whether every scenario was played and no test failed.
fn print_all(text: &str) -> bool {
    let missed = print_scenarios(text);
    let failed = print_tests(text);
    for name in &missed {
        println!("failed or did not run: {name}");
    }
    missed.is_empty() && failed == 0
}

/// The tests of both packages, because the one has the program that starts servers.
fn tests() -> Command {
    let mut command = cargo();
    command.args(["test", "-p", "kms-provider", "-p", "test-support", "--all-features", "--test", "it"]);
    command
}

/// Prints a row for each scenario, and returns those that did not report.
fn print_scenarios(text: &str) -> Vec<&'static str> {
    let played: Vec<Played<'_>> = text.lines().filter_map(Played::parse).collect();
    let is_known = |row: &&Played<'_>| SCENARIOS.contains(&row.scenario);
    println!("\n{}", row("scenario", "class seen", "error", "recovery", "found"));
    println!("{:-<41}+{:-<22}+{:-<9}+{:-<10}+{:-<34}", "", "", "", "", "");
    let mut missed = Vec::new();
    for name in SCENARIOS {
        match played.iter().find(|row| row.scenario == name) {
            Some(row) => println!("{row}"),
            None => {
                println!("{}", row(name, "", "", "", "FAILED, or did not run"));
                missed.push(name);
            }
        }
    }
    played.iter().filter(|row| !is_known(row)).for_each(|row| println!("{row}"));
    missed
}

/// Prints the tests, and returns how many failed.
fn print_tests(text: &str) -> usize {
    let tests: BTreeSet<(String, &str)> = text.lines().filter_map(test).collect();
    println!("\n{:<8} | test", "result");
    println!("---------+------");
    for (name, result) in &tests {
        println!("{result:<8} | {name}");
    }
    let failed = tests.iter().filter(|(_, result)| *result != "ok").count();
    println!("\n{} passed, {failed} failed", tests.len() - failed);
    failed
}

/// A scenario's own report, in a line of fields with tabs between.
struct Played<'a> {
    scenario: &'a str,
    class: &'a str,
    error: &'a str,
    recovery: &'a str,
    found: &'a str,
}

impl<'a> Played<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        // The test runner may have begun a line of its own.
        let (_, fields) = line.split_once("chaos\t")?;
        let mut fields = fields.split('\t');
        let mut next = || fields.next();
        Some(Self { scenario: next()?, class: next()?, error: next()?, recovery: next()?, found: next()? })
    }
}

impl std::fmt::Display for Played<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&row(self.scenario, self.class, self.error, self.recovery, self.found))
    }
}

fn row(scenario: &str, class: &str, error: &str, recovery: &str, found: &str) -> String {
    format!("{scenario:<40} | {class:<20} | {error:>7} | {recovery:>8} | {found}")
}

/// `test outages::a_thing_happens ... ok` as words.
fn test(line: &str) -> Option<(String, &str)> {
    let (name, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
    // A test's process of its own says nothing that the test does not.
    (!name.ends_with("::child")).then(|| (name.replace("::", ": ").replace('_', " "), result))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_played() -> Vec<String> {
        SCENARIOS.iter().map(|name| format!("chaos\t{name}\tnone\t-\t-\tfine\n")).collect()
    }

    #[test]
    fn a_test_is_listed_in_words_and_its_child_is_not() {
        assert_eq!(test("test outages::a_b ... ok"), Some(("outages: a b".to_owned(), "ok")));
        assert_eq!(test("running 3 tests"), None);
        assert_eq!(test("test outages::child ... ok"), None);
    }

    #[test]
    fn a_scenario_that_does_not_report_is_missed() {
        let all = all_played();
        assert!(print_scenarios(&all.concat()).is_empty());
        assert_eq!(print_scenarios(&all[1..].concat()), [SCENARIOS[0]]);
        assert_eq!(print_scenarios("test x ... chaos\tthrottling\tthrottled\t-\t-").len(), SCENARIOS.len());
    }

    #[test]
    fn a_missed_scenario_or_a_failed_test_fails_the_command() {
        let played = all_played().concat();
        assert!(print_all(&format!("{played}test outages::a ... ok\n")));
        assert!(!print_all(&format!("{played}test outages::a ... FAILED\n")));
        assert!(!print_all("test outages::a ... ok\n"));
    }
}
