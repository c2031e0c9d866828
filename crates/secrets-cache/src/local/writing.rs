//! One change of the store: everything is checked before it, sealed after it, and committed together.

use std::collections::BTreeSet;
use std::path::Path;

use envelope_core::ledger::{LedgerError, StoreRecord};
use sqlx::{Row, Sqlite, SqliteConnection, Transaction};

use super::head::{Head, bucket};
use super::record::Record;
use super::{LocalStore, schema, sealing};
use crate::error::{SourceError, Untrusted};
use crate::name::SecretName;

/// A change that is under way. Dropped without a commit, it has changed nothing.
pub(super) struct Writing<'a> {
    store: &'a LocalStore,
    operation: &'static str,
    transaction: Transaction<'static, Sqlite>,
    pub(super) head: Head,
    touched: BTreeSet<u8>,
    /// Whether the head was made by this change.
    is_fresh: bool,
    /// Whether this change ends a re-sealing.
    pub(super) ends_reseal: bool,
    /// Whether the ring takes over the file's state, and not the other way round.
    is_accepting: bool,
}

impl<'a> Writing<'a> {
    /// Waits for other writers, brings a file of an earlier version to this one, and checks the head.
    pub(super) async fn begin(store: &'a LocalStore, operation: &'static str) -> Result<Self, SourceError> {
        let known = store.remembered()?;
        let mut writing = Self::open(store, operation, &known).await?;
        if !writing.is_fresh {
            let record = known.iter().find(|record| record.id == writing.head.id);
            writing.head.check(&*store.ring, record)?;
            writing.head.labelled |= record.is_some_and(|record| record.labelled);
        }
        Ok(writing)
    }

    /// The same without a check: the caller has decided that the file is the right one.
    pub(super) async fn begin_unchecked(
        store: &'a LocalStore,
        operation: &'static str,
    ) -> Result<Self, SourceError> {
        let mut writing = Self::open(store, operation, &[]).await?;
        writing.touched = (0..=u8::MAX).collect();
        writing.is_accepting = true;
        Ok(writing)
    }

    async fn open(
        store: &'a LocalStore,
        operation: &'static str,
        known: &[StoreRecord],
    ) -> Result<Self, SourceError> {
        let failed = failed(operation);
        // Immediate: a transaction that reads first and writes later would fail, not wait, when another wrote between.
        let pool = store.file.to_write().await.map_err(&failed)?;
        let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await.map_err(&failed)?;
        let is_new = schema::prepare(&mut transaction).await?;
        let (mut touched, mut is_fresh) = (BTreeSet::new(), false);
        let head = match Head::read(&mut transaction).await.map_err(&failed)? {
            Some(head) => head,
            None => {
                if !is_new {
                    refuse_earlier(known, &store.path)?;
                }
                schema::upgrade(&mut transaction).await.map_err(&failed)?;
                (touched, is_fresh) = ((0..=u8::MAX).collect(), true);
                Head::new(is_new)
            }
        };
        Ok(Self {
            store,
            operation,
            transaction,
            head,
            touched,
            is_fresh,
            ends_reseal: false,
            is_accepting: false,
        })
    }

    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.transaction
    }

    /// Finds a secret, and checks that it is as the last change left it.
    pub(super) async fn find(&mut self, name: &SecretName) -> Result<Option<Record>, SourceError> {
        let id = self.id_of(name).await?;
        let record = match id {
            Some(id) => self.record(id).await?,
            None => None,
        };
        if let Some(record) = &record {
            self.check(record, name)?;
        }
        self.check_bucket(name).await?;
        Ok(record)
    }

    /// The row of a secret, whether its seal holds or not.
    pub(super) async fn id_of(&mut self, name: &SecretName) -> Result<Option<i64>, SourceError> {
        let failed = failed(self.operation);
        let query = sqlx::query("SELECT id FROM secrets WHERE name = ?").bind(name.as_str());
        let row = query.fetch_optional(&mut *self.transaction).await.map_err(failed)?;
        Ok(row.map(|row| row.get(0)))
    }

    pub(super) async fn record(&mut self, id: i64) -> Result<Option<Record>, SourceError> {
        let records =
            Record::load(&mut self.transaction, &[id], true).await.map_err(failed(self.operation))?;
        Ok(records.into_iter().next())
    }

    /// Checks a secret's own seal.
    pub(super) fn check(&self, record: &Record, name: &SecretName) -> Result<(), SourceError> {
        let checked = record.check(&*self.store.ring, &self.head.id, self.head.labelled);
        checked.map_err(|cause| sealing::not_authentic(name, cause))
    }

    /// Checks that a secret is there, or is not, as the last change left it.
    pub(super) async fn check_bucket(&mut self, name: &SecretName) -> Result<(), SourceError> {
        let bucket = bucket(name.as_str());
        if self.touched.contains(&bucket) {
            // Of this very change, which has checked it before.
            return Ok(());
        }
        let checked = self.head.check_bucket(&mut self.transaction, bucket).await;
        Ok(checked.map_err(failed(self.operation))??)
    }

    /// Seals a secret as it is now.
    pub(super) async fn seal(&mut self, id: i64) -> Result<(), SourceError> {
        let Some(record) = self.record(id).await? else {
            return Ok(());
        };
        let sealed = record.seal(&*self.store.ring, &self.head.id);
        let (seal, seal_key) = sealed.map_err(Untrusted::from)?;
        let bucket = bucket(&record.name);
        let query = sqlx::query("UPDATE secrets SET seal = ?, seal_key = ?, bucket = ? WHERE id = ?");
        let query = query.bind(seal).bind(seal_key).bind(i64::from(bucket)).bind(id);
        query.execute(&mut *self.transaction).await.map_err(failed(self.operation))?;
        self.touched.insert(bucket);
        Ok(())
    }

    /// A secret of this name was removed.
    pub(super) fn removed(&mut self, name: &str) {
        self.touched.insert(bucket(name));
    }

    /// Raises the number of the change, first in the ring and then here, and commits.
    pub(super) async fn commit(mut self) -> Result<(), SourceError> {
        let failed = failed(self.operation);
        for bucket in std::mem::take(&mut self.touched) {
            self.head.take_over(&mut self.transaction, bucket).await.map_err(&failed)?;
        }
        self.head.revision = self.raise().await?;
        let written = self.head.write(&mut self.transaction, &*self.store.ring).await.map_err(&failed)?;
        written.map_err(Untrusted::from)?;
        self.transaction.commit().await.map_err(failed)
    }

    /// The number of this change. A ring that cannot be written remembers nothing new.
    async fn raise(&self) -> Result<u64, SourceError> {
        let next = self.head.revision + 1;
        let (ring, path) = (self.store.ring.clone(), self.store.path.clone());
        let (id, labelled, accepting) = (self.head.id.clone(), self.head.labelled, self.is_accepting);
        let ends_reseal = self.ends_reseal;
        let raised = tokio::task::spawn_blocking(move || {
            let Some(ledger) = ring.ledger() else {
                return Ok(());
            };
            ledger.update(&mut |stores| {
                // Another store at this path was removed, or this is a copy that became a store of its own.
                stores.retain(|store| store.id == id || *store.path != *path);
                let at = stores.iter().position(|store| store.id == id).unwrap_or_else(|| {
                    stores.push(StoreRecord::new(&*id, &*path));
                    stores.len() - 1
                });
                let store = &mut stores[at];
                // After a kill between here and the commit, the ring's number is already one ahead.
                store.revision = store.revision.max(next);
                store.labelled = labelled || store.labelled && !accepting;
                store.resealed = ends_reseal || store.resealed && !accepting;
                store.path = path.to_string();
            })
        });
        let failed = failed_ring(self.operation);
        match raised.await {
            Ok(Ok(()) | Err(LedgerError::ReadOnly)) => Ok(next),
            Ok(Err(error)) => Err(failed(error)),
            Err(error) => Err(SourceError::storage(self.operation, error)),
        }
    }
}

/// A file without a head is from before there were heads, unless the ring remembers one at its path.
pub(super) fn refuse_earlier(known: &[StoreRecord], path: &str) -> Result<(), Untrusted> {
    // The first change may have been killed before its commit.
    let had_head = |store: &StoreRecord| store.path == path && (store.labelled || store.revision > 1);
    if known.iter().any(had_head) { Err(Untrusted::RolledBack) } else { Ok(()) }
}

/// The path as the ring remembers it.
pub(super) fn shown(path: &Path) -> String {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()).to_string_lossy().into_owned()
}

pub(super) fn failed(operation: &'static str) -> impl Fn(sqlx::Error) -> SourceError {
    move |error| SourceError::storage(operation, error)
}

pub(super) fn failed_ring(operation: &'static str) -> impl Fn(LedgerError) -> SourceError {
    move |error| SourceError::storage(operation, error)
}
