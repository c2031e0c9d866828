//! Reading and writing in the caller's own transaction.

use super::find::named_row;
use super::prepared::Supply;
use super::put::{ATTEMPTS, WRITE_IN, check_columns, check_owner};
use super::revision::changed;
use super::rows::check_tokens;
use super::{NewToken, Prepared, TokenKey, TokenRow, TokenStore, Written};
use crate::database::InTransaction;
use crate::database::layout::Layout;
use crate::database::within::Through;
use crate::error::StoreError;

impl TokenStore {
    /// Writes tokens in the caller's transaction, with what [`prepare`](Self::prepare) made before it.
    ///
    /// The key service is never called, so that no lock of the caller waits for it, and neither is a second connection
    /// taken. The write is compared and read back as [`put`](Self::put) does; the caller's commit makes it
    /// last. Effects of triggers and constraints that are deferred to the commit are not seen.
    ///
    /// Where every statement of the transaction sees one snapshot (REPEATABLE READ, SERIALIZABLE, and MariaDB as it is
    /// installed), a table with a blind index is written only if the snapshot shows its index keys as they are now:
    /// otherwise the error is [`StoreError::Contended`], and the caller rolls back, prepares again and runs the
    /// transaction again. On PostgreSQL this takes the privilege UPDATE on `tokenseal_index_keys`.
    ///
    /// A write that fails leaves nothing in the transaction, which can continue; after
    /// [`StoreError::Contended`] and [`StoreError::Database`] the database may have ended it: roll it back.
    /// The transaction must have been begun.
    ///
    /// # Errors
    /// [`StoreError::NotPrepared`] where the prepared keys are over five minutes old or the row was changed
    /// since so that they do not fit; [`StoreError::Changed`] where the row is gone, or not at the revision
    /// that the caller expects; [`StoreError::OtherDatabase`]; those of [`put`](Self::put).
    pub async fn put_in<'t>(
        &self,
        transaction: impl Into<InTransaction<'t>>,
        prepared: Prepared,
        token: NewToken,
    ) -> Result<Written, StoreError> {
        let layout = self.layout(&prepared.key)?;
        check_columns(layout, &token)?;
        let mut through = Through::Callers(self.database().within(transaction.into()).await?);
        let supply = Supply { cells: prepared.cells.clone(), is_all: true };
        let store = Self { prepared: Some(supply), ..self.clone() };
        let outcome = store.write_in(&mut through, layout, &prepared, &token).await;
        if let Err(error) = &outcome {
            let name = prepared.row.name(layout);
            self.trail(WRITE_IN).write_failed(layout, &name, error.class(), error.correlation_id());
        }
        outcome
    }

    async fn write_in(
        &self,
        through: &mut Through<'_, '_>,
        layout: &Layout,
        prepared: &Prepared,
        token: &NewToken,
    ) -> Result<Written, StoreError> {
        let row = &prepared.row;
        for _ in 0..ATTEMPTS {
            let rows = through.find(layout, &row.key).await?;
            let done = match named_row(layout, &prepared.key, rows)? {
                Some(row) => self.update(through, layout, row, token).await?,
                None if token.revision.is_some() || prepared.exists => {
                    return Err(changed(layout, row.name(layout)));
                }
                None => {
                    check_owner(layout, row, token)?;
                    self.add(through, layout, row.clone(), token).await?
                }
            };
            if let Some(written) = done {
                return Ok(written);
            }
        }
        Err(StoreError::Contended { table: layout.table.name.clone(), row: row.name(layout) })
    }

    /// Reads a row in the caller's transaction, and opens these tokens.
    ///
    /// Changes of the transaction are visible. A token whose data key is not in the cache costs a call to the key service
    /// while the transaction is open: read before it where that matters.
    ///
    /// # Errors
    /// As [`get_columns`](Self::get_columns), and [`StoreError::OtherDatabase`].
    pub async fn get_in<'t>(
        &self,
        transaction: impl Into<InTransaction<'t>>,
        key: &TokenKey,
        columns: &[&str],
    ) -> Result<TokenRow, StoreError> {
        let layout = self.layout(key)?;
        check_tokens(layout, columns)?;
        let mut through = Through::Callers(self.database().within(transaction.into()).await?);
        let rows = through.find(layout, key.values()).await?;
        match named_row(layout, key, rows)? {
            Some(row) => Ok(self.open_columns(layout, row, columns).await),
            None => Err(self.not_found(layout, key)),
        }
    }
}
