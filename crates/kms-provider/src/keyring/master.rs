//! The keys derived from the master key: one key to wrap, one to seal the list, and a value to recognize it by.

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit, Nonce, Tag};
use envelope_core::key::DATA_KEY_LEN;
use envelope_core::{DataKey, random};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

/// Length of a ring key as it is in the file: `nonce[12] || ciphertext[32] || tag[16]`.
pub(super) const WRAPPED_LEN: usize = NONCE_LEN + DATA_KEY_LEN + TAG_LEN;
/// Length of the value that distinguishes a wrong master key from a damaged file.
pub(super) const CHECK_LEN: usize = 16;
/// Length of the seal: HMAC-SHA-256.
pub(super) const SEAL_LEN: usize = 32;

const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;

/// The keys derived from a master key with HKDF-SHA-256 (RFC 5869) without salt, one label each, so that none of them
/// says anything about another or about the master key.
pub(super) struct Master {
    wrap: Aes256Gcm,
    seal: Zeroizing<[u8; 32]>,
    check: [u8; CHECK_LEN],
}

impl Master {
    pub(super) fn derive(master: &DataKey) -> Self {
        let mut wrap = derived(master, b"tokenseal keyring v1 wrap");
        let derived_keys = Self {
            wrap: Aes256Gcm::new((&wrap).into()),
            seal: Zeroizing::new(derived(master, b"tokenseal keyring v1 seal")),
            check: derived(master, b"tokenseal keyring v1 check"),
        };
        wrap.zeroize();
        derived_keys
    }

    /// Recognizes the master key: the same for every keyring under it, and of no other use.
    pub(super) fn check(&self) -> &[u8; CHECK_LEN] {
        &self.check
    }

    /// Wraps a ring key, bound to its id.
    #[expect(clippy::expect_used, reason = "32 bytes are within GCM's limit")]
    pub(super) fn wrap(&self, id: &str, key: &DataKey) -> [u8; WRAPPED_LEN] {
        let mut out = [0; WRAPPED_LEN];
        let (nonce, rest) = out.split_at_mut(NONCE_LEN);
        let (body, tag) = rest.split_at_mut(DATA_KEY_LEN);
        random::fill(nonce);
        body.copy_from_slice(key.expose_secret());
        let nonce = Nonce::try_from(&*nonce).expect("the slice has the nonce's length");
        let sealed = self.wrap.encrypt_inout_detached(&nonce, &associated_data(id), body.into());
        tag.copy_from_slice(&sealed.expect("the key is within GCM's limit"));
        out
    }

    /// Unwraps a ring key; `None` if it was not made by [`wrap`](Self::wrap) for this id.
    pub(super) fn unwrap(&self, id: &str, wrapped: &[u8; WRAPPED_LEN]) -> Option<DataKey> {
        let (nonce, rest) = wrapped.split_at(NONCE_LEN);
        let (ciphertext, tag) = rest.split_at(DATA_KEY_LEN);
        let (nonce, tag) = (Nonce::try_from(nonce).ok()?, Tag::try_from(tag).ok()?);
        let mut body = Zeroizing::new([0; DATA_KEY_LEN]);
        body.copy_from_slice(ciphertext);
        self.wrap
            .decrypt_inout_detached(&nonce, &associated_data(id), body.as_mut_slice().into(), &tag)
            .ok()?;
        DataKey::from_slice(body.as_slice()).ok()
    }

    /// Seals the list of keys, so that none can be added, removed or made active without the master key.
    pub(super) fn seal(&self, list: &[u8]) -> [u8; SEAL_LEN] {
        self.mac(list).finalize().into_bytes().into()
    }

    /// Checks a seal, in constant time.
    pub(super) fn is_sealed(&self, list: &[u8], seal: &[u8]) -> bool {
        self.mac(list).verify_slice(seal).is_ok()
    }

    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    fn mac(&self, list: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.seal.as_slice()).expect("any key length will do");
        mac.update(list);
        mac
    }
}

/// The key with which a ring key wrapped data keys before wrapped data keys had a commitment. It opens those.
pub(super) fn uncommitted_cipher(ring_key: &DataKey) -> Aes256Gcm {
    let mut key: [u8; DATA_KEY_LEN] = derived(ring_key, b"tokenseal keyring v1 data key");
    let cipher = Aes256Gcm::new((&key).into());
    key.zeroize();
    cipher
}

#[expect(clippy::expect_used, reason = "HKDF-SHA-256 expands to 8,160 bytes; 32 are asked for at most")]
fn derived<const N: usize>(from: &DataKey, label: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    Hkdf::<Sha256>::new(None, from.expose_secret())
        .expand(label, &mut out)
        .expect("the length is within the limit");
    out
}

/// The file's version and the key's id: a wrapped key cannot take the place of another.
fn associated_data(id: &str) -> Vec<u8> {
    [b"tokenseal keyring v1 key\0", id.as_bytes()].concat()
}
