//! Envelope encryption of stored tokens, wired: the settings of the environment become a store, a key service, secrets
//! and metrics.
//!
#![doc = include_str!("../README.md")]

pub mod audit;
pub mod connect;
pub mod database;
pub mod error;
pub mod hints;
pub mod key_service;
#[cfg(feature = "oauth")]
pub mod oauth;
#[cfg(feature = "secrets")]
pub mod secrets;
pub mod settings;
pub mod startup;
pub mod telemetry;

pub use audit::AuditTrail;
pub use connect::{Builder, Tokenseal};
pub use error::ConnectError;
pub use settings::{Settings, SettingsError};
pub use telemetry::Telemetry;

// Every type in the interfaces of the four libraries is reachable from here, in the version that fits them.
pub use async_trait;
pub use envelope_core;
pub use kms_provider;
pub use prometheus_client;
pub use secrecy;
#[cfg(feature = "secrets")]
pub use secrets_cache;
pub use token_store;
