//! Finding rows by a sealed value, through the blind index over its column.

use std::collections::BTreeMap;

use envelope_core::index::Normalization;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use secrecy::{ExposeSecret as _, SecretString};

use super::rows::TokenRow;
use super::{TokenStore, rows};
use crate::blind_index::{LayoutKeys, Make};
use crate::database::layout::Layout;
use crate::database::row::StoredRow;
use crate::error::StoreError;
use crate::floor::Floor;

/// How many rows that share an index are opened at most.
const MOST: usize = 10_000;
/// How often a look-up starts over because the index keys changed meanwhile.
const ATTEMPTS: u32 = 8;
/// Values that are looked up at once, and rows that are opened at once.
const AT_ONCE: usize = 8;

/// Whose rows are seen: those that fit one of these, column → values; every row, if there is no such list.
type Owners<'a> = Option<&'a [&'a BTreeMap<String, Vec<String>>]>;

impl TokenStore {
    /// Finds the rows whose token has this value, in any spelling that the index's normalisation joins; of the profile's
    /// first table, if none is named. Each row has the token that it was found by.
    ///
    /// Every row is opened and compared, so that an index that another program wrote into the table returns
    /// no wrong row. A row that does not open is among the answers, and its token is the error: its value
    /// cannot be compared. A plaintext value that is not indexed yet is found in the spelling that it is
    /// stored in.
    ///
    /// # Errors
    /// [`StoreError::NoIndex`] for a column without an index, [`StoreError::IndexKey`], [`StoreError::TooManyFound`],
    /// [`StoreError::Database`].
    pub async fn find(
        &self,
        table: Option<&str>,
        column: &str,
        value: &SecretString,
    ) -> Result<Vec<TokenRow>, StoreError> {
        self.find_seen(table, column, value, None).await
    }

    /// Finds rows as [`find`](Self::find) does, of some owners only: those that fit one of `owners`, each of which names
    /// owner columns and the values that they may have. The rows of others are not opened, and no error is about them.
    ///
    /// # Errors
    /// As [`find`](Self::find). [`StoreError::TooManyFound`] counts the rows of every owner.
    pub async fn find_owned(
        &self,
        table: Option<&str>,
        column: &str,
        value: &SecretString,
        owners: &[&BTreeMap<String, Vec<String>>],
    ) -> Result<Vec<TokenRow>, StoreError> {
        self.find_seen(table, column, value, Some(owners)).await
    }

    async fn find_seen(
        &self,
        table: Option<&str>,
        column: &str,
        value: &SecretString,
        owners: Owners<'_>,
    ) -> Result<Vec<TokenRow>, StoreError> {
        let layout = self.layout_named(table)?;
        rows::check_tokens(layout, &[column])?;
        let no_index = || StoreError::NoIndex { table: layout.table.name.clone(), column: column.into() };
        let place = layout.table.index_over(column).ok_or_else(no_index)?;
        let found = self.find_indexed(layout, place, value, owners).await;
        let outcome = found.as_ref().map_or_else(StoreError::class, |found| match found.len() {
            0 => "not_found",
            _ => "ok",
        });
        let rows = found.as_ref().map_or(0, Vec::len);
        self.trail("find").searched(layout, column, outcome, rows as u64);
        found
    }

    /// Finds the rows of many values, in the order of the values.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub async fn find_many(
        &self,
        table: Option<&str>,
        column: &str,
        values: &[SecretString],
    ) -> Result<Vec<Vec<TokenRow>>, StoreError> {
        let found = stream::iter(values).map(|value| self.find(table, column, value));
        found.buffered(AT_ONCE).try_collect().await
    }

    async fn find_indexed(
        &self,
        layout: &Layout,
        place: usize,
        value: &SecretString,
        owners: Owners<'_>,
    ) -> Result<Vec<TokenRow>, StoreError> {
        let index = &layout.table.index[place];
        for _ in 0..ATTEMPTS {
            let keys = self.index_keys(layout, Make::Nothing).await?;
            let column_keys = keys.as_ref().and_then(|keys| keys.column(place));
            let normalization = column_keys.map_or(index.normalize, |keys| keys.normalization());
            let wanted = normalization.apply(value.expose_secret());
            if wanted.is_empty() {
                return Ok(Vec::new());
            }
            let texts = column_keys.map(|keys| keys.values(value.expose_secret())).unwrap_or_default();
            let candidates = self.candidates(layout, place, &texts, value, owners).await?;
            // Indexes are written under a new key only after it is stored: had one of these rows been, this would show it.
            if self.have_keys_changed(layout, keys.as_deref()).await? {
                self.held_keys().forget(&layout.table.name);
                continue;
            }
            return self.compared(layout, &index.column, candidates, normalization, &wanted).await;
        }
        let row = "index keys".to_owned();
        Err(StoreError::Contended { table: layout.table.name.clone(), row })
    }

    /// The rows with one of these indexes; if there are none, the rows that are not indexed yet and hold the value as it is.
    async fn candidates(
        &self,
        layout: &Layout,
        place: usize,
        texts: &[String],
        value: &SecretString,
        owners: Owners<'_>,
    ) -> Result<Vec<StoredRow>, StoreError> {
        let index = &layout.table.index[place];
        let (database, into) = (self.database(), index.into.as_str());
        let seen = |mut found: Vec<StoredRow>| {
            if found.len() > MOST {
                let (table, column) = (layout.table.name.clone(), index.column.clone());
                return Err(StoreError::TooManyFound { table, column, limit: MOST });
            }
            found.retain(|row| owners.is_none_or(|owners| owners.iter().any(|one| is_of(layout, row, one))));
            Ok(found)
        };
        let found = match texts {
            [] => Vec::new(),
            texts => seen(database.candidates(layout, into, texts, MOST + 1).await?)?,
        };
        if !found.is_empty() || self.cipher().floor() != Floor::Any {
            return Ok(found);
        }
        let stored = value.expose_secret();
        seen(database.unindexed(layout, &index.column, into, stored, MOST + 1).await?)
    }

    async fn have_keys_changed(
        &self,
        layout: &Layout,
        keys: Option<&LayoutKeys>,
    ) -> Result<bool, StoreError> {
        let stored = self.database().index_keys(layout).await?;
        let now = stored.iter().map(|key| key.generation).max().unwrap_or(0);
        let columns = layout.table.index.iter().enumerate();
        let mut has_new = columns.map(|(place, index)| {
            let name = layout.table.bound_column(&index.column);
            keys.is_none_or(|keys| keys.column(place).is_none())
                && stored.iter().any(|key| key.column == name)
        });
        Ok(keys.is_none_or(|keys| keys.generation != now) || has_new.any(|has_new| has_new))
    }

    /// Opens the candidates, and keeps those that hold the value.
    async fn compared(
        &self,
        layout: &Layout,
        column: &str,
        candidates: Vec<StoredRow>,
        normalization: Normalization,
        wanted: &str,
    ) -> Result<Vec<TokenRow>, StoreError> {
        let opened = stream::iter(candidates).map(|row| async move {
            match &row.unreadable {
                Some(unreadable) => Err(StoreError::Unreadable {
                    table: layout.table.name.clone(),
                    row: row.name(layout),
                    column: unreadable.column.clone(),
                    reason: unreadable.reason.to_string(),
                }),
                None => Ok(self.open_columns(layout, row, &[column]).await),
            }
        });
        let rows: Vec<TokenRow> = opened.buffered(AT_ONCE).try_collect().await?;
        let mut found = Vec::new();
        for mut row in rows {
            let matches = match row.token(column) {
                Ok(token) => {
                    token.is_some_and(|token| *normalization.apply(token.expose_secret()) == *wanted)
                }
                Err(error) if error.key_error().is_some_and(|error| error.class().is_outage()) => {
                    row.take(column)?;
                    true
                }
                Err(_) => true,
            };
            if matches {
                found.push(row);
            }
        }
        found.sort_by(|one, other| one.key().cmp(other.key()));
        Ok(found)
    }
}

/// Whether a row has one of these values in each of these owner columns.
fn is_of(layout: &Layout, row: &StoredRow, owner: &BTreeMap<String, Vec<String>>) -> bool {
    owner.iter().all(|(column, values)| {
        let place = layout.table.owner.iter().position(|name| name == column);
        let stored = place.and_then(|place| row.owner.get(place)).and_then(Option::as_deref);
        values.iter().any(|value| layout.is_same_owner(column, Some(value), stored))
    })
}
