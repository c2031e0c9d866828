//! `scan`: secrets that were left in files.

use std::path::PathBuf;

use secrets_cache::scan::{Baseline, Finding, Scanner};
use serde::Serialize;

use super::Options;
use super::failure::Failure;
use crate::exit::Exit;
use crate::output::emit;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Files and directories
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// A file of findings that were looked at and are no secrets
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Add what is found now to the baseline
    #[arg(long, requires = "baseline")]
    accept: bool,
}

#[derive(Serialize)]
struct Report {
    files: u64,
    accepted: u64,
    findings: Vec<Found>,
}

#[derive(Serialize)]
struct Found {
    path: PathBuf,
    line: usize,
    rule: &'static str,
    name: Option<String>,
    masked: String,
    #[serde(skip)]
    shown: String,
}

pub(super) fn run(args: Args, options: &Options) -> Result<Exit, Failure> {
    let mut baseline = match &args.baseline {
        Some(path) if path.exists() || !args.accept => Baseline::load(path)?,
        _ => Baseline::default(),
    };
    let mut scanned = Scanner::new(baseline.clone()).scan(&args.paths)?;
    if let (true, Some(path)) = (args.accept, &args.baseline) {
        baseline.accept(&scanned.findings);
        baseline.save(path)?;
        scanned.accepted += scanned.findings.drain(..).count() as u64;
    }
    let report = Report {
        files: scanned.files,
        accepted: scanned.accepted,
        findings: scanned.findings.into_iter().map(found).collect(),
    };
    emit(options.common.format, &report, |report| {
        let mut lines: Vec<String> = report.findings.iter().map(|found| found.shown.clone()).collect();
        lines.push(format!(
            "{} files read, {} secrets found, {} accepted by the baseline",
            report.files,
            report.findings.len(),
            report.accepted
        ));
        lines.join("\n")
    })?;
    Ok(if report.findings.is_empty() { Exit::Done } else { Exit::Problems })
}

fn found(finding: Finding) -> Found {
    Found {
        shown: finding.to_string(),
        path: finding.path,
        line: finding.line,
        rule: finding.rule,
        name: finding.name,
        masked: finding.masked,
    }
}
