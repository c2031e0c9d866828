//! Rows whose tokens open one by one: some columns of one row, many rows, or all rows of a table.

use std::fmt;

use futures_util::future::join_all;
use futures_util::stream::{self, Stream, StreamExt as _};
use secrecy::SecretString;

use super::revision::{Content, Revision};
use super::{TokenKey, TokenStore};
use crate::database::layout::Layout;
use crate::database::row::StoredRow;
use crate::database::select::Walk;
use crate::error::StoreError;

/// Rows that are read from the database at once.
const PAGE: usize = 500;
/// Rows that are opened at once.
const AT_ONCE: usize = 32;

/// A row with some of its tokens opened. One that does not open is its own error, and spoils no other.
pub struct TokenRow {
    key: Vec<String>,
    name: String,
    owner: Vec<(String, Option<String>)>,
    tokens: Vec<(String, Result<Option<SecretString>, StoreError>)>,
    plain: Vec<(String, Option<String>)>,
    version: Option<String>,
    method: Option<String>,
    key_id: Option<String>,
    content: Content,
}

impl TokenRow {
    /// The primary key's values, as text.
    #[must_use]
    pub fn key(&self) -> &[String] {
        &self.key
    }

    /// The primary key as `column=value,…`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// An owner column; `None` for NULL and for a column that is none.
    #[must_use]
    pub fn owner(&self, column: &str) -> Option<&str> {
        named(&self.owner, column)?.as_deref()
    }

    /// A token: `None` for NULL.
    ///
    /// # Errors
    /// [`StoreError::Open`] for one that does not open. A column that was not asked for is `None`.
    pub fn token(&self, column: &str) -> Result<Option<&SecretString>, &StoreError> {
        match named(&self.tokens, column) {
            Some(Ok(token)) => Ok(token.as_ref()),
            Some(Err(error)) => Err(error),
            None => Ok(None),
        }
    }

    /// Takes a token out of the row.
    ///
    /// # Errors
    /// As [`token`](Self::token).
    pub fn take(&mut self, column: &str) -> Result<Option<SecretString>, StoreError> {
        match self.tokens.iter().position(|(name, _)| name == column) {
            Some(index) => self.tokens.swap_remove(index).1,
            None => Ok(None),
        }
    }

    /// A plain column next to the tokens, as text in the database's own notation. Rows of
    /// [`rows`](TokenStore::rows) have none.
    #[must_use]
    pub fn plain(&self, column: &str) -> Option<&str> {
        named(&self.plain, column)?.as_deref()
    }

    /// The value of `encryption_version`, where the table has it.
    #[must_use]
    pub fn encryption_version(&self) -> Option<i64> {
        self.version.as_ref()?.parse().ok()
    }

    /// The value of `encryption_method`, where the table has it.
    #[must_use]
    pub fn encryption_method(&self) -> Option<&str> {
        self.method.as_deref()
    }

    /// The value of `encryption_key_id`, where the table has it.
    #[must_use]
    pub fn encryption_key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// The revision of the row as it was read, whichever of its tokens were opened.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.content.revision()
    }
}

impl fmt::Debug for TokenRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenRow").field("row", &self.name).finish_non_exhaustive()
    }
}

impl TokenStore {
    /// Reads a row and opens only these tokens; the key service is asked for no other.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::NoTokenColumn`], [`StoreError::Database`]. A token that does not open is
    /// an error of its column, not of the row.
    pub async fn get_columns(&self, key: &TokenKey, columns: &[&str]) -> Result<TokenRow, StoreError> {
        let layout = self.layout(key)?;
        check_tokens(layout, columns)?;
        let Some(row) = self.find_row(layout, key).await? else { return Err(self.not_found(layout, key)) };
        Ok(self.open_columns(layout, row, columns).await)
    }

    /// Reads a row and opens every token; one that does not open is an error of its column, and spoils no other.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Database`].
    pub async fn get_row(&self, key: &TokenKey) -> Result<TokenRow, StoreError> {
        let columns = &self.layout(key)?.table.tokens;
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        self.get_columns(key, &columns).await
    }

    /// Reads many rows and opens these tokens of each, in the order of the keys. Rows are opened while others are read.
    pub fn get_many<'a>(
        &'a self,
        keys: impl IntoIterator<Item = TokenKey> + 'a,
        columns: &'a [&'a str],
    ) -> impl Stream<Item = Result<TokenRow, StoreError>> + 'a {
        let rows = stream::iter(keys).map(move |key| async move { self.get_columns(&key, columns).await });
        rows.buffered(AT_ONCE)
    }

    /// Reads every row of a table in key order, a page at a time, and opens these tokens of each; of the profile's first
    /// table, if none is named.
    ///
    /// The stream ends after an error of the database. A row that cannot be read is an error of its own.
    ///
    /// # Errors
    /// [`StoreError::NoTable`], [`StoreError::NoTokenColumn`].
    pub fn rows<'a>(
        &'a self,
        table: Option<&str>,
        columns: &'a [&'a str],
    ) -> Result<impl Stream<Item = Result<TokenRow, StoreError>> + 'a, StoreError> {
        let layout = self.layout_named(table)?;
        check_tokens(layout, columns)?;
        let walk = Walk::new(self.database(), layout, PAGE);
        let pages = stream::unfold(Some(walk), |walk: Option<Walk<'a>>| async move {
            let mut walk = walk?;
            match walk.next().await {
                Ok(page) if page.is_empty() => None,
                Ok(page) => Some((Ok(page), Some(walk))),
                Err(error) => Some((Err(error), None)),
            }
        });
        let rows = pages.flat_map(|page| match page {
            Ok(page) => stream::iter(page.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(error)]),
        });
        let opened = rows.map(move |row: Result<StoredRow, StoreError>| async move {
            let row = row?;
            match &row.unreadable {
                Some(unreadable) => Err(StoreError::Unreadable {
                    table: layout.table.name.clone(),
                    row: row.name(layout),
                    column: unreadable.column.clone(),
                    reason: unreadable.reason.to_string(),
                }),
                None => Ok(self.open_columns(layout, row, columns).await),
            }
        });
        Ok(opened.buffered(AT_ONCE))
    }

    pub(super) async fn open_columns(&self, layout: &Layout, row: StoredRow, columns: &[&str]) -> TokenRow {
        let trail = self.trail("read");
        let cells = layout.table.tokens.iter().zip(&row.values);
        let wanted = cells.filter(|(column, _)| columns.contains(&column.as_str()));
        let opened = wanted.map(async |(column, value)| {
            let opened = match value {
                None => Ok(None),
                Some(text) => self.open_cell(trail, layout, &row, column, text).await.map(Some),
            };
            (column.clone(), opened)
        });
        let tokens = join_all(opened).await;
        let content = self.content(layout, &row);
        trail.read(layout, &row);
        TokenRow {
            name: row.name(layout),
            owner: layout.table.owner.iter().cloned().zip(row.owner).collect(),
            tokens,
            plain: layout.table.plain.iter().cloned().zip(row.plain).collect(),
            version: row.version,
            method: row.method,
            key_id: row.key_id,
            key: row.key.to_vec(),
            content,
        }
    }
}

fn named<'a, T>(list: &'a [(String, T)], name: &str) -> Option<&'a T> {
    list.iter().find(|(column, _)| column == name).map(|(_, value)| value)
}

pub(super) fn check_tokens(layout: &Layout, columns: &[&str]) -> Result<(), StoreError> {
    let unknown = columns.iter().find(|column| !layout.table.tokens.iter().any(|name| name == *column));
    match unknown {
        Some(column) => {
            Err(StoreError::NoTokenColumn { table: layout.table.name.clone(), column: (*column).to_owned() })
        }
        None => Ok(()),
    }
}
