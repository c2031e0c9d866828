//! A decorator that lets one data key serve a bounded number of messages.

mod limits;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use envelope_core::provider::{GeneratedDataKey, KeyDescription};
use envelope_core::{DataKey, EncryptionContext, KeyError, KeyProvider, WrappedDataKey};
use secrecy::SecretSlice;
use tokio::time::Instant;

use crate::flight::SingleFlight;
use crate::janitor::Janitor;

pub use self::limits::{MAX_AGE, MAX_BYTES, MAX_MESSAGES, ReuseLimits, ReuseLimitsError};

/// Most contexts that a data key is held for. An application seals under one or a few.
const MAX_CONTEXTS: usize = 1_000;

/// Lets a data key serve many messages, within [`ReuseLimits`], so that sealing costs less than one call per
/// message.
///
/// - Only [`generate_shared`](KeyProvider::generate_shared) reuses: the formats that ask with it derive a key of its own
///   for every message. [`generate`](KeyProvider::generate) is passed on as it is, so any other format cannot reuse.
/// - Each context has its own data key.
/// - The limits are exact under any concurrency: M messages within the other limits take ⌈M/N⌉ keys of N messages. At a
///   limit the next key is fetched, once for all callers that need it, and nothing fails. A cancelled caller
///   delays no other.
/// - A message that alone exceeds the limit of bytes gets a data key of its own.
/// - A data key that is too old is dropped, and so wiped, within seconds, even when nothing is sealed.
///
/// All messages of one key open with that key: a thief of it opens all of them. And until its age
/// is reached, messages are sealed under it without a call to the key service, even if its key was disabled meanwhile.
///
/// Put it on top of all other decorators: a call that reuse saves needs none of them.
pub struct Reuse {
    inner: Arc<dyn KeyProvider>,
    limits: ReuseLimits,
    board: Arc<Mutex<Board>>,
    flights: SingleFlight<EncryptionContext, ()>,
    counters: Arc<Counters>,
    janitor: Janitor,
}

/// The counts of reuse so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReuseCounts {
    /// Messages that got a data key.
    pub messages: u64,
    /// Data keys that were fetched for them.
    pub keys: u64,
}

impl Reuse {
    /// Reuses the data keys of `inner` within `limits`.
    #[must_use]
    pub fn new(inner: Arc<dyn KeyProvider>, limits: ReuseLimits) -> Self {
        Self {
            inner,
            limits,
            board: Arc::default(),
            flights: SingleFlight::new(),
            counters: Arc::default(),
            janitor: Janitor::default(),
        }
    }

    /// The limits that a data key serves within.
    #[must_use]
    pub fn limits(&self) -> ReuseLimits {
        self.limits
    }

    /// The counts of reuse so far.
    #[must_use]
    pub fn counts(&self) -> ReuseCounts {
        ReuseCounts {
            messages: self.counters.messages.load(Ordering::Relaxed),
            keys: self.counters.keys.load(Ordering::Relaxed),
        }
    }

    /// Drops every data key, so that the next message is sealed under a new one: after a rotation, say, or after the
    /// key service's key was disabled.
    pub fn forget(&self) {
        let mut board = lock(&self.board);
        board.forgotten += 1;
        board.keys.clear();
    }

    async fn shared(
        &self,
        context: &EncryptionContext,
        message_len: u64,
    ) -> Result<GeneratedDataKey, KeyError> {
        loop {
            if let Some(generated) = lock(&self.board).take(context, message_len, &self.limits) {
                Counters::add(&self.counters.messages);
                return Ok(generated);
            }
            // Checked again before a key is fetched: the key that another caller has just fetched may do.
            let landed = || lock(&self.board).has_room(context, message_len, &self.limits);
            let fetch = || {
                self.janitor.ensure(|| sweep(&self.board, self.limits.age()));
                fetch(self.inner.clone(), self.board.clone(), self.counters.clone(), context.clone())
            };
            let landed = || landed().then_some(());
            self.flights.join(context.clone(), landed, fetch).await?;
            // A caller that waited takes one use of the key like any other, and tries again if none is left.
        }
    }
}

impl std::fmt::Debug for Reuse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reuse")
            .field("limits", &self.limits)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl KeyProvider for Reuse {
    async fn generate(&self, context: &EncryptionContext) -> Result<GeneratedDataKey, KeyError> {
        self.inner.generate(context).await
    }

    async fn generate_shared(
        &self,
        context: &EncryptionContext,
        message_len: usize,
    ) -> Result<GeneratedDataKey, KeyError> {
        let bytes = u64::try_from(message_len).unwrap_or(u64::MAX);
        if self.limits.is_off() || bytes > self.limits.bytes() {
            return self.inner.generate_shared(context, message_len).await;
        }
        self.shared(context, bytes).await
    }

    async fn unwrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<Arc<DataKey>, KeyError> {
        self.inner.unwrap(wrapped, context).await
    }

    async fn rewrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<WrappedDataKey, KeyError> {
        self.inner.rewrap(wrapped, context).await
    }

    fn can_rewrap(&self, wrapped: &WrappedDataKey) -> bool {
        self.inner.can_rewrap(wrapped)
    }

    async fn describe(&self) -> Result<KeyDescription, KeyError> {
        self.inner.describe().await
    }

    fn unwrap_cached(&self, wrapped: &WrappedDataKey, context: &EncryptionContext) -> Option<Arc<DataKey>> {
        self.inner.unwrap_cached(wrapped, context)
    }

    async fn decrypt(
        &self,
        ciphertext: &[u8],
        key_id: Option<&str>,
        context: &EncryptionContext,
    ) -> Result<SecretSlice<u8>, KeyError> {
        self.inner.decrypt(ciphertext, key_id, context).await
    }
}

/// The present data key of each context.
#[derive(Default)]
struct Board {
    keys: HashMap<EncryptionContext, Held>,
    // How often everything was forgotten: a fetch that began before leaves no key.
    forgotten: u64,
}

/// A data key and its use so far.
struct Held {
    key: Arc<DataKey>,
    wrapped: WrappedDataKey,
    fetched: Instant,
    messages: u64,
    bytes: u64,
}

impl Board {
    fn take(
        &mut self,
        context: &EncryptionContext,
        bytes: u64,
        limits: &ReuseLimits,
    ) -> Option<GeneratedDataKey> {
        let held = self.keys.get_mut(context)?;
        if !held.has_room(bytes, limits) {
            return None;
        }
        held.messages += 1;
        held.bytes += bytes;
        let generated = GeneratedDataKey::new(held.key.clone(), held.wrapped.clone());
        if held.messages == limits.messages() {
            // Used up: nothing is gained by keeping it in memory.
            self.keys.remove(context);
        }
        Some(generated)
    }

    fn has_room(&self, context: &EncryptionContext, bytes: u64, limits: &ReuseLimits) -> bool {
        self.keys.get(context).is_some_and(|held| held.has_room(bytes, limits))
    }

    fn hold(&mut self, context: EncryptionContext, generated: GeneratedDataKey) {
        if self.keys.len() >= MAX_CONTEXTS && !self.keys.contains_key(&context) {
            let oldest = self.keys.iter().min_by_key(|(_, held)| held.fetched);
            if let Some(oldest) = oldest.map(|(context, _)| context.clone()) {
                self.keys.remove(&oldest);
            }
        }
        let GeneratedDataKey { key, wrapped, .. } = generated;
        let held = Held { key: key.0, wrapped, fetched: Instant::now(), messages: 0, bytes: 0 };
        self.keys.insert(context, held);
    }
}

impl Held {
    fn has_room(&self, bytes: u64, limits: &ReuseLimits) -> bool {
        self.messages < limits.messages()
            && self.bytes.saturating_add(bytes) <= limits.bytes()
            && self.fetched.elapsed() < limits.age()
    }
}

async fn fetch(
    inner: Arc<dyn KeyProvider>,
    board: Arc<Mutex<Board>>,
    counters: Arc<Counters>,
    context: EncryptionContext,
) -> Result<(), KeyError> {
    let forgotten = lock(&board).forgotten;
    Counters::add(&counters.keys);
    let generated = inner.generate(&context).await?;
    let mut board = lock(&board);
    if board.forgotten == forgotten {
        board.hold(context, generated);
    }
    Ok(())
}

/// Drops the keys that are too old, for as long as there is a board.
fn sweep(board: &Arc<Mutex<Board>>, age: std::time::Duration) -> impl FnMut() + Send + 'static {
    let board = Arc::downgrade(board);
    move || {
        if let Some(board) = board.upgrade() {
            lock(&board).keys.retain(|_, held| held.fetched.elapsed() < age);
        }
    }
}

fn lock(board: &Mutex<Board>) -> MutexGuard<'_, Board> {
    // Every change is a whole one: a panic elsewhere does not make the board wrong.
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct Counters {
    messages: AtomicU64,
    keys: AtomicU64,
}

impl Counters {
    fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
