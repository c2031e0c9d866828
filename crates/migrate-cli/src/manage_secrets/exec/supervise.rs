//! A program that runs as a child: its signals, its exit code, its restarts.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, wait, waitpid};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::files::PrivateFiles;
use super::select::{self, Collected, Refused};
use super::{Args, OnChange, Program, default_interval};
use crate::exit::{CliError, Exit, chain};
use crate::manage_secrets::Options;
use crate::manage_secrets::failure::Failure;
use crate::manage_secrets::source::Opened;
use crate::output::note;

/// How long a program has to end before it is killed for a restart.
const GRACE: Duration = Duration::from_secs(10);
/// A shell's exit code for a program that a signal ended is this much above the signal's number.
const BY_SIGNAL: i32 = 128;

/// The signals that are passed on, with their numbers.
fn forwarded() -> [(SignalKind, Signal); 6] {
    [
        (SignalKind::hangup(), Signal::HUP),
        (SignalKind::interrupt(), Signal::INT),
        (SignalKind::quit(), Signal::QUIT),
        (SignalKind::terminate(), Signal::TERM),
        (SignalKind::user_defined1(), Signal::USR1),
        (SignalKind::user_defined2(), Signal::USR2),
    ]
}

/// Runs the program as a child until it ends, and ends as it did.
pub(super) async fn run(
    args: &Args,
    program: &Program,
    collected: Collected,
    opened: &Opened,
    options: &Options,
) -> Result<Exit, Failure> {
    // Caught before there is a child: a signal in between would leave it without a parent, and its files in place.
    let mut signals = catch().map_err(CliError::io("signals cannot be caught"))?;
    let mut ended = signal(SignalKind::child()).map_err(CliError::io("signals cannot be caught"))?;
    let mut supervised = Supervised::start(args, program, collected)?;
    let every = args.watch_interval.unwrap_or_else(|| default_interval(&options.source));
    let mut look = tokio::time::interval_at(Instant::now() + every, every);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let status = loop {
        tokio::select! {
            _ = ended.recv() => {}
            Some(signal) = signals.recv() => supervised.pass_on(signal),
            _ = look.tick(), if args.is_watching(&options.source) && supervised.is_settled() => tokio::select! {
                found = select::collect(args, opened) => supervised.take(found),
                // A source that is slow holds up no signal.
                Some(signal) = signals.recv() => supervised.pass_on(signal),
                _ = ended.recv() => {}
            },
            () = supervised.patience() => supervised.kill(),
        }
        let Some(status) = reap(supervised.child) else {
            continue;
        };
        if !supervised.is_restarting || supervised.is_stopping {
            break status;
        }
        supervised.restart()?;
    };
    // Its files go before this program does.
    drop(supervised);
    opened.close().await;
    options.common.finish();
    let code = status.exit_status().or(status.terminating_signal().map(|signal| BY_SIGNAL + signal));
    std::process::exit(code.unwrap_or(Exit::Unexpected as i32))
}

struct Supervised<'a> {
    args: &'a Args,
    program: &'a Program,
    collected: Collected,
    files: Option<PrivateFiles>,
    child: Pid,
    /// A signal to end was passed on: the child's end is the end.
    is_stopping: bool,
    is_restarting: bool,
    kill_at: Option<Instant>,
}

impl<'a> Supervised<'a> {
    fn start(args: &'a Args, program: &'a Program, collected: Collected) -> Result<Self, Failure> {
        let files = match args.files.is_empty() {
            true => None,
            false => Some(PrivateFiles::write(&collected)?),
        };
        let child = spawn(args, program, &collected, files.as_ref())?;
        let (is_stopping, is_restarting) = (false, false);
        Ok(Self { args, program, collected, files, child, is_stopping, is_restarting, kill_at: None })
    }

    fn restart(&mut self) -> Result<(), Failure> {
        self.child = spawn(self.args, self.program, &self.collected, self.files.as_ref())?;
        (self.is_restarting, self.kill_at) = (false, None);
        Ok(())
    }

    fn is_settled(&self) -> bool {
        !self.is_stopping && !self.is_restarting
    }

    fn pass_on(&mut self, signal: Signal) {
        self.is_stopping |= matches!(signal, Signal::TERM | Signal::INT | Signal::QUIT);
        self.send(signal);
    }

    /// The child is not reaped yet wherever this is called, so its id is still its own.
    fn send(&self, signal: Signal) {
        let _ = kill_process(self.child, signal);
    }

    async fn patience(&self) {
        match self.kill_at {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    fn kill(&mut self) {
        self.kill_at = None;
        self.send(Signal::KILL);
    }

    /// Acts on the result of a look at the source. A failure changes nothing: the program keeps its current
    /// values.
    fn take(&mut self, found: Result<Result<Collected, Vec<Refused>>, Failure>) {
        let new = match found {
            Ok(Ok(new)) => new,
            Ok(Err(_)) => return note("the program keeps the secrets that it has"),
            Err(failure) => {
                return note(&format!("{}; the program keeps the secrets that it has", chain(&failure)));
            }
        };
        if new.same_as(&self.collected) {
            return;
        }
        if let Some(Err(failure)) = self.files.as_mut().map(|files| files.update(&new)) {
            return note(&format!("{}; the program keeps the secrets that it has", chain(&failure)));
        }
        self.collected = new;
        match self.args.on_change {
            OnChange::Restart => {
                note("a secret changed: restarting the program");
                self.send(Signal::TERM);
                (self.is_restarting, self.kill_at) = (true, Some(Instant::now() + GRACE));
            }
            OnChange::Hup => self.send(Signal::HUP),
            OnChange::Usr1 => self.send(Signal::USR1),
            OnChange::Usr2 => self.send(Signal::USR2),
        }
    }
}

fn spawn(
    args: &Args,
    program: &Program,
    collected: &Collected,
    files: Option<&PrivateFiles>,
) -> Result<Pid, Failure> {
    let child = program.command(args, collected, files).spawn();
    let child = child.map_err(|error| program.not_run(collected, &error))?;
    Ok(Pid::from_child(&child))
}

/// Takes note of every child that has ended, and returns how the program did if it has.
///
/// As process 1 of a container, this program also gets the orphans of others, and has to take note of their end.
fn reap(child: Pid) -> Option<WaitStatus> {
    if getpid() != Pid::INIT {
        return waitpid(Some(child), WaitOptions::NOHANG).ok().flatten().map(|(_, status)| status);
    }
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == child {
            return Some(status);
        }
    }
    None
}

/// The signals that are passed on, as they come.
fn catch() -> io::Result<mpsc::Receiver<Signal>> {
    let (send, receive) = mpsc::channel(16);
    // A terminal sends these to the child too.
    let is_sent_to_all = |signal| io::stdin().is_terminal() && matches!(signal, Signal::INT | Signal::QUIT);
    for (kind, number) in forwarded() {
        let mut caught = signal(kind)?;
        let send = send.clone();
        let is_passed_on = !is_sent_to_all(number);
        tokio::spawn(async move {
            while caught.recv().await.is_some() {
                if is_passed_on && send.send(number).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(receive)
}
