//! How often a caller may look a value up: each answer says whether the value is there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::caller::{Caller, Peer};

/// The most look-ups that a caller may make at once.
const AT_ONCE: u32 = 50;
/// The time after which one more look-up is allowed: 10 per second.
const EVERY: Duration = Duration::from_millis(100);
/// With more callers than this, those are forgotten that have all their look-ups again.
const REMEMBERED: usize = 1024;

/// The look-ups of each caller.
#[derive(Debug, Default)]
pub(crate) struct Searches {
    /// When each caller has all of its look-ups again.
    full_at: Mutex<HashMap<Name, Instant>>,
}

/// On the socket a user is one caller, regardless of the tokens it sends.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Name {
    User(u32),
    Token(Option<Arc<str>>),
}

impl Searches {
    /// Counts one of the caller's look-ups; `false` if the caller may make no more now.
    pub(crate) fn admits(&self, caller: &Caller) -> bool {
        self.admits_at(caller, Instant::now())
    }

    fn admits_at(&self, caller: &Caller, now: Instant) -> bool {
        let name = match caller.peer {
            Peer::Unix { uid, .. } => Name::User(uid),
            Peer::Tcp => Name::Token(caller.token.clone()),
        };
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        if full_at.len() >= REMEMBERED {
            full_at.retain(|_, full_at| *full_at > now);
        }
        let full_at = full_at.entry(name).or_insert(now);
        let next = (*full_at).max(now) + EVERY;
        let is_left = next <= now + EVERY * AT_ONCE;
        if is_left {
            *full_at = next;
        }
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(uid: u32, token: Option<&str>) -> Caller {
        Caller { peer: Peer::Unix { uid, gid: 1, pid: None }, token: token.map(Into::into) }
    }

    #[test]
    fn a_caller_has_its_own_look_ups_and_gets_them_back() {
        let (searches, start) = (Searches::default(), Instant::now());
        let admitted = |caller: &Caller, now| (0..60).filter(|_| searches.admits_at(caller, now)).count();
        assert_eq!(admitted(&user(1, None), start), 50);
        assert_eq!(admitted(&user(1, Some("other")), start), 0, "another token is not another user");
        assert_eq!(admitted(&user(2, None), start), 50);
        let holder = Caller { peer: Peer::Tcp, token: Some("billing".into()) };
        assert_eq!(admitted(&holder, start), 50);
        assert_eq!(admitted(&user(1, None), start + EVERY * 3), 3);
        assert_eq!(admitted(&user(1, None), start + Duration::from_secs(3600)), 50);
    }

    #[test]
    fn callers_are_forgotten_that_have_all_of_theirs_again() {
        let (searches, start) = (Searches::default(), Instant::now());
        for uid in 0..5000 {
            assert!(searches.admits_at(&user(uid, None), start + EVERY * 2 * uid));
        }
        assert!(searches.full_at.lock().is_ok_and(|held| held.len() <= REMEMBERED));
    }
}
