//! A PostgreSQL server of one test alone, which can be restarted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as StdCommand;

use super::database::{loopback_url, wait_until_ready};
use super::local::{ACCOUNTS, bin_dir, initdb, server_args};
use crate::availability::Unavailable;
use crate::leash::{self, Leash};
use crate::process::free_port;
use crate::unprivileged::scratch_dir;

/// Restarts the server each time it ends, until it is asked to stop.
const AGAIN: &str = r#"
stop() { kill -s INT "$server" 2>/dev/null; wait "$server"; exit 0; }
trap stop TERM
while :; do "$@" & server=$!; wait "$server"; sleep 0.2; done
"#;

/// A running server; it stops when this is dropped.
#[derive(Debug)]
pub struct Restartable {
    url: String,
    data: PathBuf,
    _leash: Leash,
}

impl Restartable {
    /// Starts the PostgreSQL that is installed.
    ///
    /// # Errors
    /// None is installed, or it does not start.
    pub async fn start() -> Result<Self, Unavailable> {
        let bin = bin_dir().ok_or_else(|| Unavailable::new("PostgreSQL is not installed"))?;
        let (scratch, account) = scratch_dir("tokenseal-pg-", &ACCOUNTS)?;
        let data = scratch.join("data");
        initdb(&bin, &data, account).await.inspect_err(|_| {
            let _ = fs::remove_dir_all(&scratch);
        })?;
        let port = free_port()?;
        let mut args = vec!["-c".to_owned(), AGAIN.to_owned(), "again".to_owned()];
        args.push(bin.join("postgres").display().to_string());
        args.extend(server_args(&data, port));
        let server =
            leash::Server { program: Path::new("/bin/sh"), args: &args, signal: "TERM", scratch, account };
        let mut leash = Leash::start(server)?;
        let url = loopback_url(port);
        wait_until_ready(&url, || leash.check_alive()).await?;
        Ok(Self { url, data, _leash: leash })
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends every connection and the server, and returns when it answers again.
    ///
    /// # Errors
    /// It does not return.
    pub async fn restart(&self) -> Result<(), Unavailable> {
        let failed = |error| Unavailable::while_doing("cannot stop the server", error);
        let file = fs::read_to_string(self.data.join("postmaster.pid")).map_err(failed)?;
        let id = file.lines().next().unwrap_or_default().trim().to_owned();
        StdCommand::new("kill").args(["-s", "INT", &id]).status().map_err(failed)?;
        while Path::new("/proc").join(&id).exists() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        wait_until_ready(&self.url, || Ok(())).await
    }
}
