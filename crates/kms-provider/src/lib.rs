//! Key services with one trait, and the decorators that make a remote one usable.
//!
#![doc = include_str!("../README.md")]

pub mod answers;
#[cfg(feature = "aws")]
pub mod aws;
pub mod caching;
pub mod counting;
#[cfg(feature = "keyring")]
pub mod keyring;
#[cfg(feature = "memory")]
pub mod memory;
#[cfg(feature = "metrics")]
pub mod metrics;
pub mod pacing;
pub mod regions;
pub mod resilience;
pub mod reuse;
pub mod several;
pub mod uri;
#[cfg(feature = "vault")]
pub mod vault;

mod arn;
mod flight;
mod janitor;
mod jitter;
mod redact;
mod transit;
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
#[cfg(feature = "metrics")]
pub use metrics::{KmsMetrics, Metered};
pub use pacing::Pacing;
pub use redact::redact_arn;
pub use regions::{Region, Regions};
pub use resilience::{Resilience, ResilienceOptions};
pub use reuse::{Reuse, ReuseLimits};
pub use several::Several;
pub use uri::KeyUri;
#[cfg(feature = "vault")]
pub use vault::Vault;
