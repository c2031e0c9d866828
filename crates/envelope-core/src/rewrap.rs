//! Rewrapping: changing the key that wraps a stored value's data key, without opening the value.

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
