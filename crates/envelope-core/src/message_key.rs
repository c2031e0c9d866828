//! A content key and a commitment for one message, derived from a data key and the message's random id.

use hkdf::Hkdf;
use sha2::Sha512;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::error::OpenError;
use crate::key::DataKey;

/// Length of a message id: random ones do not repeat.
pub(crate) const ID_LEN: usize = 32;
/// Length of a commitment: two keys with one commitment are a collision of SHA-512.
pub(crate) const COMMITMENT_LEN: usize = 32;

/// The keys that are derived from a data key for one message: HKDF-SHA-512 (RFC 5869) with the message id as its salt.
pub(crate) struct MessageKey {
    pub(crate) content_key: Zeroizing<[u8; 32]>,
    pub(crate) commitment: [u8; COMMITMENT_LEN],
}

impl MessageKey {
    /// Derives both; the two infos must differ, and identify the message.
    pub(crate) fn derive(
        key: &DataKey,
        message_id: &[u8],
        content_info: &[&[u8]],
        commitment_info: &[&[u8]],
    ) -> Self {
        let hkdf = Hkdf::<Sha512>::new(Some(message_id), key.expose_secret());
        let mut derived = Self { content_key: Zeroizing::default(), commitment: [0; COMMITMENT_LEN] };
        expand(&hkdf, content_info, &mut derived.content_key);
        expand(&hkdf, commitment_info, &mut derived.commitment);
        derived
    }

    /// Compares the commitment that a value states, before anything of it is decrypted: under a key that the value
    /// does not commit to, no plaintext is ever made.
    pub(crate) fn check(&self, stated: &[u8]) -> Result<(), OpenError> {
        if self.commitment.ct_eq(stated).into() { Ok(()) } else { Err(OpenError::NotAuthentic) }
    }
}

fn expand(hkdf: &Hkdf<Sha512>, info: &[&[u8]], out: &mut [u8; 32]) {
    #[expect(clippy::expect_used, reason = "HKDF-SHA-512 gives up to 16,320 bytes (RFC 5869, section 2.3)")]
    hkdf.expand_multi_info(info, out).expect("32 bytes are within HKDF's limit");
}
