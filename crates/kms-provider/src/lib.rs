#![doc = include_str!("../README.md")]

#[cfg(feature = "aws")]
pub mod aws;
pub mod caching;
pub mod counting;
#[cfg(feature = "keyring")]
pub mod keyring;
#[cfg(feature = "memory")]
pub mod memory;
pub mod pacing;
pub mod uri;

mod flight;
mod redact;
#[cfg(any(feature = "keyring", feature = "memory"))]
mod wrapping;

#[cfg(feature = "aws")]
pub use aws::Aws;
pub use caching::{CacheOptions, Caching};
pub use counting::{CallCounts, Counting};
#[cfg(feature = "keyring")]
pub use keyring::Keyring;
#[cfg(feature = "memory")]
pub use memory::Memory;
pub use pacing::Pacing;
pub use redact::redact_arn;
pub use uri::KeyUri;
