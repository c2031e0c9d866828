//! `scan`: secrets that were left in files.

mod sarif;
mod staged;

use std::path::PathBuf;

use secrets_cache::scan::{Baseline, Finding, ScanReport, Scanner};
use serde::Serialize;

use super::Options;
use super::failure::Failure;
use crate::exit::Exit;
use crate::output::{Format, emit, print, printable};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Files and directories
    #[arg(required_unless_present = "staged")]
    paths: Vec<PathBuf>,
    /// A file of findings that were reviewed and are not secrets
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Add what is found now to the baseline
    #[arg(long, requires = "baseline")]
    accept: bool,
    /// Scan what git has staged for the next commit, as it is staged; for a pre-commit hook
    #[arg(long, conflicts_with = "paths")]
    staged: bool,
    /// Also read files that .gitignore excludes
    #[arg(long)]
    no_ignore: bool,
}

#[derive(Serialize)]
struct Report {
    files: u64,
    accepted: u64,
    ignored: u64,
    findings: Vec<Found>,
    unread: Vec<NotRead>,
}

#[derive(Serialize)]
struct Found {
    #[serde(serialize_with = "crate::output::path")]
    path: PathBuf,
    line: usize,
    rule: &'static str,
    name: Option<String>,
    masked: String,
    #[serde(skip)]
    shown: String,
}

#[derive(Serialize)]
struct NotRead {
    #[serde(serialize_with = "crate::output::path")]
    path: PathBuf,
    reason: String,
    named: bool,
}

pub(super) fn run(args: Args, options: &Options) -> Result<Exit, Failure> {
    let mut baseline = match &args.baseline {
        Some(path) if path.exists() || !args.accept => Baseline::load(path)?,
        Some(path) => Baseline::at(path),
        None => Baseline::default(),
    };
    let scanner = Scanner::new(baseline.clone());
    let scanner = if args.no_ignore { scanner.with_ignored_files() } else { scanner };
    let mut scanned = match args.staged {
        true => staged::scan(&scanner)?,
        false => scanner.scan(&args.paths),
    };
    if let (true, Some(path)) = (args.accept, &args.baseline) {
        baseline.accept(&scanned.findings);
        baseline.save(path)?;
        scanned.accepted += scanned.findings.drain(..).count() as u64;
    }
    let exit = exit(&scanned);
    match options.common.format {
        Format::Sarif => print(&format!("{:#}", sarif::document(&scanned)))?,
        _ => emit(options.common.format, &report(scanned), lines)?,
    }
    Ok(exit)
}

/// A named file that was not read is not clean; files of a directory that are no text are listed only.
fn exit(scanned: &ScanReport) -> Exit {
    match (scanned.findings.is_empty(), scanned.unread.iter().any(|unread| unread.named)) {
        (false, _) => Exit::Problems,
        (true, true) => Exit::Partial,
        (true, false) => Exit::Done,
    }
}

fn report(scanned: ScanReport) -> Report {
    let unread = scanned.unread.into_iter();
    Report {
        files: scanned.files,
        accepted: scanned.accepted,
        ignored: scanned.ignored,
        findings: scanned.findings.into_iter().map(found).collect(),
        unread: unread
            .map(|unread| NotRead {
                path: unread.path,
                reason: unread.reason.to_string(),
                named: unread.named,
            })
            .collect(),
    }
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

fn lines(report: &Report) -> String {
    let mut lines: Vec<String> = report.findings.iter().map(|found| printable(&found.shown)).collect();
    let not_read =
        |unread: &NotRead| printable(&format!("not read: {}: {}", unread.path.display(), unread.reason));
    lines.extend(report.unread.iter().map(not_read));
    lines.push(format!(
        "{} files read, {} not read, {} ignored by .gitignore, {} secrets found, {} accepted by the baseline",
        report.files,
        report.unread.len(),
        report.ignored,
        report.findings.len(),
        report.accepted
    ));
    lines.join("\n")
}
