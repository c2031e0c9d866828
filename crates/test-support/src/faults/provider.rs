//! A key provider that fails on demand.

use std::sync::Arc;

use async_trait::async_trait;
use envelope_core::provider::{GeneratedDataKey, KeyDescription};
use envelope_core::{DataKey, EncryptionContext, ErrorClass, KeyError, KeyProvider, WrappedDataKey};
use secrecy::SecretSlice;

use super::Faults;

/// Any provider, with a [`Faults`] switchboard whose operations are the trait's methods: `generate`, `unwrap`,
/// `rewrap`, `describe` and `decrypt`.
#[derive(Debug)]
pub struct FaultyProvider<P> {
    inner: P,
    faults: Faults<ErrorClass>,
}

impl<P> FaultyProvider<P> {
    /// Wraps a provider; nothing is broken yet.
    pub fn new(inner: P) -> Self {
        Self { inner, faults: Faults::new() }
    }

    /// The provider itself, past the switchboard.
    pub fn inner(&self) -> &P {
        &self.inner
    }

    /// The switchboard, to break it and to count its calls.
    pub fn faults(&self) -> &Faults<ErrorClass> {
        &self.faults
    }

    async fn pass(&self, operation: &str) -> Result<(), KeyError> {
        self.faults
            .pass(operation)
            .await
            .map_err(|class| KeyError::new(class, "failed because a test asked for it"))
    }
}

#[async_trait]
impl<P: KeyProvider> KeyProvider for FaultyProvider<P> {
    async fn generate(&self, context: &EncryptionContext) -> Result<GeneratedDataKey, KeyError> {
        self.pass("generate").await?;
        self.inner.generate(context).await
    }

    async fn unwrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<Arc<DataKey>, KeyError> {
        self.pass("unwrap").await?;
        self.inner.unwrap(wrapped, context).await
    }

    async fn rewrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<WrappedDataKey, KeyError> {
        self.pass("rewrap").await?;
        self.inner.rewrap(wrapped, context).await
    }

    async fn describe(&self) -> Result<KeyDescription, KeyError> {
        self.pass("describe").await?;
        self.inner.describe().await
    }

    fn unwrap_cached(&self, wrapped: &WrappedDataKey, context: &EncryptionContext) -> Option<Arc<DataKey>> {
        self.inner.unwrap_cached(wrapped, context)
    }

    async fn decrypt(
        &self,
        ciphertext: &[u8],
        key_id: Option<&str>,
        context: &EncryptionContext,
    ) -> Result<SecretSlice<u8>, KeyError> {
        self.pass("decrypt").await?;
        self.inner.decrypt(ciphertext, key_id, context).await
    }
}
