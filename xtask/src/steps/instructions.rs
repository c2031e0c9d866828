//! `cargo xtask instructions`: the instructions that sealing and opening a value take, against those that were stored.
//!
//! Times differ from run to run, instructions hardly do. Valgrind counts them on a processor of its own making, which has the same
//! instructions wherever the real one has AES and AVX2.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::cargo::{capture_errors, cargo, program, root, run as run_command, target_dir};
use crate::options::Options;
use crate::report::{PartOutcome, Report, Tally};
use crate::tools;

/// The part: the program that counts.
const VALGRIND: &str = "valgrind";

const STORED: &str = "crates/envelope-core/examples/hot_paths/instructions.json";

/// What is counted: a verb and a version of the envelope.
const PATHS: [(&str, &str); 4] = [("seal", "v2"), ("open", "v2"), ("seal", "v3"), ("open", "v3")];

/// Each path is run so often and once more so often: the difference leaves out the start of the program.
const FEWER: u64 = 200;
const MORE: u64 = 1_200;

/// What a count may differ by without a word, in percent.
const TOLERANCE: u64 = 5;

/// The instructions of one call, by path.
type Counts = BTreeMap<String, u64>;

pub(crate) fn run(options: &Options) -> anyhow::Result<Report> {
    let version = match available() {
        Ok(version) => version,
        Err(reason) => return Ok(not_counted(reason, options.renew)),
    };
    let counts = count()?;
    if options.renew {
        let text = serde_json::to_string_pretty(&counts).context("the counts make no JSON")?;
        fs::write(root().join(STORED), text + "\n").with_context(|| format!("cannot write {STORED}"))?;
        println!("wrote {STORED}");
    }
    let differences = differences(&counts, &stored()?);
    let failed = differences.len();
    let failure = (failed > 0).then(|| {
        format!(
            "{}: where that is meant, `cargo xtask instructions --renew` stores the new counts",
            differences.join("; ")
        )
    });
    let tally = Tally { passed: counts.len().saturating_sub(failed), failed, ignored: 0 };
    Ok(Report { failure, tally, failed_tests: differences, parts: part(Ok(version)), ..Report::default() })
}

/// Where nothing can be counted, the step passes, unless new counts are to be stored.
fn not_counted(reason: String, renew: bool) -> Report {
    println!("not run: {VALGRIND}: {reason}");
    let failure = renew.then(|| format!("no counts to store: {VALGRIND}: {reason}"));
    Report { failure, parts: part(Err(reason)), ..Report::default() }
}

fn part(outcome: Result<String, String>) -> Vec<PartOutcome> {
    vec![PartOutcome { name: VALGRIND.to_owned(), outcome }]
}

/// The version of valgrind, or why it does not count here.
fn available() -> Result<String, String> {
    let version = tools::valgrind()?;
    if cfg!(not(all(target_arch = "x86_64", target_os = "linux"))) {
        return Err("the counts are of Linux on x86-64".to_owned());
    }
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has = |name: &str| processor.split_whitespace().any(|word| word == name);
    if has("aes") && has("avx2") { Ok(version) } else { Err("the processor lacks AES or AVX2".to_owned()) }
}

fn count() -> anyhow::Result<Counts> {
    run_command(cargo().args(["build", "--release", "-p", "envelope-core", "--example", "hot_paths"]))?;
    let directory = target_dir()?;
    let example = directory.join("release/examples/hot_paths");
    let out = directory.join("xtask");
    fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    let mut counts = Counts::new();
    for (verb, version) in PATHS {
        let once = |times| instructions(&example, &out, verb, version, times);
        let count = once(MORE)?.saturating_sub(once(FEWER)?) / (MORE - FEWER);
        println!("{verb} {version}: {count} instructions");
        counts.insert(format!("{verb} {version}"), count);
    }
    Ok(counts)
}

/// The instructions of a whole run.
fn instructions(example: &Path, out: &Path, verb: &str, version: &str, times: u64) -> anyhow::Result<u64> {
    let mut command = program(VALGRIND);
    let file = out.join("callgrind.out");
    command.args(["--tool=callgrind", &format!("--callgrind-out-file={}", file.display())]);
    let report = capture_errors(command.arg(example).args([verb, version, &times.to_string()]))?;
    collected(&report).with_context(|| format!("callgrind reports no count:\n{report}"))
}

/// The count in callgrind's closing words.
fn collected(report: &str) -> Option<u64> {
    let (_, count) = report.lines().find_map(|line| line.split_once("Collected : "))?;
    count.trim().parse().ok()
}

fn stored() -> anyhow::Result<Counts> {
    let text = fs::read_to_string(root().join(STORED)).with_context(|| format!("cannot read {STORED}"))?;
    serde_json::from_str(&text).with_context(|| format!("{STORED} is no object of counts"))
}

/// A sentence for each path whose count is further than the tolerance from the stored one.
fn differences(counts: &Counts, stored: &Counts) -> Vec<String> {
    let differs = |(path, count): (&String, &u64)| match stored.get(path) {
        Some(before) if count.abs_diff(*before) * 100 <= before * TOLERANCE => None,
        Some(before) => Some(format!("{path} takes {count} instructions, and took {before}")),
        None => Some(format!("{path} takes {count} instructions, and has no stored count")),
    };
    counts.iter().filter_map(differs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(pairs: &[(&str, u64)]) -> Counts {
        pairs.iter().map(|(path, count)| ((*path).to_owned(), *count)).collect()
    }

    #[test]
    fn a_count_may_differ_by_five_percent_either_way_and_no_more() {
        let stored = counts(&[("seal v2", 1_000)]);
        for (count, differs) in [(950, false), (1_050, false), (949, true), (1_051, true), (0, true)] {
            assert_eq!(!differences(&counts(&[("seal v2", count)]), &stored).is_empty(), differs, "{count}");
        }
        assert_eq!(differences(&counts(&[("open v2", 1)]), &stored).len(), 1);
    }

    #[test]
    fn new_counts_are_never_silently_left_out() {
        for renew in [true, false] {
            let report = not_counted("valgrind is not installed".to_owned(), renew);
            assert_eq!(report.failure.is_some(), renew);
            assert!(report.parts.iter().all(|part| part.name == VALGRIND && part.outcome.is_err()));
        }
    }

    #[test]
    fn the_count_is_read_from_the_closing_words() {
        assert_eq!(collected("==1== Events    : Ir\n==1== Collected : 123456\n==1== \n"), Some(123_456));
        assert_eq!(collected("==1== valgrind: the 'impossible' happened\n"), None);
    }
}
