//! Stored texts of the caller's own statements: opened in dual mode, and sealed, without a query of the store's.

use secrecy::SecretString;

use super::put::Cell;
use super::{NewToken, TokenKey, TokenStore};
use crate::database::row::{StoredKey, StoredRow};
use crate::error::StoreError;

/// A cell as the caller's own query returned it.
#[derive(Clone, Copy, Default)]
#[non_exhaustive]
pub struct StoredText<'a> {
    /// The text in the token column.
    pub text: &'a str,
    /// The value of `encryption_version`, where the table has that column.
    pub version: Option<i64>,
    /// The value of `encryption_key_id`, where the table has that column.
    pub key_id: Option<&'a str>,
}

impl<'a> StoredText<'a> {
    /// A text from a table without version columns.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self { text, version: None, key_id: None }
    }

    /// A text with what its row's version columns say.
    #[must_use]
    pub fn marked(text: &'a str, version: Option<i64>, key_id: Option<&'a str>) -> Self {
        Self { text, version, key_id }
    }
}

impl std::fmt::Debug for StoredText<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { version, key_id, .. } = self;
        f.debug_struct("StoredText").field("version", version).field("key_id", key_id).finish_non_exhaustive()
    }
}

/// A sealed value for the caller's own statement, with the matching values of the row's version columns.
///
/// The version is the row's: set every token of the row, or all that it held before, in the same statement.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SealedText {
    /// The text for the token column.
    pub text: String,
    /// The value for `encryption_version`.
    pub encryption_version: i32,
    /// The value for `encryption_method`.
    pub encryption_method: Option<&'static str>,
    /// The value for `encryption_key_id`.
    pub encryption_key_id: Option<String>,
}

impl TokenStore {
    /// Opens a text of any stored version that the caller has read itself.
    ///
    /// The key's values, and the owner's in [`owned_by`](TokenKey::owned_by), are the texts that the database returns for
    /// them: a value that was copied from another row does not open.
    ///
    /// # Errors
    /// [`StoreError::Open`], [`StoreError::NoTokenColumn`], [`StoreError::KeyLength`].
    pub async fn open_text(
        &self,
        key: &TokenKey,
        column: &str,
        stored: StoredText<'_>,
    ) -> Result<SecretString, StoreError> {
        let layout = self.layout(key)?;
        self.check_token(layout, column)?;
        let nothing = std::iter::repeat_with(|| Ok(None)).take(layout.content_columns());
        let blank = StoredRow::assemble(layout, StoredKey::of_texts(key.values().to_vec()), nothing);
        let owner = layout.table.owner.iter().map(|name| key.owner(name).map(ToOwned::to_owned));
        let row = StoredRow {
            owner: owner.collect(),
            version: stored.version.map(|version| version.to_string()),
            key_id: stored.key_id.map(ToOwned::to_owned),
            ..blank
        };
        self.open_cell(self.trail("read"), layout, &row, column, stored.text).await
    }

    /// Seals a value for the caller's own statement, in the form that [`put`](Self::put) would write.
    ///
    /// The key and owner are made canonical by the database where their columns are not plain text.
    ///
    /// # Errors
    /// [`StoreError::Seal`], [`StoreError::NotStorable`], [`StoreError::KeyNotStorable`], [`StoreError::Database`].
    pub async fn seal_text(
        &self,
        key: &TokenKey,
        column: &str,
        value: &SecretString,
    ) -> Result<SealedText, StoreError> {
        let layout = self.layout(key)?;
        self.check_token(layout, column)?;
        let format = self.write_format();
        self.check_storable(format)?;
        let row = self.blank_row(layout, key, &NewToken::new()).await?;
        let row = row.ok_or_else(|| self.key_not_storable(layout, key))?;
        match self.seal_cell(layout, &row, format, value, &row.binding(layout, column)).await? {
            Cell::Sealed(text, key_id) => Ok(SealedText {
                text: text.to_string(),
                encryption_version: format.version(),
                encryption_method: format.method(),
                encryption_key_id: key_id,
            }),
            Cell::Null | Cell::Kept(_) => Err(self.key_not_storable(layout, key)),
        }
    }
}
