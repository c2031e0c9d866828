//! The project's own commands: `cargo xtask help` lists them.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that talks to people")]

use std::process::ExitCode;

mod api;
mod aws_live;
mod bench;
mod cargo;
mod chaos;
mod ci;
mod conformance;
mod demo;
mod help;
mod man;
mod mutants;
mod options;
mod parts;
mod peers;
mod report;
mod steps;
mod summary;
mod tools;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let args: Vec<String> = args.collect();
    let outcome = match command.as_str() {
        "api" => api::run(),
        "bench" => bench::run(&args),
        "chaos" => chaos::run(&args),
        "demo" => demo::run(&args),
        "man" => man::run(&args),
        "aws-live" => aws_live::run(&args),
        "conformance" => conformance::run(&args),
        "peers" => peers::run(&args),
        "mutants" => mutants::run(&args),
        "help" | "--help" | "-h" | "" => help::run(),
        name => ci::run(name, &args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
