//! Blind indexes: a keyed hash of a normalised value, by which a sealed value is found again.
//!
//! `key = HKDF(data key, purpose "index")` (see [`Purpose::derive`]), and the index of a value is
//! `HMAC-SHA-256(key, "tokenseal index v1" ‖ 0 ‖ profile ‖ table ‖ column ‖ normalisation ‖ normalised value)`, where each
//! of the four names is after its big-endian `u16` length in bytes, and the normalised value is its UTF-8 bytes to the end.
//! The first `bits` bits are kept, the rest of the last byte is zero, and the stored text is `k<number of the key>:` and
//! their lower-case hexadecimal digits: the same under every collation that ignores case.
//!
//! The information that an index leaks is described in `docs/pii.md`.

mod normalization;

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::context::{ContextError, EncryptionContext};
use crate::key::DataKey;
use crate::purpose::Purpose;

pub use normalization::Normalization;

/// The most bits of an index: all of HMAC-SHA-256.
pub const MAX_BITS: u16 = 256;
/// The fewest bits of an index. With fewer, nearly every look-up would open a large part of the table.
pub const MIN_BITS: u16 = 8;

/// Begins every message.
const DOMAIN: &[u8] = b"tokenseal index v1\0";
/// The `table` in the encryption context of index keys, which no table has as its name.
const TABLE: &str = "tokenseal index";

/// Which column of which deployment an index is over. Indexes of two scopes never agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope<'a> {
    /// The name of the profile.
    pub profile: &'a str,
    /// The table, by the name that its values are bound to.
    pub table: &'a str,
    /// The column, by the name that its values are bound to.
    pub column: &'a str,
}

impl Scope<'_> {
    /// The context that the data key with this number is wrapped under: `base`, `table` and `column`, as tokens have them,
    /// so that no policy of a key service has to know another name.
    ///
    /// # Errors
    /// [`ContextError`] if `base` and these do not make a context.
    pub fn context(&self, base: &[(String, String)], number: u32) -> Result<EncryptionContext, ContextError> {
        let parts = [self.profile, self.table, self.column].map(escaped);
        let column = format!("{}/{number}", parts.join("/"));
        let base = base.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        EncryptionContext::new(base.chain([("table", TABLE), ("column", column.as_str())]))
    }
}

/// A name in which no slash divides.
fn escaped(name: &str) -> String {
    name.replace('\\', "\\\\").replace('/', "\\/")
}

/// The inputs of an index: a key of one column, and how its values are normalised and cut.
pub struct IndexKey {
    number: u32,
    normalization: Normalization,
    bits: u16,
    key: DataKey,
    /// The text before the value in every message.
    prefix: Vec<u8>,
}

impl IndexKey {
    /// Derives the key of a column from a data key of the key service.
    ///
    /// # Errors
    /// [`IndexError`] for a number of bits outside [`MIN_BITS`] to [`MAX_BITS`], or a name of over 65,535 bytes.
    pub fn new(
        data_key: &DataKey,
        scope: Scope<'_>,
        number: u32,
        normalization: Normalization,
        bits: u16,
    ) -> Result<Self, IndexError> {
        if !(MIN_BITS..=MAX_BITS).contains(&bits) {
            return Err(IndexError::Bits { actual: bits });
        }
        let mut prefix = DOMAIN.to_vec();
        for name in [scope.profile, scope.table, scope.column, normalization.label()] {
            let length = u16::try_from(name.len()).map_err(|_| IndexError::NameTooLong)?;
            prefix.extend_from_slice(&length.to_be_bytes());
            prefix.extend_from_slice(name.as_bytes());
        }
        Ok(Self { number, normalization, bits, key: Purpose::Index.derive(data_key), prefix })
    }

    /// The number of the key, which every index under it begins with.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// How values are normalised.
    #[must_use]
    pub fn normalization(&self) -> Normalization {
        self.normalization
    }

    /// How many bits an index has.
    #[must_use]
    pub fn bits(&self) -> u16 {
        self.bits
    }

    /// The prefix of every index under this key.
    #[must_use]
    pub fn mark(&self) -> String {
        mark(self.number)
    }

    /// The index of a value: none for a value that normalises to nothing, which cannot be found.
    #[must_use]
    pub fn value(&self, text: &str) -> Option<String> {
        let normalized = self.normalization.apply(text);
        if normalized.is_empty() {
            return None;
        }
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.key.expose_secret()).expect("any key length will do");
        mac.update(&self.prefix);
        mac.update(normalized.as_bytes());
        let full = Zeroizing::new(<[u8; 32]>::from(mac.finalize().into_bytes()));
        Some(format!("{}{}", self.mark(), hex::encode(self.cut(&full))))
    }

    /// The first bits, in whole bytes; the bits that are left over are zero.
    fn cut(&self, full: &[u8; 32]) -> Vec<u8> {
        let mut kept = full[..usize::from(self.bits.div_ceil(8))].to_vec();
        let over = (8 - self.bits % 8) % 8;
        if let Some(last) = kept.last_mut() {
            *last &= 0xff << over;
        }
        kept
    }
}

impl fmt::Debug for IndexKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, normalization, bits, .. } = self;
        f.debug_struct("IndexKey")
            .field("number", number)
            .field("normalization", normalization)
            .field("bits", bits)
            .finish_non_exhaustive()
    }
}

/// The prefix of every index under the key of this number.
#[must_use]
pub fn mark(number: u32) -> String {
    format!("k{number}:")
}

/// Why an index key was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// Too few or too many bits.
    #[error("an index has {MIN_BITS} to {MAX_BITS} bits, not {actual}")]
    Bits {
        /// The number of bits that was asked for.
        actual: u16,
    },
    /// A name is longer than its length field can say.
    #[error("profile, table or column has a name of over 65,535 bytes")]
    NameTooLong,
}
