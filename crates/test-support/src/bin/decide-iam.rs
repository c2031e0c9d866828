//! Decides by a library of IAM's rules what policies say to a request: `{"policies": […], "request": {…}}`, one a line.
#![expect(clippy::print_stderr, reason = "a program says on standard error what went wrong")]

use std::error::Error;
use std::io::{BufRead, Write};
use std::process::ExitCode;

use iam_rs::{IAMPolicy, IAMRequest, evaluate_policies};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    policies: Vec<IAMPolicy>,
    request: IAMRequest,
}

fn main() -> ExitCode {
    match answer_all() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("decide-iam: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One line for each: `Allow`, `Deny` or `NotApplicable`. The first that is not understood ends it.
fn answer_all() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let question: Question = serde_json::from_str(&line?)?;
        writeln!(out, "{}", evaluate_policies(&question.policies, &question.request)?)?;
        out.flush()?;
    }
    Ok(())
}
