//! An OAuth 2.0 provider that rotates refresh tokens and revokes all tokens of a family when one is used twice, as RFC
//! 9700, section 4.14.2, asks for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

mod server;

pub use server::{Behaviour, Server};

/// The provider's memory. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Provider {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Every refresh token that was ever given out, with its family and its number in it.
    tokens: HashMap<String, (usize, u64)>,
    families: Vec<Family>,
}

/// The tokens that come of one sign-in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Family {
    /// How often one of its refresh tokens was exchanged.
    pub grants: u64,
    /// How often one was used that had been exchanged before.
    pub reused: u64,
    /// Whether none of its tokens is valid any more.
    pub is_revoked: bool,
}

/// The tokens that are given for a refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// For the provider's API.
    pub access: String,
    /// For the next exchange.
    pub refresh: String,
}

impl Provider {
    /// Signs a user in: the first refresh token of a new family.
    pub fn sign_in(&self) -> String {
        let mut state = self.lock();
        state.families.push(Family::default());
        let family = state.families.len() - 1;
        state.give(family)
    }

    /// Exchanges a refresh token. One that was exchanged before revokes its family.
    pub fn exchange(&self, refresh: &str) -> Option<Pair> {
        let mut state = self.lock();
        let (number, generation) = *state.tokens.get(refresh)?;
        let family = &mut state.families[number];
        if family.is_revoked || generation != family.grants {
            family.reused += 1;
            family.is_revoked = true;
            return None;
        }
        family.grants += 1;
        let refresh = state.give(number);
        Some(Pair { access: format!("access-{}", &refresh["refresh-".len()..]), refresh })
    }

    /// Every family, in the order of the sign-ins.
    pub fn families(&self) -> Vec<Family> {
        self.lock().families.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds this lock")
    }
}

impl State {
    fn give(&mut self, family: usize) -> String {
        let generation = self.families[family].grants;
        let token = format!("refresh-{family}-{generation}");
        self.tokens.insert(token.clone(), (family, generation));
        token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_is_used_twice_revokes_its_family_and_no_other() {
        let provider = Provider::default();
        let (one, other) = (provider.sign_in(), provider.sign_in());
        let next = provider.exchange(&one).expect("it is valid");
        assert_eq!(provider.exchange(&one), None);
        assert_eq!(provider.exchange(&next.refresh), None, "its successor is revoked with it");
        assert!(provider.exchange(&other).is_some());
        let revoked: Vec<bool> = provider.families().iter().map(|family| family.is_revoked).collect();
        assert_eq!(revoked, [true, false]);
    }
}
