//! The closing words of `ci`: steps, parts, tests that did not run, and the count.

use crate::options::Options;
use crate::report::{Done, NotRun, PartOutcome, Tally};

/// Prints the summary, and says whether everything that had to pass did.
pub(crate) fn print(done: &[Done], skipped_steps: &[&str], options: &Options) -> bool {
    print_steps(done, skipped_steps);
    print_parts(done);
    print_tests(done);
    let missing = missing_parts(done, options);
    for part in &missing {
        println!("required, but not run: {part}");
    }
    let (passed, failed, skipped) = count(done, missing.len());
    println!("\n{passed} passed, {failed} failed, {skipped} skipped");
    failed == 0
}

fn print_steps(done: &[Done], skipped_steps: &[&str]) {
    println!("\n{:<12} | {:<6} | {:>8} | disk left", "step", "result", "time");
    println!("{:-<12}-+-{:-<6}-+-{:->8}-+-{:-<9}", "", "", "", "");
    for Done { name, report, seconds, free_gigabytes } in done {
        let result = if report.failure.is_some() { "FAILED" } else { "ok" };
        let free = free_gigabytes.map_or_else(|| "unknown".to_owned(), |free| format!("{free:.0} GB"));
        println!("{name:<12} | {result:<6} | {seconds:>6.1} s | {free:>9}");
    }
    for name in skipped_steps {
        println!("{name:<12} | not reached");
    }
}

fn print_parts(done: &[Done]) {
    let mut parts: Vec<&PartOutcome> = done.iter().flat_map(|step| &step.report.parts).collect();
    // Several steps may need the same one.
    parts.sort_by_key(|part| &part.name);
    parts.dedup_by_key(|part| (&part.name, &part.outcome));
    if parts.is_empty() {
        return;
    }
    println!("\n{:<10} | {:<7} | how, or why not", "part", "");
    println!("{:-<10}-+-{:-<7}-+-{:-<16}", "", "", "");
    for PartOutcome { name, outcome } in parts {
        match outcome {
            Ok(how) => println!("{name:<10} | {:<7} | {how}", "ran"),
            Err(reason) => println!("{name:<10} | {:<7} | {reason}", "not run"),
        }
    }
}

fn print_tests(done: &[Done]) {
    let not_run: Vec<&NotRun> = done.iter().flat_map(|step| &step.report.not_run).collect();
    if !not_run.is_empty() {
        println!("\nnot run:");
    }
    for NotRun { part, test, reason } in not_run {
        println!("  {test} ({part}: {reason})");
    }
    let failed: Vec<&String> = done.iter().flat_map(|step| &step.report.failed_tests).collect();
    if !failed.is_empty() {
        println!("\nfailed:");
    }
    for test in failed {
        println!("  {test}");
    }
    for Done { name, report, .. } in done {
        if let Some(failure) = &report.failure {
            println!("\n{name} failed: {failure}");
        }
    }
}

/// Required parts that did not come up, or that a test had to do without all the same.
fn missing_parts(done: &[Done], options: &Options) -> Vec<String> {
    let ran = |part: &str| {
        let mut outcomes = done.iter().flat_map(|step| &step.report.parts);
        let mut lacking = done.iter().flat_map(|step| &step.report.not_run);
        outcomes.any(|outcome| outcome.name == part && outcome.outcome.is_ok())
            && !lacking.any(|test| test.part == part)
    };
    options.require.iter().filter(|part| !ran(part)).cloned().collect()
}

/// Tests and checks that passed, failed and did not run. A failure outside a test counts as one.
fn count(done: &[Done], missing_parts: usize) -> (usize, usize, usize) {
    let mut tally = Tally::default();
    let mut other_failures = missing_parts;
    for Done { report, .. } in done {
        tally += report.tally;
        if report.failure.is_some() && report.tally.failed == 0 {
            other_failures += 1;
        }
    }
    (tally.passed, tally.failed + other_failures, tally.ignored)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Report;

    fn step(report: Report) -> Done {
        Done { name: "test", report, seconds: 0.0, free_gigabytes: None }
    }

    #[test]
    fn a_required_part_has_to_come_up_and_to_serve_every_test() {
        let options = Options { require: vec!["moto".into()], ..Options::default() };
        let part = |outcome: Result<String, String>| PartOutcome { name: "moto".into(), outcome };
        let lacking = NotRun { part: "moto".into(), test: "it::a".into(), reason: "gone".into() };
        let missing = |parts: Vec<PartOutcome>, not_run: Vec<NotRun>| {
            missing_parts(&[step(Report { parts, not_run, ..Report::default() })], &options)
        };
        assert_eq!(missing(vec![], vec![]), ["moto"]);
        assert_eq!(missing(vec![part(Err("no".into()))], vec![]), ["moto"]);
        assert_eq!(missing(vec![part(Ok("yes".into()))], vec![lacking]), ["moto"]);
        assert!(missing(vec![part(Ok("yes".into()))], vec![]).is_empty());
    }

    #[test]
    fn a_step_that_fails_without_a_failed_test_counts_as_a_failure() {
        let broken = Report { failure: Some("does not compile".into()), ..Report::default() };
        assert_eq!(count(&[step(broken)], 0), (0, 1, 0));
    }

    #[test]
    fn a_required_part_that_did_not_run_counts_as_a_failure() {
        let options = Options { require: vec!["moto".into()], ..Options::default() };
        assert!(!print(&[step(Report::default())], &[], &options));
        assert!(print(&[step(Report::default())], &[], &Options::default()));
    }
}
