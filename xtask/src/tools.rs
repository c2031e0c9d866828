//! Programs that a machine has or has not: each with its version, or the reason why it is missing.

use std::process::Stdio;

use crate::cargo::program;

pub(crate) fn terraform() -> Result<String, String> {
    version("terraform", &["version"])
}

/// The server, and promtool next to it.
pub(crate) fn prometheus() -> Result<String, String> {
    version("promtool", &["--version"]).and_then(|_| version("prometheus", &["--version"]))
}

/// Debian's program is named as its package.
pub(crate) fn alertmanager() -> Result<String, String> {
    version("prometheus-alertmanager", &["--version"]).or_else(|_| version("alertmanager", &["--version"]))
}

pub(crate) fn valgrind() -> Result<String, String> {
    version("valgrind", &["--version"])
}

/// The one in kubectl, which runbooks need as well.
pub(crate) fn kustomize() -> Result<String, String> {
    version("kubectl", &["kustomize", "--help"]).map(|_| "the one in kubectl".to_owned())
}

/// An engine that answers, and not only its client.
pub(crate) fn container_engine() -> Result<String, String> {
    version("docker", &["version", "--format", "engine {{.Server.Version}}"])
        .map_err(|_| "no container engine answers".to_owned())
}

fn version(name: &str, args: &[&str]) -> Result<String, String> {
    let output = program(name).args(args).stderr(Stdio::null()).output();
    let output = output.map_err(|_| format!("{name} is not installed"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().next() {
        // Prometheus appends its branch and revision in brackets.
        Some(line) if output.status.success() => Ok(line.split(" (").next().unwrap_or(line).to_owned()),
        _ => Err(format!("`{name} {}` fails", args.join(" "))),
    }
}
