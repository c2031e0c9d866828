//! `cargo xtask ci`, and each of its steps as a command of its own.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::bail;

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
        done.push(Done { name: step.name, report, seconds: start.elapsed().as_secs_f64() });
        if failed && options.fail_fast {
            break;
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_counts_are_stored_by_their_own_step_alone() {
        let renew = Options { renew: true, ..Options::default() };
        let refusing = STEPS.iter().map(|step| step.name).filter(|name| check_options(name, &renew).is_err());
        assert_eq!(refusing.count(), STEPS.len() - 1);
        assert!(check_options("instructions", &renew).is_ok() && check_options("ci", &renew).is_err());
        assert!(check_options("ci", &Options::default()).is_ok());
    }
}
