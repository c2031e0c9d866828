//! PulsePlan's local format: `v<version>:<hex(iv[16])>:<hex(tag[16])>:<hex(ciphertext)>` under a key derived per user.
//!
//! The user key is PBKDF2-HMAC-SHA256 of the master key with 100,000 iterations and the salt
//! `pulseplan:user:<user id>:v<version>`; the cipher is AES-256-GCM with a **16-byte** IV (NIST SP 800-38D,
//! section 7.1, hashes such an IV into its counter block) and no associated data. Rows from before versions
//! lack the first part and are version 1. The salt binds a value to its user; nothing binds it to its
//! row or column.

use std::num::NonZeroU32;

use aes_gcm::aead::consts::U16;
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, KeyInit};
use secrecy::SecretString;
use sha2::Sha256;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::aead;
use crate::error::OpenError;
use crate::format::{FormatError, MAX_PLAINTEXT_LEN};
use crate::key::DataKey;
use crate::text::decode_hex;

/// Iterations of PBKDF2 in [`derive_user_key`].
pub const PBKDF2_ITERATIONS: u32 = 100_000;

const IV_LEN: usize = 16;

type Cipher = AesGcm<Aes256, U16>;

/// PulsePlan's master key, `TOKEN_ENCRYPTION_KEY`, in both readings that rows exist under.
///
/// Like every key here it can be neither printed, cloned, compared nor serialized.
pub struct MasterKey {
    decoded: Option<Reading>,
    raw: Reading,
}

impl MasterKey {
    /// Takes the variable's text as it is.
    ///
    /// Its newer reading is the result of Python's `base64.b64decode`: characters outside the standard
    /// alphabet are dropped, length and padding must then fit, stray trailing bits are ignored. A text that
    /// decodes to nothing has no such reading, because a key of no bytes protects nothing.
    ///
    /// # Errors
    /// [`EmptyMasterKey`] for an empty text.
    pub fn from_variable(text: &str) -> Result<Self, EmptyMasterKey> {
        if text.is_empty() {
            return Err(EmptyMasterKey);
        }
        let raw = Reading { kind: ReadingKind::Raw, bytes: Zeroizing::new(text.as_bytes().to_vec()) };
        let decoded = decode_leniently(text).map(|bytes| Reading { kind: ReadingKind::Decoded, bytes });
        Ok(Self { decoded, raw })
    }

    /// The readings, in the order in which to try them on a stored value.
    pub fn readings(&self) -> impl Iterator<Item = &Reading> {
        self.decoded.iter().chain([&self.raw])
    }

    /// The reading that new values are sealed under.
    #[must_use]
    pub fn writing(&self) -> &Reading {
        self.decoded.as_ref().unwrap_or(&self.raw)
    }
}

/// The master key was empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("master key is empty")]
pub struct EmptyMasterKey;

/// The secret bytes of one reading of the master key.
pub struct Reading {
    kind: ReadingKind,
    bytes: Zeroizing<Vec<u8>>,
}

impl Reading {
    /// Which reading it is: together with user and version, the key of a cache of derived keys.
    #[must_use]
    pub fn kind(&self) -> ReadingKind {
        self.kind
    }
}

impl ZeroizeOnDrop for Reading {}

/// How a master key's text was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadingKind {
    /// Decoded from base64.
    Decoded,
    /// Its UTF-8 bytes.
    Raw,
}

/// Derives a user's key.
///
/// This takes tens of milliseconds of processor time **by design** and does not yield: async callers run it on a
/// blocking thread and keep the key for a while.
#[must_use]
pub fn derive_user_key(master: &Reading, user_id: &str, version: NonZeroU32) -> DataKey {
    let salt = format!("pulseplan:user:{user_id}:v{version}");
    DataKey::from_fn(|key| {
        pbkdf2::pbkdf2_hmac::<Sha256>(&master.bytes, salt.as_bytes(), PBKDF2_ITERATIONS, key);
    })
}

/// A parsed envelope.
#[derive(Debug)]
pub struct Envelope {
    version: NonZeroU32,
    iv: Vec<u8>,
    tag: Vec<u8>,
    ciphertext: Vec<u8>,
}

impl Envelope {
    /// Parses the form with four parts and the older one with three.
    ///
    /// # Errors
    /// [`FormatError`] for anything but the canonical text: `v02`, `v+2`, `v0`, upper-case hexadecimal and empty
    /// parts among them.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let (version, [iv, tag, ciphertext]) = split(text)?;
        let (iv, tag, ciphertext) = (decode_hex(iv)?, decode_hex(tag)?, decode_hex(ciphertext)?);
        if iv.len() < IV_LEN || tag.len() < aead::TAG_LEN || ciphertext.is_empty() {
            return Err(FormatError::TooShort);
        }
        if iv.len() > IV_LEN || tag.len() > aead::TAG_LEN || ciphertext.len() > MAX_PLAINTEXT_LEN {
            return Err(FormatError::TooLong);
        }
        Ok(Self { version, iv, tag, ciphertext })
    }

    /// The key version that the value names.
    #[must_use]
    pub fn version(&self) -> NonZeroU32 {
        self.version
    }

    /// Opens the value with its user's key of its version.
    ///
    /// # Errors
    /// [`OpenError::NotAuthentic`] or [`OpenError::NotText`].
    pub fn open(&self, key: &DataKey) -> Result<SecretString, OpenError> {
        aead::into_secret_string(aead::open_detached(
            &cipher(key),
            &self.iv,
            &[],
            &self.ciphertext,
            &self.tag,
        )?)
    }
}

/// Seals a value under a user's key of this version. The empty string stays the empty string.
#[must_use]
pub fn seal(key: &DataKey, version: NonZeroU32, plaintext: &str) -> String {
    if plaintext.is_empty() {
        return String::new();
    }
    let iv = aead::random_nonce::<Cipher>();
    let mut buffer = plaintext.as_bytes().to_vec();
    let tag = aead::seal_in_place(&cipher(key), &iv, &[], &mut buffer);
    format!("v{version}:{}:{}:{}", hex::encode(iv), hex::encode(tag), hex::encode(buffer))
}

fn cipher(key: &DataKey) -> Cipher {
    Cipher::new(key.expose_secret().into())
}

fn split(text: &str) -> Result<(NonZeroU32, [&str; 3]), FormatError> {
    let mut parts = text.split(':');
    let mut next = || parts.next().ok_or(FormatError::Shape);
    let (first, second, third) = (next()?, next()?, next()?);
    let (version, fields) = match parts.next() {
        None => (NonZeroU32::MIN, [first, second, third]),
        Some(fourth) => (parse_version(first)?, [second, third, fourth]),
    };
    if parts.next().is_some() || fields.iter().any(|field| field.is_empty()) {
        return Err(FormatError::Shape);
    }
    Ok((version, fields))
}

fn parse_version(part: &str) -> Result<NonZeroU32, FormatError> {
    let digits = part.strip_prefix('v').ok_or(FormatError::Shape)?;
    if digits.starts_with('0') || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(FormatError::UnknownVersion);
    }
    digits.parse().map_err(|_| FormatError::UnknownVersion)
}

/// The behaviour of CPython's `binascii.a2b_base64` does without `strict_mode`: padding that fits ends the text.
fn decode_leniently(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut out = Zeroizing::new(Vec::with_capacity(text.len()));
    let (mut filled, mut carry, mut pads) = (0_u8, 0_u8, 0_u8);
    for byte in text.bytes() {
        if byte == b'=' {
            if filled >= 2 {
                pads += 1;
                if filled + pads >= 4 {
                    filled = 0;
                    break;
                }
            }
            continue;
        }
        let Some(bits) = sextet(byte) else { continue };
        pads = 0;
        match filled {
            0 => {}
            1 => out.push(carry << 2 | bits >> 4),
            2 => out.push(carry << 4 | bits >> 2),
            _ => out.push(carry << 6 | bits),
        }
        carry = bits;
        filled = (filled + 1) % 4;
    }
    (filled == 0 && !out.is_empty()).then_some(out)
}

fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn master_keys_are_decoded_as_python_decodes_them() {
        // The results of CPython 3.11's `base64.b64decode` makes of each; it was compared on 20,000 random texts as well.
        for (text, decoded) in [
            ("YWJj", Some("616263")),
            ("YWI=", Some("6162")),
            ("YW J\nj", Some("616263")),
            ("YW-J_j", Some("616263")),
            ("YWJ=", Some("6162")),
            ("YWJj=", Some("616263")),
            ("YWI=YWI=", Some("6162")),
            ("YQ=Q=", Some("6104")),
            ("YWI", None),
            ("YWJjY", None),
            ("YQ=", None),
            ("=", None),
            ("not base64: 953a2d69e356", None),
        ] {
            assert_eq!(
                decode_leniently(text).map(|bytes| hex::encode(&*bytes)).as_deref(),
                decoded,
                "{text:?}"
            );
        }
    }
}
