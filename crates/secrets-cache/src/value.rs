//! The secret itself: text or bytes, wiped when dropped and never printed.

use std::fmt;

use secrecy::{ExposeSecret, SecretSlice, SecretString};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// A secret value. It cannot be cloned, compared with `==`, serialized or printed.
pub struct SecretValue(Kind);

enum Kind {
    Text(SecretString),
    Binary(SecretSlice<u8>),
}

impl SecretValue {
    /// A secret that is text.
    #[must_use]
    pub fn text(text: impl Into<SecretString>) -> Self {
        Self(Kind::Text(text.into()))
    }

    /// A secret that is bytes. The buffer is taken over and wiped, its spare capacity included.
    #[must_use]
    pub fn binary(mut bytes: Vec<u8>) -> Self {
        // A boxed slice of the exact length: shrinking in place could leave a copy.
        let exact: Box<[u8]> = bytes.as_slice().into();
        bytes.zeroize();
        Self(Kind::Binary(SecretSlice::from(exact)))
    }

    /// The text, if it is text. The caller is responsible for where it goes.
    #[must_use]
    pub fn expose_text(&self) -> Option<&str> {
        match &self.0 {
            Kind::Text(text) => Some(text.expose_secret()),
            Kind::Binary(_) => None,
        }
    }

    /// The bytes, of text too. The caller is responsible for where they go.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8] {
        match &self.0 {
            Kind::Text(text) => text.expose_secret().as_bytes(),
            Kind::Binary(bytes) => bytes.expose_secret(),
        }
    }

    /// Whether it is bytes.
    #[must_use]
    pub fn is_binary(&self) -> bool {
        matches!(self.0, Kind::Binary(_))
    }

    /// Its length, in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.expose_bytes().len()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether two values are the same, compared in a time that depends on their length only.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.is_binary() == other.is_binary() && bool::from(self.expose_bytes().ct_eq(other.expose_bytes()))
    }

    /// A second holder of the same value: on purpose not `Clone`, so that every copy can be found by this name.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        match &self.0 {
            Kind::Text(text) => Self::text(text.clone()),
            Kind::Binary(bytes) => Self(Kind::Binary(bytes.clone())),
        }
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

impl From<SecretString> for SecretValue {
    fn from(text: SecretString) -> Self {
        Self::text(text)
    }
}
