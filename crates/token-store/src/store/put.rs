//! Writing a row: every value that stays is carried over under the new marks, in the same statement.

use std::sync::atomic::Ordering;

use envelope_core::{Binding, OpenError};
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::{NewToken, TokenKey, TokenStore, Written, all_at_once};
use crate::cipher::FALLBACK_METHOD;
use crate::database::layout::Layout;
use crate::database::rows::{Change, Locked, Marks, StoredRow, row_name};
use crate::database::{Dialect, Param, Text, quote};
use crate::error::{SealFailure, StoreError};
use crate::plan::concerns_every_value;
use crate::write_format::WriteFormat;

/// How often a write starts over because others changed the row between its read and its write.
const ATTEMPTS: u32 = 8;

/// What the audit trail calls it.
const WRITE: &str = "write";

/// What becomes of one token of a row.
enum Cell {
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
        for _ in 0..ATTEMPTS {
            let done = match layout.fetch(self.database(), key.values()).await? {
                None => self.insert(layout, key, token).await?,
                Some(row) => self.update(layout, row, token).await?,
            };
            if let Some(written) = done {
                return Ok(written);
            }
        }
        Err(StoreError::Contended {
            table: layout.table.name.clone(),
            row: row_name(&layout.table.key, key.values()),
        })
    }

    async fn insert(
        &self,
        layout: &Layout,
        key: &TokenKey,
        token: &NewToken,
    ) -> Result<Option<Written>, StoreError> {
        let row = blank_row(layout, key, token);
        let change = self.seal_row(layout, row, token).await?;
        let mut columns: Vec<(&str, Option<&str>)> = Vec::new();
        columns
            .extend(layout.table.key.iter().zip(key.values()).map(|(c, v)| (c.as_str(), Some(v.as_str()))));
        columns.extend(
            layout
                .table
                .tokens
                .iter()
                .zip(&change.values)
                .map(|(c, v)| (c.as_str(), v.as_ref().map(|t| t.as_str()))),
        );
        let version = change.marks.version.to_string();
        if let Some(names) = layout.version() {
            columns.push((&names.version, Some(&version)));
            columns.push((&names.method, change.marks.method.as_deref()));
            columns.push((&names.key_id, change.marks.key_id.as_deref()));
        }
        columns.extend(token.plain.iter().map(|(column, value)| (column.as_str(), value.as_deref())));
        let mut names: Vec<String> = columns.iter().map(|(column, _)| quote(column)).collect();
        let mut values: Vec<String> =
            columns.iter().enumerate().map(|(i, (column, _))| layout.cast(i + 1, column)).collect();
        if let Some(updated) = present(layout, layout.table.updated.as_deref()) {
            names.push(quote(updated));
            values.push(now(layout).into());
        }
        let sql = format!(
            "INSERT INTO {} ({}) VALUES ({}) ON CONFLICT DO NOTHING",
            quote(&layout.table.name),
            names.join(", "),
            values.join(", ")
        );
        let params: Vec<Param<'_>> = columns.into_iter().map(|(_, value)| Param::Text(value)).collect();
        let inserted = self.database().execute(&sql, &params).await? == 1;
        Ok(inserted.then(|| self.wrote(layout, &change)))
    }

    async fn update(
        &self,
        layout: &Layout,
        row: StoredRow,
        token: &NewToken,
    ) -> Result<Option<Written>, StoreError> {
        check_owner(layout, &row, token)?;
        let change = self.seal_row(layout, row, token).await?;
        if layout.swap(self.database(), std::slice::from_ref(&change), Locked::Wait).await? == 0 {
            return Ok(None);
        }
        let written = self.wrote(layout, &change);
        self.set_plain(layout, &change.old.key, token).await?;
        Ok(Some(written))
    }

    fn wrote(&self, layout: &Layout, change: &Change) -> Written {
        if change.marks.method.as_deref() == Some(FALLBACK_METHOD) {
            self.inner.fallback_writes.fetch_add(1, Ordering::Relaxed);
        }
        self.trail(WRITE).written(layout, change);
        Written::from(&change.marks)
    }

    /// The plain columns say nothing of how the tokens are read, so they follow in a statement of their own.
    async fn set_plain(&self, layout: &Layout, key: &[String], token: &NewToken) -> Result<(), StoreError> {
        let mut params: Vec<Param<'_>> = key.iter().map(|value| Param::from(value.as_str())).collect();
        let mut sets = Vec::new();
        for (column, value) in &token.plain {
            params.push(Param::Text(value.as_deref()));
            sets.push(format!("{} = {}", quote(column), layout.cast(params.len(), column)));
        }
        if let Some(updated) = present(layout, layout.table.updated.as_deref()) {
            sets.push(format!("{} = {}", quote(updated), now(layout)));
        }
        if sets.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "UPDATE {} SET {} WHERE {}",
            quote(&layout.table.name),
            sets.join(", "),
            layout.key_condition(1).join(" AND ")
        );
        self.database().execute(&sql, &params).await?;
        Ok(())
    }

    /// Seals what is new, and carries over what stays; in direct AES where the operator has chosen that for outages.
    async fn seal_row(
        &self,
        layout: &Layout,
        row: StoredRow,
        token: &NewToken,
    ) -> Result<Change, StoreError> {
        let format = self.write_format();
        self.check_storable(format)?;
        let (values, mut marks) = match self.seal_values(layout, &row, token, format).await {
            Err(StoreError::Seal { source, .. }) if self.cipher().may_fall_back(self.profile(), &source) => {
                let sealed = self.seal_values(layout, &row, token, WriteFormat::DirectAes).await?;
                warn_of_fallback(layout, &row, &source);
                sealed
            }
            sealed => {
                return sealed.map(|(values, marks)| Change { old: row, values, marks });
            }
        };
        marks.method = Some(FALLBACK_METHOD.into());
        Ok(Change { old: row, values, marks })
    }

    /// Seals the tokens that are set, and those that stay; a token that stays and does not open is left as it is.
    async fn seal_values(
        &self,
        layout: &Layout,
        row: &StoredRow,
        token: &NewToken,
        format: WriteFormat,
    ) -> Result<(Vec<Option<Text>>, Marks), StoreError> {
        let cells = layout.table.tokens.iter().zip(&row.values);
        let cells = all_at_once(cells.map(|(column, stored)| {
            self.write_cell(layout, row, token.set(column), format, column, stored.as_ref())
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
        let marks = Marks { version: format.version(), method: format.method().map(Into::into), key_id };
        Ok((values, marks))
    }

    /// What becomes of one token: `new` if the caller sets it, else what it holds.
    async fn write_cell(
        &self,
        layout: &Layout,
        row: &StoredRow,
        new: Option<Option<&SecretString>>,
        format: WriteFormat,
        column: &str,
        stored: Option<&Text>,
    ) -> Result<Cell, StoreError> {
        let kept;
        let secret = match (new, stored) {
            (Some(Some(secret)), _) => secret,
            (Some(None), _) | (None, None) => return Ok(Cell::Null),
            (None, Some(text)) => match self.open_cell(self.trail(WRITE), layout, row, column, text).await {
                Ok(secret) => {
                    kept = secret;
                    &kept
                }
                Err(error) if is_outage(&error) => return Err(error),
                Err(error) if keeps_version(layout, row, format) => return Ok(Cell::Kept(error)),
                Err(error) => return Err(cannot_stay(error)),
            },
        };
        self.seal_cell(layout, row, format, secret, &row.binding(layout, column)).await
    }

    async fn seal_cell(
        &self,
        layout: &Layout,
        row: &StoredRow,
        format: WriteFormat,
        secret: &SecretString,
        binding: &Binding<'_>,
    ) -> Result<Cell, StoreError> {
        let sealed = self.cipher().seal(format, secret, binding).await;
        let sealed = sealed.map_err(|source| seal_error(layout, row, binding.column(), source))?;
        Ok(Cell::Sealed(Zeroizing::new(sealed.text), sealed.key_id))
    }
}

/// A row that does not exist yet; its owner comes from the plain columns that are set with it.
fn blank_row(layout: &Layout, key: &TokenKey, token: &NewToken) -> StoredRow {
    let set = |name: &String| {
        token.plain.iter().rev().find(|(column, _)| column == name).and_then(|(_, value)| value.clone())
    };
    StoredRow {
        key: key.values().to_vec(),
        owner: layout.table.owner.iter().map(set).collect(),
        version: None,
        method: None,
        key_id: None,
        values: layout.table.tokens.iter().map(|_| None).collect(),
        plain: Vec::new(),
    }
}

/// Whether a text that stays as it is still reads as what it is: by its row's version, or by its own mark.
fn keeps_version(layout: &Layout, row: &StoredRow, format: WriteFormat) -> bool {
    layout.version().is_none() || row.version.as_deref().unwrap_or("0") == format.version().to_string()
}

/// Whether the key that envelopes are unwrapped with stays the same; no other form is read by what stands in its column.
fn keeps_key(layout: &Layout, row: &StoredRow, format: WriteFormat, key_id: Option<&str>) -> bool {
    layout.version().is_none() || format != WriteFormat::KmsEnvelope || row.key_id.as_deref() == key_id
}

/// Whether it is the key service that does not open anything, rather than this token that does not open.
fn is_outage(error: &StoreError) -> bool {
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
        "key service is unavailable: token is written in direct AES; `migrate-tokens migrate` heals it"
    );
}

/// What a row's tokens are bound to cannot change under them: they would open for nobody.
fn check_owner(layout: &Layout, row: &StoredRow, token: &NewToken) -> Result<(), StoreError> {
    for (column, owner) in layout.table.owner.iter().zip(&row.owner) {
        let set = token.plain.iter().rev().find(|(name, _)| name == column);
        if set.is_some_and(|(_, value)| value != owner) {
            return Err(not_plain(layout, column));
        }
    }
    Ok(())
}

fn not_plain(layout: &Layout, column: &str) -> StoreError {
    StoreError::NotPlain { table: layout.table.name.clone(), column: column.into() }
}

fn check_columns(layout: &Layout, token: &NewToken) -> Result<(), StoreError> {
    let table = &layout.table;
    let unknown = token.tokens.iter().find(|(column, _)| !table.tokens.contains(column));
    if let Some((column, _)) = unknown {
        return Err(StoreError::NoTokenColumn { table: table.name.clone(), column: column.clone() });
    }
    let own: Vec<&String> = table.key.iter().chain(&table.tokens).chain(table.version_columns()).collect();
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

fn present<'a>(layout: &Layout, column: Option<&'a str>) -> Option<&'a str> {
    column.filter(|column| layout.has(column))
}

fn now(layout: &Layout) -> &'static str {
    match layout.dialect {
        Dialect::Postgres => "now()",
        Dialect::Sqlite => "CURRENT_TIMESTAMP",
    }
}
