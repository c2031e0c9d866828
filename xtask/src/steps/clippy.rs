//! `cargo xtask clippy`.

use std::process::Command;

use anyhow::bail;
use serde_json::Value;

use crate::cargo::{array, capture, cargo, metadata, run as run_command, text, workspace_packages};
use crate::options::Options;
use crate::peers::MANIFEST as PEERS;
use crate::report::Report;

const DENY_WARNINGS: [&str; 3] = ["--", "-D", "warnings"];

/// Only ever built for tests, with all of its dependencies' features.
const TEST_ONLY: &str = "test-support";

pub(crate) fn run(_options: &Options) -> anyhow::Result<Report> {
    let mut builds = vec![everything()];
    let metadata = metadata()?;
    for package in workspace_packages(&metadata) {
        if text(&package["name"]) != TEST_ONLY {
            builds.extend(each_feature_alone(package));
        }
    }
    // All of them, so that one run shows everything that needs fixing.
    let failures = builds.iter_mut().filter_map(|build| run_command(build.args(DENY_WARNINGS)).err());
    let failures: Vec<String> = failures.chain(check_peers().err()).map(|error| error.to_string()).collect();
    if !failures.is_empty() {
        bail!("{} of {} checks:\n  {}", failures.len(), builds.len() + 1, failures.join("\n  "));
    }
    Ok(Report::default())
}

fn everything() -> Command {
    let mut command = clippy();
    command.args(["--workspace", "--all-targets", "--all-features"]);
    command
}

/// Whether the program that measures other libraries, which is outside the workspace, locks what it depends on. Compiling it
/// takes minutes, and is left to `cargo xtask peers`.
fn check_peers() -> anyhow::Result<()> {
    capture(cargo().args(["metadata", "--format-version", "1", "--locked", "--manifest-path", PEERS]))
        .map(drop)
}

fn each_feature_alone(package: &Value) -> Vec<Command> {
    let features = package["features"].as_object().into_iter().flat_map(|features| features.keys());
    let mut builds = vec![of_package(package)];
    for feature in features {
        let mut build = of_package(package);
        build.args(["--features", feature]);
        builds.push(build);
    }
    builds
}

/// The library and programs without default features: tests may need more than one feature.
fn of_package(package: &Value) -> Command {
    let mut command = clippy();
    command.args(["-p", text(&package["name"]), "--no-default-features", "--bins"]);
    if has_library(package) {
        command.arg("--lib");
    }
    command
}

fn has_library(package: &Value) -> bool {
    array(&package["targets"])
        .iter()
        .any(|target| array(&target["kind"]).iter().any(|kind| matches!(text(kind), "lib" | "proc-macro")))
}

fn clippy() -> Command {
    let mut command = cargo();
    command.args(["clippy", "--quiet"]);
    command
}
