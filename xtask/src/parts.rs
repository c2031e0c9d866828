//! The servers that tests need, held up by the program `test-servers` while the tests run.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use serde_json::Value;

use crate::cargo::{program, target_dir, text};
use crate::options::Options;
use crate::report::{NotRun, PartOutcome};

/// The parts that are servers, each with the variable that announces it to tests.
const SERVERS: [(&str, &str); 5] = [
    ("postgres", "TOKENSEAL_TEST_POSTGRES_URL"),
    ("mariadb", "TOKENSEAL_TEST_MARIADB_URL"),
    ("docker", "TOKENSEAL_TEST_DOCKER_IMAGE"),
    ("moto", "TOKENSEAL_TEST_MOTO_URL"),
    ("openbao", "TOKENSEAL_TEST_OPENBAO_URL"),
];

/// Running servers; they stop when this is dropped, or when this process ends.
pub(crate) struct Servers {
    child: Child,
    outcomes: Vec<PartOutcome>,
    environment: Vec<(&'static str, String)>,
    record: PathBuf,
}

impl Servers {
    /// Starts all servers that this machine can have.
    pub(crate) fn start(supervisor: &Path) -> anyhow::Result<Self> {
        Self::start_only(&SERVERS.map(|(part, _)| part), supervisor)
    }

    /// Starts these of them.
    pub(crate) fn start_only(parts: &[&str], supervisor: &Path) -> anyhow::Result<Self> {
        println!("starting {}", parts.join(", "));
        let mut child = program(supervisor)
            .args(parts)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", supervisor.display()))?;
        let stdout = child.stdout.take().context("the servers' program has no output")?;
        let record = fresh_record()?;
        let mut servers = Self { child, outcomes: Vec::new(), environment: Vec::new(), record };
        for line in BufReader::new(stdout).lines().take(parts.len()) {
            servers.note(&line.context("cannot read from the servers' program")?)?;
        }
        servers.note_silent_parts(parts);
        Ok(servers)
    }

    /// Gives a test command the addresses of the servers.
    pub(crate) fn announce(&self, command: &mut Command, options: &Options) {
        command.envs(self.environment.iter().map(|(variable, value)| (variable, value)));
        command.env("TOKENSEAL_NOT_RUN", &self.record);
        command.env("TOKENSEAL_REQUIRE", options.require.join(","));
    }

    /// The parts, and whether they run.
    pub(crate) fn outcomes(&self) -> Vec<PartOutcome> {
        self.outcomes.clone()
    }

    /// The tests that ended early because of a missing part.
    pub(crate) fn not_run(&self) -> Vec<NotRun> {
        let mut tests: Vec<NotRun> =
            fs::read_to_string(&self.record).unwrap_or_default().lines().filter_map(parse_record).collect();
        tests.dedup();
        tests
    }

    fn note(&mut self, line: &str) -> anyhow::Result<()> {
        let report: Value = serde_json::from_str(line).context("the servers' program printed no JSON")?;
        let outcome = match report["unavailable"].as_str() {
            Some(reason) => Err(reason.to_owned()),
            None => Ok((text(&report["url"]).to_owned(), text(&report["how"]).to_owned())),
        };
        self.add(text(&report["part"]), outcome);
        Ok(())
    }

    /// Parts without a report, because the program ended early.
    fn note_silent_parts(&mut self, parts: &[&str]) {
        for part in parts {
            if !self.outcomes.iter().any(|known| known.name == *part) {
                self.add(part, Err("the servers' program ended early".to_owned()));
            }
        }
    }

    fn add(&mut self, part: &str, outcome: Result<(String, String), String>) {
        let Some((_, variable)) = SERVERS.iter().find(|(name, _)| *name == part) else {
            return;
        };
        let (announced, outcome) = match outcome {
            Ok((url, how)) => (url, Ok(how)),
            Err(reason) => (format!("unavailable:{reason}"), Err(reason)),
        };
        match &outcome {
            Ok(how) => println!("  {part}: {how}"),
            Err(reason) => println!("  {part}: not available: {reason}"),
        }
        self.environment.push((variable, announced));
        self.outcomes.push(PartOutcome { name: part.to_owned(), outcome });
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.record);
    }
}

fn fresh_record() -> anyhow::Result<PathBuf> {
    let directory = target_dir()?.join("xtask");
    fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let record = directory.join(format!("not-run-{}.tsv", std::process::id()));
    fs::write(&record, "").with_context(|| format!("cannot write {}", record.display()))?;
    Ok(record)
}

fn parse_record(line: &str) -> Option<NotRun> {
    let mut fields = line.splitn(3, '\t').map(str::to_owned);
    Some(NotRun { part: fields.next()?, test: fields.next()?, reason: fields.next()? })
}
