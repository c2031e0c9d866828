//! PulsePlan's per-user keys: derived off the async threads, kept for a while, wiped when they leave.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use envelope_core::format::pulseplan_local::{Envelope, MasterKey, ReadingKind, derive_user_key, seal};
use envelope_core::{DataKey, OpenError};
use moka::future::Cache;
use secrecy::SecretString;

/// Derived keys kept at once.
const MAX_KEYS: u64 = 10_000;
/// How long a derived key is kept after its last use.
const IDLE: Duration = Duration::from_secs(300);

/// Derives and caches the keys of PulsePlan's users.
pub struct UserKeys {
    master: Arc<MasterKey>,
    write_version: NonZeroU32,
    derived: Cache<(ReadingKind, String, NonZeroU32), Arc<DataKey>>,
}

impl UserKeys {
    /// Takes `TOKEN_ENCRYPTION_KEY`, and `ENCRYPTION_KEY_VERSION`, the version to write.
    #[must_use]
    pub fn new(master: MasterKey, write_version: NonZeroU32) -> Self {
        let derived = Cache::builder().max_capacity(MAX_KEYS).time_to_idle(IDLE).build();
        Self { master: Arc::new(master), write_version, derived }
    }

    /// Opens a value of this user: under the decoded master key first, then under its raw text.
    pub(super) async fn open(&self, text: &str, user: &str) -> Result<SecretString, OpenError> {
        let envelope = Envelope::parse(text)?;
        let mut refused = OpenError::NotAuthentic;
        for kind in self.master.readings().map(|reading| reading.kind()) {
            let key = self.key(kind, user, envelope.version()).await;
            match envelope.open(&key) {
                Ok(plaintext) => return Ok(plaintext),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// Seals a value for this user.
    pub(super) async fn seal(&self, plaintext: &str, user: &str) -> String {
        if plaintext.is_empty() {
            return String::new();
        }
        let key = self.key(self.master.writing().kind(), user, self.write_version).await;
        seal(&key, self.write_version, plaintext)
    }

    /// A user's key. Several callers at once wait for one derivation.
    async fn key(&self, kind: ReadingKind, user: &str, version: NonZeroU32) -> Arc<DataKey> {
        let (master, owner) = (self.master.clone(), user.to_owned());
        let derive = async move {
            let derive = move || {
                let reading = master.readings().find(|reading| reading.kind() == kind);
                Arc::new(derive_user_key(reading.unwrap_or(master.writing()), &owner, version))
            };
            #[expect(
                clippy::expect_used,
                reason = "the derivation does not panic, and nothing aborts the task"
            )]
            tokio::task::spawn_blocking(derive).await.expect("the derivation ends")
        };
        self.derived.get_with((kind, user.to_owned(), version), derive).await
    }
}
