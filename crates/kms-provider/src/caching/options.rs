//! The options of a cache: its size, its times, and its behaviour during an outage.

use std::time::Duration;

/// Longest time that a refusal is remembered: five seconds, because a repaired permission should work again
/// by then.
pub const MAX_NEGATIVE_TTL: Duration = Duration::from_secs(5);

/// The settings of [`Caching`](super::Caching).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheOptions {
    /// How long an unwrapped key is kept: five minutes. Up to a tenth is taken off at random, so that keys that
    /// came together do not all go together.
    pub ttl: Duration,
    /// Most keys kept: 10,000.
    pub max_entries: u64,
    /// Most memory taken by cached entries, in bytes and by estimate: 64 MiB. An entry takes one to two KiB,
    /// and never more than 16.
    pub max_bytes: u64,
    /// Whether freshly generated keys are kept too, which is the default: a value that was just written is read soon.
    /// They are found with and without the key id stored with the value, because not every table has a column for it.
    /// Switch it off for bulk writes.
    pub remember_generated: bool,
    /// A key that is read this short a time before it expires is fetched again in the background: 30 s, and never more
    /// than half of the TTL. Zero switches it off.
    pub refresh_ahead: Duration,
    /// How long a refusal that would be the same again is remembered: not at all. At most [`MAX_NEGATIVE_TTL`].
    ///
    /// It is for values that are read over and over and never open. Remembered are the states of a key (`not_found`,
    /// `disabled`, `pending_deletion`) and `context_mismatch_or_corrupt`: the same bytes under the same context
    /// will never open. `denied` is not, because a permission is given at any moment; `wrong_key` is not, because most
    /// such claims are refused without a call, and an alias may later refer to their key.
    pub negative_ttl: Duration,
    /// How long after its expiry a key may still serve while the key service does not answer: not at all.
    ///
    /// With it, a key stays in memory for up to the TTL and this time together, and no longer, however long the outage.
    /// Only an expired key that could not be fetched for `unavailable`, `timeout` or `throttled` is served so, and
    /// never once the service has refused its key since: denied, disabled, not found or pending deletion. Each such
    /// read asks the key service first, so put this cache over [`Resilience`](crate::Resilience), which fails fast.
    pub stale_for: Duration,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(300),
            max_entries: 10_000,
            max_bytes: 64 << 20,
            remember_generated: true,
            refresh_ahead: Duration::from_secs(30),
            negative_ttl: Duration::ZERO,
            stale_for: Duration::ZERO,
        }
    }
}

impl CacheOptions {
    /// Changes how long a key is kept.
    #[must_use]
    pub fn with_ttl(self, ttl: Duration) -> Self {
        Self { ttl, ..self }
    }

    /// Changes how many keys are kept at most.
    #[must_use]
    pub fn with_max_entries(self, max_entries: u64) -> Self {
        Self { max_entries, ..self }
    }

    /// Changes how many bytes of memory are taken at most.
    #[must_use]
    pub fn with_max_bytes(self, max_bytes: u64) -> Self {
        Self { max_bytes, ..self }
    }

    /// Changes whether freshly generated keys are kept.
    #[must_use]
    pub fn with_remember_generated(self, remember_generated: bool) -> Self {
        Self { remember_generated, ..self }
    }

    /// Changes how long before its expiry a key that is read is fetched again.
    #[must_use]
    pub fn with_refresh_ahead(self, refresh_ahead: Duration) -> Self {
        Self { refresh_ahead, ..self }
    }

    /// Changes how long a refusal that would be the same again is remembered.
    #[must_use]
    pub fn with_negative_ttl(self, negative_ttl: Duration) -> Self {
        Self { negative_ttl, ..self }
    }

    /// Changes how long an expired key may serve while the key service does not answer.
    #[must_use]
    pub fn with_stale_for(self, stale_for: Duration) -> Self {
        Self { stale_for, ..self }
    }
}
