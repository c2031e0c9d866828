//! Tokens as the store takes and returns them.

use std::fmt;

use secrecy::SecretString;

use super::revision::{Content, Revision};
use crate::database::layout::Layout;
use crate::database::row::{StoredRow, row_name};
use crate::marks::Marks;

/// Names a row by its primary key, in the first table of the profile unless another is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenKey {
    table: Option<String>,
    values: Vec<String>,
    owner: Vec<(String, String)>,
}

impl TokenKey {
    /// A row keyed by two columns, as vod-tender's are: provider and channel.
    pub fn new(provider: impl Into<String>, channel: impl Into<String>) -> Self {
        Self { table: None, values: vec![provider.into(), channel.into()], owner: Vec::new() }
    }

    /// A row keyed by any number of columns, their values as text in the profile's order.
    pub fn from_values<S: Into<String>>(values: impl IntoIterator<Item = S>) -> Self {
        Self { table: None, values: values.into_iter().map(Into::into).collect(), owner: Vec::new() }
    }

    /// The same key in another table of the profile.
    #[must_use]
    pub fn in_table(mut self, table: impl Into<String>) -> Self {
        self.table = Some(table.into());
        self
    }

    /// The same key of a row that belongs to this owner: a row of another owner is not found, and a new one is given it.
    #[must_use]
    pub fn owned_by(mut self, column: impl Into<String>, owner: impl Into<String>) -> Self {
        self.owner.push((column.into(), owner.into()));
        self
    }

    pub(crate) fn owner(&self, column: &str) -> Option<&str> {
        self.owner.iter().rev().find(|(name, _)| name == column).map(|(_, owner)| owner.as_str())
    }

    /// The table, where another than the profile's first is meant.
    #[must_use]
    pub fn table(&self) -> Option<&str> {
        self.table.as_deref()
    }

    /// The key's values, as text, in the profile's order.
    #[must_use]
    pub fn values(&self) -> &[String] {
        &self.values
    }
}

/// A row's opened tokens. Its `Debug` shows which columns hold one, and nothing of them.
#[derive(Debug)]
pub struct Token {
    owner: Vec<(String, Option<String>)>,
    tokens: Vec<(String, Option<SecretString>)>,
    content: Content,
    plain: Vec<(String, Option<String>)>,
    version: Option<String>,
}

impl Token {
    pub(super) fn new(layout: &Layout, row: &StoredRow, content: Content) -> Self {
        let plain = layout.table.plain.iter().cloned().zip(row.plain.iter().cloned()).collect();
        let owner = layout.table.owner.iter().cloned().zip(row.owner.iter().cloned()).collect();
        Self { owner, tokens: Vec::new(), content, plain, version: row.version.clone() }
    }

    pub(crate) fn push(&mut self, column: &str, secret: Option<SecretString>) {
        self.tokens.push((column.into(), secret));
    }

    /// The token in `access_token`.
    #[must_use]
    pub fn access_token(&self) -> Option<&SecretString> {
        self.column("access_token")
    }

    /// The token in `refresh_token`.
    #[must_use]
    pub fn refresh_token(&self) -> Option<&SecretString> {
        self.column("refresh_token")
    }

    /// The token in any token column; `None` for NULL and for a column that the profile does not name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&SecretString> {
        self.tokens.iter().find(|(column, _)| column == name)?.1.as_ref()
    }

    /// A plain column next to the tokens, such as `expires_at`, as text in the database's own notation.
    #[must_use]
    pub fn plain(&self, name: &str) -> Option<&str> {
        self.plain.iter().find(|(column, _)| column == name)?.1.as_deref()
    }

    /// An owner column; `None` for NULL and for a column that is no owner column.
    #[must_use]
    pub fn owner(&self, name: &str) -> Option<&str> {
        self.owner.iter().find(|(column, _)| column == name)?.1.as_deref()
    }

    /// The value of `encryption_version`, where the table has it.
    #[must_use]
    pub fn encryption_version(&self) -> Option<i64> {
        self.version.as_ref()?.parse().ok()
    }

    /// The revision of the row as it was read.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.content.revision()
    }
}

/// Tokens to be written. Columns that are not set keep their values.
#[derive(Default)]
pub struct NewToken {
    pub(crate) tokens: Vec<(String, Option<SecretString>)>,
    pub(crate) plain: Vec<(String, Option<String>)>,
    pub(super) revision: Option<Revision>,
}

impl NewToken {
    /// Nothing yet: every column keeps its value.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `access_token`.
    #[must_use]
    pub fn access_token(self, token: impl Into<SecretString>) -> Self {
        self.column("access_token", Some(token.into()))
    }

    /// Sets `refresh_token`.
    #[must_use]
    pub fn refresh_token(self, token: impl Into<SecretString>) -> Self {
        self.column("refresh_token", Some(token.into()))
    }

    /// Sets any token column; `None` writes NULL.
    #[must_use]
    pub fn column(mut self, name: impl Into<String>, token: Option<SecretString>) -> Self {
        self.tokens.push((name.into(), token));
        self
    }

    /// Sets a plain column together with the tokens, as text that the database casts to the column's type.
    #[must_use]
    pub fn plain(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.plain.push((name.into(), Some(value.into())));
        self
    }

    /// Sets a plain column to NULL.
    #[must_use]
    pub fn plain_null(mut self, name: impl Into<String>) -> Self {
        self.plain.push((name.into(), None));
        self
    }

    /// Writes only into a row that is at this revision still; otherwise the write is a [`StoreError::Changed`], and makes
    /// no row either.
    ///
    /// [`StoreError::Changed`]: crate::StoreError::Changed
    #[must_use]
    pub fn if_revision(mut self, revision: impl Into<Revision>) -> Self {
        self.revision = Some(revision.into());
        self
    }

    /// The new value of a column, the last one if several; `None` if it is not set at all.
    pub(crate) fn set(&self, column: &str) -> Option<Option<&SecretString>> {
        let (_, secret) = self.tokens.iter().rev().find(|(name, _)| name == column)?;
        Some(secret.as_ref())
    }
}

impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<&str> = self.tokens.iter().map(|(column, _)| column.as_str()).collect();
        f.debug_struct("NewToken").field("columns", &columns).finish_non_exhaustive()
    }
}

/// How a row was written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// 0 plaintext, 1 direct AES, 2 KMS envelope.
    pub encryption_version: i32,
    /// The method in words; `direct-aes-fallback` where the key service was unavailable.
    pub encryption_method: Option<String>,
    pub(super) content: Content,
}

impl Written {
    pub(super) fn new(marks: &Marks, content: Content) -> Self {
        Self { encryption_version: marks.version.number(), encryption_method: marks.method.clone(), content }
    }

    /// The revision of the row as it was written.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.content.revision()
    }
}

/// A row in a listing: its key and how it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenSummary {
    /// The table.
    pub table: String,
    /// The primary key's values, as text.
    pub key: Vec<String>,
    /// The primary key as `column=value,…`.
    pub row: String,
    /// The value of `encryption_version`, where the table has it.
    pub encryption_version: Option<i64>,
    /// The value of `encryption_method`.
    pub encryption_method: Option<String>,
    /// The value of `encryption_key_id`.
    pub encryption_key_id: Option<String>,
}

impl TokenSummary {
    pub(crate) fn new(layout: &Layout, row: StoredRow) -> Self {
        Self {
            table: layout.table.name.clone(),
            row: row_name(&layout.table.key, &row.key),
            key: row.key.to_vec(),
            encryption_version: row.version.and_then(|version| version.parse().ok()),
            encryption_method: row.method,
            encryption_key_id: row.key_id,
        }
    }
}
