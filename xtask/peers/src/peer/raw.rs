//! AES-256-GCM of the `aes-gcm` crate and nothing else: a random nonce, and a buffer for the result.

use aes_gcm::aead::Aead as _;
use aes_gcm::{Aes256Gcm, KeyInit as _, Nonce};
use anyhow::anyhow;

use crate::measure::{Contest, Peer};

type Sealed = ([u8; 12], Vec<u8>);

/// One key, whose schedule is prepared once.
struct Prepared(Aes256Gcm);

/// The same with the schedule made again for each value.
struct EachTime([u8; 32]);

impl Peer for Prepared {
    type Sealed = Sealed;

    fn seal(&self, value: &str) -> anyhow::Result<Sealed> {
        let nonce = rand::random();
        let sealed = self.0.encrypt(&Nonce::from(nonce), value.as_bytes());
        Ok((nonce, sealed.map_err(|_| anyhow!("does not seal"))?))
    }

    fn open(&self, (nonce, sealed): Sealed) -> anyhow::Result<usize> {
        let opened = self.0.decrypt(&Nonce::from(nonce), sealed.as_slice());
        Ok(opened.map_err(|_| anyhow!("does not open"))?.len())
    }
}

impl Peer for EachTime {
    type Sealed = Sealed;

    fn seal(&self, value: &str) -> anyhow::Result<Sealed> {
        Prepared(Aes256Gcm::new(&self.0.into())).seal(value)
    }

    fn open(&self, sealed: Sealed) -> anyhow::Result<usize> {
        Prepared(Aes256Gcm::new(&self.0.into())).open(sealed)
    }
}

pub(super) fn contests(value: &str) -> anyhow::Result<Vec<Contest>> {
    let key: [u8; 32] = rand::random();
    Ok(vec![
        Contest::new(super::RAW, Prepared(Aes256Gcm::new(&key.into())), value)?,
        Contest::new("AES-256-GCM alone, key set up each time", EachTime(key), value)?,
    ])
}
