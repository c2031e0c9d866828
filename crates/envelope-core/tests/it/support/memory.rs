//! A key service that keeps wrapped keys in a map, with a cache that can be warm, and counts its calls.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use envelope_core::format::node_json::DataKeyRing;
use envelope_core::provider::{GeneratedDataKey, KeyDescription};
use envelope_core::{DataKey, EncryptionContext, ErrorClass, KeyError, KeyProvider, WrappedDataKey};
use rand::Rng;
use secrecy::SecretSlice;

pub const KEY_ID: &str = "arn:aws:kms:us-east-1:123456789012:key/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";

type Blob = Box<[u8]>;
type CacheKey = (Blob, EncryptionContext);

#[derive(Default)]
pub struct MemoryKms {
    wrapped: Mutex<HashMap<Blob, (EncryptionContext, Vec<u8>)>>,
    cache: Mutex<HashMap<CacheKey, Arc<DataKey>>>,
    caching: bool,
    reused: Mutex<HashMap<EncryptionContext, (Arc<DataKey>, WrappedDataKey)>>,
    reusing: bool,
    pub calls: AtomicUsize,
    /// Requests for a data key that may serve other messages too.
    pub shared: AtomicUsize,
}

impl MemoryKms {
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps every unwrapped key, as a caching decorator would.
    pub fn caching(mut self) -> Self {
        self.caching = true;
        self
    }

    /// Gives the same data key to every value of a context, as a reusing decorator would.
    pub fn reusing(mut self) -> Self {
        self.reusing = true;
        self
    }

    /// Knows a blob that another program had wrapped or encrypted.
    pub fn with(self, blob: &[u8], context: EncryptionContext, secret: &[u8]) -> Self {
        self.wrapped.lock().unwrap().insert(blob.into(), (context, secret.to_vec()));
        self
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn look_up(
        &self,
        blob: &[u8],
        key_id: Option<&str>,
        context: &EncryptionContext,
    ) -> Result<Vec<u8>, KeyError> {
        if key_id.is_some_and(|id| id != KEY_ID) {
            return Err(KeyError::new(ErrorClass::WrongKey, "key is not allowed"));
        }
        self.calls.fetch_add(1, Ordering::SeqCst);
        match self.wrapped.lock().unwrap().get(blob) {
            Some((wrapped_under, secret)) if wrapped_under == context => Ok(secret.clone()),
            _ => {
                Err(KeyError::new(ErrorClass::ContextMismatchOrCorrupt, "ciphertext or context is not right"))
            }
        }
    }

    fn wrap(&self, key: &DataKey, context: &EncryptionContext) -> WrappedDataKey {
        let mut blob = [0; 64];
        rand::rng().fill_bytes(&mut blob);
        let entry = (context.clone(), key.expose_secret().to_vec());
        self.wrapped.lock().unwrap().insert(blob.into(), entry);
        WrappedDataKey::new(blob, Some(KEY_ID)).unwrap()
    }

    fn remember(&self, wrapped: &WrappedDataKey, context: &EncryptionContext, key: &Arc<DataKey>) {
        if self.caching {
            self.cache.lock().unwrap().insert((wrapped.bytes().into(), context.clone()), key.clone());
        }
    }
}

#[async_trait]
impl KeyProvider for MemoryKms {
    async fn generate(&self, context: &EncryptionContext) -> Result<GeneratedDataKey, KeyError> {
        if let Some((key, wrapped)) = self.reused.lock().unwrap().get(context) {
            return Ok(GeneratedDataKey::new(key.clone(), wrapped.clone()));
        }
        self.calls.fetch_add(1, Ordering::SeqCst);
        let key = Arc::new(DataKey::generate());
        let wrapped = self.wrap(&key, context);
        self.remember(&wrapped, context, &key);
        if self.reusing {
            self.reused.lock().unwrap().insert(context.clone(), (key.clone(), wrapped.clone()));
        }
        Ok(GeneratedDataKey::new(key, wrapped))
    }

    async fn generate_shared(
        &self,
        context: &EncryptionContext,
        _message_len: usize,
    ) -> Result<GeneratedDataKey, KeyError> {
        self.shared.fetch_add(1, Ordering::SeqCst);
        self.generate(context).await
    }

    async fn unwrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<Arc<DataKey>, KeyError> {
        let secret = self.look_up(wrapped.bytes(), wrapped.key_id(), context)?;
        let key = Arc::new(DataKey::from_slice(&secret).unwrap());
        self.remember(wrapped, context, &key);
        Ok(key)
    }

    async fn rewrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<WrappedDataKey, KeyError> {
        let secret = self.look_up(wrapped.bytes(), wrapped.key_id(), context)?;
        Ok(self.wrap(&DataKey::from_slice(&secret).unwrap(), context))
    }

    async fn describe(&self) -> Result<KeyDescription, KeyError> {
        Ok(KeyDescription::new(KEY_ID, "memory"))
    }

    fn unwrap_cached(&self, wrapped: &WrappedDataKey, context: &EncryptionContext) -> Option<Arc<DataKey>> {
        self.cache.lock().unwrap().get(&(wrapped.bytes().into(), context.clone())).cloned()
    }

    async fn decrypt(
        &self,
        ciphertext: &[u8],
        key_id: Option<&str>,
        context: &EncryptionContext,
    ) -> Result<SecretSlice<u8>, KeyError> {
        Ok(self.look_up(ciphertext, key_id, context)?.into())
    }
}

/// A ring of one key.
pub struct OneKey(pub String, pub Arc<DataKey>);

impl OneKey {
    pub fn generate() -> Self {
        Self("ring-1".into(), Arc::new(DataKey::generate()))
    }
}

impl DataKeyRing for OneKey {
    fn data_key(&self, id: &str) -> Option<Arc<DataKey>> {
        (id == self.0).then(|| self.1.clone())
    }

    fn active(&self) -> (String, Arc<DataKey>) {
        (self.0.clone(), self.1.clone())
    }
}
