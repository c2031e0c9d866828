//! The configured keys, and the server's last description of each.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use envelope_core::KeyError;
use envelope_core::provider::ErrorClass;
use tokio::time::Instant;

use crate::flight::SingleFlight;
use crate::redact::shown;
use crate::uri::TransitKey;

/// How long a key is taken to be as it was: as long as an alias of AWS KMS.
const CHECK_TTL: Duration = Duration::from_secs(300);

/// The key that wraps, the keys that may have wrapped, and when each was last found to be usable.
pub(super) struct Keys {
    // Never empty; the first one wraps.
    keys: Vec<TransitKey>,
    checked: Arc<Mutex<HashMap<TransitKey, Instant>>>,
    flights: SingleFlight<TransitKey, ()>,
}

impl Keys {
    pub(super) fn new(key: TransitKey, allowed: impl IntoIterator<Item = TransitKey>) -> Self {
        let mut keys = vec![key];
        for other in allowed {
            if !keys.contains(&other) {
                keys.push(other);
            }
        }
        Self { keys, checked: Arc::default(), flights: SingleFlight::new() }
    }

    /// The key that wraps.
    pub(super) fn current(&self) -> &TransitKey {
        &self.keys[0]
    }

    /// The keys to try for a wrapped data key that claims this key.
    ///
    /// # Errors
    /// [`ErrorClass::WrongKey`] if the claim names no allowed key.
    pub(super) fn pins(&self, claim: Option<&str>) -> Result<&[TransitKey], KeyError> {
        let Some(claim) = claim else { return Ok(&self.keys) };
        let claimed = TransitKey::parse_stored(claim).map(|(key, _)| key);
        let at = claimed.and_then(|claimed| self.keys.iter().position(|key| *key == claimed));
        at.map(|at| &self.keys[at..=at]).ok_or_else(|| foreign(claim))
    }

    /// Checks that a key is usable, by a call to the server from time to time.
    pub(super) async fn ensure_fit<F>(
        &self,
        key: &TransitKey,
        ask: impl FnOnce(TransitKey) -> F,
    ) -> Result<(), KeyError>
    where
        F: Future<Output = Result<(), KeyError>> + Send + 'static,
    {
        let last = lock(&self.checked).get(key).copied();
        if last.is_some_and(|at| at.elapsed() < CHECK_TTL) {
            return Ok(());
        }
        let landed = || {
            let at = lock(&self.checked).get(key).copied()?;
            (at.elapsed() < CHECK_TTL).then_some(())
        };
        let answer = self.flights.join(key.clone(), landed, || {
            let (answer, checked, key) = (ask(key.clone()), self.checked.clone(), key.clone());
            async move {
                answer.await?;
                lock(&checked).insert(key, Instant::now());
                Ok(())
            }
        });
        match answer.await {
            // A key does not stop being derived: while the server is out of reach, the last answer holds.
            Err(error) if last.is_some() && error.class().is_retryable() => Ok(()),
            answer => answer,
        }
    }

    /// Records that a key was just found to be usable.
    pub(super) fn note_fit(&self, key: &TransitKey) {
        lock(&self.checked).insert(key.clone(), Instant::now());
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(ToString::to_string)).finish()
    }
}

fn foreign(claim: &str) -> KeyError {
    KeyError::new(ErrorClass::WrongKey, format!("wrapped under {}, which is not allowed", shown(claim)))
        .with_hint("add the key to {allowed keys} if it is yours, for example after a move to another mount")
}

fn lock(checked: &Mutex<HashMap<TransitKey, Instant>>) -> MutexGuard<'_, HashMap<TransitKey, Instant>> {
    // Every entry is whole: a panic elsewhere does not make one wrong.
    checked.lock().unwrap_or_else(PoisonError::into_inner)
}
