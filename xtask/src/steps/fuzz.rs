//! `cargo xtask fuzz`: every parser against random inputs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context;

use crate::cargo::{capture, cargo, program, root, run as run_command, target_dir};
use crate::options::Options;
use crate::report::{PartOutcome, Report};

const VERSION: &str = "0.13.2";
/// The part: cargo-fuzz, and a compiler that takes the sanitizer's flags.
const FUZZING: &str = "fuzzing";

/// The time for each target when the command is called by itself, and as a step of `ci`.
const SECONDS: u32 = 60;
const SECONDS_IN_CI: u32 = 3;

pub(crate) fn run(options: &Options) -> anyhow::Result<Report> {
    let seconds = if options.all_steps { SECONDS_IN_CI } else { SECONDS };
    let part = |outcome| vec![PartOutcome { name: FUZZING.to_owned(), outcome }];
    let fuzz = match prepare() {
        Ok(fuzz) => fuzz,
        Err(error) => {
            let reason = format!("{error:#}");
            println!("not run: {FUZZING}: {reason}");
            return Ok(Report { parts: part(Err(reason)), ..Report::default() });
        }
    };
    let failed: Vec<String> =
        fuzz.targets.iter().filter(|target| fuzz.run(target, seconds).is_err()).cloned().collect();
    let failure = (!failed.is_empty()).then(|| format!("findings in {}", failed.join(", ")));
    let how = format!("cargo-fuzz {VERSION}, {} targets for {seconds} s each", fuzz.targets.len());
    Ok(Report { failure, parts: part(Ok(how)), ..Report::default() })
}

struct Fuzz {
    program: PathBuf,
    directory: PathBuf,
    target_dir: PathBuf,
    targets: Vec<String>,
}

/// Finds or installs cargo-fuzz and builds the targets, so that a later failure is a finding.
fn prepare() -> anyhow::Result<Fuzz> {
    let target_dir = target_dir()?.join("fuzz");
    let directory = root().join("crates/envelope-core/fuzz");
    let program = find_or_install(&target_dir)?;
    let mut fuzz = Fuzz { program, directory, target_dir, targets: Vec::new() };
    let listed = capture(fuzz.command("list").arg("--fuzz-dir").arg(&fuzz.directory))?;
    fuzz.targets = listed.split_whitespace().map(str::to_owned).collect();
    let mut build = fuzz.command("build");
    build.arg("--fuzz-dir").arg(&fuzz.directory).arg("--target-dir").arg(&fuzz.target_dir);
    run_command(&mut build).context("the targets do not build with this toolchain")?;
    Ok(fuzz)
}

impl Fuzz {
    fn command(&self, verb: &str) -> std::process::Command {
        let mut command = program(&self.program);
        // The sanitizer's flags are unstable ones; the pinned compiler accepts them when asked to.
        command.env("RUSTC_BOOTSTRAP", "1").args(["fuzz", verb]);
        command
    }

    fn run(&self, target: &str, seconds: u32) -> anyhow::Result<()> {
        let corpus = self.target_dir.join("corpus").join(target);
        fs::create_dir_all(&corpus).with_context(|| format!("cannot create {}", corpus.display()))?;
        let mut command = self.command("run");
        command.arg("--fuzz-dir").arg(&self.directory).arg("--target-dir").arg(&self.target_dir);
        command.arg(target).arg(&corpus).arg(self.directory.join("seeds"));
        command.args(["--", &format!("-max_total_time={seconds}"), "-verbosity=0", "-print_final_stats=1"]);
        run_command(&mut command)
    }
}

fn find_or_install(target_dir: &Path) -> anyhow::Result<PathBuf> {
    let tools = target_dir.join(format!("cargo-fuzz-{VERSION}"));
    let built = tools.join("bin/cargo-fuzz");
    for candidate in [Path::new("cargo-fuzz"), &built] {
        let version = program(candidate)
            .args(["fuzz", "--version"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if version.is_ok_and(|status| status.success()) {
            return Ok(candidate.to_owned());
        }
    }
    println!("installing cargo-fuzz {VERSION} below the build directory");
    let mut install = cargo();
    install
        .args(["install", "--quiet", "--locked", "--version", VERSION, "--root"])
        .arg(&tools)
        .arg("cargo-fuzz");
    run_command(&mut install)?;
    Ok(built)
}
