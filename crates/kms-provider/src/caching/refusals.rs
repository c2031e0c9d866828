//! Refusals of the key service: briefly remembered as an answer, and for good as a reason not to serve stale keys.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as SystemInstant};

use envelope_core::KeyError;
use envelope_core::provider::ErrorClass;
use foldhash::quality::RandomState;
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use tokio::time::Instant;

use super::options::MAX_NEGATIVE_TTL;
use super::store::{Entry, Kept, Wanted};

/// Most refusals remembered as answers. They hold no key.
const MAX_ANSWERS: usize = 1_000;

/// Most keys of the key service that are counted separately.
const MAX_KEYS: usize = 1_000;

type Answers = Cache<Entry, (Instant, KeyError), UnitWeighter, RandomState>;

pub(super) struct Refusals {
    ttl: Duration,
    answers: Arc<Answers>,
    keys: Mutex<Keys>,
}

/// When keys of the key service were last refused.
#[derive(Default)]
struct Keys {
    named: HashMap<Box<str>, Instant>,
    /// A key without a name.
    unnamed: Option<Instant>,
    any: Option<Instant>,
}

/// Whether the key service refused the key or this value, so that its earlier answers are out of date.
pub(super) fn is_refusal(class: ErrorClass) -> bool {
    use ErrorClass::{ContextMismatchOrCorrupt, Denied, WrongKey};
    matches!(class, Denied | WrongKey | ContextMismatchOrCorrupt) || is_state_of_key(class)
}

pub(super) fn is_state_of_key(class: ErrorClass) -> bool {
    use ErrorClass::{Disabled, NotFound, PendingDeletion};
    matches!(class, NotFound | Disabled | PendingDeletion)
}

impl Refusals {
    pub(super) fn new(ttl: Duration) -> Self {
        let ttl = ttl.min(MAX_NEGATIVE_TTL);
        Self {
            ttl,
            answers: Arc::new(Cache::with(
                MAX_ANSWERS,
                MAX_ANSWERS as u64,
                UnitWeighter,
                RandomState::default(),
                DefaultLifecycle::default(),
            )),
            keys: Mutex::default(),
        }
    }

    /// The refusal that this value had a moment ago.
    pub(super) fn answer(&self, wanted: &Wanted<'_>) -> Option<KeyError> {
        if self.ttl.is_zero() {
            return None;
        }
        let (since, error) = self.answers.get(wanted)?;
        (since.elapsed() < self.ttl).then_some(error)
    }

    /// Remembers a refusal of a value as the answer, if it is one that would be the same again. Returns whether it is.
    pub(super) fn remember(&self, entry: &Entry, error: &KeyError) -> bool {
        let class = error.class();
        let is_permanent = is_state_of_key(class) || class == ErrorClass::ContextMismatchOrCorrupt;
        let remembers = is_permanent && !self.ttl.is_zero();
        if remembers {
            self.answers.insert(entry.clone(), (Instant::now(), error.clone()));
        }
        remembers
    }

    /// Drops the answers that are too old to be given, even without any read.
    pub(super) fn sweep(&self) -> impl FnMut() + Send + 'static {
        let (answers, ttl) = (Arc::downgrade(&self.answers), self.ttl);
        move || {
            if let Some(answers) = answers.upgrade() {
                let now = SystemInstant::now();
                answers.retain(|_, (since, _)| now.saturating_duration_since(since.into_std()) < ttl);
            }
        }
    }

    /// Notes that a key was refused: nothing that it wrapped may be served stale from here on.
    pub(super) fn note(&self, key_id: Option<&str>) {
        let now = Instant::now();
        let mut keys = self.lock();
        keys.any = Some(now);
        match key_id {
            Some(id) if keys.named.len() < MAX_KEYS || keys.named.contains_key(id) => {
                keys.named.insert(id.into(), now);
            }
            // Too many to count separately: then it counts for all of them.
            _ => {
                keys.named.clear();
                keys.unnamed = Some(now);
            }
        }
    }

    /// Whether the key that wrapped this one was refused since it was unwrapped.
    pub(super) fn since(&self, kept: &Kept) -> bool {
        let keys = self.lock();
        let refused = match kept.key_id.as_deref() {
            Some(id) => keys.named.get(id).copied().max(keys.unnamed),
            None => keys.any,
        };
        refused.is_some_and(|refused| refused >= kept.loaded)
    }

    /// Forgets the answers, and not the reasons.
    pub(super) fn forget(&self) {
        self.answers.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Keys> {
        // Every change is a whole one: a panic elsewhere does not make the state wrong.
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
