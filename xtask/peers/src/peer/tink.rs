//! Tink: one prepared keyset, and its envelope encryption with a key encryption key at hand.

use anyhow::anyhow;
use tink_core::Aead;
use tink_core::keyset::Handle;

use crate::measure::{Contest, Peer};

/// The associated data, which identifies the cell.
const CELL: &[u8] = b"oauth_tokens/access_token/twitch/my-channel";

struct Tink(Box<dyn Aead>);

impl Peer for Tink {
    type Sealed = Vec<u8>;

    fn seal(&self, value: &str) -> anyhow::Result<Vec<u8>> {
        self.0.encrypt(value.as_bytes(), CELL).map_err(|error| anyhow!("{error}"))
    }

    fn open(&self, sealed: Vec<u8>) -> anyhow::Result<usize> {
        Ok(self.0.decrypt(&sealed, CELL).map_err(|error| anyhow!("{error}"))?.len())
    }
}

fn keyset() -> anyhow::Result<Box<dyn Aead>> {
    let handle = Handle::new(&tink_aead::aes256_gcm_key_template()).map_err(|error| anyhow!("{error}"))?;
    tink_aead::new(&handle).map_err(|error| anyhow!("{error}"))
}

pub(super) fn contests(value: &str) -> anyhow::Result<Vec<Contest>> {
    tink_aead::init();
    let envelope = tink_aead::KmsEnvelopeAead::new(tink_aead::aes256_gcm_key_template(), keyset()?);
    Ok(vec![
        Contest::new("Tink, one keyset", Tink(keyset()?), value)?,
        Contest::new("Tink, envelope encryption", Tink(Box::new(envelope)), value)?,
    ])
}
