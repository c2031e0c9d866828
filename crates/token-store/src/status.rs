//! How a profile's tokens are stored: the distribution by version, method and key.

use std::collections::BTreeMap;

use envelope_core::Format;
use serde::{Deserialize, Serialize};

use crate::cipher::{Recorded, TokenCipher};
use crate::database::index::StoredIndexKey;
use crate::database::layout::Layout;
use crate::database::row::StoredRow;
use crate::database::select::Walk;
use crate::error::{Needed, StoreError};
use crate::floor::Floor;
use crate::marks::{Version, method_by_version, needed_by_method};
use crate::store::TokenStore;
use crate::write_format::WriteFormat;

/// The rows of a deployment, counted by how they are stored.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// Rows in all tables.
    pub total: u64,
    /// Rows that are not under the key service yet.
    pub pending: u64,
    /// The weakest form of a value that is read.
    pub floor: Floor,
    /// Rows that are below the floor, as far as their marks show it: whether an envelope is bound to its row shows only
    /// when it is opened, by `verify`.
    pub below_floor: u64,
    /// The rows by table, version, method and key.
    pub groups: Vec<Group>,
}

/// Rows that are stored alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Group {
    /// The table.
    pub table: String,
    /// 0 plaintext, 1 direct AES, 2 KMS envelope; none where the text alone says it and no number fits.
    pub encryption_version: Option<i64>,
    /// The method in words; `malformed` where texts claim a format and are not of it, `empty` where there is no token, `no-key`
    /// where there is one and the row's key is NULL.
    pub encryption_method: Option<String>,
    /// The key that is stored with the values.
    pub encryption_key_id: Option<String>,
    /// Number of rows.
    pub count: u64,
}

type Kind = (Option<i64>, Option<String>, Option<String>);

/// The method of rows with tokens whose key is NULL, where nothing else says how they are stored.
const UNNAMED: &str = "no-key";

/// The method of rows without any token, where nothing else says how they are stored.
const EMPTY: &str = "empty";

/// What is between the methods of a row whose tokens are not all stored alike.
const SEVERAL: &str = "+";

impl Group {
    /// The methods of its values, several where the tokens of a row are not all stored alike, and what each is opened with:
    /// none where that is nothing, or not known.
    pub fn methods(&self) -> impl Iterator<Item = (&str, Option<Needed>)> {
        let methods = self.encryption_method.iter().flat_map(|methods| methods.split(SEVERAL));
        methods.map(|method| (method, needed_by_method(method)))
    }

    fn is_empty(&self) -> bool {
        self.encryption_method.as_deref() == Some(EMPTY)
    }

    /// The value of the label `version` of its rows.
    fn label(&self) -> String {
        match self.encryption_version {
            Some(version) => version.to_string(),
            None if self.is_empty() => EMPTY.into(),
            None => "other".into(),
        }
    }
}

/// Counts the rows of every table. Nothing is opened, and no key is needed.
///
/// # Errors
/// [`StoreError::Database`].
pub async fn status(store: &TokenStore) -> Result<Status, StoreError> {
    store.check_filters().await?;
    let mut status = Status { floor: store.cipher().floor(), ..Status::default() };
    for layout in store.layouts() {
        let mut kinds = match layout.version() {
            Some(_) => by_columns(store, layout).await?,
            None => by_text(store, layout).await?,
        };
        let unnamed = store.database().count_unnamed(layout).await?;
        if unnamed > 0 {
            kinds.insert((None, Some(UNNAMED.into()), None), unnamed);
        }
        for ((encryption_version, encryption_method, encryption_key_id), count) in kinds {
            let table = layout.table.name.clone();
            let group = Group { table, encryption_version, encryption_method, encryption_key_id, count };
            status.total += count;
            if group.encryption_version != Some(2) && !group.is_empty() {
                status.pending += count;
            }
            status.groups.push(group);
        }
    }
    if status.floor > Floor::Any {
        status.below_floor = status.pending;
    }
    let mut by_version = store.rows_by_version();
    by_version.values_mut().for_each(|rows| *rows = 0);
    for group in &status.groups {
        *by_version.entry(group.label()).or_insert(0) += group.count;
    }
    drop(by_version);
    Ok(status)
}

async fn by_columns(store: &TokenStore, layout: &Layout) -> Result<BTreeMap<Kind, u64>, StoreError> {
    let mut kinds = BTreeMap::new();
    for counted in store.database().count_by_marks(layout).await? {
        let method = method_by_version(Version::read(counted.version.as_deref()), counted.method);
        let version = counted.version.map_or(Some(0), |text| text.parse::<i64>().ok());
        let key_id = counted.key_id.filter(|text| !text.is_empty());
        *kinds.entry((version, method, key_id)).or_insert(0) += counted.rows;
    }
    Ok(kinds)
}

async fn by_text(store: &TokenStore, layout: &Layout) -> Result<BTreeMap<Kind, u64>, StoreError> {
    let mut kinds = BTreeMap::new();
    for_each_row(store, layout, |row| *kinds.entry(kind_of(store, layout, row)).or_insert(0) += 1).await?;
    Ok(kinds)
}

/// A row whose tokens differ in kind counts once, under the names of all its kinds.
fn kind_of(store: &TokenStore, layout: &Layout, row: &StoredRow) -> Kind {
    if row.unreadable.is_some() {
        return (None, Some("malformed".into()), None);
    }
    let recorded = Recorded::of(row, layout, store.profile().unmarked);
    let mut kinds: Vec<(Option<i64>, String, Option<String>)> = Vec::new();
    for text in row.values.iter().flatten().filter(|text| !text.is_empty()) {
        let kind = TokenCipher::kind(text, recorded);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    match kinds.as_slice() {
        [] => (None, Some(EMPTY.into()), None),
        [(version, method, key_id)] => (*version, Some(method.clone()), key_id.clone()),
        several => {
            let methods: Vec<&str> = several.iter().map(|(_, method, _)| method.as_str()).collect();
            (several.iter().map(|(version, ..)| *version).min().flatten(), Some(methods.join(SEVERAL)), None)
        }
    }
}

/// Which keys stored values still need.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KeyUse {
    /// Every key that is named with or inside a value, and the variables that hold local keys.
    pub keys: Vec<KeyCount>,
    /// Values whose key is not known: malformed ones, and envelopes in tables without a column for it. While there
    /// are any, no key can be called unused.
    pub unreadable: u64,
}

/// A key, and how many values need it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KeyCount {
    /// A key ARN, `keyring:<id>`, or the variable of a local key.
    pub key_id: String,
    /// Number of token values, and of keys of blind indexes.
    pub values: u64,
}

/// Counts values by the key that they need, page by page. Nothing is opened.
///
/// # Errors
/// [`StoreError::Database`].
pub async fn key_use(store: &TokenStore) -> Result<KeyUse, StoreError> {
    store.check_filters().await?;
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut unreadable = 0;
    let store = &store.with_fields();
    for layout in store.layouts() {
        for_each_row(store, layout, |row| {
            unreadable += u64::from(row.unreadable.is_some());
            let recorded = Recorded::of(row, layout, store.profile().unmarked);
            for text in row.values.iter().flatten().filter(|text| !text.is_empty()) {
                match TokenCipher::needed_key(text, recorded) {
                    Ok(None) => {}
                    Ok(Some(key)) => *counts.entry(key).or_insert(0) += 1,
                    Err(()) => unreadable += 1,
                }
            }
        })
        .await?;
        unreadable += store.database().count_unnamed(layout).await?;
        for key in index_keys(store, layout).await? {
            match key.key_id {
                Some(key_id) => *counts.entry(key_id).or_insert(0) += 1,
                None => unreadable += 1,
            }
        }
    }
    let keys = counts.into_iter().map(|(key_id, values)| KeyCount { key_id, values }).collect();
    Ok(KeyUse { keys, unreadable })
}

/// The keys of a table's blind indexes: each needs the key that wrapped it. Before [`schema::migrate`](crate::schema::migrate)
/// has run there are none.
async fn index_keys(store: &TokenStore, layout: &Layout) -> Result<Vec<StoredIndexKey>, StoreError> {
    if layout.table.index_columns().all(|name| !layout.has(name)) {
        return Ok(Vec::new());
    }
    Ok(store.database().index_keys(layout).await?)
}

/// The work that a migration to the key service has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Workload {
    /// Rows in all tables.
    pub rows: u64,
    /// Rows that are to be moved.
    pub pending: u64,
    /// Values that are to be sealed, one data key each.
    pub seal_calls: u64,
    /// Values that only the key service can open first.
    pub open_calls: u64,
}

/// Counts what a migration to the key service would have to do, page by page. Nothing is opened.
///
/// # Errors
/// [`StoreError::Database`].
pub async fn workload(store: &TokenStore) -> Result<Workload, StoreError> {
    store.check_filters().await?;
    let mut work = Workload::default();
    let goal = store.cipher().goal(WriteFormat::KmsEnvelope);
    for layout in store.layouts() {
        for_each_row(store, layout, |row| {
            work.rows += 1;
            let recorded = Recorded::of(row, layout, store.profile().unmarked);
            let texts = row.values.iter().flatten().filter(|text| !text.is_empty());
            let formats: Vec<_> =
                texts.filter_map(|text| TokenCipher::classify(text, recorded).ok()).collect();
            if formats.iter().any(|format| *format != goal) {
                work.pending += 1;
                work.seal_calls += formats.len() as u64;
                work.open_calls += formats.iter().filter(|format| needs_key_service(**format)).count() as u64;
            }
        })
        .await?;
        let unnamed = store.database().count_unnamed(layout).await?;
        work.rows += unnamed;
        work.pending += unnamed;
    }
    Ok(work)
}

fn needs_key_service(format: Format) -> bool {
    matches!(format, Format::KmsEnvelope | Format::BoundEnvelope | Format::PulseplanKms | Format::Autonomous)
}

async fn for_each_row(
    store: &TokenStore,
    layout: &Layout,
    mut visit: impl FnMut(&StoredRow),
) -> Result<(), StoreError> {
    const PAGE: usize = 1_000;
    let mut walk = Walk::new(store.database(), layout, PAGE);
    loop {
        let page = walk.next().await?;
        if page.is_empty() {
            return Ok(());
        }
        page.iter().for_each(&mut visit);
    }
}
