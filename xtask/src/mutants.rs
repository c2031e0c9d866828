//! `cargo xtask mutants`: changes the code in small ways, and names the changes that no test notices.

use std::process::ExitCode;

use anyhow::bail;

use crate::cargo::{capture, cargo, run as run_command};

/// A part of the code, with the tests that have to notice its changes.
struct Part {
    name: &'static str,
    package: &'static str,
    files: &'static [&'static str],
    /// For `cargo test`.
    tests: &'static [&'static str],
}

const PARTS: [Part; 3] = [
    Part {
        name: "core",
        package: "envelope-core",
        files: &["crates/envelope-core/src/**/*.rs"],
        tests: &["--lib", "--tests"],
    },
    Part {
        name: "cache",
        package: "kms-provider",
        files: &["crates/kms-provider/src/caching/*.rs", "crates/kms-provider/src/reuse/*.rs"],
        tests: &["--lib", "--test", "it", "caching", "reuse"],
    },
    Part {
        name: "floor",
        package: "token-store",
        files: &["crates/token-store/src/floor.rs"],
        tests: &["--lib", "floor"],
    },
];

pub(crate) fn run(args: &[String]) -> anyhow::Result<ExitCode> {
    let (part, files) = chosen(args)?;
    if capture(cargo().args(["mutants", "--version"])).is_err() {
        bail!("cargo-mutants is not installed: `cargo install cargo-mutants` does that");
    }
    let mut command = cargo();
    command.args(["mutants", "--package", part.package, "--all-features", "--jobs", "1"]);
    let own = part.files.iter().map(|file| (*file).to_owned());
    let files: Vec<String> = if files.is_empty() { own.collect() } else { files.to_vec() };
    for file in &files {
        command.args(["--file", file]);
    }
    command.args(["--output", "target/mutants", "--"]).args(part.tests);
    run_command(&mut command).map(|()| ExitCode::SUCCESS)
}

/// A part by its name, and the files of it that are asked for.
fn chosen(args: &[String]) -> anyhow::Result<(&'static Part, &[String])> {
    let (name, files) = args.split_first().map_or(("", args), |(name, files)| (name.as_str(), files));
    match PARTS.iter().find(|part| part.name == name) {
        Some(part) => Ok((part, files)),
        None => bail!("usage: cargo xtask mutants core|cache|floor [FILE…]"),
    }
}
