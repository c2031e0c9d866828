//! Types of requests and answers. The OpenAPI document is generated from them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};
use tokenseal::secrecy::{ExposeSecret as _, SecretString};
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{
    AdditionalProperties, Object, ObjectBuilder, OneOfBuilder, Schema, SchemaType, Type,
};

use crate::body::{Part, SecretText};
use crate::error::Details;
use crate::named::{KeyText, Named, PlainText, count, optional_count};

/// A request about one row: with the members that name it, and its own.
macro_rules! about_a_row {
    ($(#[$about:meta])* pub(crate) struct $name:ident { $($own:tt)* }) => {
        $(#[$about])*
        #[derive(Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name {
            /// The table; the profile's first, if left out.
            pub(crate) table: Option<String>,
            /// The primary key, by column. Owner columns may be here too.
            #[schema(schema_with = keys)]
            pub(crate) row: Named<KeyText>,
            /// Whom the row belongs to, by column.
            #[serde(default)]
            #[schema(schema_with = keys, required = false)]
            pub(crate) owner: Named<KeyText>,
            $($own)*
        }
    };
}

about_a_row! {
    /// Reads a row.
    pub(crate) struct GetRequest {
        /// The token columns to open; all of them, if left out.
        pub(crate) columns: Option<Vec<String>>,
    }
}

/// A row with its tokens opened.
#[derive(Serialize, ToSchema)]
pub(crate) struct Row {
    /// The tokens by column; null for NULL.
    #[schema(schema_with = texts_or_null)]
    pub(crate) tokens: BTreeMap<String, Option<Shown>>,
    /// The plain columns of the profile, as text.
    pub(crate) plain: BTreeMap<String, Option<String>>,
    /// 0 plaintext, 1 direct AES, 2 envelope; null without version columns.
    pub(crate) encryption_version: Option<i64>,
    /// The method in words.
    pub(crate) encryption_method: Option<String>,
    /// The key that the row's data keys are under.
    pub(crate) encryption_key_id: Option<String>,
    /// Changes whenever the row's tokens or version columns do. Opaque.
    pub(crate) revision: String,
}

about_a_row! {
    /// Writes tokens into a row, which is made if it does not exist.
    pub(crate) struct PutRequest {
        /// The tokens by column; null writes NULL. Columns that are left out keep their values.
        #[schema(schema_with = texts_or_null)]
        pub(crate) tokens: Named<Option<SecretText>>,
        /// Plain columns, written in the same statement.
        #[serde(default)]
        #[schema(schema_with = plain_values, required = false)]
        pub(crate) plain: Named<PlainText>,
        /// Writes only while the row is at this revision.
        pub(crate) if_revision: Option<String>,
        /// The lease under which the tokens were granted; it ends with the write.
        #[schema(pattern = "^[1-9][0-9]{0,17}[.][0-9a-f]{32}[.][0-9a-f]{32}[.][0-9a-f]{12}$")]
        pub(crate) lease: Option<String>,
    }
}

/// How a row was written.
#[derive(Serialize, ToSchema)]
pub(crate) struct WrittenReply {
    /// The method in words: `kms-envelope`, `direct-aes`, `plaintext`.
    pub(crate) written: String,
    /// The revision of the row as it was written.
    pub(crate) revision: String,
}

about_a_row! {
    /// Reads a row whose access token is valid for long enough.
    pub(crate) struct FreshRequest {
        /// For how many seconds the token must be valid.
        #[serde(deserialize_with = "count")]
        #[schema(value_type = i64, minimum = 0, maximum = 2147483647)]
        pub(crate) valid_for: u32,
    }
}

/// Looks a value up through the blind index over its column.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FindRequest {
    /// The table; the profile's first, if left out.
    pub(crate) table: Option<String>,
    /// The token column, which has a blind index in the profile.
    pub(crate) column: String,
    /// The value, in any spelling that the index's normalisation joins.
    #[schema(value_type = String)]
    pub(crate) value: SecretText,
}

/// The rows that hold a value.
#[derive(Serialize, ToSchema)]
pub(crate) struct FoundReply {
    /// The primary key of each, by column, as text.
    pub(crate) rows: Vec<BTreeMap<String, String>>,
}

about_a_row! {
    /// Takes the right to spend a row's refresh token.
    pub(crate) struct LeaseRequest {
        /// For how many seconds, from 1 to 3,600.
        #[serde(deserialize_with = "count")]
        #[schema(value_type = i64, minimum = 1, maximum = 3600)]
        pub(crate) seconds: u32,
    }
}

/// The right to spend a row's refresh token.
#[derive(Serialize, ToSchema)]
pub(crate) struct LeaseReply {
    /// The lease, for `put` and `release`.
    pub(crate) lease: String,
    /// When it ends, by the database's clock (RFC 3339).
    pub(crate) expires: String,
}

about_a_row! {
    /// Gives a lease back.
    pub(crate) struct ReleaseRequest {
        /// The lease.
        #[schema(pattern = "^[1-9][0-9]{0,17}[.][0-9a-f]{32}[.][0-9a-f]{32}[.][0-9a-f]{12}$")]
        pub(crate) lease: String,
    }
}

/// How a lease was given back.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReleaseReply {
    /// Whether it was still held.
    pub(crate) released: bool,
}

about_a_row! {
    /// Deletes a row.
    pub(crate) struct DeleteRequest {
        /// Deletes only while the row is at this revision.
        pub(crate) if_revision: Option<String>,
    }
}

/// A row was deleted.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeletedReply {
    /// Always true.
    pub(crate) deleted: bool,
}

/// Opens stored texts of the caller's own statements.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OpenRequest {
    /// The texts, at most 5,000.
    #[schema(value_type = Vec<OpenItem>, max_items = 5000)]
    pub(crate) items: Vec<Part<OpenItem>>,
}

/// One stored text and its cell.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OpenItem {
    /// The table.
    pub(crate) table: String,
    /// The token column.
    pub(crate) column: String,
    /// The primary key, by column, as the database returns it. Owner columns may be here too.
    #[schema(schema_with = keys)]
    pub(crate) row: Named<KeyText>,
    /// Whom the row belongs to, by column, as the database returns it; null for NULL.
    #[serde(default)]
    #[schema(schema_with = keys_or_null, required = false)]
    pub(crate) owner: Named<KeyText>,
    /// The value of `encryption_version`: 0, 1 or 2. If left out, an envelope is recognised by its mark.
    #[serde(default, deserialize_with = "optional_count")]
    #[schema(minimum = 0, maximum = 2147483647)]
    pub(crate) version: Option<i64>,
    /// The stored text.
    #[schema(value_type = String)]
    pub(crate) text: SecretText,
}

/// The opened values, in the order of the items.
#[derive(Serialize, ToSchema)]
pub(crate) struct OpenReply {
    /// One answer for each item.
    pub(crate) items: Vec<OpenedItem>,
}

/// A value, or why it does not open.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum OpenedItem {
    /// It opened.
    Opened {
        /// The value.
        #[schema(value_type = String)]
        value: Shown,
    },
    /// It did not.
    Failed {
        /// Why.
        error: Details,
    },
}

/// Seals values for the caller's own statements.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SealRequest {
    /// The values, at most 5,000.
    #[schema(value_type = Vec<SealItem>, max_items = 5000)]
    pub(crate) items: Vec<Part<SealItem>>,
}

/// One value and its cell.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SealItem {
    /// The table.
    pub(crate) table: String,
    /// The token column.
    pub(crate) column: String,
    /// The primary key, by column. Owner columns may be here too.
    #[schema(schema_with = keys)]
    pub(crate) row: Named<KeyText>,
    /// Whom the row belongs to, by column; null for NULL.
    #[serde(default)]
    #[schema(schema_with = keys_or_null, required = false)]
    pub(crate) owner: Named<KeyText>,
    /// Ignored: a value is sealed in the form that the agent writes.
    #[serde(default, rename = "version", deserialize_with = "optional_count")]
    #[schema(minimum = 0, maximum = 2147483647)]
    pub(crate) _version: Option<i64>,
    /// The value.
    #[schema(value_type = String)]
    pub(crate) value: SecretText,
}

/// The sealed values, in the order of the items.
#[derive(Serialize, ToSchema)]
pub(crate) struct SealReply {
    /// One answer for each item.
    pub(crate) items: Vec<SealedItem>,
}

/// A sealed value with what its row's version columns must say, or why it was not sealed.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum SealedItem {
    /// It was sealed.
    Sealed {
        /// The text for the token column.
        text: String,
        /// The value for `encryption_key_id`.
        encryption_key_id: Option<String>,
        /// The value for `encryption_version`.
        encryption_version: i32,
        /// The value for `encryption_method`.
        encryption_method: Option<&'static str>,
    },
    /// It was not.
    Failed {
        /// Why.
        error: Details,
    },
}

/// Reads a secret.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecretRequest {
    /// Its name, or `name#field` for a field of a secret that is JSON.
    #[schema(pattern = "^[A-Za-z0-9_./+=@-]{1,200}(#[A-Za-z0-9_./-]{1,200})?$")]
    pub(crate) name: String,
    /// Which version: `AWSCURRENT`, if left out.
    #[schema(pattern = "^[A-Za-z0-9_.-]{1,256}$")]
    pub(crate) stage: Option<String>,
}

/// A secret.
#[derive(Serialize, ToSchema)]
pub(crate) struct SecretReply {
    /// The value.
    #[schema(value_type = String)]
    pub(crate) value: Shown,
    /// The version, as its source names it; empty where it has none.
    pub(crate) version: String,
    /// The source that it came from.
    pub(crate) from: String,
}

/// A secret on its way to the caller that may have it.
pub(crate) struct Shown(pub(crate) SecretString);

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose_secret())
    }
}

/// A time in milliseconds since 1970, as RFC 3339.
pub(crate) fn rfc3339(milliseconds: i64) -> String {
    let since = std::time::Duration::from_millis(milliseconds.try_into().unwrap_or_default());
    humantime::format_rfc3339_millis(std::time::UNIX_EPOCH + since).to_string()
}

fn of_type(kind: Type) -> Object {
    ObjectBuilder::new().schema_type(SchemaType::Type(kind)).build()
}

/// An object whose members are columns with values of these types.
fn columns_of(kinds: &[Type]) -> Schema {
    let value = kinds.iter().fold(OneOfBuilder::new(), |either, kind| either.item(of_type(kind.clone())));
    let members = AdditionalProperties::RefOr(RefOr::T(Schema::OneOf(value.build())));
    let object = ObjectBuilder::new().schema_type(SchemaType::Type(Type::Object));
    Schema::Object(object.additional_properties(Some(members)).build())
}

fn keys() -> Schema {
    columns_of(&[Type::String, Type::Integer])
}

fn keys_or_null() -> Schema {
    columns_of(&[Type::String, Type::Integer, Type::Null])
}

fn texts_or_null() -> Schema {
    columns_of(&[Type::String, Type::Null])
}

fn plain_values() -> Schema {
    columns_of(&[Type::String, Type::Integer, Type::Boolean, Type::Null])
}
