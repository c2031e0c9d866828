//! A place where secrets move from a `.env` into a store.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use test_support::moto::Moto;

/// A directory for a `.env` and a store, and `manage-secrets` in it.
pub(crate) struct Place {
    directory: tempfile::TempDir,
    pub(crate) moto: Option<Moto>,
    prefix: String,
}

impl Place {
    pub(crate) fn new(moto: Option<Moto>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let prefix = format!("{}/", directory.path().file_name().unwrap().to_string_lossy());
        Self { directory, moto, prefix }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_manage-secrets"));
        command.current_dir(self.path()).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.env("KMS_MASTER_KEY", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=");
        match &self.moto {
            Some(moto) => command
                .env("AWS_ENDPOINT_URL", moto.endpoint())
                .envs([
                    ("AWS_REGION", "eu-west-1"),
                    ("AWS_ACCESS_KEY_ID", "x"),
                    ("AWS_SECRET_ACCESS_KEY", "y"),
                ])
                .args(["--prefix", &self.prefix]),
            None if arguments.contains(&"--source") => &mut command,
            None => command.args(["--source", "local:store.db"]),
        };
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self.command(arguments).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str], exit: i32) -> Value {
        let output = self.run(&[arguments, &["--format", "json"]].concat(), "");
        assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// The length of a list in a report.
pub(crate) fn count(report: &Value, list: &str) -> usize {
    report[list].as_array().unwrap().len()
}
