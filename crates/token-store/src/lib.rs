//! Tokens and other sealed values in the tables of a database, and their migration.
//!
#![doc = include_str!("../README.md")]
#![cfg_attr(
    not(all(feature = "postgres", feature = "sqlite", feature = "mysql")),
    allow(
        dead_code,
        unused_imports,
        unused_variables,
        reason = "some of the databases are not built in, or none is"
    )
)]

pub mod audit;
pub mod blind_index;
mod cipher;
mod database;
pub mod error;
pub mod findings;
pub mod floor;
pub mod kind;
mod marks;
pub mod metrics;
pub mod migration;
mod plan;
pub mod privileges;
pub mod profile;
mod record;
pub mod schema;
pub mod status;
mod store;
pub mod verify;
mod write_format;

pub use cipher::{FailureObserver, PlaintextPolicy, TokenCipher, UserKeys};
pub use database::{Database, InTransaction, OpenOptions, Timeouts};
pub use error::StoreError;
pub use floor::Floor;
pub use kind::ErrorKind;
pub use profile::Profile;
pub use record::RecordError;
pub use store::refresh;
pub use store::{
    NewToken, NotSealed, Prepared, Revision, Sealed, SealedText, StoredText, Token, TokenKey, TokenRow,
    TokenStore, TokenSummary, Written,
};
pub use write_format::WriteFormat;
