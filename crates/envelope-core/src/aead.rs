//! Authenticated encryption as the stored formats use it: detached tags, fresh nonces, wiped plaintexts.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::array::typenum::Unsigned;
use aes_gcm::aead::{AeadCore, AeadInOut, Nonce, Tag};
use secrecy::{SecretSlice, SecretString};
use zeroize::{Zeroize, Zeroizing};

use crate::error::OpenError;
use crate::format::FormatError;
use crate::random;

/// Length of a GCM nonce in bytes (NIST SP 800-38D, section 5.2.1.1: 96 bits).
pub(crate) const NONCE_LEN: usize = 12;
/// Length of a tag in bytes: the full 128 bits, in every cipher used here.
pub(crate) const TAG_LEN: usize = 16;

/// Seals `plaintext` under a fresh random nonce into `nonce[12] || ciphertext || tag[16]`.
pub(crate) fn seal(cipher: &Aes256Gcm, aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let nonce = random_nonce::<Aes256Gcm>();
    let mut out = Vec::with_capacity(NONCE_LEN + plaintext.len() + TAG_LEN);
    out.extend_from_slice(&nonce);
    out.extend_from_slice(plaintext);
    let tag = seal_in_place(cipher, &nonce, aad, &mut out[NONCE_LEN..]);
    out.extend_from_slice(&tag);
    out
}

/// Opens `nonce[12] || ciphertext || tag[16]`.
pub(crate) fn open(cipher: &Aes256Gcm, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let (nonce, rest) = sealed.split_at_checked(NONCE_LEN).ok_or(FormatError::TooShort)?;
    let (ciphertext, tag) = split_tag(rest).ok_or(FormatError::TooShort)?;
    open_detached(cipher, nonce, aad, ciphertext, tag)
}

/// Splits the tag off the end.
pub(crate) fn split_tag(sealed: &[u8]) -> Option<(&[u8], &[u8])> {
    sealed.len().checked_sub(TAG_LEN).map(|at| sealed.split_at(at))
}

/// A fresh random nonce of the cipher's length.
pub(crate) fn random_nonce<C: AeadCore>() -> Nonce<C> {
    let mut nonce = Nonce::<C>::default();
    random::fill(&mut nonce);
    nonce
}

/// Encrypts a buffer in place, and returns its tag.
pub(crate) fn seal_in_place<C: AeadInOut>(
    cipher: &C,
    nonce: &Nonce<C>,
    aad: &[u8],
    buffer: &mut [u8],
) -> Tag<C> {
    #[expect(clippy::expect_used, reason = "these ciphers take 64 GiB and more; callers stop at one MiB")]
    cipher.encrypt_inout_detached(nonce, aad, buffer.into()).expect("plaintext is within the cipher's limit")
}

/// Opens a ciphertext whose nonce and tag are stored elsewhere.
pub(crate) fn open_detached<C: AeadInOut>(
    cipher: &C,
    nonce: &[u8],
    aad: &[u8],
    ciphertext: &[u8],
    tag: &[u8],
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    debug_assert_eq!(nonce.len(), C::NonceSize::USIZE);
    let nonce = <&Nonce<C>>::try_from(nonce).map_err(|_| FormatError::TooShort)?;
    let tag = <&Tag<C>>::try_from(tag).map_err(|_| FormatError::TooShort)?;
    // Exactly as long as the plaintext, so that turning it into a boxed secret never reallocates.
    let mut plaintext = Zeroizing::new(ciphertext.to_vec());
    cipher
        .decrypt_inout_detached(nonce, aad, plaintext.as_mut_slice().into(), tag)
        .map_err(|_| OpenError::NotAuthentic)?;
    Ok(plaintext)
}

/// Turns opened bytes into a secret string without leaving a copy.
pub(crate) fn into_secret_string(mut plaintext: Zeroizing<Vec<u8>>) -> Result<SecretString, OpenError> {
    match String::from_utf8(std::mem::take(&mut *plaintext)) {
        Ok(text) => Ok(SecretString::from(text)),
        Err(error) => {
            error.into_bytes().zeroize();
            Err(OpenError::NotText)
        }
    }
}

/// Turns opened bytes into a secret slice without leaving a copy.
pub(crate) fn into_secret_slice(mut plaintext: Zeroizing<Vec<u8>>) -> SecretSlice<u8> {
    SecretSlice::from(std::mem::take(&mut *plaintext))
}
