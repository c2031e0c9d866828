//! This project: bound values as text, with a keyring in memory as the key service.

use std::sync::Arc;

use anyhow::Context as _;
use envelope_core::{Binding, DataKey, EnvelopeFormat, KeyProvider, Sealed, Sealer};
use futures_util::FutureExt as _;
use kms_provider::{CacheOptions, Caching, Keyring, Reuse, ReuseLimits};
use secrecy::ExposeSecret as _;
use tokio::runtime::Handle;

use crate::measure::{Contest, Peer};

/// How data keys are kept.
#[derive(Clone, Copy)]
enum Keys {
    /// No cache: the keyring makes and unwraps each data key, as Asherah's session does under its intermediate key.
    Uncached,
    /// A data key for each value; unwrapped ones are in the cache.
    Cached,
    /// The same, and fresh ones are kept for the read that follows.
    Kept,
    /// One data key for many values.
    Shared,
}

/// A sealer on a keyring file, which is read once.
struct Here {
    sealer: Sealer,
    _directory: tempfile::TempDir,
}

/// The identity of a row's cell, made for each value as a store makes it.
fn cell() -> Binding<'static> {
    Binding::new("oauth_tokens", "access_token").key("provider", "twitch").key("channel", "my-channel")
}

impl Here {
    fn new(format: EnvelopeFormat, keys: Keys) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let keyring = Arc::new(Keyring::init(directory.path().join("keys.json"), &DataKey::generate())?);
        let caching = |options| Arc::new(Caching::with_options(keyring.clone(), options));
        let options = CacheOptions::default();
        let provider: Arc<dyn KeyProvider> = match keys {
            Keys::Uncached => keyring,
            Keys::Cached => caching(options.with_remember_generated(false)),
            Keys::Kept => caching(options),
            Keys::Shared => {
                let limits: ReuseLimits = "messages=1000000,age=1h,bytes=64GiB".parse()?;
                Arc::new(Reuse::new(caching(options), limits))
            }
        };
        let base = [("Application", "vod-tender"), ("Purpose", "oauth-token")];
        let base = base.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let sealer = Sealer::new(provider, base.to_vec())?.with_writing(format);
        Ok(Self { sealer, _directory: directory })
    }
}

impl Peer for Here {
    type Sealed = Sealed;

    fn seal(&self, value: &str) -> anyhow::Result<Sealed> {
        let binding = cell();
        Ok(self.sealer.seal(value, &binding).now_or_never().context("waits")??)
    }

    fn open(&self, sealed: Sealed) -> anyhow::Result<usize> {
        let binding = cell();
        let open = self.sealer.open(&sealed.text, sealed.key_id.as_deref(), &binding);
        Ok(open.now_or_never().context("waits")??.plaintext.expose_secret().len())
    }
}

/// A value that is opened once before it is measured, so that the cache has its key.
fn opened_before(here: &Here, value: &str) -> anyhow::Result<Sealed> {
    let (sealed, binding) = (here.seal(value)?, cell());
    Handle::current().block_on(here.sealer.open(&sealed.text, sealed.key_id.as_deref(), &binding))?;
    Ok(sealed)
}

pub(super) fn contests(value: &str) -> anyhow::Result<Vec<Contest>> {
    use EnvelopeFormat::{V2, V3};
    [
        (super::V2, V2, Keys::Cached),
        ("v2, fresh keys kept in the cache", V2, Keys::Kept),
        ("v2, no cache", V2, Keys::Uncached),
        ("v3, a data key for each value", V3, Keys::Cached),
        ("v3, one data key for many values", V3, Keys::Shared),
    ]
    .into_iter()
    .map(|(name, format, keys)| Contest::opening(name, Here::new(format, keys)?, value, opened_before))
    .collect()
}
