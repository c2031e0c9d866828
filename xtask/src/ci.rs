//! `cargo xtask ci`, and each of its steps as a command of its own.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::bail;

use crate::cargo::{program, target_dir};
use crate::options::Options;
use crate::report::{Done, Report};
use crate::steps::{STEPS, Step};
use crate::summary;

pub(crate) fn run(name: &str, args: &[String]) -> anyhow::Result<ExitCode> {
    let steps: Vec<&Step> = STEPS.iter().filter(|step| name == "ci" || name == step.name).collect();
    if steps.is_empty() {
        bail!("unknown command `{name}`: see `cargo xtask help`");
    }
    let options = Options { all_steps: name == "ci", ..Options::parse(args)? };
    check_options(name, &options)?;
    let done = run_steps(&steps, &options);
    let skipped: Vec<&str> = steps[done.len()..].iter().map(|step| step.name).collect();
    Ok(if summary::print(&done, &skipped, &options) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Refuses what only one step does: in another one, and in a run of all, it would do nothing or too much.
fn check_options(name: &str, options: &Options) -> anyhow::Result<()> {
    if options.renew && name != "instructions" {
        bail!("`--renew` is an option of `cargo xtask instructions` alone");
    }
    Ok(())
}

fn run_steps(steps: &[&Step], options: &Options) -> Vec<Done> {
    let mut done = Vec::new();
    for step in steps {
        println!("\n== {} ==", step.name);
        let start = Instant::now();
        let report = (step.run)(options).unwrap_or_else(|error| Report::failed(&error));
        if let Some(failure) = &report.failure {
            eprintln!("{} failed: {failure}", step.name);
        }
        let failed = report.failure.is_some();
        let seconds = start.elapsed().as_secs_f64();
        done.push(Done { name: step.name, report, seconds, free_gigabytes: free_gigabytes() });
        if failed && options.fail_fast {
            break;
        }
    }
    done
}

/// A full disk fails steps in many ways, and few of them say so.
fn free_gigabytes() -> Option<f64> {
    let said = program("df").args(["-P", "-k"]).arg(target_dir().ok()?).output().ok()?;
    available(&String::from_utf8_lossy(&said.stdout))
}

/// What `df -P -k` says of one file system: a heading, and a line whose fourth word counts kibibytes.
fn available(said: &str) -> Option<f64> {
    let kibibytes: f64 = said.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    Some(kibibytes * 1024.0 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_free_part_of_a_disk_is_in_gigabytes() {
        let said = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/vda 263174212 64113208 31250000 68% /\n";
        assert_eq!(available(said), Some(32.0));
        assert_eq!(available("df: /x: No such file or directory\n"), None);
    }

    #[test]
    fn new_counts_are_stored_by_their_own_step_alone() {
        let renew = Options { renew: true, ..Options::default() };
        let refusing = STEPS.iter().map(|step| step.name).filter(|name| check_options(name, &renew).is_err());
        assert_eq!(refusing.count(), STEPS.len() - 1);
        assert!(check_options("instructions", &renew).is_ok() && check_options("ci", &renew).is_err());
        assert!(check_options("ci", &Options::default()).is_ok());
    }
}
