#![doc = include_str!("../README.md")]

mod cipher;
mod database;
pub mod error;
pub mod metrics;
pub mod migration;
pub mod profile;
pub mod schema;
pub mod status;
mod store;
pub mod verify;

pub use cipher::{PlaintextPolicy, TokenCipher, UserKeys, WriteFormat};
pub use database::Database;
pub use error::StoreError;
pub use profile::Profile;
pub use store::{NewToken, Token, TokenKey, TokenStore, TokenSummary, Written};
