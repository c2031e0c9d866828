//! The layout in which the local providers wrap a data key: bytes that name their key and are bound to a context.
//!
//! `"K" || 0x02 || id length (u8) || id || commitment[32] || nonce[12] || ciphertext || tag[16]`, AES-256-GCM, with the
//! associated data `purpose || id length (u8) || id || canonical context`. The canonical context is self-delimiting, and
//! no purpose is a prefix of another, so that the associated data has one reading. The commitment belongs to the key and
//! is compared before anything is decrypted: no bytes unwrap under two keys.
//!
//! Version 1, `"K" || 0x01`, had no commitment and another key of its own. It is read, and not written any more.

use std::sync::atomic::{AtomicU64, Ordering};

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit, Nonce, Tag};
use envelope_core::key::{DATA_KEY_LEN, DataKey};
use envelope_core::provider::{ErrorClass, KeyError};
use envelope_core::{EncryptionContext, Purpose, random};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// The purpose under which a data key is wrapped.
pub(crate) const DATA_KEY: &[u8] = b"tokenseal data key v1\0";

const MAGIC: u8 = b'K';
/// The version without a commitment.
const UNCOMMITTED: u8 = 1;
const VERSION: u8 = 2;
const COMMITMENT_LEN: usize = 32;
/// NIST SP 800-38D, section 5.2.1.1: 96 bits.
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;

/// Most data keys that one key wraps with random nonces (NIST SP 800-38D, section 8.3).
const MOST_WRAPS: u64 = 1 << 32;
/// A warning is logged at a quarter of that, which leaves time to rotate.
const MANY_WRAPS: u64 = MOST_WRAPS / 4;

/// A key that wraps: its cipher, the commitment to it, and how often this process has used it.
pub(crate) struct WrappingKey {
    cipher: Aes256Gcm,
    commitment: [u8; COMMITMENT_LEN],
    /// The cipher of version 1, where there was one.
    uncommitted: Option<Aes256Gcm>,
    wraps: AtomicU64,
}

impl WrappingKey {
    /// Derives what wraps from a key that is used for other purposes too; `uncommitted` opens what version 1 wrapped.
    pub(crate) fn new(key: &DataKey, uncommitted: Option<Aes256Gcm>) -> Self {
        let wrapping = Purpose::DataKey.derive(key);
        Self {
            cipher: Aes256Gcm::new(wrapping.expose_secret().into()),
            commitment: *Purpose::DataKeyCommitment.derive(key).expose_secret(),
            uncommitted,
            wraps: AtomicU64::new(0),
        }
    }

    /// Wraps a data key under this key, whose id is `id`.
    ///
    /// # Errors
    /// [`ErrorClass::Misconfigured`] after 2^32 in this process.
    pub(crate) fn wrap(
        &self,
        id: &str,
        key: &DataKey,
        context: &EncryptionContext,
    ) -> Result<Box<[u8]>, KeyError> {
        self.count(id)?;
        Ok(self.seal(DATA_KEY, id, key.expose_secret(), context))
    }

    /// Makes a data key and wraps it under this key, with one draw of random bytes for both.
    ///
    /// # Errors
    /// As for [`wrap`](Self::wrap).
    pub(crate) fn generate(
        &self,
        id: &str,
        context: &EncryptionContext,
    ) -> Result<(DataKey, Box<[u8]>), KeyError> {
        self.count(id)?;
        let (key, nonce) = DataKey::generate_with_nonce();
        let wrapped = self.seal_with(nonce, DATA_KEY, id, key.expose_secret(), context);
        Ok((key, wrapped))
    }

    /// Seals `secret`, of any length, in the layout above.
    pub(crate) fn seal(
        &self,
        purpose: &[u8],
        id: &str,
        secret: &[u8],
        context: &EncryptionContext,
    ) -> Box<[u8]> {
        self.seal_with(random::bytes(), purpose, id, secret, context)
    }

    #[expect(clippy::expect_used, reason = "callers keep ids within 255 bytes and secrets within 4 KiB")]
    fn seal_with(
        &self,
        nonce: [u8; NONCE_LEN],
        purpose: &[u8],
        id: &str,
        secret: &[u8],
        context: &EncryptionContext,
    ) -> Box<[u8]> {
        let named = 2 + 1 + id.len();
        let header = named + COMMITMENT_LEN;
        // Exactly as long as the result, so that neither growing nor boxing copies the secret.
        let mut out = Vec::with_capacity(header + NONCE_LEN + secret.len() + TAG_LEN);
        out.extend_from_slice(&[MAGIC, VERSION]);
        out.push(u8::try_from(id.len()).expect("key ids are bounded"));
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(&self.commitment);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(secret);
        let aad = associated_data(purpose, &out[2..named], context);
        let tag = self
            .cipher
            .encrypt_inout_detached(&Nonce::from(nonce), &aad, (&mut out[header + NONCE_LEN..]).into())
            .expect("secrets are within GCM's limit");
        out.extend_from_slice(&tag);
        out.into_boxed_slice()
    }

    fn count(&self, id: &str) -> Result<(), KeyError> {
        match self.wraps.fetch_add(1, Ordering::Relaxed) {
            MANY_WRAPS => tracing::warn!(
                key = id,
                wraps = MANY_WRAPS,
                "a quarter of the data keys that this key may wrap: rotate it"
            ),
            MOST_WRAPS.. => {
                // The count saturates, and does not wrap around.
                self.wraps.store(MOST_WRAPS, Ordering::Relaxed);
                return Err(KeyError::new(
                    ErrorClass::Misconfigured,
                    "key has wrapped the most data keys that it may (2^32)",
                )
                .with_hint("rotate it: {keyring rotate}"));
            }
            _ => {}
        }
        Ok(())
    }
}

/// Wrapped bytes taken apart, nothing of which has been authenticated yet.
pub(crate) struct Parsed<'a> {
    /// The key that the bytes name.
    pub(crate) id: &'a str,
    /// The id prefixed with its length, as it enters the associated data.
    named: &'a [u8],
    /// None in version 1.
    commitment: Option<&'a [u8]>,
    nonce: Nonce<aes_gcm::aead::consts::U12>,
    ciphertext: &'a [u8],
    tag: Tag,
}

impl<'a> Parsed<'a> {
    /// Parses bytes; `None` if they are not in the layout above.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let ([MAGIC, version], rest) = bytes.split_first_chunk()? else {
            return None;
        };
        let id_len = usize::from(*rest.first()?);
        let (named, rest) = rest.split_at_checked(1 + id_len)?;
        let (commitment, rest) = match *version {
            UNCOMMITTED => (None, rest),
            VERSION => rest.split_at_checked(COMMITMENT_LEN).map(|(stated, rest)| (Some(stated), rest))?,
            _ => return None,
        };
        let (nonce, rest) = rest.split_at_checked(NONCE_LEN)?;
        let (ciphertext, tag) = rest.split_at_checked(rest.len().checked_sub(TAG_LEN)?)?;
        Some(Self {
            id: std::str::from_utf8(&named[1..]).ok()?,
            named,
            commitment,
            nonce: Nonce::try_from(nonce).ok()?,
            ciphertext,
            tag: Tag::try_from(tag).ok()?,
        })
    }

    /// Unwraps a data key, under the key that [`id`](Self::id) names.
    pub(crate) fn unwrap(&self, key: &WrappingKey, context: &EncryptionContext) -> Result<DataKey, KeyError> {
        let mut bytes = [0; DATA_KEY_LEN];
        if self.ciphertext.len() != bytes.len() {
            return Err(does_not_open());
        }
        bytes.copy_from_slice(self.ciphertext);
        let opened = self.open_in_place(key, DATA_KEY, &mut bytes, context);
        let key = opened.and_then(|()| DataKey::from_slice(&bytes).map_err(|_| does_not_open()));
        bytes.zeroize();
        key
    }

    /// Opens a secret of any length.
    #[cfg(feature = "memory")]
    pub(crate) fn open(
        &self,
        key: &WrappingKey,
        purpose: &[u8],
        context: &EncryptionContext,
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, KeyError> {
        let mut secret = zeroize::Zeroizing::new(self.ciphertext.to_vec());
        self.open_in_place(key, purpose, &mut secret, context)?;
        Ok(secret)
    }

    fn open_in_place(
        &self,
        key: &WrappingKey,
        purpose: &[u8],
        buffer: &mut [u8],
        context: &EncryptionContext,
    ) -> Result<(), KeyError> {
        let cipher = match self.commitment {
            // Before anything is decrypted.
            Some(stated) if !bool::from(key.commitment.ct_eq(stated)) => return Err(does_not_open()),
            Some(_) => &key.cipher,
            None => key.uncommitted.as_ref().ok_or_else(does_not_open)?,
        };
        let aad = associated_data(purpose, self.named, context);
        cipher
            .decrypt_inout_detached(&self.nonce, &aad, buffer.into(), &self.tag)
            .map_err(|_| does_not_open())
    }
}

/// The one answer to another context and to damage, so that attempts reveal nothing.
pub(crate) fn does_not_open() -> KeyError {
    KeyError::new(ErrorClass::ContextMismatchOrCorrupt, "wrapped data key does not open").with_hint(
        "present the encryption context it was wrapped under; if that is right, the bytes are damaged",
    )
}

fn associated_data(purpose: &[u8], named: &[u8], context: &EncryptionContext) -> Vec<u8> {
    [purpose, named, context.canonical()].concat()
}

#[cfg(test)]
mod tests;
