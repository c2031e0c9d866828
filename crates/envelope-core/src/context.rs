//! Encryption contexts: the public name-value pairs that a key service binds to a wrapped data key.

use std::fmt;

/// Longest canonical encoding of a context, in bytes. AWS KMS limits a context to 8,192 characters of JSON.
pub const MAX_CONTEXT_LEN: usize = 8_192;

/// The number of pairs up to which a context is sorted on the stack.
const FEW: usize = 12;

/// An ordered set of unique name-value pairs, always supplied by the caller and never taken from a stored value.
///
/// It is kept as its canonical encoding: a big-endian `u16` count, then, in the order of the names' UTF-8 bytes,
/// each name and each value prefixed with a big-endian `u16` length (as the AWS Encryption SDK serializes AAD,
/// `framework/structures.md`). Two contexts are equal exactly if their pairs are, whatever order they were given in.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EncryptionContext {
    canonical: Box<[u8]>,
}

impl EncryptionContext {
    /// Builds a context from pairs in any order.
    ///
    /// # Errors
    /// [`ContextError`] for an empty or repeated name, an empty value, or more than [`MAX_CONTEXT_LEN`] bytes.
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, ContextError> {
        // Contexts usually have few pairs: those need no memory from the allocator to be sorted in.
        let (mut few, mut count, mut many) = ([("", ""); FEW], 0, Vec::new());
        for pair in pairs {
            match few.get_mut(count) {
                Some(place) => *place = pair,
                None if many.is_empty() => many.extend(few.iter().copied().chain([pair])),
                None => many.push(pair),
            }
            count += 1;
        }
        let sorted = if many.is_empty() { &mut few[..count] } else { many.as_mut_slice() };
        sorted.sort_unstable_by_key(|(name, _)| *name);
        if let Some(twice) = sorted.windows(2).find(|w| w[0].0 == w[1].0) {
            return Err(ContextError::Repeated { name: twice[0].0.into() });
        }
        let length = 2 + sorted.iter().map(|(name, value)| 4 + name.len() + value.len()).sum::<usize>();
        if length > MAX_CONTEXT_LEN {
            return Err(ContextError::TooLong { actual: length });
        }
        let mut canonical = Vec::with_capacity(length);
        push_length(&mut canonical, sorted.len());
        for &mut (name, value) in sorted {
            if name.is_empty() {
                return Err(ContextError::EmptyName);
            }
            if value.is_empty() {
                return Err(ContextError::EmptyValue { name: name.into() });
            }
            push_text(&mut canonical, name);
            push_text(&mut canonical, value);
        }
        Ok(Self { canonical: canonical.into() })
    }

    /// The context without any pair, as the autonomous platform's rows were written under.
    #[must_use]
    pub fn empty() -> Self {
        Self { canonical: Box::new([0, 0]) }
    }

    /// The canonical encoding described above: injective, so safe as associated data and as a cache key.
    #[must_use]
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }

    /// The pairs, in canonical order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = &self.canonical[2..];
        std::iter::from_fn(move || (!rest.is_empty()).then(|| (take_text(&mut rest), take_text(&mut rest))))
    }

    /// Whether there is no pair at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.canonical.len() == 2
    }
}

impl fmt::Debug for EncryptionContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.pairs()).finish()
    }
}

/// Appends `text`, prefixed with its big-endian `u16` length.
pub(crate) fn push_text(out: &mut Vec<u8>, text: &str) {
    push_length(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

pub(crate) fn push_length(out: &mut Vec<u8>, length: usize) {
    #[expect(clippy::expect_used, reason = "every caller has bounded the whole encoding below 64 KiB")]
    let length = u16::try_from(length).expect("lengths are bounded");
    out.extend_from_slice(&length.to_be_bytes());
}

fn take_text<'a>(rest: &mut &'a [u8]) -> &'a str {
    let (length, tail) = rest.split_at(2);
    let (text, tail) = tail.split_at(usize::from(u16::from_be_bytes([length[0], length[1]])));
    *rest = tail;
    #[expect(clippy::expect_used, reason = "`new` wrote these bytes from a `str`")]
    std::str::from_utf8(text).expect("a context holds UTF-8")
}

/// Why pairs do not make a context.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// A pair has an empty name.
    #[error("encryption context has a pair without a name")]
    EmptyName,
    /// A pair has an empty value: AWS KMS refuses it; leave the pair out.
    #[error("encryption context pair {name:?} has an empty value")]
    EmptyValue {
        /// The pair's name.
        name: String,
    },
    /// A name is given twice.
    #[error("encryption context names {name:?} twice")]
    Repeated {
        /// The repeated name.
        name: String,
    },
    /// The canonical encoding is over [`MAX_CONTEXT_LEN`].
    #[error("encryption context is {actual} bytes long, over {MAX_CONTEXT_LEN}")]
    TooLong {
        /// Length of the canonical encoding, in bytes.
        actual: usize,
    },
}
