//! `cargo xtask conformance`: the suite for key services against another emulator of AWS KMS.

use std::process::ExitCode;

use anyhow::bail;

use crate::cargo::{cargo, run as run_command};

const USAGE: &str = "usage: cargo xtask conformance --endpoint http://127.0.0.1:PORT";

pub(crate) fn run(args: &[String]) -> anyhow::Result<ExitCode> {
    let endpoint = endpoint(args)?;
    let mut command = cargo();
    command
        .args(["test", "-p", "kms-provider", "--all-features", "--test", "it", "--"])
        .args(["--ignored", "another_emulator", "--test-threads", "1"])
        .env("AWS_ENDPOINT_URL_KMS", endpoint)
        .env("AWS_REGION", "us-east-1")
        // An emulator takes any; nothing of a real account is sent to it.
        .env("AWS_ACCESS_KEY_ID", "testing")
        .env("AWS_SECRET_ACCESS_KEY", "testing")
        .env_remove("AWS_SESSION_TOKEN")
        .env_remove("AWS_PROFILE");
    run_command(&mut command).map(|()| ExitCode::SUCCESS)
}

fn endpoint(args: &[String]) -> anyhow::Result<&str> {
    let endpoint = match args {
        [flag, url] if flag == "--endpoint" => Some(url.as_str()),
        [only] => only.strip_prefix("--endpoint="),
        _ => None,
    };
    match endpoint {
        Some(url) if url.starts_with("http://") || url.starts_with("https://") => Ok(url),
        _ => bail!(USAGE),
    }
}

#[cfg(test)]
mod tests {
    use super::endpoint;

    #[test]
    fn the_endpoint_is_given_in_either_spelling_and_is_an_address() {
        let given = |args: &[&str]| {
            let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
            endpoint(&args).map(ToOwned::to_owned).ok()
        };
        let url = Some("http://127.0.0.1:4566".to_owned());
        assert_eq!(given(&["--endpoint", "http://127.0.0.1:4566"]), url);
        assert_eq!(given(&["--endpoint=http://127.0.0.1:4566"]), url);
        for wrong in [&[][..], &["--endpoint"], &["--endpoint", "127.0.0.1"], &["http://127.0.0.1:4566"]] {
            assert_eq!(given(wrong), None, "{wrong:?}");
        }
    }
}
