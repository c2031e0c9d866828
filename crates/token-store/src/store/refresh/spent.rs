//! Recognizing the refresh token that a lease is about, without storing it.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

/// Which refresh token was spent: a random salt, and 48 bits of the hash of salt and token.
///
/// Two leases about one token have different texts, and the few bits confirm no guess of a token: of 2^48 guesses one fits by
/// chance.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Spent {
    text: String,
}

const SALT: usize = 32;
const MARK: usize = 12;

impl Spent {
    pub(crate) fn of(token: &SecretString) -> Self {
        let salt = format!("{:032x}", rand::random::<u128>());
        Self { text: format!("{salt}.{}", mark(&salt, token)) }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let (salt, mark) = text.split_once('.')?;
        let fits = salt.len() == SALT && mark.len() == MARK && is_hex(salt) && is_hex(mark);
        fits.then(|| Self { text: text.to_owned() })
    }

    /// Whether it is about this token.
    pub(crate) fn is(&self, token: &SecretString) -> bool {
        self.text.split_once('.').is_some_and(|(salt, found)| mark(salt, token) == found)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

fn mark(salt: &str, token: &SecretString) -> String {
    let digest = Sha256::new().chain_update(salt).chain_update(token.expose_secret()).finalize();
    digest.iter().take(MARK / 2).map(|byte| format!("{byte:02x}")).collect()
}

impl fmt::Debug for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spent").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_recognized_and_no_other_is() {
        let (one, other) = (SecretString::from("one"), SecretString::from("other"));
        let spent = Spent::of(&one);
        let again = Spent::parse(spent.as_str()).filter(|read| *read == spent);
        assert!(again.is_some_and(|spent| spent.is(&one) && !spent.is(&other)));
        assert_ne!(Spent::of(&one), spent, "the same token has another text each time");
        for text in ["", ".", "x.y", &spent.as_str()[1..], &spent.as_str().to_uppercase()] {
            assert_eq!(Spent::parse(text), None, "{text}");
        }
    }
}
