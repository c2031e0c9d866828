//! The audit trail of a process: every audit event as a line of JSON, chained so that changes show.
//!
//! `AUDIT_LOG` names the target. Each start of a process begins a chain under a data key of its own, which the key
//! service wraps; [`verify`] checks a file. A chain is evidence for the lines from before a process or its host was
//! compromised, and not for those after.

mod chain;
pub mod events;
mod line;
mod target;
mod verify;
mod who;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use envelope_core::{EncryptionContext, KeyProvider};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::DynFilterFn;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use self::chain::Chain;
use self::line::{Fields, Pending};
pub use self::target::AuditTarget;
use self::target::Out;
pub use self::verify::{AuditError, AuditReport, verify};
pub use self::who::user_and_host;
use crate::error::ConnectError;
use crate::settings::SettingsError;

/// The target of every audit event.
const TARGET: &str = token_store::audit::TARGET;
/// The first line of a chain.
const CHAIN_STARTED: &str = "audit_chain_started";
/// The last line of a chain whose process ended in order.
const CHAIN_FINISHED: &str = "audit_chain_finished";
/// Events that are kept until the key service is open.
const MOST_WAITING: usize = 10_000;
/// Lines after which the head is repeated in the ordinary log.
const HEAD_EVERY: u64 = 1_000;

/// The trail of this process. Clones share it.
#[derive(Clone, Default)]
pub struct AuditTrail {
    shared: Arc<Shared>,
}

struct Shared {
    program: OnceLock<String>,
    /// Read for every event without a lock.
    is_listening: AtomicBool,
    state: Mutex<State>,
}

enum State {
    /// Until the settings are read, events wait.
    Waiting(Vec<Pending>),
    /// No target is set.
    Off,
    Open(Open),
    /// A line could not be written.
    Broken(io::ErrorKind),
}

struct Open {
    out: Out,
    id: String,
    chain: Chain,
}

impl AuditTrail {
    /// The trail of a program of this name.
    #[must_use]
    pub fn new(program: &str) -> Self {
        let trail = Self::default();
        trail.name_program(program);
        trail
    }

    /// Sets the program's name in every line; the first call counts.
    pub fn name_program(&self, program: &str) {
        self.shared.program.get_or_init(|| program.to_owned());
    }

    /// The layer that receives the events, up to this level; for the subscriber of the process.
    pub fn layer<S>(&self, level: LevelFilter) -> impl Layer<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let shared = self.shared.clone();
        let heard = move |metadata: &Metadata<'_>, _: &Context<'_, S>| {
            is_audit(metadata, level) && shared.is_listening.load(Ordering::Relaxed)
        };
        let filter = DynFilterFn::new(heard).with_max_level_hint(level).with_callsite_filter(
            move |metadata: &'static Metadata<'static>| match is_audit(metadata, level) {
                true => Interest::sometimes(),
                false => Interest::never(),
            },
        );
        Ear { trail: self.clone() }.with_filter(filter)
    }

    /// Begins to write, or drops the events so far where no target is set. The chain's key comes from the key
    /// service; without one, the chain shows mistakes and no forgery.
    ///
    /// # Errors
    /// [`ConnectError`] where the target cannot be written, or the key service gives no key.
    pub async fn start(
        &self,
        target: Option<&AuditTarget>,
        actor: &str,
        keys: Option<&Arc<dyn KeyProvider>>,
        base_context: &[(String, String)],
    ) -> Result<(), ConnectError> {
        let Some(target) = target else {
            self.turn_off();
            return Ok(());
        };
        if matches!(*self.state(), State::Open(_)) {
            return Ok(());
        }
        let out = Out::open(target).map_err(|error| unwritable(&error))?;
        let id = hex::encode(envelope_core::random::bytes::<16>());
        let mut first = Fields::of(CHAIN_STARTED, &[("actor", actor)]);
        let mut key = None;
        if let Some(keys) = keys {
            let context = chain_context(base_context, &id).ok_or_else(|| {
                SettingsError::of("ENCRYPTION_CONTEXT", "makes no context for the audit trail", "shorten it")
            })?;
            let generated = keys.generate(&context).await?;
            first.set("wrapped_key", hex::encode(generated.wrapped.bytes()));
            key = Some(generated.key.0);
        }
        let mut open = Open { out, chain: Chain::new(&id, key.as_deref()), id };
        let mut state = self.state();
        let waiting = match &mut *state {
            State::Waiting(waiting) => std::mem::take(waiting),
            _ => Vec::new(),
        };
        for pending in std::iter::once(Pending::new("INFO", first)).chain(waiting) {
            open.add(self.shared.program(), &pending).map_err(|error| unwritable(&error))?;
        }
        self.shared.is_listening.store(true, Ordering::Relaxed);
        *state = State::Open(open);
        Ok(())
    }

    /// Writes a line at once: to the target, or to standard error where none is set. A value is revealed only after
    /// this has succeeded.
    ///
    /// # Errors
    /// Where the line could not be written.
    pub fn record(&self, event: &str, fields: &[(&str, &str)]) -> io::Result<()> {
        let pending = Pending::new("WARN", Fields::of(event, fields));
        let mut state = self.state();
        let written = match &mut *state {
            State::Open(open) => open.add(self.shared.program(), &pending).and_then(|()| open.out.sync()),
            State::Broken(kind) => return Err((*kind).into()),
            State::Off | State::Waiting(_) => {
                return Out::StandardError.write(&pending.unchained(self.shared.program()));
            }
        };
        if let Err(error) = &written {
            *state = State::Broken(error.kind());
        }
        written
    }

    /// Writes the last line, and repeats it in the ordinary log.
    pub fn finish(&self) {
        let mut state = self.state();
        if let State::Open(open) = &mut *state {
            let lines = open.chain.next().to_string();
            let last = Pending::new("INFO", Fields::of(CHAIN_FINISHED, &[("lines", &lines)]));
            let written = open.add(self.shared.program(), &last).and_then(|()| open.out.sync());
            let head = head(&open.id, open.chain.next() - 1, &open.chain.head());
            match written {
                Ok(()) => tracing::info!(head, "audit chain ends"),
                Err(error) => tracing::error!(%error, "audit trail could not be ended"),
            }
        }
        *state = State::Off;
        self.shared.is_listening.store(false, Ordering::Relaxed);
    }

    fn turn_off(&self) {
        *self.state() = State::Off;
        self.shared.is_listening.store(false, Ordering::Relaxed);
    }

    /// An event has no way to fail: a trail that cannot be written is reported in the ordinary log.
    fn hear(&self, level: &'static str, fields: Fields) {
        let pending = Pending::new(level, fields);
        let mut state = self.state();
        let failed = match &mut *state {
            State::Waiting(waiting) if waiting.len() < MOST_WAITING => {
                waiting.push(pending);
                None
            }
            State::Open(open) => open.add(self.shared.program(), &pending).err(),
            State::Waiting(_) | State::Off | State::Broken(_) => None,
        };
        if let Some(error) = failed {
            *state = State::Broken(error.kind());
            drop(state);
            tracing::error!(%error, "audit trail cannot be written; later events are not in it");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Shared {
    fn default() -> Self {
        let state = Mutex::new(State::Waiting(Vec::new()));
        Self { program: OnceLock::new(), is_listening: AtomicBool::new(true), state }
    }
}

impl Shared {
    fn program(&self) -> &str {
        self.program.get().map_or("unnamed", String::as_str)
    }
}

impl fmt::Debug for AuditTrail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditTrail").field("program", &self.shared.program()).finish_non_exhaustive()
    }
}

impl Open {
    fn add(&mut self, program: &str, pending: &Pending) -> io::Result<()> {
        let line = pending.chained(program, &self.id, &mut self.chain);
        self.out.write(&line)?;
        if self.chain.next() % HEAD_EVERY == 1 {
            let head = head(&self.id, self.chain.next() - 1, &self.chain.head());
            tracing::info!(head, "audit chain");
        }
        Ok(())
    }
}

/// Hears audit events.
struct Ear {
    trail: AuditTrail,
}

impl<S: Subscriber> Layer<S> for Ear {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.trail.hear(event.metadata().level().as_str(), fields);
    }
}

fn is_audit(metadata: &Metadata<'_>, level: LevelFilter) -> bool {
    metadata.target() == TARGET && *metadata.level() <= level
}

/// The context that a chain's key is wrapped under. Its names are those of a bound row, so that a key policy that lists
/// the allowed names lets it through.
fn chain_context(base: &[(String, String)], id: &str) -> Option<EncryptionContext> {
    let base = base.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    EncryptionContext::new(base.chain([("table", "tokenseal audit"), ("column", id)])).ok()
}

/// A line of a chain as `--head` takes it.
fn head(id: &str, number: u64, mac: &[u8]) -> String {
    format!("{id}:{number}:{}", hex::encode(mac))
}

fn unwritable(error: &io::Error) -> ConnectError {
    SettingsError::of(
        "AUDIT_LOG",
        format_args!("cannot be written ({})", error.kind()),
        "check the path, its permissions and the free space; AUDIT_LOG=stderr writes to standard error",
    )
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tests of purposes compare this context with all others.
    #[test]
    fn the_key_of_a_chain_has_a_context_of_its_own() {
        let base = [("Application".to_owned(), "crm".to_owned())];
        let pairs = [("Application", "crm"), ("table", "tokenseal audit"), ("column", "b64f")];
        let bytes = |context: Option<EncryptionContext>| context.map(|context| context.canonical().to_vec());
        let context = bytes(chain_context(&base, "b64f"));
        assert!(context.is_some());
        assert_eq!(context, bytes(EncryptionContext::new(pairs).ok()));
    }
}
