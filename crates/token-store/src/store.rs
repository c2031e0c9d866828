//! The store: one row's tokens, read in every version and written in the newest that is configured.

mod by_index;
mod find;
mod insert;
mod made;
mod pages;
mod prepared;
mod put;
pub mod refresh;
mod reseal;
mod revision;
mod rows;
mod sealed;
mod text;
mod token;
mod within;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;
use secrecy::SecretString;

pub use self::prepared::Prepared;
pub use self::revision::Revision;
pub use self::rows::TokenRow;
pub use self::sealed::{NotSealed, Sealed};
pub use self::text::{SealedText, StoredText};
pub use self::token::{NewToken, Token, TokenKey, TokenSummary, Written};
use crate::audit::Trail;
use crate::blind_index::HeldKeys;
use crate::cipher::{Recorded, TokenCipher};
use crate::database::Database;
use crate::database::index::KEYS_TABLE;
use crate::database::layout::{Columns, Layout};
use crate::database::row::{StoredRow, row_name};
use crate::database::select::Range;
use crate::error::StoreError;
use crate::floor::Floor;
use crate::metrics::RefreshMetrics;
use crate::profile::{Profile, Table};
use crate::write_format::WriteFormat;

/// Tokens in the tables of a profile. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct TokenStore {
    inner: Arc<Inner>,
    layouts: Arc<[Layout]>,
    /// Tables whose fields are sealed by hand, with these as their tokens.
    fields: Arc<[Layout]>,
    actor: Arc<str>,
    reseal_on_read: bool,
    refresh_policy: refresh::RefreshPolicy,
    /// Data keys that a write takes before it asks the key service.
    prepared: Option<prepared::Supply>,
}

struct Inner {
    database: Database,
    profile: Profile,
    cipher: TokenCipher,
    absent: Vec<String>,
    resealed: AtomicU64,
    /// Rows that are being sealed again after a read, by table and key, each with the row of a later read, if there was one.
    resealing: Mutex<HashMap<(String, String), Option<StoredRow>>>,
    fallback_writes: AtomicU64,
    /// The refreshes that wait for their turn, and what became of those before.
    turns: refresh::Turns,
    refreshes: RefreshMetrics,
    index_keys: HeldKeys,
    rows_by_version: Mutex<BTreeMap<String, u64>>,
}

impl TokenStore {
    /// Opens the profile's tables in a database.
    ///
    /// # Errors
    /// [`StoreError::NoTable`], [`StoreError::NoColumns`] or [`StoreError::Unsuitable`] where the tables are not as
    /// the profile says; [`crate::schema::migrate`] adds version columns.
    pub async fn open(database: Database, profile: Profile, cipher: TokenCipher) -> Result<Self, StoreError> {
        Self::open_with(database, profile, cipher, Columns::All).await
    }

    /// Opens the profile's tables for counting what is there, and what of it is below the floor, also before [`crate::schema::migrate`] has run: version columns that
    /// are missing count as NULL.
    ///
    /// # Errors
    /// As [`open`](Self::open), but for version columns.
    pub async fn open_for_status(
        database: Database,
        profile: Profile,
        floor: Floor,
    ) -> Result<Self, StoreError> {
        let cipher = TokenCipher::new().with_read_floor(floor);
        Self::open_with(database, profile, cipher, Columns::VersionMayLack).await
    }

    async fn open_with(
        database: Database,
        profile: Profile,
        cipher: TokenCipher,
        columns: Columns,
    ) -> Result<Self, StoreError> {
        let (mut layouts, mut absent) = (Vec::new(), Vec::new());
        for table in &profile.tables {
            match Layout::resolve(&database, table, columns).await? {
                Some(layout) => {
                    if columns == Columns::All {
                        layout.require_leases(&database).await?;
                    }
                    layouts.push(Layout { profile: profile.name.clone(), ..layout });
                }
                None if table.optional => absent.push(table.name.clone()),
                None => {
                    return Err(StoreError::NoTable { table: table.name.clone() });
                }
            }
        }
        if let Some(layout) = layouts.iter().find(|layout| !layout.table.index.is_empty())
            && columns == Columns::All
        {
            require_index_keys(&database, layout).await?;
        }
        if layouts.is_empty() {
            return Err(StoreError::NoTable { table: absent.join(", ") });
        }
        let (resealed, fallback_writes) = (AtomicU64::new(0), AtomicU64::new(0));
        let (resealing, rows_by_version) = (Mutex::default(), Mutex::default());
        let cipher = cipher.for_profile(&profile);
        let inner = Inner {
            database,
            profile,
            cipher,
            absent,
            resealed,
            resealing,
            fallback_writes,
            turns: refresh::Turns::default(),
            refreshes: RefreshMetrics::default(),
            index_keys: HeldKeys::default(),
            rows_by_version,
        };
        let fields: Vec<Layout> = layouts.iter().filter_map(Layout::of_fields).collect();
        layouts.retain(|layout| !layout.table.tokens.is_empty());
        let (inner, layouts, fields) = (Arc::new(inner), layouts.into(), fields.into());
        Ok(Self {
            inner,
            layouts,
            fields,
            actor: "unnamed".into(),
            reseal_on_read: false,
            refresh_policy: refresh::RefreshPolicy::default(),
            prepared: None,
        })
    }

    /// Says who asks, for the [audit events](crate::audit): the name of the service or of the operator.
    #[must_use]
    pub fn with_actor(mut self, actor: impl Into<Arc<str>>) -> Self {
        self.actor = actor.into();
        self
    }

    /// Re-seals a row when it is read in an older form: a gradual migration.
    ///
    /// It happens in the background with compare-and-swap, so that it never slows or fails the read.
    #[must_use]
    pub fn with_reseal_on_read(mut self) -> Self {
        self.reseal_on_read = true;
        self
    }

    /// How many rows were re-sealed because they were read.
    #[must_use]
    pub fn resealed_rows(&self) -> u64 {
        self.inner.resealed.load(Ordering::Relaxed)
    }

    /// How many rows were written in direct AES because the key service was unavailable.
    #[must_use]
    pub fn fallback_writes(&self) -> u64 {
        self.inner.fallback_writes.load(Ordering::Relaxed)
    }

    /// The profile that the store was opened with.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.inner.profile
    }

    /// The keys and policies that the store reads and writes with.
    #[must_use]
    pub fn cipher(&self) -> &TokenCipher {
        &self.inner.cipher
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.inner.database
    }

    /// Optional tables of the profile that this database does not have.
    #[must_use]
    pub fn absent_tables(&self) -> &[String] {
        &self.inner.absent
    }

    /// Reads a row's tokens, whatever version they are stored in.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Open`] if a value does not open, [`StoreError::Database`].
    pub async fn get(&self, key: &TokenKey) -> Result<Token, StoreError> {
        let layout = self.layout(key)?;
        let Some(row) = self.find_row(layout, key).await? else { return Err(self.not_found(layout, key)) };
        let token = self.open_row(layout, &row).await?;
        self.trail("read").read(layout, &row);
        if self.reseal_on_read {
            self.reseal_in_background(layout, row);
        }
        Ok(token)
    }

    /// The number of rows in all tables.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn count_rows(&self) -> Result<u64, StoreError> {
        self.count_sampled(u64::MAX).await
    }

    /// The keys of the key service that rows of tables with version columns name, and those of blind indexes.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn recorded_keys(&self) -> Result<BTreeSet<String>, StoreError> {
        let mut keys = BTreeSet::new();
        let store = self.with_fields();
        for layout in store.layouts().iter().filter(|layout| layout.version().is_some()) {
            let counts = self.database().count_by_marks(layout).await?;
            keys.extend(counts.into_iter().filter_map(|count| count.key_id).filter(|key| !key.is_empty()));
        }
        for layout in store.layouts().iter().filter(|layout| !layout.table.index.is_empty()) {
            let stored = self.database().index_keys(layout).await?;
            keys.extend(stored.into_iter().filter_map(|key| key.key_id));
        }
        Ok(keys)
    }

    /// Refuses filters of the profile that are no condition, or another one than it seems, before a statement chooses rows by
    /// them.
    ///
    /// # Errors
    /// [`StoreError::Unsuitable`], [`StoreError::Database`].
    pub(crate) async fn check_filters(&self) -> Result<(), StoreError> {
        for layout in self.layouts() {
            if let Some(fault) = self.database().filter_fault(layout).await? {
                let object = fault.object.map(|object| format!(" ({object:?})")).unwrap_or_default();
                let reason = format!("{}{object}", fault.hint);
                return Err(StoreError::Unsuitable { table: layout.table.name.clone(), reason });
            }
        }
        Ok(())
    }

    /// The number of rows in a sample of at most so many of each table.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn count_sampled(&self, size: u64) -> Result<u64, StoreError> {
        self.check_filters().await?;
        let mut rows = 0;
        for layout in self.layouts() {
            rows += self.database().count(layout, Range::default()).await?.min(size);
        }
        Ok(rows)
    }

    /// The form of a new token.
    #[must_use]
    pub fn write_format(&self) -> WriteFormat {
        self.cipher().write_format(self.profile())
    }

    pub(crate) fn check_storable(&self, format: WriteFormat) -> Result<(), StoreError> {
        if self.profile().can_store(format) {
            return Ok(());
        }
        let format = format.method().unwrap_or("plaintext");
        Err(StoreError::NotStorable { format, profile: self.profile().name.clone() })
    }

    /// Rows by version as the last [`status`](crate::status::status) of this store counted them.
    pub(crate) fn rows_by_version(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.inner.rows_by_version.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name in audit events.
    #[must_use]
    pub fn actor(&self) -> &str {
        &self.actor
    }

    /// How many refreshes by [`fresh`](Self::fresh) succeeded so far, and how many failed.
    #[must_use]
    pub fn refresh_counts(&self) -> (u64, u64) {
        self.inner.refreshes.counts()
    }

    /// What is counted about this store's own refreshes.
    pub(crate) fn refreshes(&self) -> &RefreshMetrics {
        &self.inner.refreshes
    }

    pub(crate) fn trail(&self, operation: &'static str) -> Trail<'_> {
        Trail::new(self.actor(), operation, self.profile().unmarked)
    }

    /// Index keys that are held unwrapped.
    pub(crate) fn held_keys(&self) -> &HeldKeys {
        &self.inner.index_keys
    }

    /// The same store over these tables only.
    pub(crate) fn over(&self, layouts: Vec<Layout>) -> Self {
        Self { layouts: layouts.into(), ..self.clone() }
    }

    /// The same store over tokens and over fields that are sealed by hand, for what only reads or rewraps.
    pub(crate) fn with_fields(&self) -> Self {
        self.over(self.layouts.iter().chain(self.fields.iter()).cloned().collect())
    }

    pub(crate) fn layouts(&self) -> &[Layout] {
        &self.layouts
    }

    fn layout_named(&self, table: Option<&str>) -> Result<&Layout, StoreError> {
        let found = match table {
            Some(name) => self.layouts.iter().find(|layout| layout.table.name == name),
            None => self.layouts.first(),
        };
        found.ok_or_else(|| StoreError::NoTable { table: table.unwrap_or_default().into() })
    }

    pub(crate) fn layout(&self, key: &TokenKey) -> Result<&Layout, StoreError> {
        let layout = self.layout_named(key.table())?;
        let (expected, actual) = (layout.table.key.len(), key.values().len());
        if expected != actual {
            return Err(StoreError::KeyLength { table: layout.table.name.clone(), expected, actual });
        }
        Ok(layout)
    }

    /// The error of a key that names no row, which the trail reports.
    fn not_found(&self, layout: &Layout, key: &TokenKey) -> StoreError {
        let (table, row) = (layout.table.name.clone(), row_name(&layout.table.key, key.values()));
        self.trail("read").not_found(layout, &row);
        StoreError::NotFound { table, row }
    }

    async fn open_row(&self, layout: &Layout, row: &StoredRow) -> Result<Token, StoreError> {
        let cells = layout.table.tokens.iter().zip(&row.values);
        let opened = cells.map(async |(column, value)| match value {
            None => Ok(None),
            Some(text) => self.open_cell(self.trail("read"), layout, row, column, text).await.map(Some),
        });
        let secrets = all_at_once(opened).await?;
        let mut token = Token::new(layout, row, self.content(layout, row));
        for (column, secret) in layout.table.tokens.iter().zip(secrets) {
            token.push(column, secret);
        }
        Ok(token)
    }

    /// Opens one token; the trail reports one that does not open.
    async fn open_cell(
        &self,
        trail: Trail<'_>,
        layout: &Layout,
        row: &StoredRow,
        column: &str,
        text: &str,
    ) -> Result<SecretString, StoreError> {
        let recorded = Recorded::of(row, layout, self.profile().unmarked);
        match self.cipher().open(text, recorded, &row.binding(layout, column)).await {
            Ok(opened) => Ok(opened.plaintext),
            Err(source) => {
                let (table, row) = (layout.table.name.clone(), row.name(layout));
                let correlation_id = trail.did_not_open(layout, &row, column, &source);
                Err(StoreError::Open { table, row, column: column.into(), correlation_id, source })
            }
        }
    }
}

/// The table of index keys is as needed as the columns of the indexes.
async fn require_index_keys(database: &Database, layout: &Layout) -> Result<(), StoreError> {
    let schema = layout.facts.schema.clone().or_else(|| layout.table.schema.clone());
    let keys = Table { name: KEYS_TABLE.into(), schema, ..(*layout.table).clone() };
    match database.describe(&keys).await? {
        Some(_) => Ok(()),
        None => {
            let (table, columns) = (layout.table.name.clone(), vec![KEYS_TABLE.to_owned()]);
            Err(StoreError::NoColumns { table, columns, addable: true })
        }
    }
}

/// Does the work for all tokens of a row at the same time, so that it waits for the key service once, and not once a token.
///
/// Each is done to its end, also where another has failed: one that is given up may be the probe that an open circuit
/// waits for, and where every row gives up its own, no circuit closes again.
async fn all_at_once<T>(
    cells: impl IntoIterator<Item = impl Future<Output = Result<T, StoreError>>>,
) -> Result<Vec<T>, StoreError> {
    join_all(cells).await.into_iter().collect()
}
