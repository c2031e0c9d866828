//! The contents of the store, without any value.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::LocalStore;
use super::read::now_ms;
use super::trust::Trust;
use super::writing::{Writing, failed};
use crate::error::{SourceError, Untrusted};
use crate::inventory::Inventory;

const STATUS: &str = "count what is in the store";
const ACCEPT: &str = "accept a restored store";

/// The contents of the store, without any value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStatus {
    /// Secrets and versions, expired and due.
    pub inventory: Inventory,
    /// Expired secrets that were cleaned up since the store was made.
    pub cleaned_up: u64,
    /// Versions by the data key that they are sealed under.
    pub keys: Vec<KeyUse>,
    /// Whether every value must carry its purpose and every secret its seal, because a
    /// [re-sealing](LocalStore::reseal) was complete.
    pub complete: bool,
    /// Whether the key ring would notice an older copy of the file that is put back. It does not where it is read-only,
    /// or before the first change.
    pub notices_older_copies: bool,
    /// Why the file is not trusted, if it is not.
    pub untrusted: Option<Untrusted>,
}

/// How many versions are sealed under a data key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyUse {
    /// The data key.
    pub key_id: String,
    /// Whether it is the one that new values are sealed under.
    pub active: bool,
    /// Versions under it.
    pub versions: u64,
}

impl LocalStore {
    /// Counts the secrets and versions in the store.
    ///
    /// # Errors
    /// [`SourceError::Storage`].
    pub async fn status(&self) -> Result<StoreStatus, SourceError> {
        let known = self.remembered()?;
        let mut transaction = self.begin().await.map_err(failed(STATUS))?;
        let trusted = match Trust::read(self, &mut transaction, &known).await {
            Ok(trust) => trust.check_all(&mut transaction).await.map(|()| trust),
            Err(error) => Err(error),
        };
        let (complete, notices_older_copies, untrusted) = match trusted {
            Ok(trust) => (trust.is_complete(), trust.notices_older_copies(), None),
            Err(SourceError::Untrusted(why)) => (false, !known.is_empty(), Some(why)),
            Err(error) => return Err(error),
        };
        let query = "SELECT count(*) AS secrets, (SELECT count(*) FROM versions) AS versions, \
                     count(*) FILTER (WHERE expires_ms <= ?1) AS expired, \
                     count(*) FILTER (WHERE changed_ms + every_ms <= ?1) AS due, \
                     (SELECT coalesce(sum(value), 0) FROM counters WHERE name = 'cleaned_up') AS cleaned_up \
                     FROM secrets";
        let row = sqlx::query(query).bind(now_ms()).fetch_one(&mut *transaction).await;
        let row = row.map_err(failed(STATUS))?;
        let count = |column| row.get::<i64, _>(column).unsigned_abs();
        let inventory = Inventory {
            secrets: count("secrets"),
            versions: count("versions"),
            expired: count("expired"),
            due: count("due"),
            // Counted here without the names.
            ..Inventory::default()
        };
        let query = "SELECT key_id, count(*) AS versions FROM versions GROUP BY key_id ORDER BY key_id";
        let keys = sqlx::query(query).fetch_all(&mut *transaction).await.map_err(failed(STATUS))?;
        let active = self.ring.active().0;
        let key = |row: &SqliteRow| {
            let key_id: String = row.get("key_id");
            KeyUse {
                active: key_id == active,
                versions: row.get::<i64, _>("versions").unsigned_abs(),
                key_id,
            }
        };
        let cleaned_up = count("cleaned_up");
        let mut keys: Vec<KeyUse> = keys.iter().map(key).collect();
        // The active key also before anything is sealed under it.
        if !keys.iter().any(|key| key.active) {
            keys.push(KeyUse { key_id: active.clone(), active: true, versions: 0 });
        }
        Ok(StoreStatus { inventory, cleaned_up, keys, complete, notices_older_copies, untrusted })
    }

    /// Accepts the file as it is, after its operator has put an older copy back on purpose: the key ring takes over what
    /// the file says. A secret whose own seal does not hold is refused as before; delete it and store it again.
    ///
    /// The copy may hold values without a purpose, so that they are accepted again until the next
    /// [re-sealing](Self::reseal) is complete.
    ///
    /// # Errors
    /// [`SourceError::Storage`].
    pub async fn accept_restore(&self) -> Result<(), SourceError> {
        let known = self.remembered()?;
        let mut writing = Writing::begin_unchecked(self, ACCEPT).await?;
        let known = known.iter().find(|record| record.id == writing.head.id);
        writing.head.revision = writing.head.revision.max(known.map_or(0, |known| known.revision));
        writing.commit().await
    }
}
