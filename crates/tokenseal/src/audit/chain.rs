//! The chain of one process: a MAC for each line under a key that is ratcheted forward and wiped.
//!
//! `K₀ = HMAC(data key, "tokenseal audit chain v1" ‖ id)`, `MACₙ = HMAC(Kₙ, MACₙ₋₁ ‖ n ‖ line)` and
//! `Kₙ₊₁ = HMAC(Kₙ, "tokenseal audit ratchet v1")`, all HMAC-SHA-256. A process that is taken over holds only the key of
//! the next line: the lines before cannot be forged with it (Schneier and Kelsey, "Secure Audit Logs", 1999).

use envelope_core::DataKey;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

/// The length of a MAC, in bytes.
pub(super) const MAC_LEN: usize = 32;

/// The state of a chain between two lines.
pub(super) struct Chain {
    key: Zeroizing<[u8; MAC_LEN]>,
    previous: [u8; MAC_LEN],
    next: u64,
}

impl Chain {
    /// Begins a chain. Without a key it shows lines that were lost or cut off by mistake, and stops no one who forges.
    pub(super) fn new(id: &str, key: Option<&DataKey>) -> Self {
        let secret: &[u8] = key.map_or(b"no key", |key| key.expose_secret().as_slice());
        let key = Zeroizing::new(hmac(secret, &[b"tokenseal audit chain v1", id.as_bytes()]));
        Self { key, previous: [0; MAC_LEN], next: 0 }
    }

    /// The number of the next line, from 0.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// The MAC of the last line.
    pub(super) fn head(&self) -> [u8; MAC_LEN] {
        self.previous
    }

    /// Adds a line, and returns its MAC.
    pub(super) fn add(&mut self, line: &[u8]) -> [u8; MAC_LEN] {
        let mac = hmac(&*self.key, &[&self.previous, &self.next.to_be_bytes(), line]);
        *self.key = hmac(&*self.key, &[b"tokenseal audit ratchet v1"]);
        self.previous = mac;
        self.next += 1;
        mac
    }
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; MAC_LEN] {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key length will do");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}
