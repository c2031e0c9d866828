//! A place where secrets move from a `.env` into a store.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use test_support::moto::Moto;
use test_support::openbao::{OpenBao, ROOT_TOKEN};

/// The arguments of an import that empties the file.
pub(crate) const STRIP: [&str; 3] = ["import", ".env", "--strip"];
/// `KMS_MASTER_KEY` of every place.
pub(crate) const MASTER_KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

/// A directory for a `.env` and a store, and `manage-secrets` in it.
pub(crate) struct Place {
    directory: tempfile::TempDir,
    pub(crate) moto: Option<Moto>,
    /// The address of an OpenBao, and the source on it.
    bao: Option<(String, String)>,
    prefix: String,
}

impl Place {
    pub(crate) fn new(moto: Option<Moto>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let prefix = format!("{}/", directory.path().file_name().unwrap().to_string_lossy());
        Self { directory, moto, bao: None, prefix }
    }

    /// With a mount of its own on this OpenBao as the source.
    pub(crate) async fn on_openbao(bao: &OpenBao) -> Self {
        let source = format!("vault:{}/app", bao.kv().await);
        Self { bao: Some((bao.address().to_owned(), source)), ..Self::new(None) }
    }

    /// Another directory with the same kind of source; on OpenBao below a path of its own.
    pub(crate) fn another(&self) -> Self {
        let mut place = Self::new(self.moto.clone());
        let own = place.prefix.clone();
        place.bao = self.bao.as_ref().map(|(address, source)| (address.clone(), format!("{source}/{own}")));
        place
    }

    /// The arguments that name the source.
    pub(crate) fn source(&self) -> Vec<String> {
        let words: &[&str] = match (&self.moto, &self.bao) {
            (Some(_), _) => &["--prefix", &self.prefix],
            (None, Some((_, source))) => &["--source", source.trim_end_matches('/')],
            (None, None) => &["--source", "local:store.db"],
        };
        words.iter().map(ToString::to_string).collect()
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_manage-secrets"));
        command.current_dir(self.path()).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.env("KMS_MASTER_KEY", MASTER_KEY);
        if let Some(moto) = &self.moto {
            command.env("AWS_ENDPOINT_URL", moto.endpoint()).envs([
                ("AWS_REGION", "eu-west-1"),
                ("AWS_ACCESS_KEY_ID", "x"),
                ("AWS_SECRET_ACCESS_KEY", "y"),
            ]);
        }
        if let Some((address, _)) = &self.bao {
            command.env("VAULT_ADDR", address).env("VAULT_TOKEN", ROOT_TOKEN);
        }
        if self.moto.is_some() || !arguments.contains(&"--source") {
            command.args(self.source());
        }
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

/// Writes the `.env`.
pub(crate) fn write(place: &Place, text: &str) {
    std::fs::write(place.path().join(".env"), text).unwrap();
}

/// The text of the `.env`.
pub(crate) fn read(place: &Place) -> String {
    std::fs::read_to_string(place.path().join(".env")).unwrap()
}

/// The value that the source has under a name.
pub(crate) fn stored(place: &Place, name: &str) -> Option<String> {
    let output = place.run(&["get", name, "--reveal", "--format", "json"], "");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    output.status.success().then(|| document["value"].as_str().unwrap().to_owned())
}
