//! The two programs, `migrate-tokens` and `manage-secrets`: command lines on the crate `tokenseal`.

pub mod exit;
#[cfg(feature = "secrets")]
pub mod manage_secrets;
pub mod migrate_tokens;

mod checks;
mod cli;
mod input;
mod misuse;
mod output;
mod progress;
mod startup;
mod stdin;

/// The workspace's README, so that its examples are compiled and run as doctests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
