//! Writing what must not be lost: data keys first, then the caller's work, then a write that needs no key service.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use envelope_core::sealer::{PreparedKey, Sealed};
use envelope_core::{Binding, OpenError, Sealer};
use secrecy::{ExposeSecret as _, SecretString};

use super::put::{WRITE, is_outage, not_prepared};
use super::{NewToken, TokenKey, TokenStore, Written};
use crate::blind_index::{LayoutKeys, Make};
use crate::database::Text;
use crate::database::layout::Layout;
use crate::database::row::StoredRow;
use crate::error::{CorrelationId, SealFailure, StoreError};
use crate::write_format::WriteFormat;

/// How long prepared data keys are kept. A write that comes later asks the key service again.
const PREPARED_FOR: Duration = Duration::from_secs(300);

/// Data keys for the tokens of one row, and the tokens that it holds: what [`TokenStore::prepare`] returns and one write
/// takes.
#[must_use = "it is for the write that follows"]
pub struct Prepared {
    pub(super) key: TokenKey,
    /// The row as it was then, or the one that would be made.
    pub(super) row: StoredRow,
    pub(super) exists: bool,
    pub(super) cells: Arc<Cells>,
}

/// The prepared values that a write uses before it asks the key service.
#[derive(Clone)]
pub(super) struct Supply {
    pub(super) cells: Arc<Cells>,
    /// Whether the key service may not be asked at all.
    pub(super) is_all: bool,
}

/// The data keys by column, and what they have sealed: a write that starts over because the row was changed seals the
/// same value for the same cell.
pub(super) struct Cells {
    cells: Mutex<HashMap<String, Cell>>,
    /// The contents of the row, by column.
    held: HashMap<String, Held>,
    /// The keys of the table's blind indexes, until they turn out to be others.
    index_keys: Mutex<Option<Arc<LayoutKeys>>>,
    until: Instant,
}

/// A token that a write carries over where it does not set it.
struct Held {
    text: Text,
    version: Option<String>,
    key_id: Option<String>,
    opened: Result<SecretString, (CorrelationId, OpenError)>,
}

enum Cell {
    Key(PreparedKey),
    /// For this value of this cell, and for no other.
    Sealed {
        identity: String,
        plaintext: SecretString,
        sealed: Sealed,
    },
}

impl TokenStore {
    /// Makes the data keys for every token of a row, before work whose outcome must not be lost, such as a refresh grant
    /// that the provider gives once. [`put_prepared`](Self::put_prepared) then writes without the key service.
    ///
    /// Call it before the grant: where the key service is away, it fails and the refresh token is not spent. The tokens
    /// that the row holds are opened too, so that one that the grant does not replace is carried over without a call. The
    /// keys are kept for five minutes, and serve one write. A new row is made for the owner that the key names.
    ///
    /// # Errors
    /// [`StoreError::Seal`] where the key service gives no key, and those of [`put`](Self::put) about the key.
    pub async fn prepare(&self, key: &TokenKey) -> Result<Prepared, StoreError> {
        let layout = self.layout(key)?;
        let format = self.write_format();
        self.check_storable(format)?;
        let index_keys = match format {
            WriteFormat::KmsEnvelope => self.index_keys(layout, Make::Missing).await?,
            _ => None,
        };
        let mut cells = HashMap::new();
        let found = self.find_row(layout, key).await?;
        let exists = found.is_some();
        let row = match found {
            Some(row) => row,
            None => {
                let blank = self.blank_row(layout, key, &NewToken::new()).await?;
                blank.ok_or_else(|| self.key_not_storable(layout, key))?
            }
        };
        let held = self.open_held(layout, &row).await?;
        if let (WriteFormat::KmsEnvelope, Some(sealer)) = (format, self.cipher().key_service()) {
            let prepared = layout.table.tokens.iter().map(async |column| {
                let made = sealer.prepare(&row.binding(layout, column)).await;
                let source = |error| StoreError::Seal {
                    table: layout.table.name.clone(),
                    row: row.name(layout),
                    column: column.clone(),
                    source: SealFailure::Envelope(error),
                };
                let name = layout.table.bound_column(column).to_owned();
                made.map(|key| (name, Cell::Key(key))).map_err(source)
            });
            cells.extend(super::all_at_once(prepared).await?);
        }
        let cells = Cells {
            cells: Mutex::new(cells),
            held,
            index_keys: Mutex::new(index_keys),
            until: Instant::now() + PREPARED_FOR,
        };
        Ok(Prepared { key: key.clone(), row, exists, cells: Arc::new(cells) })
    }

    /// Opens what a row holds; a token that does not open is remembered as such.
    async fn open_held(&self, layout: &Layout, row: &StoredRow) -> Result<HashMap<String, Held>, StoreError> {
        let cells = layout.table.tokens.iter().zip(&row.values);
        let opened =
            cells.filter_map(|(column, text)| Some((column, text.as_ref()?))).map(async |(column, text)| {
                let opened = match self.open_cell(self.trail(WRITE), layout, row, column, text).await {
                    Ok(secret) => Ok(secret),
                    Err(error) if is_outage(&error) => return Err(error),
                    Err(StoreError::Open { correlation_id, source, .. }) => Err((correlation_id, source)),
                    Err(error) => return Err(error),
                };
                let (version, key_id) = (row.version.clone(), row.key_id.clone());
                Ok((column.clone(), Held { text: text.clone(), version, key_id, opened }))
            });
        Ok(super::all_at_once(opened).await?.into_iter().collect())
    }

    /// Opens a token that a write carries over, from what was prepared if it holds it still.
    pub(super) async fn open_to_keep(
        &self,
        layout: &Layout,
        row: &StoredRow,
        column: &str,
        text: &Text,
    ) -> Result<SecretString, StoreError> {
        if let Some(Supply { cells, is_all }) = &self.prepared {
            match cells.held(row, column, text) {
                Some(Ok(secret)) => return Ok(secret.clone()),
                Some(Err((correlation_id, source))) => {
                    let (table, row, column) =
                        (layout.table.name.clone(), row.name(layout), column.to_owned());
                    let (correlation_id, source) = (*correlation_id, source.clone());
                    return Err(StoreError::Open { table, row, column, correlation_id, source });
                }
                None if *is_all => return Err(not_prepared(layout, row, column)),
                None => {}
            }
        }
        self.open_cell(self.trail(WRITE), layout, row, column, text).await
    }

    /// Writes tokens as [`put`](Self::put) does, under data keys that were made before.
    ///
    /// The key service is asked only where the keys are too old, the row's owner has changed since, or others have changed
    /// a token that is not set.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn put_prepared(&self, prepared: Prepared, token: NewToken) -> Result<Written, StoreError> {
        let supply = Supply { cells: prepared.cells, is_all: false };
        let store = Self { prepared: Some(supply), ..self.clone() };
        store.put(&prepared.key, token).await
    }
}

impl Cells {
    /// The keys of the table's blind indexes.
    pub(super) fn index_keys(&self) -> Option<Arc<LayoutKeys>> {
        self.index_keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn forget_index_keys(&self) {
        self.index_keys.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// The earlier value of a column, if the row holds the same text under the same marks.
    fn held(
        &self,
        row: &StoredRow,
        column: &str,
        text: &Text,
    ) -> Option<&Result<SecretString, (CorrelationId, OpenError)>> {
        let held = self.held.get(column)?;
        let is_same = held.text == *text && held.version == row.version && held.key_id == row.key_id;
        is_same.then_some(&held.opened)
    }

    /// Seals under the prepared key of a cell; `None` where there is none for it.
    pub(super) fn seal(
        &self,
        sealer: &Sealer,
        plaintext: &SecretString,
        binding: &Binding<'_>,
    ) -> Result<Option<Sealed>, SealFailure> {
        let identity = format!("{binding:?}");
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let sealed = match cells.remove(binding.column()) {
            Some(Cell::Sealed { identity: of, plaintext: value, sealed })
                if of == identity && value.expose_secret() == plaintext.expose_secret() =>
            {
                Some(sealed)
            }
            Some(Cell::Key(key)) if Instant::now() < self.until => {
                sealer.seal_prepared(key, plaintext.expose_secret(), binding)?
            }
            _ => None,
        };
        if let Some(sealed) = &sealed {
            let plaintext = plaintext.clone();
            let cell = Cell::Sealed { identity, plaintext, sealed: sealed.clone() };
            cells.insert(binding.column().to_owned(), cell);
        }
        Ok(sealed)
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("key", &self.key).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use envelope_core::EnvelopeFormat;
    use kms_provider::Memory;

    use super::*;

    /// A token that a write carries over may change between two of its attempts: what the first has sealed is not it.
    #[tokio::test]
    async fn a_value_that_changed_is_not_written_as_an_earlier_attempt_sealed_it() -> Result<(), SealFailure>
    {
        let base = vec![("Application".to_owned(), "test".to_owned())];
        for format in [EnvelopeFormat::V2, EnvelopeFormat::V3] {
            let sealer =
                Sealer::new(Arc::new(Memory::new()), base.clone()).map_err(|_| SealFailure::NoUser)?;
            let sealer = sealer.with_writing(format);
            let binding = Binding::new("table", "column").key("id", "1");
            let key = sealer.prepare(&binding).await?;
            let cells = Mutex::new(HashMap::from([("column".to_owned(), Cell::Key(key))]));
            let cells = Cells {
                cells,
                held: HashMap::new(),
                index_keys: Mutex::default(),
                until: Instant::now() + PREPARED_FOR,
            };
            let first = cells.seal(&sealer, &"first".into(), &binding)?;
            assert!(first.is_some());
            assert_eq!(cells.seal(&sealer, &"first".into(), &binding)?, first, "the same value, once more");
            assert_eq!(cells.seal(&sealer, &"second".into(), &binding)?, None);
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_key_seals_for_its_own_cell_and_in_its_time_only() -> Result<(), SealFailure> {
        let base = vec![("Application".to_owned(), "test".to_owned())];
        let sealer = Sealer::new(Arc::new(Memory::new()), base).map_err(|_| SealFailure::NoUser)?;
        let one = Binding::new("table", "column").key("id", "1");
        for (until, other, is_sealed) in [
            (Instant::now() + PREPARED_FOR, one.clone(), true),
            (Instant::now() + PREPARED_FOR, Binding::new("table", "column").key("id", "2"), false),
            (Instant::now(), one.clone(), false),
        ] {
            let key = sealer.prepare(&one).await?;
            let cells = Mutex::new(HashMap::from([("column".to_owned(), Cell::Key(key))]));
            let sealed = Cells { cells, held: HashMap::new(), index_keys: Mutex::default(), until }.seal(
                &sealer,
                &"value".into(),
                &other,
            )?;
            assert_eq!(sealed.is_some(), is_sealed);
        }
        Ok(())
    }
}
