//! Data keys, encryption contexts, stored formats and the sealer: envelope encryption without any I/O.
//!
#![doc = include_str!("../README.md")]

pub mod binding;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod context;
pub mod correlation;
pub mod duration;
pub mod environment;
pub mod error;
pub mod field;
pub mod format;
pub mod hint;
pub mod index;
pub mod key;
pub mod ledger;
pub mod provider;
pub mod purpose;
pub mod random;
pub mod rewrap;
pub mod sealer;
pub mod stored;

mod aead;
mod message_key;
mod text;

pub use binding::{Binding, BindingPolicy};
pub use context::EncryptionContext;
pub use environment::Environment;
pub use error::{OpenError, SealError};
pub use format::{Format, detect};
pub use key::{DataKey, WrappedDataKey};
pub use provider::{ErrorClass, KeyError, KeyProvider};
pub use purpose::Purpose;
pub use sealer::{EnvelopeFormat, Opened, Sealed, Sealer, Writing};
