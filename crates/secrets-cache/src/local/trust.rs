//! The checks of a reader before it trusts the file.

use std::collections::BTreeSet;

use envelope_core::format::node_json::Accepted;
use envelope_core::ledger::StoreRecord;
use sqlx::SqliteConnection;

use super::head::{Head, bucket};
use super::record::Record;
use super::writing::{failed, refuse_earlier};
use super::{LocalStore, schema, sealing};
use crate::error::{SourceError, Untrusted};
use crate::name::SecretName;

const CHECK: &str = "check the store";

/// The head of the file and what follows from it.
pub(super) struct Trust<'a> {
    store: &'a LocalStore,
    /// None in a file from before there were seals.
    head: Option<Head>,
    known: Option<StoreRecord>,
    /// Whether everything must carry its purpose and have a seal.
    is_complete: bool,
}

impl<'a> Trust<'a> {
    /// Reads the head, within the transaction that reads the rest. `known` was read before that began.
    pub(super) async fn read(
        store: &'a LocalStore,
        connection: &mut SqliteConnection,
        known: &[StoreRecord],
    ) -> Result<Self, SourceError> {
        let head = match schema::kind(connection).await? {
            schema::Kind::Sealed => Head::read(connection).await.map_err(failed(CHECK))?,
            schema::Kind::Unsealed => None,
            // The file was made and never filled.
            schema::Kind::Empty => return Err(SourceError::Untrusted(Untrusted::Changed)),
        };
        let Some(head) = head else {
            refuse_earlier(known, &store.path)?;
            return Ok(Self { store, head: None, known: None, is_complete: false });
        };
        let known = known.iter().find(|record| record.id == head.id).cloned();
        let is_complete = head.labelled || known.as_ref().is_some_and(|known| known.labelled);
        Ok(Self { store, head: Some(head), known, is_complete })
    }

    pub(super) fn has_seals(&self) -> bool {
        self.head.is_some()
    }

    pub(super) fn accepted(&self) -> Accepted {
        sealing::accepted(self.is_complete)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Whether the ring has recorded a complete re-sealing, or cannot record one, or accepts no change.
    pub(super) fn was_resealed(&self) -> bool {
        self.known.as_ref().is_none_or(|known| known.resealed)
    }

    /// Whether the ring would notice an older copy of the file: it has kept up with the changes.
    pub(super) fn notices_older_copies(&self) -> bool {
        let revision = self.head.as_ref().map(|head| head.revision);
        self.known.as_ref().is_some_and(|known| Some(known.revision) >= revision)
    }

    /// The key that the head is sealed under.
    pub(super) fn key_id(&self) -> Option<&str> {
        self.head.as_ref().map(|head| head.key_id.as_str())
    }

    pub(super) fn is_authentic(&self, record: &Record) -> bool {
        let id = self.head.as_ref().map_or("", |head| &head.id);
        record.check(&*self.store.ring, id, self.is_complete).is_ok()
    }

    /// Checks a secret's own seal.
    pub(super) fn check(&self, record: &Record, name: &SecretName) -> Result<(), SourceError> {
        let id = self.head.as_ref().map_or("", |head| &head.id);
        let checked = record.check(&*self.store.ring, id, self.is_complete);
        checked.map_err(|cause| sealing::not_authentic(name, cause))
    }

    /// Checks that a secret is there, or is not, as the last change left it.
    pub(super) async fn check_absence_or_presence(
        &self,
        connection: &mut SqliteConnection,
        name: &SecretName,
    ) -> Result<(), SourceError> {
        self.check_buckets(connection, std::slice::from_ref(name)).await
    }

    pub(super) async fn check_buckets(
        &self,
        connection: &mut SqliteConnection,
        names: &[SecretName],
    ) -> Result<(), SourceError> {
        let Some(head) = &self.head else {
            return Ok(());
        };
        head.check(&*self.store.ring, self.known.as_ref())?;
        let buckets: BTreeSet<u8> = names.iter().map(|name| bucket(name.as_str())).collect();
        for bucket in buckets {
            head.check_bucket(connection, bucket).await.map_err(failed(CHECK))??;
        }
        Ok(())
    }

    pub(super) async fn check_all(&self, connection: &mut SqliteConnection) -> Result<(), SourceError> {
        let Some(head) = &self.head else {
            return Ok(());
        };
        head.check(&*self.store.ring, self.known.as_ref())?;
        Ok(head.check_all(connection).await.map_err(failed(CHECK))??)
    }
}
