//! `cargo xtask infra`: the checks of the Terraform modules, policies, alerts and runbooks, one after the other.

use std::process::ExitCode;

use crate::cargo::{cargo, program, run as run_command};

/// The scripts below `infra/checks/` and their arguments, in the order in which they build on each other.
const CHECKS: [&[&str]; 13] = [
    &["prepare.py"],
    &["terraform_format.py"],
    &["terraform_test.py", "--provider-free"],
    &["terraform_test.py"],
    &["argument_names.py"],
    &["policies.py"],
    &["decisions.py"],
    &["filter_patterns.py"],
    &["apply_moto.py", "--program", "target/debug/migrate-tokens"],
    &["checkov_scan.py"],
    &["prometheus_rules.py"],
    &["kubernetes_schemas.py"],
    &["runbooks.py", "--program", "target/debug/migrate-tokens", "--program", "target/debug/manage-secrets"],
];

pub(crate) fn run() -> anyhow::Result<ExitCode> {
    run_command(cargo().args(["build", "-p", "migrate-cli"]))?;
    let mut failed = Vec::new();
    for check in CHECKS {
        println!("\n== {} ==", check.join(" "));
        let script = format!("infra/checks/{}", check[0]);
        if let Err(error) = run_command(program("python3").arg(&script).args(&check[1..])) {
            failed.push(format!("{error:#}"));
            if check[0] == "prepare.py" {
                break;
            }
        }
    }
    println!("\n{} passed, {} failed", CHECKS.len() - failed.len(), failed.len());
    failed.iter().for_each(|failure| println!("  {failure}"));
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
