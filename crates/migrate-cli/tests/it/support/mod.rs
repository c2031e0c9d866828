//! The program, its environment, and tables for it to work on.

pub(crate) mod pages;
pub(crate) mod place;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use envelope_core::DataKey;
use envelope_core::format::direct_aes;
use serde_json::Value;
use tempfile::TempDir;
pub(crate) use test_support::sql::Sql;

/// `ENCRYPTION_KEY` of the tests.
pub(crate) const DIRECT_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// `KMS_MASTER_KEY` of the tests.
pub(crate) const MASTER_KEY: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

const MIGRATE_TOKENS: &str = env!("CARGO_BIN_EXE_migrate-tokens");

/// Runs one body on SQLite and on PostgreSQL, as two tests named after the promise.
macro_rules! on_each_database {
    ($(async fn $name:ident($db:ident) $body:block)+) => {
        $(mod $name {
            #[allow(unused_imports, reason = "not every body needs what its module imports")]
            use super::*;

            async fn holds($db: crate::support::Sql) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                holds(crate::support::Sql::sqlite().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgresql() {
                let database = test_support::part!(postgres);
                holds(crate::support::Sql::postgres(database).await).await;
            }
        })+
    };
}

/// `migrate-tokens` with an environment of its own, in a directory of its own.
pub(crate) struct Program {
    environment: BTreeMap<String, String>,
    directory: TempDir,
}

impl Program {
    /// Without any setting.
    pub(crate) fn bare() -> Self {
        let mut program = Self { environment: BTreeMap::new(), directory: tempfile::tempdir().unwrap() };
        let home = program.path().display().to_string();
        for (name, value) in
            [("HOME", home.as_str()), ("AWS_EC2_METADATA_DISABLED", "true"), ("RUST_BACKTRACE", "1")]
        {
            program.set(name, value);
        }
        program
    }

    /// On a database, with `ENCRYPTION_KEY` and a local keyring that exists.
    pub(crate) fn on(db: &Sql) -> Self {
        let mut program = Self::bare();
        program
            .set("DATABASE_URL", db.url())
            .set("ENCRYPTION_KEY", DIRECT_KEY)
            .set("KMS_MASTER_KEY", MASTER_KEY)
            .set("KMS_KEY_ID", "keyring:keyring.json");
        program.run(&["keyring", "init"]).expect(0);
        program
    }

    /// On a database, with a key of an AWS emulator.
    pub(crate) fn on_aws(db: &Sql, endpoint: &str, key: &str) -> Self {
        let mut program = Self::bare();
        program
            .set("DATABASE_URL", db.url())
            .set("ENCRYPTION_KEY", DIRECT_KEY)
            .set("KMS_KEY_ID", key)
            .set("AWS_ENDPOINT_URL", endpoint)
            .set("AWS_REGION", "us-east-1")
            .set("AWS_ACCESS_KEY_ID", "testing")
            .set("AWS_SECRET_ACCESS_KEY", "testing");
        program
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    pub(crate) fn unset(&mut self, name: &str) -> &mut Self {
        self.environment.remove(name);
        self
    }

    /// The directory that it runs in.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        self.environ(Command::new(MIGRATE_TOKENS), args)
    }

    /// Started by another program, given with its arguments.
    pub(crate) fn under(&self, starter: &str, args: &[&str]) -> Command {
        let mut words = starter.split(' ');
        let mut command = Command::new(words.next().unwrap());
        command.args(words).arg(MIGRATE_TOKENS);
        self.environ(command, args)
    }

    pub(crate) fn environ(&self, mut command: Command, args: &[&str]) -> Command {
        command.args(args).env_clear().envs(&self.environment).current_dir(self.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Run {
        Run::of(args, self.command(args).output().unwrap())
    }

    /// Runs with this on standard input.
    pub(crate) fn feed(&self, args: &[&str], input: &str) -> Run {
        feed(self.command(args), args, input)
    }

    /// Runs `manage-secrets` with this on standard input.
    pub(crate) fn secrets(&self, args: &[&str], input: &str) -> Run {
        feed(self.secrets_command(args), args, input)
    }

    pub(crate) fn secrets_command(&self, args: &[&str]) -> Command {
        let mut command = self.environ(Command::new(env!("CARGO_BIN_EXE_manage-secrets")), args);
        command.stdin(Stdio::piped());
        command
    }

    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).spawn().unwrap()
    }

    /// Runs a script of a shell that finds both programs, in this environment; the first failure ends it.
    pub(crate) fn script(&self, script: &str) -> Run {
        let programs = Path::new(env!("CARGO_BIN_EXE_migrate-tokens")).parent().unwrap().display();
        let mut command = Command::new("sh");
        command.args(["-ec", script]).env_clear().envs(&self.environment).current_dir(self.path());
        command.env("PATH", format!("{programs}:/usr/local/bin:/usr/bin:/bin")).stdin(Stdio::null());
        Run::of(&[script], command.output().unwrap())
    }

    /// Runs with `--format json`, expects this exit code, and returns the document.
    #[track_caller]
    pub(crate) fn json(&self, code: i32, args: &[&str]) -> Value {
        self.run(&[args, &["--format", "json"]].concat()).expect(code).document()
    }
}

fn feed(mut command: Command, args: &[&str], input: &str) -> Run {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    // A program that refuses its arguments does not wait for a secret.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    Run::of(args, child.wait_with_output().unwrap())
}

/// The exit code and output of a run.
#[derive(Debug)]
pub(crate) struct Run {
    what: String,
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn of(args: &[&str], output: Output) -> Self {
        Self {
            what: args.join(" "),
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("standard output is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("standard error is UTF-8"),
        }
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        let Self { what, stdout, stderr, .. } = &self;
        assert_eq!(
            self.code,
            Some(code),
            "migrate-tokens {what}\n--- stdout\n{stdout}\n--- stderr\n{stderr}"
        );
        self
    }

    /// The one JSON document on standard output.
    #[track_caller]
    pub(crate) fn document(&self) -> Value {
        let parsed = serde_json::from_str(&self.stdout);
        parsed.unwrap_or_else(|error| panic!("migrate-tokens {}: {error} in {}", self.what, self.stdout))
    }

    #[track_caller]
    pub(crate) fn says(&self, words: &[&str]) -> &Self {
        for word in words {
            let found = self.stderr.contains(word) || self.stdout.contains(word);
            assert!(
                found,
                "migrate-tokens {} does not say {word:?}\n{}{}",
                self.what, self.stdout, self.stderr
            );
        }
        self
    }
}

pub(crate) fn direct_key() -> DataKey {
    DIRECT_KEY.parse().unwrap()
}

pub(crate) fn signal(child: &Child, name: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -s {name} {}", child.id())]).status();
    assert!(sent.unwrap().success());
}

/// Waits until the program has said that it has moved something.
pub(crate) fn wait_for_progress(child: &mut Child) -> BufReader<ChildStderr> {
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("migrated ") {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the program ended without a word of progress");
    }
    lines
}

/// The ARN of a new key of this Region of an AWS emulator.
pub(crate) async fn key_in(moto: &test_support::moto::Moto, region: &str) -> String {
    let kms = aws_sdk_kms::Client::new(&moto.sdk_config(region));
    kms.create_key().send().await.unwrap().key_metadata.unwrap().arn.unwrap()
}

/// vod-tender's table as it is in production, without the column that `schema` adds.
pub(crate) async fn create_vod_tender(db: &Sql) {
    let time = db.either("TIMESTAMPTZ", "TEXT");
    db.execute(&format!(
        "CREATE TABLE oauth_tokens (provider TEXT NOT NULL, channel TEXT NOT NULL DEFAULT '', access_token TEXT, \
         refresh_token TEXT, expires_at {time}, scope TEXT, updated_at {time} DEFAULT CURRENT_TIMESTAMP, \
         encryption_version INTEGER DEFAULT 0, encryption_key_id TEXT, PRIMARY KEY (provider, channel))"
    ))
    .await;
}

/// A row of `twitch` as vod-tender wrote it, readable or in direct AES.
pub(crate) async fn insert_vod(db: &Sql, channel: &str, version: i32, access: &str, refresh: &str) {
    let stored = |token: &str| match version {
        1 => direct_aes::seal(&direct_key(), token),
        _ => token.to_owned(),
    };
    db.insert(
        "oauth_tokens",
        &[
            ("provider", Some("twitch")),
            ("channel", Some(channel)),
            ("access_token", Some(&stored(access))),
            ("refresh_token", Some(&stored(refresh))),
            ("encryption_version::integer", Some(&version.to_string())),
        ],
    )
    .await;
}

/// Rows `channel-000`, … of versions 0 and 1 in turn, with tokens named after them; and the column that `schema` adds.
pub(crate) async fn fill(db: &Sql, rows: usize) {
    create_vod_tender(db).await;
    db.execute("ALTER TABLE oauth_tokens ADD COLUMN encryption_method TEXT").await;
    for number in 0..rows {
        let version = i32::try_from(number % 2).unwrap();
        insert_vod(db, &channel(number), version, &format!("access {number}"), &format!("refresh {number}"))
            .await;
    }
}

pub(crate) fn channel(number: usize) -> String {
    format!("channel-{number:03}")
}

/// How many rows are marked with this version.
pub(crate) async fn count_version(db: &Sql, version: i32) -> usize {
    let sql = format!("SELECT CAST(count(*) AS text) FROM oauth_tokens WHERE encryption_version = {version}");
    db.rows(&sql).await[0][0].as_ref().unwrap().parse().unwrap()
}

/// Everything in the table.
pub(crate) async fn stored(db: &Sql) -> Vec<Vec<Option<String>>> {
    db.table("oauth_tokens", &["provider", "channel", "access_token", "refresh_token", "encryption_version"])
        .await
}
