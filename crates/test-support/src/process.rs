//! Running a program to its end, with its output in the error when it fails.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::availability::Unavailable;

/// Runs a command and returns its standard output.
pub(crate) async fn output(command: &mut Command, limit: Duration) -> Result<String, Unavailable> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(limit, command.output())
        .await
        .map_err(|_| Unavailable::new(format!("{program} took more than {} s", limit.as_secs())))?
        .map_err(|error| Unavailable::while_doing(&format!("cannot run {program}"), error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(Unavailable::new(format!("{program} failed ({}): {}", output.status, tail(&stderr))))
}

/// A program on `PATH`.
pub(crate) fn on_path(program: impl AsRef<OsStr>) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|directory| directory.join(program.as_ref()))
        .find(|candidate| candidate.is_file())
}

/// The end of a program's log, for a one-line error.
pub(crate) fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(5)..].join("; ")
}

/// A loopback port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16, Unavailable> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| Unavailable::while_doing("no free loopback port", error))
}
