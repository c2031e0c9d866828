//! An encrypted secret store in one SQLite file.
//!
//! Names, tags and times are in the clear; values are JSON envelopes (`envelope_core::format::node_json`) under a
//! ring of data keys, each bound to its secret's name: a value moved to another name in the file does not open.
//!
//! Every secret has a seal over its name, times, tags, stages and values, and the file has one over all secrets and the
//! number of the last change, which the ring remembers: a change by any other program, and an older copy of
//! one secret or of the whole file, is refused. The ring's own file is what has to be kept apart for that.
//!
//! Reading needs no write access to the file, its directory or the ring.
//!
//! Every change is one transaction, so a program killed in the middle has changed nothing, and several processes
//! may use the file at once.

mod cleanup;
mod file;
mod head;
mod present;
mod read;
mod record;
mod reseal;
mod rows;
mod schema;
mod sealing;
mod status;
mod trust;
mod write;
mod writing;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use envelope_core::format::node_json::DataKeyRing;
use envelope_core::ledger::{StoreRecord, refuses_unlabelled};
use futures_util::stream::BoxStream;
use sqlx::{Sqlite, Transaction};

use self::file::File;
use self::writing::Writing;
use crate::audit::{self, Record};
use crate::error::SourceError;
use crate::name::SecretName;
use crate::secret::{Secret, SecretMetadata, Stage};
use crate::source::{ListPage, ListRequest, NewSecret, SecretSource, Stored};
use crate::value::SecretValue;

pub use cleanup::{CleanUp, CleanedUp};
pub use reseal::{ResealFailure, ResealReport};
pub use status::{KeyUse, StoreStatus};

const ID: &str = "local";
const OPEN: &str = "open the store";
const REMEMBER: &str = "read the key ring";

/// The treatment of another value that the store has under the name of an imported one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherValue {
    /// It stays, and the import is an error.
    Keep,
    /// It becomes the previous version.
    Replace,
}

/// The outcome of taking over a value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Imported {
    /// It is the current version now.
    Stored(Stored),
    /// It was the current version before.
    Unchanged {
        /// That version.
        version: String,
    },
}

/// A store in a SQLite file.
#[derive(Clone)]
pub struct LocalStore {
    file: Arc<File>,
    ring: Arc<dyn DataKeyRing>,
    /// The file's path, as the ring remembers it.
    path: Arc<str>,
}

impl LocalStore {
    /// Opens a store, making the file first if there is none; it is then readable by its owner only.
    ///
    /// # Errors
    /// [`SourceError::Storage`] if the file cannot be opened, or is not a secret store.
    pub async fn open_or_create(
        path: impl AsRef<Path>,
        ring: Arc<dyn DataKeyRing>,
    ) -> Result<Self, SourceError> {
        schema::create_file(path.as_ref())?;
        Self::open(path, ring).await
    }

    /// Opens a store that exists.
    ///
    /// # Errors
    /// [`SourceError::Storage`] if there is no such file, it cannot be opened, or is something else.
    pub async fn open(path: impl AsRef<Path>, ring: Arc<dyn DataKeyRing>) -> Result<Self, SourceError> {
        let file = Arc::new(File::open(path.as_ref()).await?);
        audit::done(audit::KMS_INITIALIZED, Record::default().source(ID).key(&ring.active().0));
        let store = Self { file, ring, path: writing::shown(path.as_ref()).into() };
        if schema::is_empty(&store.file.to_read().await.map_err(schema::storage)?).await? {
            Writing::begin(&store, OPEN).await?.commit().await?;
        }
        Ok(store)
    }

    /// The keyring of a store whose keyring is not named elsewhere: `<file>.keyring`, next to it.
    #[must_use]
    pub fn keyring_beside(path: &Path) -> PathBuf {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".keyring");
        path.with_file_name(name)
    }

    /// Closes the file. Dropping the store does so as well, a little later.
    pub async fn close(&self) {
        self.file.close().await;
    }

    /// A transaction to read in.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.file.to_read().await?.begin().await
    }

    /// Whether values that do not carry their purpose are refused everywhere under the ring, because a
    /// [re-sealing](Self::reseal) was complete.
    ///
    /// # Errors
    /// [`SourceError::Storage`] if the key ring does not say.
    pub fn refuses_unlabelled(&self) -> Result<bool, SourceError> {
        let stores = self.remembered()?;
        Ok(refuses_unlabelled(&stores))
    }

    /// The ring's record of stores; empty if it has none.
    fn remembered(&self) -> Result<Vec<StoreRecord>, SourceError> {
        let records = self.ring.ledger().map(|ledger| ledger.records()).transpose();
        Ok(records.map_err(writing::failed_ring(REMEMBER))?.unwrap_or_default())
    }

    /// Takes over a value from the Node service: opens its envelope and stores it, re-sealed under its name. A value that is
    /// there already stays as it is, so that a repeated import changes nothing.
    ///
    /// `aad` is the associated data that the old system sealed it with. It comes from the caller: the
    /// envelope's own statement about it is not trusted.
    ///
    /// # Errors
    /// [`SourceError::Sealed`] if the envelope does not open so, [`SourceError::Conflict`] if the store has another value
    /// that is to be kept, else as for storing.
    pub async fn import_envelope(
        &self,
        name: &SecretName,
        aad: Option<&[u8]>,
        envelope: &str,
        other: OtherValue,
    ) -> Result<Imported, SourceError> {
        let value = sealing::open_foreign(&*self.ring, name, aad, envelope)?;
        write::take_over(self, &NewSecret::new(name.clone(), value), other).await
    }
}

#[async_trait]
impl SecretSource for LocalStore {
    fn id(&self) -> Arc<str> {
        ID.into()
    }

    fn is_transactional(&self) -> bool {
        true
    }

    fn check(&self, name: &SecretName, value: &SecretValue) -> Result<(), SourceError> {
        sealing::check(name, value)
    }

    async fn get(&self, name: &SecretName, stage: &Stage) -> Result<Secret, SourceError> {
        read::get(self, name, stage).await
    }

    async fn get_many(&self, names: &[SecretName]) -> Result<Vec<Result<Secret, SourceError>>, SourceError> {
        read::get_many(self, names).await
    }

    async fn describe(&self, name: &SecretName) -> Result<SecretMetadata, SourceError> {
        read::describe(self, name).await
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, SourceError> {
        read::list(self, request).await
    }

    async fn put(&self, secret: &NewSecret) -> Result<Stored, SourceError> {
        write::put(self, secret).await
    }

    async fn put_all(
        &self,
        secrets: BoxStream<'_, Result<NewSecret, SourceError>>,
    ) -> Result<u64, SourceError> {
        write::put_all(self, secrets).await
    }

    async fn rotate(&self, name: &SecretName, value: &SecretValue) -> Result<Stored, SourceError> {
        write::rotate(self, name, value).await
    }

    async fn rotate_if(
        &self,
        name: &SecretName,
        value: &SecretValue,
        version: &str,
    ) -> Result<Stored, SourceError> {
        write::rotate_if(self, name, value, version).await
    }

    async fn promote(&self, name: &SecretName) -> Result<Stored, SourceError> {
        write::promote(self, name).await
    }

    async fn delete(&self, name: &SecretName) -> Result<(), SourceError> {
        write::delete(self, name).await
    }
}
