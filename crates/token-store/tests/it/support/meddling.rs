//! A key service during whose calls another program changes the table.

use std::sync::Arc;

use async_trait::async_trait;
use envelope_core::provider::{GeneratedDataKey, KeyDescription};
use envelope_core::{DataKey, EncryptionContext, KeyError, KeyProvider, WrappedDataKey};
use tokio::sync::{mpsc, oneshot};

/// Passes calls on; before each `generate` it waits until the test has had its turn.
///
/// So the test's own statements in its turn run after a row was read and before it is written.
pub(crate) struct Meddling {
    inner: Arc<dyn KeyProvider>,
    turns: mpsc::UnboundedSender<oneshot::Sender<()>>,
}

impl Meddling {
    /// The key service, and the queue of turns: each message is answered when the test is done with it.
    pub(crate) fn new(inner: Arc<dyn KeyProvider>) -> (Self, mpsc::UnboundedReceiver<oneshot::Sender<()>>) {
        let (turns, queue) = mpsc::unbounded_channel();
        (Self { inner, turns }, queue)
    }
}

#[async_trait]
impl KeyProvider for Meddling {
    async fn generate(&self, context: &EncryptionContext) -> Result<GeneratedDataKey, KeyError> {
        let (done, wait) = oneshot::channel();
        // Where the test has stopped listening, there is nothing to wait for.
        if self.turns.send(done).is_ok() {
            let _ = wait.await;
        }
        self.inner.generate(context).await
    }

    async fn unwrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<Arc<DataKey>, KeyError> {
        self.inner.unwrap(wrapped, context).await
    }

    async fn rewrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<WrappedDataKey, KeyError> {
        self.inner.rewrap(wrapped, context).await
    }

    async fn describe(&self) -> Result<KeyDescription, KeyError> {
        self.inner.describe().await
    }

    fn unwrap_cached(&self, wrapped: &WrappedDataKey, context: &EncryptionContext) -> Option<Arc<DataKey>> {
        self.inner.unwrap_cached(wrapped, context)
    }
}
