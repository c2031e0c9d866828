//! The check that every remote key service's answers go through: new data keys are new.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use envelope_core::provider::ErrorClass;
use envelope_core::{DataKey, KeyError, Purpose};

/// How many of the last data keys of a process a new one is compared with.
pub const WINDOW: usize = 4_096;

/// Remembers the last [`WINDOW`] data keys of a key service, as derived values that say nothing of the keys.
///
/// A key service that returns a key twice (a replayed answer, a broken generator, a test double) would have
/// two values sealed under one key; in version 2 envelopes nothing but the key distinguishes them.
#[derive(Default)]
pub struct LastKeys(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    order: VecDeque<[u8; 16]>,
    known: HashSet<[u8; 16]>,
}

impl LastKeys {
    /// Accepts a new data key once.
    ///
    /// # Errors
    /// [`ErrorClass::Unavailable`] for a data key that is among the last ones: nothing may be sealed under it. The caller adds the
    /// hint that names its settings.
    pub fn accept(&self, key: &DataKey) -> Result<(), KeyError> {
        let derived = Purpose::DataKeyCommitment.derive(key);
        let mut mark = [0; 16];
        mark.copy_from_slice(&derived.expose_secret()[..16]);
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.known.insert(mark) {
            return Err(KeyError::new(ErrorClass::Unavailable, "the key service gave out a data key twice"));
        }
        seen.order.push_back(mark);
        if seen.order.len() > WINDOW
            && let Some(oldest) = seen.order.pop_front()
        {
            seen.known.remove(&oldest);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn a_data_key_is_accepted_once_within_the_window() {
        let last = LastKeys::default();
        let first = DataKey::generate();
        last.accept(&first).unwrap();
        for _ in 1..WINDOW {
            assert!(last.accept(&first).is_err());
            last.accept(&DataKey::generate()).unwrap();
        }
        assert!(last.accept(&first).is_err(), "it is the oldest in the window");
        last.accept(&DataKey::generate()).unwrap();
        assert!(last.accept(&first).is_ok(), "it has left the window");
    }
}
