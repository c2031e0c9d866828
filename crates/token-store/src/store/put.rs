//! Writing a row: every value that stays is carried over under the new marks, in the same statement.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use envelope_core::{Binding, OpenError};
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::revision::{Content, changed};
use super::{NewToken, TokenKey, TokenStore, Written, all_at_once};
use crate::blind_index::{Draft, LayoutKeys, Make};
use crate::database::Text;
use crate::database::change::Change;
use crate::database::index::IndexEntries;
use crate::database::layout::Layout;
use crate::database::row::{StoredRow, row_name};
use crate::database::swap::{Fate, Locked, Writing};
use crate::database::within::Through;
use crate::error::{DatabaseError, SealFailure, StoreError};
use crate::marks::{Marks, Version};
use crate::plan::concerns_every_value;
use crate::write_format::WriteFormat;

/// How often a write starts over because others changed the row between its read and its write.
pub(super) const ATTEMPTS: u32 = 8;

/// Its name in the audit trail.
pub(super) const WRITE: &str = "write";
/// And a write of which it does not know whether the caller commits it.
pub(super) const WRITE_IN: &str = "write_in_transaction";

/// The change of one token of a row.
pub(super) enum Cell {
    Null,
    /// Its new text, and the key it is under.
    Sealed(Text, Option<String>),
    /// It does not open, and its text stays as it is.
    Kept(StoreError),
}

impl TokenStore {
    /// Writes tokens into a row, which is made if it does not exist.
    ///
    /// Value and version columns always move together: a token that the caller does not set is opened and sealed
    /// anew, with compare-and-swap, so that no refresh by others is lost. One that is broken is told of, and its text
    /// stays to the byte if the row keeps its version and key, so that it does not keep the other from being replaced.
    ///
    /// # Errors
    /// [`StoreError::Changed`] where the row is not at the revision that the caller expects,
    /// [`StoreError::NotPlain`] for a plain column that is none, [`StoreError::Seal`] where nothing may be written,
    /// [`StoreError::KeptToken`] where a broken token cannot stay as it is, [`StoreError::Open`] where the key service
    /// opens nothing or a key is not configured, [`StoreError::Contended`], [`StoreError::Database`].
    pub async fn put(&self, key: &TokenKey, token: NewToken) -> Result<Written, StoreError> {
        let layout = self.layout(key)?;
        check_columns(layout, &token)?;
        let outcome = self.write(layout, key, &token).await;
        if let Err(error) = &outcome {
            let name = row_name(&layout.table.key, key.values());
            self.trail(WRITE).write_failed(layout, &name, error.class(), error.correlation_id());
        }
        outcome
    }

    async fn write(&self, layout: &Layout, key: &TokenKey, token: &NewToken) -> Result<Written, StoreError> {
        let (table, name) = (layout.table.name.clone(), row_name(&layout.table.key, key.values()));
        let mut existed = 0;
        for _ in 0..ATTEMPTS {
            let done = match self.find_row(layout, key).await? {
                // The key is taken, and not by the row that it names: by one that the database takes for the same.
                None if token.revision.is_some() => return Err(changed(layout, name)),
                None if existed > 1 => return Err(StoreError::KeyNotStorable { table, row: name }),
                None => {
                    existed += 1;
                    let row = self.blank_row(layout, key, token).await?;
                    let row = row.ok_or_else(|| self.key_not_storable(layout, key))?;
                    self.add(&mut Through::Pool(self.database()), layout, row, token).await?
                }
                Some(row) => self.update(&mut Through::Pool(self.database()), layout, row, token).await?,
            };
            if let Some(written) = done {
                return Ok(written);
            }
        }
        Err(StoreError::Contended { table, row: name })
    }

    pub(super) fn key_not_storable(&self, layout: &Layout, key: &TokenKey) -> StoreError {
        let (table, row) = (layout.table.name.clone(), row_name(&layout.table.key, key.values()));
        StoreError::KeyNotStorable { table, row }
    }

    pub(super) fn check_token(&self, layout: &Layout, column: &str) -> Result<(), StoreError> {
        if layout.table.tokens.iter().any(|name| name == column) {
            return Ok(());
        }
        Err(StoreError::NoTokenColumn { table: layout.table.name.clone(), column: column.into() })
    }

    /// Tokens, version columns and plain columns in one statement, for the owner that the row has.
    pub(super) async fn update(
        &self,
        through: &mut Through<'_, '_>,
        layout: &Layout,
        row: StoredRow,
        token: &NewToken,
    ) -> Result<Option<Written>, StoreError> {
        self.check_revision(layout, &row, token.revision.as_ref())?;
        check_owner(layout, &row, token)?;
        let change = self.seal_row(layout, row, token).await?;
        let plain = last_of_each(layout, token);
        let writing = Writing { locked: Locked::Wait, plain: &plain, touch: true };
        let fate = through.swap(layout, &change, &writing).await;
        match fate.map_err(|error| refused(layout, &change.old, error))? {
            Fate::Written => Ok(Some(self.wrote(layout, &change))),
            Fate::Altered => Err(altered(layout, &change.old)),
            Fate::Refused(error) | Fate::Blocked(error) => Err(refused(layout, &change.old, error)),
            Fate::Stale => {
                self.forget_index_keys(layout, &change.old)?;
                Ok(None)
            }
            Fate::Unmatched if matches!(through, Through::Callers(_)) => Ok(None),
            Fate::Unmatched => {
                let now = self.database().fetch(layout, &change.old.key).await?;
                let stays = now.is_some_and(|now| change.is_to_come(&now));
                if stays && !self.database().is_locked(layout, &change.old.key).await? {
                    return Err(altered(layout, &change.old));
                }
                Ok(None)
            }
        }
    }

    /// The index keys that were prepared, or those of now.
    async fn index_keys_to_write(&self, layout: &Layout) -> Result<Option<Arc<LayoutKeys>>, StoreError> {
        match self.prepared.as_ref().and_then(|prepared| prepared.cells.index_keys()) {
            Some(keys) => Ok(Some(keys)),
            None => self.index_keys(layout, Make::Missing).await,
        }
    }

    /// The index keys have changed: others are read, unless the key service must not be asked.
    pub(super) fn forget_index_keys(&self, layout: &Layout, row: &StoredRow) -> Result<(), StoreError> {
        self.held_keys().forget(&layout.table.name);
        match &self.prepared {
            Some(prepared) if prepared.is_all => {
                let column = layout.table.index.first().map_or("", |index| &index.column);
                Err(not_prepared(layout, row, column))
            }
            Some(prepared) => {
                prepared.cells.forget_index_keys();
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub(super) fn wrote(&self, layout: &Layout, change: &Change) -> Written {
        if change.marks.is_fallback() {
            self.inner.fallback_writes.fetch_add(1, Ordering::Relaxed);
        }
        let in_callers = self.prepared.as_ref().is_some_and(|prepared| prepared.is_all);
        self.trail(if in_callers { WRITE_IN } else { WRITE }).written(layout, change);
        Written::new(&change.marks, Content::of_change(layout, change, self.profile().unmarked))
    }

    /// Seals what is new, and carries over what stays; in the older form where the operator has chosen that for outages.
    pub(super) async fn seal_row(
        &self,
        layout: &Layout,
        row: StoredRow,
        token: &NewToken,
    ) -> Result<Change, StoreError> {
        let format = self.write_format();
        self.check_storable(format)?;
        let keys = match format {
            WriteFormat::KmsEnvelope => self.index_keys_to_write(layout).await?,
            _ => None,
        };
        let draft = Draft::new(layout, &row, keys.clone());
        let sealed = self.seal_values(layout, &row, token, format, draft).await;
        let fallback = match &sealed {
            Err(StoreError::Seal { source, .. }) => self.cipher().falls_back(self.profile(), source),
            _ => None,
        };
        let (values, marks, indexes) = match (sealed, fallback) {
            (Err(StoreError::Seal { source, .. }), Some(format)) => {
                let draft = Draft::new(layout, &row, keys);
                let (values, marks, indexes) = self.seal_values(layout, &row, token, format, draft).await?;
                warn_of_fallback(layout, &row, &source);
                (values, marks.into_fallback(), indexes)
            }
            (sealed, _) => sealed?,
        };
        Ok(described(layout, row, values, marks, token)?.with_indexes(indexes))
    }

    /// Seals the tokens that are set, and those that stay; a token that stays and does not open is left as it is.
    async fn seal_values(
        &self,
        layout: &Layout,
        row: &StoredRow,
        token: &NewToken,
        format: WriteFormat,
        draft: Draft<'_>,
    ) -> Result<(Vec<Option<Text>>, Marks, IndexEntries), StoreError> {
        let cells = layout.table.tokens.iter().zip(&row.values);
        let cells = all_at_once(cells.map(|(column, stored)| {
            self.write_cell(layout, row, token.set(column), format, (column, stored.as_ref()), &draft)
        }))
        .await?;
        let (mut values, mut key_id, mut broken) = (Vec::with_capacity(cells.len()), None, None);
        for (cell, stored) in cells.into_iter().zip(&row.values) {
            values.push(match cell {
                Cell::Null => None,
                Cell::Sealed(text, key) => {
                    key_id = key.or(key_id);
                    Some(text)
                }
                Cell::Kept(error) => {
                    broken = Some(error);
                    stored.clone()
                }
            });
        }
        if let Some(error) = broken {
            key_id = key_id.or_else(|| row.key_id.clone());
            if !keeps_key(layout, row, format, key_id.as_deref()) {
                return Err(cannot_stay(error));
            }
        }
        Ok((values, Marks::of(format, key_id), draft.finish()))
    }

    /// The change of one token: `new` if the caller sets it, else what it holds.
    async fn write_cell(
        &self,
        layout: &Layout,
        row: &StoredRow,
        new: Option<Option<&SecretString>>,
        format: WriteFormat,
        (column, stored): (&str, Option<&Text>),
        draft: &Draft<'_>,
    ) -> Result<Cell, StoreError> {
        let kept;
        let secret = match (new, stored) {
            (Some(Some(secret)), _) => secret,
            (Some(None), _) | (None, None) => return Ok(Cell::Null),
            (None, Some(text)) => match self.open_to_keep(layout, row, column, text).await {
                Ok(secret) => {
                    kept = secret;
                    &kept
                }
                Err(error) if is_outage(&error) || matches!(error, StoreError::NotPrepared { .. }) => {
                    return Err(error);
                }
                Err(error) if keeps_version(layout, row, format) => {
                    draft.keep(column);
                    return Ok(Cell::Kept(error));
                }
                Err(error) => return Err(cannot_stay(error)),
            },
        };
        draft.set(column, secret);
        self.seal_cell(layout, row, format, secret, &row.binding(layout, column)).await
    }

    pub(super) async fn seal_cell(
        &self,
        layout: &Layout,
        row: &StoredRow,
        format: WriteFormat,
        secret: &SecretString,
        binding: &Binding<'_>,
    ) -> Result<Cell, StoreError> {
        if let (WriteFormat::KmsEnvelope, Some(prepared), Some(sealer)) =
            (format, &self.prepared, self.cipher().key_service())
        {
            let sealed = prepared.cells.seal(sealer, secret, binding);
            match sealed.map_err(|source| seal_error(layout, row, binding.column(), source))? {
                Some(sealed) => return Ok(Cell::Sealed(Zeroizing::new(sealed.text), sealed.key_id)),
                None if prepared.is_all => return Err(not_prepared(layout, row, binding.column())),
                None => {}
            }
        }
        let sealed = self.cipher().seal(format, secret, binding).await;
        let sealed = sealed.map_err(|source| seal_error(layout, row, binding.column(), source))?;
        Ok(Cell::Sealed(Zeroizing::new(sealed.text), sealed.key_id))
    }
}

pub(super) fn not_prepared(layout: &Layout, row: &StoredRow, column: &str) -> StoreError {
    let (table, row) = (layout.table.name.clone(), row.name(layout));
    StoreError::NotPrepared { table, row, column: column.into() }
}

/// A change with the row's record, which is the stored one or the one that the caller gives.
fn described(
    layout: &Layout,
    row: StoredRow,
    values: Vec<Option<Text>>,
    marks: Marks,
    token: &NewToken,
) -> Result<Change, StoreError> {
    let name = row.name(layout);
    let record = layout.record().map(|record| record.column.clone()).unwrap_or_default();
    let given = token.plain.iter().rev().find(|(column, _)| *column == record);
    let change = match given {
        // A given record takes the stored one's place, whatever that was.
        Some((_, text)) => Change::with_record(layout, row, values, marks, text.as_deref()),
        None => Change::new(layout, row, values, marks),
    };
    change.map_err(|error| StoreError::Seal {
        table: layout.table.name.clone(),
        row: name,
        column: record,
        source: error.into(),
    })
}

/// What a plain column is set to: the last word on each, without the owner, which a row keeps, and without the record, which
/// is written with the tokens.
fn last_of_each(layout: &Layout, token: &NewToken) -> Vec<(String, Option<String>)> {
    let mut plain: Vec<(String, Option<String>)> = Vec::new();
    for (column, value) in &token.plain {
        plain.retain(|(name, _)| name != column);
        let is_record = layout.record().is_some_and(|record| record.column == *column);
        if !layout.table.owner.contains(column) && !is_record {
            plain.push((column.clone(), value.clone()));
        }
    }
    plain
}

pub(super) fn altered(layout: &Layout, row: &StoredRow) -> StoreError {
    StoreError::Altered { table: layout.table.name.clone(), row: row.name(layout) }
}

/// An error of the database; one that another transaction caused is a conflict.
pub(super) fn refused(layout: &Layout, row: &StoredRow, source: DatabaseError) -> StoreError {
    let (table, row) = (layout.table.name.clone(), row.name(layout));
    match () {
        () if source.is_duplicate() && !layout.table.index.is_empty() => {
            StoreError::NotUnique { table, row, source }
        }
        () if source.is_transient() => StoreError::Contended { table, row },
        () => StoreError::Database(source),
    }
}

/// Whether a text that stays as it is still reads as what it is: by its row's version, or by its own mark.
fn keeps_version(layout: &Layout, row: &StoredRow, format: WriteFormat) -> bool {
    layout.version().is_none() || Version::read(row.version.as_deref()) == Some(format.into())
}

/// Whether the key that envelopes are unwrapped with stays the same; no other form is read by what stands in its column.
fn keeps_key(layout: &Layout, row: &StoredRow, format: WriteFormat, key_id: Option<&str>) -> bool {
    layout.version().is_none() || format != WriteFormat::KmsEnvelope || row.key_id.as_deref() == key_id
}

/// Whether it is the key service that does not open anything, rather than this token that does not open.
pub(super) fn is_outage(error: &StoreError) -> bool {
    matches!(error, StoreError::Open { source: OpenError::Key(error), .. } if concerns_every_value(error))
}

/// Says what to do about a token that is in the way, unless a key that is not configured is all it lacks.
fn cannot_stay(error: StoreError) -> StoreError {
    match error {
        StoreError::Open { table, row, column, correlation_id, source }
            if !matches!(source, OpenError::MissingKey { .. }) =>
        {
            StoreError::KeptToken { table, row, column, correlation_id, source }
        }
        other => other,
    }
}

fn warn_of_fallback(layout: &Layout, row: &StoredRow, failure: &SealFailure) {
    tracing::warn!(
        table = layout.table.name,
        row = row.name(layout),
        class = failure.class(),
        "key service is unavailable: token is written in the older form; a migration seals it again"
    );
}

/// A key or owner that tokens are bound to cannot change under them: no reader could open them.
pub(super) fn check_owner(layout: &Layout, row: &StoredRow, token: &NewToken) -> Result<(), StoreError> {
    for (column, owner) in layout.table.owner.iter().zip(&row.owner) {
        let set = token.plain.iter().rev().find(|(name, _)| name == column);
        if set.is_some_and(|(_, value)| !layout.is_same_owner(column, value.as_deref(), owner.as_deref())) {
            return Err(not_plain(layout, column));
        }
    }
    Ok(())
}

fn not_plain(layout: &Layout, column: &str) -> StoreError {
    StoreError::NotPlain { table: layout.table.name.clone(), column: column.into() }
}

pub(super) fn check_columns(layout: &Layout, token: &NewToken) -> Result<(), StoreError> {
    let table = &layout.table;
    let unknown = token.tokens.iter().find(|(column, _)| !table.tokens.contains(column));
    if let Some((column, _)) = unknown {
        return Err(StoreError::NoTokenColumn { table: table.name.clone(), column: column.clone() });
    }
    let own = table.key.iter().chain(&table.tokens).chain(&table.fields).chain(table.version_columns());
    let own: Vec<&String> = own.chain(table.index_columns()).chain(&table.updated).collect();
    if let Some((column, _)) = token.plain.iter().find(|(column, _)| own.contains(&column)) {
        return Err(not_plain(layout, column));
    }
    let missing: Vec<String> =
        token.plain.iter().map(|(column, _)| column.clone()).filter(|column| !layout.has(column)).collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(StoreError::NoColumns { table: table.name.clone(), columns: missing, addable: false })
    }
}

fn seal_error(layout: &Layout, row: &StoredRow, column: &str, source: SealFailure) -> StoreError {
    StoreError::Seal {
        table: layout.table.name.clone(),
        row: row.name(layout),
        column: column.into(),
        source,
    }
}
