//! The files that git has staged, as they are staged: the file on the disk may already be another.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::process::Command;

use secrets_cache::scan::{ScanReport, Scanner};
use zeroize::Zeroizing;

use crate::manage_secrets::failure::Failure;

/// Scans every file that the next commit adds or changes.
pub(super) fn scan(scanner: &Scanner) -> Result<ScanReport, Failure> {
    let mut report = ScanReport::default();
    let top = top()?;
    for path in paths()? {
        // A path alone could begin with the number of a stage.
        let mut object = OsString::from(":0:");
        object.push(&path);
        let content = Zeroizing::new(git([OsString::from("cat-file"), "blob".into(), object])?);
        scanner.scan_content(&top.join(&path), &content, &mut report);
    }
    Ok(report)
}

/// The way from here to the top of the working tree.
fn top() -> Result<PathBuf, Failure> {
    let output = git(["rev-parse", "--show-cdup"].map(OsString::from))?;
    let line = output.strip_suffix(b"\n").unwrap_or(&output);
    Ok(OsString::from_vec(line.to_vec()).into())
}

/// Paths from the top of the working tree, wherever this runs. Submodules are not files.
fn paths() -> Result<Vec<PathBuf>, Failure> {
    let list = [
        "-c",
        "diff.relative=false",
        "diff",
        "--cached",
        "--name-only",
        "--diff-filter=ACMRT",
        "--no-renames",
        "--ignore-submodules",
        "-z",
    ];
    let output = git(list.map(OsString::from))?;
    let names = output.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(|name| OsString::from_vec(name.to_vec()).into()).collect())
}

fn git(arguments: impl IntoIterator<Item = OsString>) -> Result<Vec<u8>, Failure> {
    let failed = |problem: &str| {
        Failure::usage(format!("git {problem}"), "run this in a git repository, with git on PATH")
    };
    let output = Command::new("git").args(arguments).output().map_err(|_| failed("cannot be run"))?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(failed("does not list what is staged")),
    }
}
