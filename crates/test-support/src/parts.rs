//! The rule for a test whose server is missing: it is recorded by name, never skipped silently.
//!
//! `TOKENSEAL_NOT_RUN` names a file that gets one line a test (`part<TAB>test<TAB>reason`), from which
//! `cargo xtask ci` prints its summary. `TOKENSEAL_REQUIRE` lists parts, comma-separated, without which a test
//! fails instead.

use std::any::type_name_of_val;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use crate::availability::Unavailable;
use crate::docker::{self, Engine};
use crate::mariadb;
use crate::moto::{self, Moto};
use crate::openbao::{self, OpenBao};
use crate::postgres::{self, TestDatabase};
use crate::prometheus;

/// A fresh database on a real PostgreSQL server.
///
/// # Errors
/// No server is running, and none can be started here.
pub async fn postgres(test: &str) -> Result<TestDatabase, Unavailable> {
    postgres::try_database(test).await
}

/// A fresh database on a real MariaDB server.
///
/// # Errors
/// No server is running, and none can be started here.
pub async fn mariadb(test: &str) -> Result<mariadb::TestDatabase, Unavailable> {
    mariadb::try_database(test).await
}

/// A container engine that can start PostgreSQL.
///
/// # Errors
/// No engine answers, or it has no PostgreSQL image.
pub async fn docker(_test: &str) -> Result<Engine, Unavailable> {
    docker::engine().await
}

/// The independent AWS emulator.
///
/// # Errors
/// It is not running, and not installed.
pub async fn moto(_test: &str) -> Result<Moto, Unavailable> {
    moto::running().await
}

/// A real OpenBao server.
///
/// # Errors
/// It is not running, and not installed.
pub async fn openbao(_test: &str) -> Result<OpenBao, Unavailable> {
    openbao::running().await
}

/// The program Prometheus.
///
/// # Errors
/// It is not installed.
pub async fn prometheus(_test: &str) -> Result<prometheus::Program, Unavailable> {
    prometheus::program()
}

/// A machine on which a process that crashes leaves a core dump, if it does not forbid it.
///
/// # Errors
/// A limit, or where the system sends them, keeps even a shell from having one.
pub async fn core_dumps(_test: &str) -> Result<(), Unavailable> {
    let directory = tempfile::tempdir().map_err(|error| Unavailable::while_doing("a directory", error))?;
    let mut shell = Command::new("prlimit");
    shell.args(["--core=unlimited", "sh", "-c", "kill -s ABRT $$"]).current_dir(directory.path());
    match shell.stderr(Stdio::null()).status() {
        Ok(ended) if ended.core_dumped() => Ok(()),
        Ok(_) => Err(Unavailable::new("no core is dumped here: see `ulimit -Hc`")),
        Err(error) => Err(Unavailable::while_doing("prlimit cannot be run", error)),
    }
}

/// A process that may become another user.
///
/// # Errors
/// It does not run as root.
pub async fn root(_test: &str) -> Result<(), Unavailable> {
    use std::os::unix::fs::MetadataExt as _;
    match std::fs::metadata("/proc/self") {
        Ok(found) if found.uid() == 0 => Ok(()),
        _ => Err(Unavailable::new("only root can become another user")),
    }
}

/// Passes an available part through, and records the test that must do without.
///
/// # Panics
/// The part is missing and `TOKENSEAL_REQUIRE` lists it.
pub fn settle<T>(part: &str, test: &str, outcome: Result<T, Unavailable>) -> Option<T> {
    match outcome {
        Ok(handle) => Some(handle),
        Err(reason) if required(part) => panic!("the required part `{part}` is missing: {reason}"),
        Err(reason) => {
            record_not_run(part, test, &reason);
            None
        }
    }
}

/// A test by its crate and the path of an item inside it, for the [`part!`](crate::part) macro.
pub fn test_name<T>(package: &str, inner: &T) -> String {
    let path = type_name_of_val(inner).trim_end_matches("::here").replace("::{{closure}}", "");
    format!("{package}/{path}")
}

fn required(part: &str) -> bool {
    std::env::var("TOKENSEAL_REQUIRE").is_ok_and(|list| list.split(',').any(|entry| entry.trim() == part))
}

fn record_not_run(part: &str, test: &str, reason: &Unavailable) {
    eprintln!("not run: {test}: {reason}");
    let Ok(path) = std::env::var("TOKENSEAL_NOT_RUN") else {
        return;
    };
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .unwrap_or_else(|error| panic!("cannot open {path}, named by TOKENSEAL_NOT_RUN: {error}"));
    // One write a line, so that lines of tests running side by side do not mix.
    file.write_all(format!("{part}\t{test}\t{reason}\n").as_bytes())
        .unwrap_or_else(|error| panic!("cannot write {path}, named by TOKENSEAL_NOT_RUN: {error}"));
}
