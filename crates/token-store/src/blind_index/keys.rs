//! Reading, making and unwrapping the index keys of a table.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use envelope_core::format::FormatError;
use envelope_core::index::{IndexKey, Normalization, Scope};
use envelope_core::{EncryptionContext, Format, KeyProvider, OpenError};

use super::held::{ColumnKeys, LayoutKeys};
use super::wrapped::WrappedIndexKey;
use crate::database::index::{KeyState, StoredIndexKey};
use crate::database::layout::Layout;
use crate::error::{Needed, StoreError};
use crate::plan::Goal;
use crate::profile::Index;
use crate::store::TokenStore;
use crate::write_format::WriteFormat;

/// How often keys that others change are read again.
const ATTEMPTS: u32 = 8;

/// Whether an index that has no key yet gets one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Make {
    /// The key service makes one.
    Missing,
    /// It is left without: nothing can have been indexed.
    Nothing,
    /// It is left without, also where another process makes one meanwhile, because nothing is written.
    DryRun,
}

impl TokenStore {
    /// The index keys of a table; none where it has no index.
    ///
    /// # Errors
    /// [`StoreError::IndexKey`], [`StoreError::IndexKeyLost`], [`StoreError::Database`].
    pub(crate) async fn index_keys(
        &self,
        layout: &Layout,
        make: Make,
    ) -> Result<Option<Arc<LayoutKeys>>, StoreError> {
        if layout.table.index.is_empty() {
            return Ok(None);
        }
        let name = &layout.table.name;
        let held = || self.held_keys().get(name).filter(|keys| keys.is_complete() || make == Make::DryRun);
        if let Some(keys) = held() {
            return Ok(Some(keys));
        }
        let turn = self.held_keys().turn(name);
        turn.take(held, self.load_index_keys(layout, make)).await.map(Some)
    }

    async fn load_index_keys(&self, layout: &Layout, make: Make) -> Result<Arc<LayoutKeys>, StoreError> {
        let name = &layout.table.name;
        for _ in 0..ATTEMPTS {
            let stored = self.database().index_keys(layout).await?;
            if make == Make::Missing && self.make_missing(layout, &stored).await? {
                continue;
            }
            self.check_not_lost(layout, &stored).await?;
            let keys = Arc::new(self.unwrap_keys(layout, stored).await?);
            // A column without a key may get one from another process at any moment.
            if keys.is_complete() || make == Make::DryRun {
                self.held_keys().keep(name, &keys);
            }
            return Ok(keys);
        }
        let row = "index keys".to_owned();
        Err(StoreError::Contended { table: name.clone(), row })
    }

    /// The index keys that rows are written under towards a goal: none where the goal is a form without indexes.
    ///
    /// # Errors
    /// As [`index_keys`](Self::index_keys).
    pub(crate) async fn index_keys_for(
        &self,
        layout: &Layout,
        goal: Goal,
    ) -> Result<Option<Arc<LayoutKeys>>, StoreError> {
        match goal.format {
            WriteFormat::KmsEnvelope if goal.dry_run => self.index_keys(layout, Make::DryRun).await,
            WriteFormat::KmsEnvelope => self.index_keys(layout, Make::Missing).await,
            _ => Ok(None),
        }
    }

    /// Refuses to continue if rows have indexes whose key is not there.
    ///
    /// # Errors
    /// [`StoreError::IndexKeyLost`], [`StoreError::Database`].
    pub(crate) async fn check_not_lost(
        &self,
        layout: &Layout,
        stored: &[StoredIndexKey],
    ) -> Result<(), StoreError> {
        for index in &layout.table.index {
            let name = layout.table.bound_column(&index.column);
            let has_key = |stored: &[StoredIndexKey]| stored.iter().any(|key| key.column == name);
            let may_be_lost = !has_key(stored) && layout.has(&index.into);
            if may_be_lost
                && self.database().has_marks(layout, &index.into).await?
                // Another process may have made the key meanwhile, and written under it.
                && !has_key(&self.database().index_keys(layout).await?)
            {
                let (table, column) = (layout.table.name.clone(), index.column.clone());
                return Err(StoreError::IndexKeyLost { table, column });
            }
        }
        Ok(())
    }

    /// Makes the first key of one index that has none, and returns whether there was such.
    async fn make_missing(&self, layout: &Layout, stored: &[StoredIndexKey]) -> Result<bool, StoreError> {
        let has_key = |index: &&Index| {
            let name = layout.table.bound_column(&index.column);
            stored.iter().any(|key| key.column == name)
        };
        let Some(index) = layout.table.index.iter().find(|index| !has_key(index)) else { return Ok(false) };
        let key = self.new_index_key(layout, index, stored).await?;
        self.add_index_key(layout, &key).await?;
        Ok(true)
    }

    /// Stores a new key. Where others changed the keys meanwhile, it is not stored.
    pub(super) async fn add_index_key(
        &self,
        layout: &Layout,
        key: &StoredIndexKey,
    ) -> Result<bool, StoreError> {
        let added = self.database().add_index_key(layout, key).await?;
        if added {
            self.trail("index").index_key(crate::audit::INDEX_KEY_MADE, layout, key);
        }
        Ok(added)
    }

    /// A new key for an index, as the profile has it now, of the next number and generation.
    pub(super) async fn new_index_key(
        &self,
        layout: &Layout,
        index: &Index,
        stored: &[StoredIndexKey],
    ) -> Result<StoredIndexKey, StoreError> {
        self.check_not_lost(layout, stored).await?;
        let column = layout.table.bound_column(&index.column);
        let own = stored.iter().filter(|key| key.column == column);
        let number = own.map(|key| key.number).max().unwrap_or(0) + 1;
        let fail = |source: OpenError| failed(layout, index, source);
        let provider = self.index_provider().map_err(fail)?;
        let context = scope(layout, column).context(&self.profile().base_context(), number);
        let context = context.map_err(|error| fail(error.into()))?;
        let made = provider.generate(&context).await.map_err(|error| fail(error.into()))?;
        Ok(StoredIndexKey {
            column: column.to_owned(),
            number,
            state: KeyState::Active,
            generation: generation(stored) + 1,
            normalize: index.normalize.label().to_owned(),
            bits: index.bits,
            wrapped: STANDARD.encode(made.wrapped.bytes()),
            key_id: made.wrapped.key_id().map(ToOwned::to_owned),
        })
    }

    async fn unwrap_keys(
        &self,
        layout: &Layout,
        stored: Vec<StoredIndexKey>,
    ) -> Result<LayoutKeys, StoreError> {
        let facts = self.database().describe(&layout.table).await?;
        let uniques = facts.map(|facts| facts.uniques).unwrap_or_default();
        let mut columns = Vec::with_capacity(layout.table.index.len());
        for index in &layout.table.index {
            let column = layout.table.bound_column(&index.column);
            let own: Vec<StoredIndexKey> =
                stored.iter().filter(|key| key.column == column).cloned().collect();
            columns.push(self.unwrap_column(layout, index, own).await?);
        }
        Ok(LayoutKeys::new(generation(&stored), columns, uniques))
    }

    async fn unwrap_column(
        &self,
        layout: &Layout,
        index: &Index,
        stored: Vec<StoredIndexKey>,
    ) -> Result<Option<ColumnKeys>, StoreError> {
        let (mut active, mut retiring) = (None, Vec::new());
        for key in &stored {
            let unwrapped =
                self.unwrap_key(layout, key).await.map_err(|error| failed(layout, index, error))?;
            match key.state {
                KeyState::Active => active = Some(unwrapped),
                KeyState::Retiring => retiring.push(unwrapped),
            }
        }
        Ok(active.map(|active| ColumnKeys { active, retiring }))
    }

    async fn unwrap_key(&self, layout: &Layout, key: &StoredIndexKey) -> Result<IndexKey, OpenError> {
        let malformed = OpenError::Malformed(FormatError::UnknownVersion);
        let normalization = Normalization::from_label(&key.normalize).ok_or(malformed.clone())?;
        let context = self.index_key_context(layout, key)?;
        let data_key = WrappedIndexKey::parse(key)?.unwrap(self.index_provider()?, &context).await?;
        IndexKey::new(&data_key, scope(layout, &key.column), key.number, normalization, key.bits)
            .map_err(|_| malformed)
    }

    /// The context that a key was wrapped under.
    pub(super) fn index_key_context(
        &self,
        layout: &Layout,
        key: &StoredIndexKey,
    ) -> Result<EncryptionContext, OpenError> {
        Ok(scope(layout, &key.column).context(&self.profile().base_context(), key.number)?)
    }

    pub(super) fn index_provider(&self) -> Result<&dyn KeyProvider, OpenError> {
        let missing = OpenError::MissingKey { format: Format::KmsEnvelope, needed: Needed::KeyService };
        Ok(self.cipher().key_service().ok_or(missing)?.provider().as_ref())
    }
}

pub(super) fn generation(stored: &[StoredIndexKey]) -> u64 {
    stored.iter().map(|key| key.generation).max().unwrap_or(0)
}

fn scope<'a>(layout: &'a Layout, column: &'a str) -> Scope<'a> {
    Scope { profile: &layout.profile, table: layout.table.bound_name(), column }
}

pub(super) fn failed(layout: &Layout, index: &Index, source: OpenError) -> StoreError {
    StoreError::IndexKey { table: layout.table.name.clone(), column: index.column.clone(), source }
}
