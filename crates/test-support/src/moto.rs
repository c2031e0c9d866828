//! An AWS emulator that shares no code with this project, nor with the one in [`emulator`](crate::emulator).
//!
//! It is the Python package moto, in a virtual environment below the build directory. `cargo xtask test`
//! installs and starts it, and says where by `TOKENSEAL_TEST_MOTO_URL`. A plain `cargo test` starts one for each
//! test process, if it is installed.
//!
//! It answers at most a few hundred calls per second: good for correctness and call counts, never for
//! throughput.

use std::path::PathBuf;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_kms::config::{Credentials, SharedCredentialsProvider};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use crate::availability::{Effort, Unavailable, announced};
use crate::leash::{self, Leash};
use crate::paths::{installation_lock, tool_dir};
use crate::process::{free_port, output};

const DIRECTORY: &str = "moto-5.2.5";
const PACKAGES: [&str; 4] = ["moto==5.2.5", "flask==3.1.3", "flask-cors==6.0.5", "cryptography==50.0.2"];

/// Written last, so that an interrupted installation is not taken for a whole one.
const COMPLETE: &str = "complete";

const INSTALL_LIMIT: Duration = Duration::from_secs(300);
const READY_LIMIT: Duration = Duration::from_secs(60);

static SERVER: OnceCell<Result<Server, Unavailable>> = OnceCell::const_new();

/// A running emulator.
#[derive(Clone, Debug)]
pub struct Moto {
    endpoint: String,
}

impl Moto {
    /// Its address, for `AWS_ENDPOINT_URL`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The Python interpreter of its virtual environment, which has boto3 and cryptography too.
    ///
    /// # Errors
    /// The emulator runs elsewhere, and is not installed here.
    pub async fn python(&self) -> Result<PathBuf, Unavailable> {
        installed(Effort::UseWhatIsThere).await
    }

    /// A configuration for the AWS SDK's clients, with credentials that are as good as any.
    pub fn sdk_config(&self, region: &str) -> SdkConfig {
        sdk_config(&self.endpoint, region)
    }
}

/// A configuration for clients that reach the emulator at this address.
pub(crate) fn sdk_config(endpoint: &str, region: &str) -> SdkConfig {
    let credentials = Credentials::new("testing", "testing", None, None, "test-support");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

/// The emulator as a process of ours.
#[derive(Debug)]
pub struct Server {
    moto: Moto,
    _kept: Option<Leash>,
}

impl Server {
    /// Finds the running emulator, or starts one.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub async fn find(effort: Effort) -> Result<Self, Unavailable> {
        match announced("TOKENSEAL_TEST_MOTO_URL") {
            Some(endpoint) => Ok(Self { moto: Moto { endpoint: endpoint? }, _kept: None }),
            None => Self::start(effort).await,
        }
    }

    /// How to reach it.
    pub fn moto(&self) -> &Moto {
        &self.moto
    }

    /// Its description, for reports.
    pub fn how(&self) -> &str {
        PACKAGES[0]
    }

    async fn start(effort: Effort) -> Result<Self, Unavailable> {
        let python = installed(effort).await?;
        let scratch = tempfile::Builder::new()
            .prefix("tokenseal-moto-")
            .tempdir()
            .map_err(|error| Unavailable::while_doing("cannot make a directory for moto", error))?;
        let port = free_port()?;
        let args = ["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()].map(str::to_owned);
        let mut leash = Leash::start(leash::Server {
            program: &python,
            args: &args,
            signal: "TERM",
            scratch: scratch.keep(),
            account: None,
        })?;
        wait_for_port(port, &mut leash).await?;
        let moto = Moto { endpoint: format!("http://127.0.0.1:{port}") };
        Ok(Self { moto, _kept: Some(leash) })
    }
}

/// The emulator that the tests of this process share.
///
/// # Errors
/// It is neither running nor installed.
pub async fn running() -> Result<Moto, Unavailable> {
    SERVER
        .get_or_init(|| Server::find(Effort::UseWhatIsThere))
        .await
        .as_ref()
        .map(|server| server.moto.clone())
        .map_err(Clone::clone)
}

/// The address of the emulator that the tests of this process share.
///
/// # Panics
/// It is neither running nor installed. A test that should be skipped then says
/// [`part!(moto)`](crate::part) instead.
pub async fn endpoint() -> String {
    running().await.unwrap_or_else(|reason| panic!("{reason}")).endpoint
}

/// The Python interpreter that has moto.
async fn installed(effort: Effort) -> Result<PathBuf, Unavailable> {
    let environment = tool_dir(DIRECTORY);
    let python = environment.join("bin/python");
    if environment.join(COMPLETE).is_file() {
        return Ok(python);
    }
    if effort == Effort::UseWhatIsThere {
        return Err(Unavailable::new("moto is not installed: `cargo xtask test` does that"));
    }
    let _lock = installation_lock(DIRECTORY)?;
    if !environment.join(COMPLETE).is_file() {
        let mut venv = Command::new("python3");
        output(venv.args(["-m", "venv", "--clear"]).arg(&environment), INSTALL_LIMIT).await?;
        let mut pip = Command::new(&python);
        output(pip.args(["-m", "pip", "install", "--quiet"]).args(PACKAGES), INSTALL_LIMIT).await?;
        std::fs::write(environment.join(COMPLETE), "")
            .map_err(|error| Unavailable::while_doing("cannot finish installing moto", error))?;
    }
    Ok(python)
}

async fn wait_for_port(port: u16, leash: &mut Leash) -> Result<(), Unavailable> {
    let deadline = Instant::now() + READY_LIMIT;
    while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        leash.check_alive()?;
        if Instant::now() > deadline {
            return Err(Unavailable::new(format!("moto started but does not answer: {}", leash.log_tail())));
        }
        sleep(Duration::from_millis(25)).await;
    }
    Ok(())
}
