//! A real MariaDB server, shared by the tests of a process, with a database of its own for each test.
//!
//! The server is the first of these that there is:
//!
//! 1. `TOKENSEAL_TEST_MARIADB_URL`, which `cargo xtask test` sets to the server that it started;
//! 2. the machine's own `mariadbd`, started in a temporary directory as an unprivileged user.
//!
//! Nothing uses a MariaDB that already runs on this machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, MySqlConnection};
use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use crate::availability::{Effort, Unavailable, announced};
use crate::database_name::{fresh_name, with_database};
use crate::leash::{self, Account, Leash};
use crate::process::{free_port, on_path, output};
use crate::unprivileged::scratch_dir;

const INSTALL_LIMIT: Duration = Duration::from_secs(120);
const READY_LIMIT: Duration = Duration::from_secs(60);

/// Between asking for a free port and binding it, another process may take it.
const PORT_ATTEMPTS: u32 = 3;

/// `mariadbd` refuses to run as root: the first of these accounts that exists runs it then.
const ACCOUNTS: [&str; 2] = ["mysql", "nobody"];

/// Durability off, because the data is thrown away, and room for tests with many connections. The character set is
/// the one that Debian configures, because the server's own default (`latin1`) stores no other alphabet.
const SETTINGS: [&str; 10] = [
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=0",
    "--innodb-buffer-pool-size=64M",
    "--innodb-log-file-size=64M",
    "--sync-binlog=0",
    "--max-connections=300",
    "--max-allowed-packet=64M",
    "--character-set-server=utf8mb4",
    "--collation-server=utf8mb4_general_ci",
    "--skip-name-resolve",
];

/// A user who may do everything, without a password: the server listens on the loopback interface only.
const USER: &str = "tokenseal";

static SERVER: OnceCell<Result<Server, Unavailable>> = OnceCell::const_new();

/// A running server.
#[derive(Debug)]
pub struct Server {
    admin_url: String,
    how: String,
    _kept: Option<Leash>,
}

impl Server {
    /// Finds or starts a server.
    ///
    /// # Errors
    /// MariaDB is not installed, or does not start.
    pub async fn find(_effort: Effort) -> Result<Self, Unavailable> {
        match announced("TOKENSEAL_TEST_MARIADB_URL") {
            Some(url) => Self::existing(url?).await,
            None => start_installed().await,
        }
    }

    /// The address of the database that exists from the start, for a user who may create others.
    pub fn admin_url(&self) -> &str {
        &self.admin_url
    }

    /// The kind of server, for reports.
    pub fn how(&self) -> &str {
        &self.how
    }

    async fn existing(url: String) -> Result<Self, Unavailable> {
        MySqlConnection::connect(&url).await.map_err(|error| {
            Unavailable::while_doing("the server of TOKENSEAL_TEST_MARIADB_URL does not answer", error)
        })?;
        Ok(Self { admin_url: url, how: "TOKENSEAL_TEST_MARIADB_URL".to_owned(), _kept: None })
    }
}

/// A database that exists for one test.
#[derive(Debug)]
pub struct TestDatabase {
    admin_url: String,
    name: String,
    url: String,
}

impl TestDatabase {
    /// Its `mysql://` address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its name on the server.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let url = self.admin_url.clone();
        let statement = format!("DROP DATABASE IF EXISTS {}", self.name);
        // A thread, because a drop cannot wait inside the test's own runtime. Best effort: the server may be gone.
        let _ = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let limit = Duration::from_secs(5);
            let _ = runtime.block_on(async { tokio::time::timeout(limit, execute(&url, statement)).await });
            Ok::<_, std::io::Error>(())
        })
        .join();
    }
}

/// A fresh database, named after the hint, on the server that the tests of this process share.
///
/// # Errors
/// There is no server, and none can be started here.
///
/// # Panics
/// The server refuses to create a database.
pub async fn try_database(hint: &str) -> Result<TestDatabase, Unavailable> {
    let server = SERVER.get_or_init(|| Server::find(Effort::UseWhatIsThere)).await;
    let admin_url = server.as_ref().map_err(Clone::clone)?.admin_url.clone();
    let name = fresh_name(hint);
    execute(&admin_url, format!("CREATE DATABASE {name}"))
        .await
        .unwrap_or_else(|error| panic!("cannot create the test database {name}: {error}"));
    let url = with_database(&admin_url, &name);
    Ok(TestDatabase { admin_url, name, url })
}

async fn start_installed() -> Result<Server, Unavailable> {
    let missing = |what: &str| Unavailable::new(format!("no `{what}`: install Debian's mariadb-server"));
    let server = program("mariadbd").ok_or_else(|| missing("mariadbd"))?;
    let install = program("mariadb-install-db").ok_or_else(|| missing("mariadb-install-db"))?;
    let version = output(Command::new(&server).arg("--version"), INSTALL_LIMIT).await?;
    let version = version.split_whitespace().nth(2).unwrap_or("of unknown version").to_owned();
    let mut attempt = 1;
    loop {
        match start_once(&server, &install).await {
            Ok((leash, port)) => {
                let how = format!("local programs, MariaDB {version}");
                return Ok(Server { admin_url: loopback_url(port), how, _kept: Some(leash) });
            }
            Err(reason) if attempt == PORT_ATTEMPTS => return Err(reason),
            Err(_) => attempt += 1,
        }
    }
}

async fn start_once(server: &Path, install: &Path) -> Result<(Leash, u16), Unavailable> {
    let (scratch, account) = scratch_dir("tokenseal-mariadb-", &ACCOUNTS)?;
    let prepared = prepare(install, &scratch, account).await;
    prepared.inspect_err(|_| drop(std::fs::remove_dir_all(&scratch)))?;
    let port = free_port()?;
    let mut leash = Leash::start(leash::Server {
        program: server,
        args: &server_args(&scratch, port),
        signal: "TERM",
        scratch,
        account,
    })?;
    wait_until_ready(&loopback_url(port), &mut leash).await?;
    Ok((leash, port))
}

/// Makes the data directory, and the statements that create the user when the server starts.
async fn prepare(install: &Path, scratch: &Path, account: Option<Account>) -> Result<(), Unavailable> {
    let failed = |error| Unavailable::while_doing("cannot prepare MariaDB", error);
    let user = format!("CREATE USER '{USER}'@'%'; GRANT ALL ON *.* TO '{USER}'@'%' WITH GRANT OPTION;");
    // One statement a line, as `--init-file` reads them.
    std::fs::write(init_file(scratch), user.replace("; ", ";\n")).map_err(failed)?;
    let mut command = Command::new(install);
    command
        .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
        .arg(format!("--datadir={}", data_dir(scratch).display()))
        // The current directory may be closed to the other user.
        .current_dir(scratch);
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
    output(&mut command, INSTALL_LIMIT).await.map(drop)
}

fn server_args(scratch: &Path, port: u16) -> Vec<String> {
    let fixed = [
        // First, or the server does not take it.
        "--no-defaults".to_owned(),
        format!("--datadir={}", data_dir(scratch).display()),
        format!("--tmpdir={}", scratch.display()),
        format!("--socket={}", scratch.join("socket").display()),
        format!("--pid-file={}", scratch.join("pid").display()),
        format!("--init-file={}", init_file(scratch).display()),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--port={port}"),
    ];
    fixed.into_iter().chain(SETTINGS.map(str::to_owned)).collect()
}

fn data_dir(scratch: &Path) -> PathBuf {
    scratch.join("data")
}

fn init_file(scratch: &Path) -> PathBuf {
    scratch.join("init.sql")
}

/// Debian installs the server in `/usr/sbin`, which is not on every user's `PATH`.
fn program(name: &str) -> Option<PathBuf> {
    let installed = Path::new("/usr/sbin").join(name);
    on_path(name).or_else(|| installed.is_file().then_some(installed))
}

async fn wait_until_ready(url: &str, leash: &mut Leash) -> Result<(), Unavailable> {
    let deadline = Instant::now() + READY_LIMIT;
    loop {
        leash.check_alive()?;
        match execute(url, "SELECT 1".to_owned()).await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => {
                return Err(Unavailable::while_doing("MariaDB started but does not answer", error));
            }
            Err(_) => sleep(Duration::from_millis(25)).await,
        }
    }
}

/// Without TLS, since none is set up on the loopback interface.
fn loopback_url(port: u16) -> String {
    format!("mysql://{USER}@127.0.0.1:{port}/mysql?ssl-mode=DISABLED")
}

async fn execute(url: &str, statement: String) -> sqlx::Result<()> {
    let mut connection = MySqlConnection::connect(url).await?;
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
    connection.close().await
}
