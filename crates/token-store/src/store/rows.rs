//! Rows whose tokens open one by one: some columns of one row, many rows, or all rows of a table.

use std::fmt;
use std::sync::{Arc, OnceLock};

use futures_util::FutureExt as _;
use futures_util::future::{Either, join_all, ready};
use futures_util::stream::{self, Stream, StreamExt as _};
use secrecy::SecretString;

use super::revision::{Content, Revision};
use super::{TokenKey, TokenStore};
use crate::database::layout::Layout;
use crate::database::row::{StoredRow, row_name};
use crate::error::StoreError;
use crate::profile::{Table, Unmarked};

/// Rows that are opened at once.
const AT_ONCE: usize = 32;

/// A row with some of its tokens opened. One that does not open is its own error, and spoils no other.
pub struct TokenRow {
    table: Arc<Table>,
    row: StoredRow,
    /// Those that were asked for, by their places among the table's tokens.
    tokens: Vec<(usize, Result<Option<SecretString>, StoreError>)>,
    unmarked: Unmarked,
    name: OnceLock<String>,
}

impl TokenRow {
    /// The primary key's values, as text.
    #[must_use]
    pub fn key(&self) -> &[String] {
        &self.row.key
    }

    /// The primary key as `column=value,…`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.get_or_init(|| row_name(&self.table.key, &self.row.key))
    }

    /// An owner column; `None` for NULL and for a column that is none.
    #[must_use]
    pub fn owner(&self, column: &str) -> Option<&str> {
        named(&self.table.owner, &self.row.owner, column)
    }

    /// A token: `None` for NULL.
    ///
    /// # Errors
    /// [`StoreError::Open`] for one that does not open. A column that was not asked for is `None`.
    pub fn token(&self, column: &str) -> Result<Option<&SecretString>, &StoreError> {
        match self.opened(column) {
            Some(index) => self.tokens[index].1.as_ref().map(Option::as_ref),
            None => Ok(None),
        }
    }

    /// Takes a token out of the row.
    ///
    /// # Errors
    /// As [`token`](Self::token).
    pub fn take(&mut self, column: &str) -> Result<Option<SecretString>, StoreError> {
        match self.opened(column) {
            Some(index) => self.tokens.swap_remove(index).1,
            None => Ok(None),
        }
    }

    /// A plain column next to the tokens, as text in the database's own notation. Rows of
    /// [`rows`](TokenStore::rows) have none.
    #[must_use]
    pub fn plain(&self, column: &str) -> Option<&str> {
        named(&self.table.plain, &self.row.plain, column)
    }

    /// The value of `encryption_version`, where the table has it.
    #[must_use]
    pub fn encryption_version(&self) -> Option<i64> {
        self.row.version.as_ref()?.parse().ok()
    }

    /// The value of `encryption_method`, where the table has it.
    #[must_use]
    pub fn encryption_method(&self) -> Option<&str> {
        self.row.method.as_deref()
    }

    /// The value of `encryption_key_id`, where the table has it.
    #[must_use]
    pub fn encryption_key_id(&self) -> Option<&str> {
        self.row.key_id.as_deref()
    }

    /// The revision of the row as it was read, whichever of its tokens were opened. It is computed when it is asked for.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Content::of_row(&self.table, &self.row, self.unmarked).revision()
    }

    fn opened(&self, column: &str) -> Option<usize> {
        self.tokens.iter().position(|(place, _)| self.table.tokens[*place] == column)
    }
}

impl fmt::Debug for TokenRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenRow").field("row", &self.name()).finish_non_exhaustive()
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
    /// table, if none is named. The next page is read while the rows of the one before are opened and taken. A row holds all of
    /// its stored texts as long as it lives, for its revision.
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
        let rows = self.pages(layout).flat_map(|page| match page {
            Ok(page) => Either::Left(stream::iter(page).map(Ok::<_, StoreError>)),
            Err(error) => Either::Right(stream::iter([Err(error)])),
        });
        let opened = rows.map(move |row: Result<StoredRow, StoreError>| {
            let mut opening = Box::pin(async move {
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
            // A row whose data keys are in the cache needs no place among those that wait.
            match opening.as_mut().now_or_never() {
                Some(opened) => Either::Left(ready(opened)),
                None => Either::Right(opening),
            }
        });
        Ok(opened.buffered(AT_ONCE))
    }

    pub(super) async fn open_columns(&self, layout: &Layout, row: StoredRow, columns: &[&str]) -> TokenRow {
        let trail = self.trail("read");
        let asked = |column: &String| columns.contains(&column.as_str());
        let places = (0..layout.table.tokens.len()).filter(|place| asked(&layout.table.tokens[*place]));
        let open = async |place: usize| {
            let opened = match row.values.get(place) {
                Some(Some(text)) => {
                    let column = &layout.table.tokens[place];
                    self.open_cell(trail, layout, &row, column, text).await.map(Some)
                }
                _ => Ok(None),
            };
            (place, opened)
        };
        let tokens = match columns {
            [_] => {
                let mut tokens = Vec::with_capacity(1);
                for place in places {
                    tokens.push(open(place).await);
                }
                tokens
            }
            _ => join_all(places.map(open)).await,
        };
        trail.read(layout, &row);
        let (table, unmarked) = (layout.table.clone(), self.profile().unmarked);
        TokenRow { table, row, tokens, unmarked, name: OnceLock::new() }
    }
}

/// A value by the name of its column.
fn named<'a>(columns: &[String], values: &'a [Option<String>], name: &str) -> Option<&'a str> {
    values.get(columns.iter().position(|column| column == name)?)?.as_deref()
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
