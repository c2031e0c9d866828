//! An agent in a directory of its own, a database for it, and a client that can also misbehave.

pub(crate) mod client;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
pub(crate) use test_support::on_postgresql_and_sqlite as on_each_database;
pub(crate) use test_support::sql::Sql;
use tokenseal::envelope_core::DataKey;
use tokenseal::kms_provider::Keyring;
use tokenseal::token_store::{Database, Profile, schema};

pub(crate) use self::client::{Answer, Client, Kept};

/// `KMS_MASTER_KEY` of the tests.
pub(crate) const MASTER_KEY: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";
/// A token of a caller.
pub(crate) const TOKEN: &str = "c2l4dHktZm91ciBieXRlcyBvZiByYW5kb21uZXNzIGlzIG1vcmU";

/// Kilobytes by which memory may differ without growing: what allocators keep.
pub(crate) const NOISE: u64 = 24 * 1024;

const PROFILE: &str = r#"
name = "crm"
context = { Application = "crm" }
[[tables]]
name = "oauth_tokens"
key = ["provider", "channel"]
tokens = ["access_token", "refresh_token"]
plain = ["scope"]
[tables.version]
version = "encryption_version"
method = "encryption_method"
key_id = "encryption_key_id"
[[tables]]
name = "users"
key = ["id"]
owner = ["tenant_id"]
tokens = ["email"]
types = { id = "bigint" }
"#;

/// The two tables of the tests' profile.
pub(crate) async fn create_tables(db: &Sql) {
    db.execute(
        "CREATE TABLE oauth_tokens (provider TEXT NOT NULL, channel TEXT NOT NULL, access_token TEXT, refresh_token TEXT, \
         scope TEXT, encryption_version INTEGER DEFAULT 0, encryption_method TEXT, encryption_key_id TEXT, \
         PRIMARY KEY (provider, channel))",
    )
    .await;
    db.execute("CREATE TABLE users (id BIGINT PRIMARY KEY, tenant_id TEXT, email TEXT)").await;
}

/// The profile of the tests with these lines after a line of it.
pub(crate) fn profile_with(line: &str, more: &str) -> String {
    assert!(PROFILE.contains(line));
    PROFILE.replacen(line, &format!("{line}\n{more}"), 1)
}

/// The profile of the tests with rows that are refreshed.
pub(crate) fn lease_profile(more: &str) -> String {
    let refresh =
        "[tables.refresh]\naccess = \"access_token\"\nrefresh = \"refresh_token\"\nexpires_at = \"scope\"";
    profile_with("key_id = \"encryption_key_id\"", &format!("{refresh}\n{more}"))
}

/// The same, with a provider at this address.
pub(crate) fn refresh_profile(token_url: &str) -> String {
    let provider = "client_id = \"the-client\"\nclient_secret = \"PROVIDER_SECRET\"";
    let profile = lease_profile("provider = \"provider\"");
    format!("{profile}[providers.twitch]\ntoken_url = \"{token_url}\"\n{provider}\n")
}

/// The settings of an agent, in a directory of its own.
pub(crate) struct Place {
    environment: BTreeMap<String, String>,
    directory: Arc<TempDir>,
}

impl Place {
    /// On a database with the two tables, with a local keyring.
    pub(crate) async fn on(db: &Sql) -> Self {
        create_tables(db).await;
        let mut place = Self::bare(db);
        let master: DataKey = MASTER_KEY.parse().unwrap();
        Keyring::init(place.path("keyring.json"), &master).unwrap();
        place.set("KMS_MASTER_KEY", MASTER_KEY).set("KMS_KEY_ID", "keyring:keyring.json");
        place
    }

    /// On a database, with a key of an AWS emulator at this address.
    pub(crate) fn on_aws(db: &Sql, endpoint: &str, key: &str) -> Self {
        let mut place = Self::bare(db);
        place
            .set("KMS_KEY_ID", key)
            .set("AWS_ENDPOINT_URL", endpoint)
            .set("AWS_REGION", "us-east-1")
            .set("AWS_ACCESS_KEY_ID", "testing")
            .set("AWS_SECRET_ACCESS_KEY", "testing");
        place
    }

    fn bare(db: &Sql) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let mut place = Self { environment: BTreeMap::new(), directory };
        std::fs::write(place.path("profile.toml"), PROFILE).unwrap();
        let home = place.directory.path().display().to_string();
        let listen = format!("unix:{}", place.path("agent.sock").display());
        let audit = place.path("audit.log").display().to_string();
        for (name, value) in [
            ("HOME", home.as_str()),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("RUST_BACKTRACE", "1"),
            ("DATABASE_URL", db.url()),
            ("TOKEN_PROFILE", "profile.toml"),
            ("AGENT_LISTEN", &listen),
            ("AUDIT_LOG", &audit),
        ] {
            place.set(name, value);
        }
        place
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// Replaces the tests' own profile with another one, and adds its tables to the database.
    pub(crate) async fn describe(&self, db: &Sql, profile: &str) {
        self.write("profile.toml", profile);
        let database = Database::connect(db.url()).await.unwrap();
        schema::migrate(&database, &Profile::from_toml(profile).unwrap()).await.unwrap();
    }

    /// A file in the directory, for its owner alone.
    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    pub(crate) fn policy(&mut self, rules: &str) -> &mut Self {
        let path = self.write("policy.toml", rules);
        self.set("AGENT_POLICY", path.to_str().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The settings for a program in another directory.
    pub(crate) fn variables(&self) -> BTreeMap<String, String> {
        let mut variables = self.environment.clone();
        variables.remove("AUDIT_LOG");
        variables.insert("TOKEN_PROFILE".into(), self.path("profile.toml").display().to_string());
        variables.insert("KMS_KEY_ID".into(), format!("keyring:{}", self.path("keyring.json").display()));
        variables
    }

    pub(crate) fn command(&self) -> Command {
        self.command_under(&[])
    }

    /// Run by another program, which becomes it.
    fn command_under(&self, launcher: &[&str]) -> Command {
        let words = [launcher, &[env!("CARGO_BIN_EXE_tokenseal-agent")]].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command.env_clear().envs(&self.environment).current_dir(self.directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// Runs to its end, and returns the exit code and the output.
    pub(crate) fn refused(&self) -> (Option<i32>, String) {
        let output = self.command().output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Starts with this limit of open files, soft and hard, and waits until it serves.
    pub(crate) fn start_with_files(&self, soft: u32, hard: u32) -> Running {
        let limit = format!("--nofile={soft}:{hard}");
        Running::wait_for(self.command_under(&["/usr/bin/prlimit", &limit]).spawn().unwrap(), self)
    }

    /// Starts, and waits until it serves.
    pub(crate) fn start(&self) -> Running {
        Running::wait_for(self.command().spawn().unwrap(), self)
    }
}

/// An agent that serves; it is killed with this value.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) socket: PathBuf,
    audit: PathBuf,
    /// Kept, because its socket is in it.
    _directory: Arc<TempDir>,
    /// Where it listens, as it says.
    pub(crate) address: String,
}

impl Running {
    fn wait_for(mut child: Child, place: &Place) -> Self {
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        let address = loop {
            let mut line = String::new();
            assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the agent ended: {said}");
            said.push_str(&line);
            if let Some((_, rest)) = line.split_once("serving address=") {
                break rest.trim().trim_matches('"').to_owned();
            }
        };
        // So that it is never held up by a pipe that no one reads.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        let (socket, audit) = (place.path("agent.sock"), place.path("audit.log"));
        Self { child, socket, audit, _directory: place.directory.clone(), address }
    }

    pub(crate) fn client(&self) -> Client {
        Client::unix(&self.socket)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.client().post(path, body)
    }

    /// Waits for an audit event with these members.
    pub(crate) fn wait_for_event(&self, members: &[(&str, &str)]) -> Value {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let found = self
                .events()
                .into_iter()
                .find(|event| members.iter().all(|(name, value)| event[*name] == *value));
            if let Some(event) = found {
                return event;
            }
            assert!(Instant::now() < deadline, "no event {members:?} in {:#?}", self.events());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn events(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.audit).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Kilobytes of memory that it holds.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits for the end, and returns the exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(id: u32, name: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -s {name} {id}")]).status();
    assert!(sent.unwrap().success());
}

/// The row of a channel of twitch.
pub(crate) fn twitch(channel: &str) -> Value {
    json!({ "provider": "twitch", "channel": channel })
}

/// A key of an AWS emulator.
pub(crate) async fn key_in(moto: &test_support::moto::Moto) -> String {
    let kms = aws_sdk_kms::Client::new(&moto.sdk_config("us-east-1"));
    kms.create_key().send().await.unwrap().key_metadata.unwrap().arn.unwrap()
}

/// Lets every user into a directory.
pub(crate) fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
