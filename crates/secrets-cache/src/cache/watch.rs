//! Watching a secret for new versions.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior};

use super::{Inner, SecretsCache};
use crate::error::SourceError;
use crate::name::SecretName;
use crate::secret::Secret;

/// The current version of a secret, and news of the next. Dropping it ends the polling.
#[derive(Debug)]
pub struct SecretWatch {
    receiver: watch::Receiver<Arc<Secret>>,
    polling: AbortHandle,
}

impl SecretWatch {
    /// The newest version that has been seen.
    #[must_use]
    pub fn current(&self) -> Arc<Secret> {
        Arc::clone(&self.receiver.borrow())
    }

    /// Waits for a version that this method has not returned yet; none once the cache is gone.
    pub async fn changed(&mut self) -> Option<Arc<Secret>> {
        self.receiver.changed().await.ok()?;
        Some(Arc::clone(&self.receiver.borrow_and_update()))
    }

    /// A channel of the same news, for another task.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Secret>> {
        self.receiver.clone()
    }
}

impl Drop for SecretWatch {
    fn drop(&mut self) {
        self.polling.abort();
    }
}

pub(super) async fn start(
    cache: &SecretsCache,
    name: &str,
    poll: Duration,
) -> Result<SecretWatch, SourceError> {
    let first = cache.get(name).await?;
    let name = first.name.clone();
    let (sender, receiver) = watch::channel(first);
    let task = tokio::spawn(run(Arc::downgrade(&cache.inner), name, poll, sender));
    Ok(SecretWatch { receiver, polling: task.abort_handle() })
}

async fn run(inner: Weak<Inner>, name: SecretName, poll: Duration, sender: watch::Sender<Arc<Secret>>) {
    let poll = poll.max(Duration::from_millis(1));
    // The first version is already known.
    let mut ticks = tokio::time::interval_at(Instant::now() + poll, poll);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(inner) = inner.upgrade() else {
            return;
        };
        match inner.force(&name).await {
            Ok(secret) => {
                sender.send_if_modified(|known| {
                    let changed = !is_same(known, &secret);
                    *known = secret;
                    changed
                });
            }
            // The audit trail has it already; the watcher keeps the value that it has.
            Err(error) => {
                tracing::debug!(secret = %name, class = error.class(), "a watched secret was not read")
            }
        }
    }
}

fn is_same(known: &Secret, fetched: &Secret) -> bool {
    known.version == fetched.version && known.value.same_as(&fetched.value)
}
