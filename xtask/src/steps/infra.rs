//! `cargo xtask infra`: Terraform modules, policies, alarms, dashboards, manifests and runbooks.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::Instant;

use super::test::Programs;
use crate::cargo::program;
use crate::options::Options;
use crate::report::{NotRun, PartOutcome, Report};
use crate::tools;

/// Parts of this step: Terraform, its AWS provider, Prometheus with promtool, its Alertmanager, kustomize, a container engine,
/// systemd's own checks of its units, and the checks' Python packages.
const TERRAFORM: &str = "terraform";
const PROVIDER: &str = "terraform-provider";
const PROMETHEUS: &str = "prometheus";
const ALERTMANAGER: &str = "alertmanager";
const KUSTOMIZE: &str = "kustomize";
const DOCKER: &str = "docker";
const PYTHON: &str = "python";
const SYSTEMD: &str = "systemd";

/// The exit code of `prepare.py` if a download failed; this is no finding.
const NOT_FETCHED: i32 = 3;

/// A script below `infra/checks/`.
struct Check {
    name: &'static str,
    script: &'static str,
    args: &'static [&'static str],
    /// Programs of the workspace that are added to the arguments, each as `--program PATH`.
    programs: &'static [&'static str],
    /// Parts without which it cannot run.
    needs: &'static [&'static str],
}

const fn check(name: &'static str, script: &'static str, needs: &'static [&'static str]) -> Check {
    Check { name, script, args: &[], programs: &[], needs }
}

/// Those that take long come first, because some run side by side. None reads what another one writes.
const CHECKS: [Check; 21] = [
    check("rehearsal", "rehearsal.py", &[TERRAFORM, PROVIDER, PYTHON]),
    Check {
        programs: &["migrate-tokens", "example-service"],
        ..check("dashboard", "dashboard_live.py", &[PROMETHEUS])
    },
    Check {
        programs: &["migrate-tokens", "manage-secrets", "decide-iam"],
        ..check("apply", "apply_moto.py", &[TERRAFORM, PROVIDER, PYTHON])
    },
    check("modules", "terraform_test.py", &[TERRAFORM, PROVIDER, PYTHON]),
    check("scan", "checkov_scan.py", &[KUSTOMIZE, PYTHON]),
    check("alerts", "prometheus_rules.py", &[PROMETHEUS, PYTHON]),
    check("alerts-live", "alerts_live.py", &[PROMETHEUS, PYTHON]),
    check("inhibition", "alertmanager_live.py", &[ALERTMANAGER, PYTHON]),
    Check { programs: &["example-service", "migrate-tokens"], ..check("emf", "emf_lines.py", &[]) },
    Check {
        programs: &["migrate-tokens", "manage-secrets", "tokenseal-agent"],
        ..check("image", "container_image.py", &[DOCKER])
    },
    Check {
        programs: &["migrate-tokens", "manage-secrets"],
        ..check("runbooks", "runbooks.py", &[PROMETHEUS, KUSTOMIZE, PYTHON])
    },
    Check { programs: &["tokenseal-agent"], ..check("systemd", "systemd_units.py", &[SYSTEMD]) },
    check("workflows", "workflows.py", &[PYTHON]),
    check("formatting", "terraform_format.py", &[TERRAFORM]),
    Check { args: &["--provider-free"], ..check("documents", "terraform_test.py", &[TERRAFORM]) },
    check("arguments", "argument_names.py", &[PYTHON]),
    check("policies", "policies.py", &[TERRAFORM, PYTHON]),
    Check { programs: &["decide-iam"], ..check("decisions", "decisions.py", &[TERRAFORM, PYTHON]) },
    check("openbao", "openbao_policies.py", &[TERRAFORM, PYTHON]),
    check("filters", "filter_patterns.py", &[TERRAFORM]),
    Check {
        programs: &["migrate-tokens"],
        ..check("manifests", "kubernetes_schemas.py", &[KUSTOMIZE, PYTHON])
    },
];

/// How a check ended.
enum Ending {
    Passed(String),
    Failed(String),
    NotRun { part: &'static str, reason: String },
}

struct Done {
    name: &'static str,
    ending: Ending,
    seconds: f64,
}

type Parts = BTreeMap<&'static str, Result<String, String>>;

pub(crate) fn run(_options: &Options) -> anyhow::Result<Report> {
    let programs = Programs::build()?;
    let prepared = prepare();
    let parts: Parts = [
        (TERRAFORM, tools::terraform()),
        (PROVIDER, provider()),
        (PROMETHEUS, tools::prometheus()),
        (ALERTMANAGER, tools::alertmanager()),
        (KUSTOMIZE, tools::kustomize()),
        (DOCKER, tools::container_engine()),
        (PYTHON, prepared.ending.as_part()),
        (SYSTEMD, systemd()),
    ]
    .into();
    let mut done = run_all(&parts, &programs);
    done.insert(0, prepared);
    print_table(&done);
    Ok(report(done, parts))
}

impl Ending {
    /// A check that makes a part: its output says how, or why not.
    fn as_part(&self) -> Result<String, String> {
        match self {
            Self::Passed(how) => Ok(how.clone()),
            Self::Failed(reason) | Self::NotRun { reason, .. } => Err(reason.clone()),
        }
    }
}

/// Looks for the AWS provider, which no package registry has.
fn provider() -> Result<String, String> {
    tools::terraform()?;
    let mut look = python3("prepare.py");
    look.arg("--provider");
    judge(run_script(look)).0.as_part()
}

fn systemd() -> Result<String, String> {
    let said = Command::new("systemd-analyze").arg("--version").output();
    let said = said.map_err(|error| format!("systemd-analyze cannot be run: {error}"))?;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    text.lines().next().map(ToOwned::to_owned).ok_or_else(|| "systemd-analyze says nothing".to_owned())
}

/// Fetches the checks' packages from PyPI. If that fails, the checks that need them do not run.
fn prepare() -> Done {
    println!("fetching what is missing below target/infra");
    let start = Instant::now();
    let (ending, text) = match run_script(python3("prepare.py")) {
        Ok(said) if said.code == Some(NOT_FETCHED) => {
            (Ending::NotRun { part: PYTHON, reason: last_line(&said.stdout) }, said.text())
        }
        outcome => judge(outcome),
    };
    println!("{}", text.trim_end());
    Done { name: "prepare", ending, seconds: start.elapsed().as_secs_f64() }
}

/// Runs the checks, one more at a time than there are processors: the longest mostly waits.
fn run_all(parts: &Parts, programs: &Programs) -> Vec<Done> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from) + 1;
    let queue = Mutex::new(CHECKS.iter());
    let done = Mutex::new(Vec::new());
    let next = || queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(check) = next() {
                    let (ended, text) = run_one(check, parts, programs);
                    let mut done = done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    println!("\n-- {} --\n{}", check.name, text.trim_end());
                    done.push(ended);
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|ended| CHECKS.iter().position(|check| check.name == ended.name));
    done
}

/// A check's ending, and its output.
fn run_one(check: &Check, parts: &Parts, programs: &Programs) -> (Done, String) {
    let start = Instant::now();
    let (ending, text) = match missing(check, parts) {
        Some((part, reason)) => {
            let text = format!("not run: {part}: {reason}");
            (Ending::NotRun { part, reason }, text)
        }
        None => command(check, programs).map_or_else(
            |error| (Ending::Failed(format!("{error:#}")), format!("{error:#}")),
            |command| judge(run_script(command)),
        ),
    };
    (Done { name: check.name, ending, seconds: start.elapsed().as_secs_f64() }, text)
}

fn missing(check: &Check, parts: &Parts) -> Option<(&'static str, String)> {
    check.needs.iter().find_map(|part| Some((*part, parts.get(part)?.as_ref().err()?.clone())))
}

fn command(check: &Check, programs: &Programs) -> anyhow::Result<Command> {
    let mut command = python3(check.script);
    command.args(check.args);
    for name in check.programs {
        command.arg("--program").arg(programs.find(name)?);
    }
    Ok(command)
}

fn judge(outcome: Result<Said, String>) -> (Ending, String) {
    match outcome {
        Ok(said) if said.code == Some(0) => (Ending::Passed(last_line(&said.stdout)), said.text()),
        Ok(said) => (Ending::Failed(last_line(&said.text())), said.text()),
        Err(reason) => (Ending::NotRun { part: PYTHON, reason: reason.clone() }, reason),
    }
}

fn python3(script: &str) -> Command {
    let mut command = program("python3");
    command.arg(Path::new("infra/checks").join(script));
    command
}

/// The exit code and the output of a script.
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Said {
    fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// An error is that the script cannot even be started.
fn run_script(mut command: Command) -> Result<Said, String> {
    let output = command.output().map_err(|error| format!("python3 cannot be run: {error}"))?;
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(Said { code: output.status.code(), stdout, stderr })
}

fn last_line(text: &str) -> String {
    text.trim_end().lines().next_back().unwrap_or("it printed nothing").to_owned()
}

fn print_table(done: &[Done]) {
    println!("\n{:<11} | {:<7} | {:>8} | what it says", "check", "result", "time");
    println!("{:-<11}-+-{:-<7}-+-{:->8}-+-{:-<12}", "", "", "", "");
    for Done { name, ending, seconds } in done {
        let (result, said) = match ending {
            Ending::Passed(said) => ("ok", said.clone()),
            Ending::Failed(said) => ("FAILED", said.clone()),
            Ending::NotRun { part, reason } => ("not run", format!("{part}: {reason}")),
        };
        println!("{name:<11} | {result:<7} | {seconds:>6.1} s | {said}");
    }
}

fn report(done: Vec<Done>, parts: Parts) -> Report {
    let mut report = Report::default();
    for Done { name, ending, .. } in done {
        let test = format!("infra {name}");
        match ending {
            Ending::Passed(_) => report.tally.passed += 1,
            Ending::Failed(_) => {
                report.tally.failed += 1;
                report.failed_tests.push(test);
            }
            Ending::NotRun { part, reason } => {
                report.tally.ignored += 1;
                report.not_run.push(NotRun { part: part.to_owned(), test, reason });
            }
        }
    }
    if report.tally.failed > 0 {
        report.failure = Some(format!("{} of its checks failed", report.tally.failed));
    }
    report.parts =
        parts.into_iter().map(|(name, outcome)| PartOutcome { name: name.to_owned(), outcome }).collect();
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(ending: Ending) -> Done {
        Done { name: "apply", ending, seconds: 0.0 }
    }

    #[test]
    fn a_check_that_could_not_run_is_named_and_is_neither_passed_nor_failed() {
        let lacking = Ending::NotRun { part: TERRAFORM, reason: "gone".into() };
        let report = report(vec![ended(lacking)], Parts::from([(TERRAFORM, Err("gone".into()))]));
        assert_eq!((report.tally.passed, report.tally.failed, report.tally.ignored), (0, 0, 1));
        assert_eq!(report.not_run[0].test, "infra apply");
        assert_eq!(report.not_run[0].part, TERRAFORM);
        assert!(report.failure.is_none() && report.parts[0].outcome.is_err());
    }

    #[test]
    fn a_check_that_failed_fails_the_step_whatever_else_passed() {
        let endings = [Ending::Passed("3 passed".into()), Ending::Failed("not there".into())];
        let report = report(endings.into_iter().map(ended).collect(), Parts::new());
        assert_eq!((report.tally.passed, report.tally.failed, report.tally.ignored), (1, 1, 0));
        assert_eq!(report.failed_tests, ["infra apply"]);
        assert!(report.failure.is_some());
    }

    #[test]
    fn a_script_is_judged_by_its_exit_code() {
        let said = |code, stderr: &str| Said { code, stdout: "x: 3 passed\n".into(), stderr: stderr.into() };
        let (passed, _) = judge(Ok(said(Some(0), "a warning")));
        assert!(matches!(passed, Ending::Passed(said) if said == "x: 3 passed"));
        let (failed, _) = judge(Ok(said(Some(1), "not there")));
        assert!(matches!(failed, Ending::Failed(said) if said == "not there"));
        assert!(matches!(judge(Ok(said(None, ""))).0, Ending::Failed(_)));
    }
}
