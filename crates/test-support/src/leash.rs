//! A child process that ends with its parent, however the parent ends.
//!
//! A small shell holds one end of a pipe. When the parent drops the other end, or dies and the kernel closes
//! it, the shell stops the server and removes its scratch directory.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::availability::Unavailable;
use crate::process::tail;

// File descriptor 3, because a shell gives its background commands an empty standard input.
const RUN: &str = r#"
signal=$1 scratch=$2; shift 2
exec 3<&0
"$@" </dev/null 3<&- &
child=$!
{ read -r _ <&3; kill -s "$signal" "$child"; } 2>/dev/null &
watch=$!
exec 3<&-
wait "$child"
kill "$watch" 2>/dev/null
rm -rf -- "$scratch"
"#;

const RUN_AT_END: &str = r#"read -r _; exec "$@" >/dev/null 2>&1"#;

/// How many bytes at the end of a log are worth reading for an error.
const LOG_TAIL: u64 = 4096;

const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A user to run a server as: uid and gid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// How to run a server.
pub(crate) struct Server<'a> {
    pub(crate) program: &'a Path,
    pub(crate) args: &'a [String],
    /// The signal that stops it, as `kill -s` names it.
    pub(crate) signal: &'a str,
    /// A directory of its own, removed with it; holds its log.
    pub(crate) scratch: PathBuf,
    pub(crate) account: Option<Account>,
}

/// A process that ends with this value, or with this process.
#[derive(Debug)]
pub(crate) struct Leash {
    shell: Child,
    /// Kept open, because a server that stops by itself removes the file.
    log: Option<File>,
}

impl Leash {
    /// Starts a server.
    pub(crate) fn start(server: Server<'_>) -> Result<Self, Unavailable> {
        let failed = |error| Unavailable::while_doing("cannot start a server", error);
        let path = server.scratch.join("server.log");
        let log = OpenOptions::new().create(true).append(true).read(true).open(path).map_err(failed)?;
        let mut shell = shell(RUN);
        shell
            .args([OsStr::new(server.signal), server.scratch.as_os_str(), server.program.as_os_str()])
            .args(server.args)
            .current_dir(&server.scratch)
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log.try_clone().map_err(failed)?);
        if let Some(account) = server.account {
            shell.uid(account.uid).gid(account.gid);
        }
        let shell = shell.spawn().map_err(failed)?;
        Ok(Self { shell, log: Some(log) })
    }

    /// Runs a command once this process ends or drops the value.
    pub(crate) fn at_end(program: &str, args: &[&str]) -> Result<Self, Unavailable> {
        let mut shell = shell(RUN_AT_END);
        shell.arg(program).args(args).stdout(Stdio::null()).stderr(Stdio::null());
        let shell = shell.spawn().map_err(|error| Unavailable::while_doing("cannot start a shell", error))?;
        Ok(Self { shell, log: None })
    }

    /// Fails, with the end of its log, if the server has stopped by itself.
    pub(crate) fn check_alive(&mut self) -> Result<(), Unavailable> {
        match self.shell.try_wait() {
            Ok(None) => Ok(()),
            _ => Err(Unavailable::new(format!("the server stopped at once: {}", self.log_tail()))),
        }
    }

    /// The end of the server's log, on one line.
    pub(crate) fn log_tail(&self) -> String {
        tail(&self.end_of_log(LOG_TAIL))
    }

    /// The server's whole log.
    pub(crate) fn log(&self) -> String {
        self.end_of_log(u64::MAX)
    }

    fn end_of_log(&self, limit: u64) -> String {
        let Some(log) = &self.log else {
            return String::new();
        };
        let length = log.metadata().map_or(0, |data| data.len());
        let mut end = vec![0; length.min(limit) as usize];
        let read = log.read_at(&mut end, length.saturating_sub(limit)).unwrap_or(0);
        String::from_utf8_lossy(&end[..read]).into_owned()
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let deadline = Instant::now() + STOP_LIMIT;
        while matches!(self.shell.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                kill_group(self.shell.id());
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn kill_group(leader: u32) {
    let group = format!("-{leader}");
    let _ = Command::new("kill").args(["-s", "KILL", "--", &group]).status();
}

fn shell(script: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "leash"]).stdin(Stdio::piped());
    // A group of its own: Ctrl-C at the terminal stops the parent, and the leash then stops the server in order.
    shell.process_group(0);
    shell
}
