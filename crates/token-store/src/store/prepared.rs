//! Writing what must not be lost: data keys first, then the caller's work, then a write that needs no key service.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use envelope_core::sealer::{PreparedKey, Sealed};
use envelope_core::{Binding, Sealer};
use secrecy::{ExposeSecret as _, SecretString};

use super::{NewToken, TokenKey, TokenStore, Written};
use crate::error::{SealFailure, StoreError};
use crate::write_format::WriteFormat;

/// How long prepared data keys are kept. A write that comes later asks the key service again.
const PREPARED_FOR: Duration = Duration::from_secs(300);

/// Data keys for the tokens of one row: what [`TokenStore::prepare`] returns and one write takes.
#[must_use = "it is for the write that follows"]
pub struct Prepared {
    key: TokenKey,
    cells: Arc<Cells>,
}

/// The data keys by column, and what they have sealed: a write that starts over because the row was changed seals the
/// same value for the same cell.
pub(super) struct Cells {
    cells: Mutex<HashMap<String, Cell>>,
    until: Instant,
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
    /// Call it before the grant: where the key service is away, it fails and the refresh token is not spent. The keys are
    /// kept for five minutes, and serve one write.
    ///
    /// # Errors
    /// [`StoreError::Seal`] where the key service gives no key, and those of [`put`](Self::put) about the key.
    pub async fn prepare(&self, key: &TokenKey) -> Result<Prepared, StoreError> {
        let layout = self.layout(key)?;
        let format = self.write_format();
        self.check_storable(format)?;
        let mut cells = HashMap::new();
        if let (WriteFormat::KmsEnvelope, Some(sealer)) = (format, self.cipher().key_service()) {
            let row = self.row_or_blank(layout, key).await?;
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
        let cells = Cells { cells: Mutex::new(cells), until: Instant::now() + PREPARED_FOR };
        Ok(Prepared { key: key.clone(), cells: Arc::new(cells) })
    }

    /// Writes tokens as [`put`](Self::put) does, under data keys that were made before.
    ///
    /// The key service is asked only where the keys are too old, the row's owner has changed since, or a token that is
    /// not set has to be carried over: set every token.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn put_prepared(&self, prepared: Prepared, token: NewToken) -> Result<Written, StoreError> {
        let store = Self { prepared: Some(prepared.cells), ..self.clone() };
        store.put(&prepared.key, token).await
    }
}

impl Cells {
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
            let sealer = sealer.with_format(format).map_err(|_| SealFailure::NoUser)?;
            let binding = Binding::new("table", "column").key("id", "1");
            let key = sealer.prepare(&binding).await?;
            let cells = Mutex::new(HashMap::from([("column".to_owned(), Cell::Key(key))]));
            let cells = Cells { cells, until: Instant::now() + PREPARED_FOR };
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
            let sealed = Cells { cells, until }.seal(&sealer, &"value".into(), &other)?;
            assert_eq!(sealed.is_some(), is_sealed);
        }
        Ok(())
    }
}
