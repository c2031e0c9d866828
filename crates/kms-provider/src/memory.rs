//! A key service that lives and dies with the process, for tests and examples.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use async_trait::async_trait;
use envelope_core::provider::{ErrorClass, GeneratedDataKey, KeyDescription};
use envelope_core::{DataKey, EncryptionContext, KeyError, KeyProvider, WrappedDataKey};
use secrecy::SecretSlice;

use crate::counting::{CallCounts, Counters};
use crate::redact::shown;
use crate::wrapping::{self, Parsed, WrappingKey};

/// An in-memory key service with keys `memory:1`, `memory:2`, …; all data keys that it wrapped are lost with
/// it.
///
/// It behaves like the real ones, contexts and claims included, so that a test that passes with it is
/// meaningful.
pub struct Memory {
    // By number, from 1; the last one is the current key.
    keys: RwLock<Vec<Arc<WrappingKey>>>,
    counters: Counters,
}

impl Memory {
    /// Starts with one key, `memory:1`.
    #[must_use]
    pub fn new() -> Self {
        Self { keys: RwLock::new(vec![new_key()]), counters: Counters::default() }
    }

    /// Makes a new current key and returns its key id; the earlier ones still unwrap.
    pub fn rotate(&self) -> String {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.push(new_key());
        key_id(keys.len())
    }

    /// Encrypts a value itself, as AWS KMS `Encrypt` does; [`KeyProvider::decrypt`] opens it.
    #[must_use]
    pub fn encrypt_direct(&self, plaintext: &[u8], context: &EncryptionContext) -> Vec<u8> {
        let (number, key) = self.current();
        key.seal(DIRECT, &number.to_string(), plaintext, context).into()
    }

    /// The calls made so far.
    #[must_use]
    pub fn counts(&self) -> CallCounts {
        self.counters.snapshot()
    }

    fn current(&self) -> (usize, Arc<WrappingKey>) {
        let keys = self.read();
        #[expect(clippy::expect_used, reason = "`new` makes a key and nothing removes one")]
        (keys.len(), keys.last().expect("there is always a key").clone())
    }

    /// Takes wrapped bytes apart and finds their key, if the claim stored with them names the same one.
    fn parse<'a>(
        &self,
        bytes: &'a [u8],
        claim: Option<&str>,
    ) -> Result<(Parsed<'a>, Arc<WrappingKey>), KeyError> {
        let parsed = Parsed::parse(bytes);
        let inside = parsed.as_ref().and_then(|parsed| parsed.id.parse::<usize>().ok());
        if let Some(claim) = claim
            && inside.map(key_id).as_deref() != Some(claim)
        {
            return Err(foreign(claim));
        }
        let parsed = parsed.ok_or_else(wrapping::does_not_open)?;
        let index = inside.and_then(|number| number.checked_sub(1));
        let cipher = index.and_then(|index| self.read().get(index).cloned());
        Ok((parsed, cipher.ok_or_else(|| foreign("unknown number"))?))
    }

    fn read(&self) -> RwLockReadGuard<'_, Vec<Arc<WrappingKey>>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").field("keys", &self.read().len()).finish_non_exhaustive()
    }
}

#[async_trait]
impl KeyProvider for Memory {
    async fn generate(&self, context: &EncryptionContext) -> Result<GeneratedDataKey, KeyError> {
        Counters::add(&self.counters.generate);
        let (number, cipher) = self.current();
        let (key, wrapped) = cipher.generate(&number.to_string(), context)?;
        Ok(GeneratedDataKey::new(Arc::new(key), name(wrapped, number)?))
    }

    async fn unwrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<Arc<DataKey>, KeyError> {
        Counters::add(&self.counters.unwrap);
        let (parsed, cipher) = self.parse(wrapped.bytes(), wrapped.key_id())?;
        Ok(Arc::new(parsed.unwrap(&cipher, context)?))
    }

    async fn rewrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<WrappedDataKey, KeyError> {
        Counters::add(&self.counters.rewrap);
        let (parsed, cipher) = self.parse(wrapped.bytes(), wrapped.key_id())?;
        let key = parsed.unwrap(&cipher, context)?;
        let (number, current) = self.current();
        if Arc::ptr_eq(&cipher, &current) {
            return name(wrapped.bytes().into(), number);
        }
        wrap(&current, number, &key, context)
    }

    async fn describe(&self) -> Result<KeyDescription, KeyError> {
        Counters::add(&self.counters.describe);
        Ok(KeyDescription::new(key_id(self.current().0), "memory"))
    }

    async fn decrypt(
        &self,
        ciphertext: &[u8],
        key_id: Option<&str>,
        context: &EncryptionContext,
    ) -> Result<SecretSlice<u8>, KeyError> {
        Counters::add(&self.counters.decrypt);
        let (parsed, cipher) = self.parse(ciphertext, key_id)?;
        let mut secret = parsed.open(&cipher, DIRECT, context)?;
        Ok(std::mem::take(&mut *secret).into())
    }
}

/// The purpose under which a value is encrypted directly.
const DIRECT: &[u8] = b"tokenseal direct value v1\0";

fn new_key() -> Arc<WrappingKey> {
    Arc::new(WrappingKey::new(&DataKey::generate(), None))
}

fn key_id(number: usize) -> String {
    format!("memory:{number}")
}

fn wrap(
    under: &WrappingKey,
    number: usize,
    key: &DataKey,
    context: &EncryptionContext,
) -> Result<WrappedDataKey, KeyError> {
    name(under.wrap(&number.to_string(), key, context)?, number)
}

fn name(bytes: Box<[u8]>, number: usize) -> Result<WrappedDataKey, KeyError> {
    WrappedDataKey::new(bytes, Some(&key_id(number))).map_err(|error| {
        KeyError::new(ErrorClass::InvalidRequest, "wrapped data key has an impossible length")
            .with_source(error)
    })
}

fn foreign(claim: &str) -> KeyError {
    KeyError::new(ErrorClass::WrongKey, format!("wrapped under a key that is not here ({})", shown(claim)))
        .with_hint("the in-memory key service opens only data keys that the same instance wrapped")
}
