//! Running cargo and other programs in the workspace's root.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

/// The workspace's root directory.
///
/// From cargo at run time where it runs us: clones that share a build directory share this program too.
pub(crate) fn root() -> PathBuf {
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR"));
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| built_in.to_owned(), PathBuf::from);
    here.parent().map_or(here.clone(), Path::to_owned)
}

/// The cargo that runs us, in the workspace's root.
pub(crate) fn cargo() -> Command {
    program(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
}

/// Any program, in the workspace's root.
pub(crate) fn program(name: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(name);
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// Runs a command with its output going where ours goes.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    println!("$ {}", shown(command));
    let status = command.status().with_context(|| format!("cannot run `{}`", shown(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", shown(command));
    }
    Ok(())
}

/// Runs a command for its standard output; errors go where ours go.
pub(crate) fn capture(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run `{}`", shown(command)))?;
    if !output.status.success() {
        bail!("`{}` failed ({})", shown(command), output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{}` printed no text", shown(command)))
}

/// Runs a command for its standard error, where some programs report.
pub(crate) fn capture_errors(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("cannot run `{}`", shown(command)))?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        bail!("`{}` failed ({}):\n{errors}", shown(command), output.status);
    }
    Ok(errors)
}

/// Cargo's metadata of the workspace and its dependencies, with all features.
pub(crate) fn metadata() -> anyhow::Result<Value> {
    let text = capture(cargo().args(["metadata", "--format-version", "1", "--all-features"]))?;
    serde_json::from_str(&text).context("`cargo metadata` printed no JSON")
}

/// The directory that cargo builds in.
pub(crate) fn target_dir() -> anyhow::Result<PathBuf> {
    let text = capture(cargo().args(["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: Value = serde_json::from_str(&text).context("`cargo metadata` printed no JSON")?;
    metadata["target_directory"]
        .as_str()
        .map(PathBuf::from)
        .context("`cargo metadata` names no target directory")
}

/// The packages of the workspace.
pub(crate) fn workspace_packages(metadata: &Value) -> Vec<&Value> {
    let members = array(&metadata["workspace_members"]);
    array(&metadata["packages"]).iter().filter(|package| members.contains(&package["id"])).collect()
}

/// A JSON array, or nothing.
pub(crate) fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A JSON string, or nothing.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
