//! Random bytes for keys, nonces and message ids: straight from the operating system at every draw.
//!
//! A generator in the process would be the same in parent and child after `fork`, and would repeat itself in two copies
//! of one snapshot; then a key would seal two messages under one nonce. The operating system's generator is neither
//! copied by `fork` nor restored with a process. One draw takes about 0.35 µs (`benches/randomness.rs`).

use rand::TryRng;
use rand::rngs::SysRng;

/// Fills `bytes` with random ones.
///
/// # Panics
/// If the operating system has no randomness to give. Nothing may be sealed then.
pub fn fill(bytes: &mut [u8]) {
    #[expect(clippy::expect_used, reason = "without randomness no key and no nonce may be made")]
    SysRng.try_fill_bytes(bytes).expect("the operating system gives random bytes");
}

/// So many random bytes.
///
/// # Panics
/// As [`fill`].
#[must_use]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}
