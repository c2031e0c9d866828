//! The layout in which the local providers wrap a data key: bytes that name their key and are bound to a context.
//!
//! `"K" || 0x01 || id length (u8) || id || nonce[12] || ciphertext || tag[16]`, AES-256-GCM, with the associated
//! data `purpose || id length (u8) || id || canonical context`. The canonical context is self-delimiting, and no
//! purpose is a prefix of another, so that the associated data has one reading.

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use envelope_core::EncryptionContext;
use envelope_core::key::{DATA_KEY_LEN, DataKey};
use envelope_core::provider::{ErrorClass, KeyError};
use rand::Rng;
use zeroize::Zeroize;

/// The purpose under which a data key is wrapped.
pub(crate) const DATA_KEY: &[u8] = b"tokenseal data key v1\0";

const MAGIC: [u8; 2] = [b'K', 1];
/// NIST SP 800-38D, section 5.2.1.1: 96 bits.
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;

/// Wraps a data key under `cipher`, which goes by `id`.
pub(crate) fn wrap(cipher: &Aes256Gcm, id: &str, key: &DataKey, context: &EncryptionContext) -> Box<[u8]> {
    seal(cipher, DATA_KEY, id, key.expose_secret(), context)
}

/// Seals `secret`, of any length, in the layout above.
#[expect(clippy::expect_used, reason = "callers keep ids within 255 bytes and secrets within 4 KiB")]
pub(crate) fn seal(
    cipher: &Aes256Gcm,
    purpose: &[u8],
    id: &str,
    secret: &[u8],
    context: &EncryptionContext,
) -> Box<[u8]> {
    let header = MAGIC.len() + 1 + id.len();
    // Exactly as long as the result, so that neither growing nor boxing copies the secret.
    let mut out = Vec::with_capacity(header + NONCE_LEN + secret.len() + TAG_LEN);
    out.extend_from_slice(&MAGIC);
    out.push(u8::try_from(id.len()).expect("key ids are bounded"));
    out.extend_from_slice(id.as_bytes());
    let mut nonce = [0; NONCE_LEN];
    rand::rng().fill_bytes(&mut nonce);
    out.extend_from_slice(&nonce);
    out.extend_from_slice(secret);
    let aad = associated_data(purpose, &out[MAGIC.len()..header], context);
    let tag = cipher
        .encrypt_inout_detached(&Nonce::from(nonce), &aad, (&mut out[header + NONCE_LEN..]).into())
        .expect("secrets are within GCM's limit");
    out.extend_from_slice(&tag);
    out.into_boxed_slice()
}

/// Wrapped bytes taken apart, nothing of which has been authenticated yet.
pub(crate) struct Parsed<'a> {
    /// The key that the bytes name.
    pub(crate) id: &'a str,
    /// The id behind its length, as it enters the associated data.
    named: &'a [u8],
    nonce: Nonce<aes_gcm::aead::consts::U12>,
    ciphertext: &'a [u8],
    tag: Tag,
}

impl<'a> Parsed<'a> {
    /// Takes bytes apart; none if they are not in the layout above.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&MAGIC)?;
        let id_len = usize::from(*rest.first()?);
        let (named, rest) = rest.split_at_checked(1 + id_len)?;
        let (nonce, rest) = rest.split_at_checked(NONCE_LEN)?;
        let (ciphertext, tag) = rest.split_at_checked(rest.len().checked_sub(TAG_LEN)?)?;
        Some(Self {
            id: std::str::from_utf8(&named[1..]).ok()?,
            named,
            nonce: Nonce::try_from(nonce).ok()?,
            ciphertext,
            tag: Tag::try_from(tag).ok()?,
        })
    }

    /// Unwraps a data key, under the cipher that [`id`](Self::id) names.
    pub(crate) fn unwrap(
        &self,
        cipher: &Aes256Gcm,
        context: &EncryptionContext,
    ) -> Result<DataKey, KeyError> {
        let mut bytes = [0; DATA_KEY_LEN];
        if self.ciphertext.len() != bytes.len() {
            return Err(does_not_open());
        }
        bytes.copy_from_slice(self.ciphertext);
        let opened = self.open_in_place(cipher, DATA_KEY, &mut bytes, context);
        let key = opened.and_then(|()| DataKey::from_slice(&bytes).map_err(|_| does_not_open()));
        bytes.zeroize();
        key
    }

    /// Opens a secret of any length.
    #[cfg(feature = "memory")]
    pub(crate) fn open(
        &self,
        cipher: &Aes256Gcm,
        purpose: &[u8],
        context: &EncryptionContext,
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, KeyError> {
        let mut secret = zeroize::Zeroizing::new(self.ciphertext.to_vec());
        self.open_in_place(cipher, purpose, &mut secret, context)?;
        Ok(secret)
    }

    fn open_in_place(
        &self,
        cipher: &Aes256Gcm,
        purpose: &[u8],
        buffer: &mut [u8],
        context: &EncryptionContext,
    ) -> Result<(), KeyError> {
        let aad = associated_data(purpose, self.named, context);
        cipher
            .decrypt_inout_detached(&self.nonce, &aad, buffer.into(), &self.tag)
            .map_err(|_| does_not_open())
    }
}

/// The one answer to another context and to damage, so that nothing is learnt by trying.
pub(crate) fn does_not_open() -> KeyError {
    KeyError::new(ErrorClass::ContextMismatchOrCorrupt, "wrapped data key does not open").with_hint(
        "present the encryption context it was wrapped under; if that is right, the bytes are damaged",
    )
}

fn associated_data(purpose: &[u8], named: &[u8], context: &EncryptionContext) -> Vec<u8> {
    [purpose, named, context.canonical()].concat()
}
