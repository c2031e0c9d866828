//! Secrets from where they are kept, read through a cache, typed, and audited.
//!
#![doc = include_str!("../README.md")]

pub mod audit;
pub mod backup;
pub mod cache;
pub mod config;
pub mod error;
pub mod generate;
pub mod inventory;
#[cfg(feature = "local-store")]
pub mod local;
pub mod metrics;
pub mod name;
mod pem;
pub mod scan;
pub mod sealed_stream;
pub mod secret;
pub mod source;
pub mod typed;
pub mod value;

pub use cache::SecretsCache;
pub use envelope_core::Environment;
pub use error::SourceError;
pub use name::{SecretName, SecretRef};
pub use secret::{Secret, Stage};
pub use source::{NewSecret, SecretSource};
pub use value::SecretValue;
