//! `cargo xtask aws-live`.

use std::process::ExitCode;

use crate::cargo::{cargo, run as run_command};

const KEY: &str = "KMS_TEST_KEY_ID";

/// Each is one of the ways in which the AWS SDK finds credentials, as variables that have to be set together.
const CREDENTIALS: [&[&str]; 5] = [
    &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"],
    &["AWS_PROFILE"],
    &["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"],
    &["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"],
    &["AWS_CONTAINER_CREDENTIALS_FULL_URI"],
];

pub(crate) fn run(args: &[String]) -> anyhow::Result<ExitCode> {
    let missing = missing(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    if !missing.is_empty() {
        for line in missing {
            eprintln!("not run: {line}");
        }
        return Ok(ExitCode::from(2));
    }
    let mut command = cargo();
    command.args(["test", "--workspace", "--all-features", "--"]).args(["--ignored", "aws_live"]).args(args);
    run_command(&mut command).map(|()| ExitCode::SUCCESS)
}

fn missing(is_set: impl Fn(&str) -> bool) -> Vec<String> {
    let mut missing = Vec::new();
    if !CREDENTIALS.iter().any(|way| way.iter().all(|name| is_set(name))) {
        let ways: Vec<String> = CREDENTIALS.iter().map(|way| way.join(" and ")).collect();
        missing.push(format!("no AWS credentials: set {}", ways.join(", or ")));
    }
    if !is_set(KEY) {
        missing.push(format!("no key: set {KEY} to a symmetric KMS key that the credentials may use"));
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::missing;

    #[test]
    fn credentials_and_a_key_are_both_needed() {
        assert_eq!(missing(|_| false).len(), 2);
        assert_eq!(missing(|name| name == "AWS_PROFILE").len(), 1);
        assert_eq!(missing(|name| name == "AWS_ACCESS_KEY_ID" || name == "KMS_TEST_KEY_ID").len(), 1);
        assert_eq!(missing(|name| name == "AWS_PROFILE" || name == "KMS_TEST_KEY_ID").len(), 0);
    }
}
