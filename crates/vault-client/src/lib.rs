//! Calls to OpenBao and Vault: TLS, namespaces, logins, and tokens that are renewed.
//!
#![doc = include_str!("../README.md")]

mod auth;
mod client;
mod connection;
mod error;
mod options;
mod session;

pub use auth::{Auth, SecretId};
pub use client::{Answer, VaultClient};
pub use error::{Refusal, VaultError};
pub use options::VaultOptions;
