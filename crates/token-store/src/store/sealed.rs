//! A stored text in a struct of the service's own: read and written by its own statements, and opened where it is needed.

use std::fmt;
use std::marker::PhantomData;

use envelope_core::{Format, detect};
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::{Database, Decode, Encode, Type};
use zeroize::Zeroizing;

use super::{SealedText, StoredText, TokenKey, TokenStore};
use crate::error::StoreError;

/// The text of a token column, for a field of the service's own struct.
///
/// It is read from a row or from JSON as it is stored, and nothing is opened by that; [`open`](Self::open) does, in dual
/// mode. It is written only where it is what [`TokenStore::seal_field`] has made, or an envelope: a readable text, whether it was read from an old row or came with a request, is neither encoded for a database nor
/// serialized.
///
/// `T` is the type of the opened value: any type that is made from a [`SecretString`].
pub struct Sealed<T = SecretString> {
    text: Zeroizing<String>,
    /// Whether a store has sealed it; a value that was read is judged by its mark.
    is_made: bool,
    opens_as: PhantomData<fn() -> T>,
}

/// A readable value was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("value is not sealed, and only sealed values are written")]
pub struct NotSealed;

impl<T> Sealed<T> {
    fn of(text: String) -> Self {
        Self { text: Zeroizing::new(text), is_made: false, opens_as: PhantomData }
    }

    /// Whether a store has sealed the value, or its text is an envelope. The empty text needs no sealing.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        let is_envelope = || matches!(detect(&self.text), Ok(Format::KmsEnvelope | Format::BoundEnvelope));
        self.is_made || self.text.is_empty() || is_envelope()
    }

    /// The text as it is stored.
    ///
    /// # Errors
    /// [`NotSealed`] where it is readable.
    pub fn stored(&self) -> Result<&str, NotSealed> {
        if self.is_sealed() { Ok(&self.text) } else { Err(NotSealed) }
    }
}

impl<T: From<SecretString>> Sealed<T> {
    /// Opens the value for its row and column, in any stored form, if the floor allows it.
    ///
    /// For a table without version columns; see [`open_marked`](Self::open_marked) for one that has them.
    ///
    /// # Errors
    /// As [`TokenStore::open_text`].
    pub async fn open(&self, store: &TokenStore, key: &TokenKey, column: &str) -> Result<T, StoreError> {
        self.open_marked(store, key, column, None, None).await
    }

    /// Opens the value for its row and column, with the row's `encryption_version` and `encryption_key_id`.
    ///
    /// # Errors
    /// As [`TokenStore::open_text`].
    pub async fn open_marked(
        &self,
        store: &TokenStore,
        key: &TokenKey,
        column: &str,
        version: Option<i64>,
        key_id: Option<&str>,
    ) -> Result<T, StoreError> {
        let stored = StoredText::marked(&self.text, version, key_id);
        store.open_text(key, column, stored).await.map(T::from)
    }
}

impl TokenStore {
    /// Seals a value for a field of the service's own struct, and returns the matching values of the row's
    /// version columns.
    ///
    /// # Errors
    /// As [`seal_text`](Self::seal_text).
    pub async fn seal_field<T>(
        &self,
        key: &TokenKey,
        column: &str,
        value: &SecretString,
    ) -> Result<(Sealed<T>, SealedText), StoreError> {
        let sealed = self.seal_text(key, column, value).await?;
        let is_made = sealed.encryption_version != 0;
        Ok((Sealed { is_made, ..Sealed::of(sealed.text.clone()) }, sealed))
    }
}

impl<T> Clone for Sealed<T> {
    fn clone(&self) -> Self {
        Self { is_made: self.is_made, ..Self::of(self.text.to_string()) }
    }
}

impl<T> fmt::Debug for Sealed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed([REDACTED])")
    }
}

impl<T> Serialize for Sealed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.stored().map_err(serde::ser::Error::custom)?)
    }
}

impl<'de, T> Deserialize<'de> for Sealed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::of)
    }
}

impl<DB: Database, T> Type<DB> for Sealed<T>
where
    String: Type<DB>,
{
    fn type_info() -> DB::TypeInfo {
        <String as Type<DB>>::type_info()
    }

    fn compatible(found: &DB::TypeInfo) -> bool {
        <String as Type<DB>>::compatible(found)
    }
}

impl<'r, DB: Database, T> Decode<'r, DB> for Sealed<T>
where
    String: Decode<'r, DB>,
{
    fn decode(value: DB::ValueRef<'r>) -> Result<Self, BoxDynError> {
        String::decode(value).map(Self::of)
    }
}

impl<'q, DB: Database, T> Encode<'q, DB> for Sealed<T>
where
    String: Encode<'q, DB>,
{
    fn encode_by_ref(&self, buffer: &mut DB::ArgumentBuffer) -> Result<IsNull, BoxDynError> {
        self.stored()?.to_owned().encode(buffer)
    }
}
