//! Rewrapping: changing the key that wraps a stored value's data key, without opening the value.

use crate::binding::{Binding, BindingPolicy};
use crate::context::{ContextError, EncryptionContext};
use crate::format::{FormatError, bound, kms_envelope};
use crate::key::WrappedDataKey;

/// The wrapped data key of a stored value of version 2 or 3, and the text that it came from.
#[derive(Debug)]
pub struct StoredKey<'a> {
    text: &'a str,
    wrapped: WrappedDataKey,
    scope: Scope,
}

/// The contents of a data key's encryption context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// The cell, or at least the owner.
    Cell,
    /// The application alone.
    Application,
}

impl<'a> StoredKey<'a> {
    /// Takes the wrapped data key out of a value. `key_id` is the key that the row names, if it names one.
    ///
    /// # Errors
    /// [`FormatError`] if the text is not an envelope of version 2 or 3.
    pub fn parse(text: &'a str, key_id: Option<&str>) -> Result<Self, FormatError> {
        let (wrapped, scope) = if text.starts_with(bound::MARK) {
            (bound::Envelope::parse(text)?.wrapped_data_key(key_id)?, Scope::Application)
        } else {
            (kms_envelope::Envelope::parse(text)?.wrapped_data_key(key_id)?, Scope::Cell)
        };
        Ok(Self { text, wrapped, scope })
    }

    /// The wrapped data key.
    #[must_use]
    pub fn wrapped(&self) -> &WrappedDataKey {
        &self.wrapped
    }

    /// The contexts that the data key may be wrapped under, in the order in which to try them.
    ///
    /// Version 3 has one, that of the application. Version 2 has the bound one and, unless unbound values are
    /// refused, the plain one.
    ///
    /// # Errors
    /// [`ContextError`] where the row's identity does not make a context.
    pub fn contexts(
        &self,
        base: &[(String, String)],
        binding: &Binding<'_>,
        policy: BindingPolicy,
    ) -> Result<Vec<EncryptionContext>, ContextError> {
        if self.scope == Scope::Application {
            let pairs = base.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            return Ok(vec![EncryptionContext::new(pairs)?]);
        }
        let bound = binding.bound_context(base)?;
        Ok(match policy {
            BindingPolicy::Require => vec![bound],
            BindingPolicy::AcceptUnbound => vec![bound, binding.plain_context(base)?],
            BindingPolicy::Off => vec![binding.plain_context(base)?, bound],
        })
    }

    /// Puts a re-wrapped data key in the old one's place; the payload is not touched.
    ///
    /// The same wrapped bytes give the same text back, to the byte.
    ///
    /// # Errors
    /// [`FormatError`], which a parsed value never has.
    pub fn replace(&self, wrapped: &WrappedDataKey) -> Result<Rewrapped, FormatError> {
        let key_id = wrapped.key_id();
        if wrapped.bytes() == self.wrapped.bytes() {
            return Ok(Rewrapped::unchanged(self.text, key_id));
        }
        let text = match self.scope {
            Scope::Cell => kms_envelope::replace_wrapped(self.text, wrapped)?,
            Scope::Application => bound::replace_wrapped(self.text, wrapped)?,
        };
        Ok(Rewrapped { text, key_id: key_id.map(Into::into), changed: true })
    }
}

/// A value after its data key was re-wrapped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rewrapped {
    /// The text to store.
    pub text: String,
    /// The key id to store with it, if the provider names it.
    pub key_id: Option<String>,
    /// Whether the text differs from the one that was given.
    pub changed: bool,
}

impl Rewrapped {
    pub(crate) fn unchanged(text: &str, key_id: Option<&str>) -> Self {
        Self { text: text.into(), key_id: key_id.map(Into::into), changed: false }
    }
}
