//! A PostgreSQL server started from programs on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as StdCommand;
use std::time::Duration;

use tokio::process::Command;

use super::database::{SETTINGS, USER, loopback_url, wait_until_ready};
use crate::availability::Unavailable;
use crate::leash::{self, Account, Leash};
use crate::process::{free_port, on_path, output};
use crate::unprivileged::scratch_dir;

const INITDB_LIMIT: Duration = Duration::from_secs(60);

/// Between asking for a free port and binding it, another process may take it.
const PORT_ATTEMPTS: u32 = 3;

/// PostgreSQL refuses to run as root: the first of these accounts that exists runs it then.
pub(super) const ACCOUNTS: [&str; 2] = ["postgres", "nobody"];

/// A running server; it stops when this is dropped.
pub(super) struct LocalServer {
    pub(super) admin_url: String,
    pub(super) how: String,
    pub(super) leash: Leash,
}

/// Starts the installed PostgreSQL, of any version.
pub(super) async fn start_installed() -> Result<LocalServer, Unavailable> {
    let bin = bin_dir().ok_or_else(|| {
        Unavailable::new(
            "no `initdb` found by pg_config, in /usr/lib/postgresql or on PATH: install PostgreSQL",
        )
    })?;
    start(&bin, "local programs").await
}

/// The directory of the installed server programs.
pub(crate) fn bin_dir() -> Option<PathBuf> {
    let configured = StdCommand::new("pg_config")
        .arg("--bindir")
        .output()
        .ok()
        .map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let on_path = on_path("initdb").and_then(|path| path.parent().map(Path::to_owned));
    let candidates = configured.into_iter().chain(debian_bin_dirs()).chain(on_path);
    candidates.into_iter().find(|bin| bin.join("initdb").is_file() && bin.join("postgres").is_file())
}

/// Starts a server from the programs in a directory.
pub(super) async fn start(bin: &Path, kind: &str) -> Result<LocalServer, Unavailable> {
    let version = output(Command::new(bin.join("postgres")).arg("--version"), INITDB_LIMIT).await?;
    let version = version.split_whitespace().nth(2).unwrap_or("of unknown version").to_owned();
    let mut attempt = 1;
    loop {
        match start_once(bin).await {
            Ok((leash, port)) => {
                let how = format!("{kind}, PostgreSQL {version}");
                return Ok(LocalServer { admin_url: loopback_url(port), how, leash });
            }
            Err(reason) if attempt == PORT_ATTEMPTS => return Err(reason),
            Err(_) => attempt += 1,
        }
    }
}

async fn start_once(bin: &Path) -> Result<(Leash, u16), Unavailable> {
    let (scratch, account) = scratch_dir("tokenseal-pg-", &ACCOUNTS)?;
    let data = scratch.join("data");
    initdb(bin, &data, account).await.inspect_err(|_| {
        let _ = fs::remove_dir_all(&scratch);
    })?;
    let port = free_port()?;
    let mut leash = Leash::start(leash::Server {
        program: &bin.join("postgres"),
        args: &server_args(&data, port),
        // A "fast shutdown": it does not wait for connections that a test forgot.
        signal: "INT",
        scratch,
        account,
    })?;
    wait_until_ready(&loopback_url(port), || leash.check_alive()).await?;
    Ok((leash, port))
}

/// Makes a data directory that trusts every connection: in a container, all of them come from outside it.
pub(crate) async fn initdb_for_image(bin: &Path, data: &Path) -> Result<(), Unavailable> {
    let (scratch, account) = scratch_dir("tokenseal-pg-", &ACCOUNTS)?;
    let made = scratch.join("data");
    let outcome = async {
        initdb(bin, &made, account).await?;
        let failed = |error| Unavailable::while_doing("cannot set up a cluster for an image", error);
        fs::write(made.join("pg_hba.conf"), "host all all all trust\nlocal all all trust\n")
            .map_err(failed)?;
        output(Command::new("cp").args(["--recursive", "--preserve=mode"]).arg(&made).arg(data), INITDB_LIMIT)
            .await
    };
    let outcome = outcome.await;
    let _ = fs::remove_dir_all(scratch);
    outcome.map(drop)
}

/// Makes a data directory that trusts every local connection.
pub(super) async fn initdb(bin: &Path, data: &Path, account: Option<Account>) -> Result<(), Unavailable> {
    let mut command = Command::new(bin.join("initdb"));
    command.arg("-D").arg(data).args(["-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]);
    // The current directory may be closed to the other user.
    command.current_dir(data.parent().unwrap_or(Path::new("/")));
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
    output(&mut command, INITDB_LIMIT).await.map(drop)
}

pub(super) fn server_args(data: &Path, port: u16) -> Vec<String> {
    let mut args = vec!["-D".to_owned(), data.display().to_string(), "-p".to_owned(), port.to_string()];
    let fixed = ["listen_addresses=127.0.0.1", "unix_socket_directories="];
    for setting in fixed.iter().chain(&SETTINGS) {
        args.extend(["-c".to_owned(), (*setting).to_owned()]);
    }
    args
}

fn debian_bin_dirs() -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    versions.into_iter().map(|(_, path)| path).collect()
}
