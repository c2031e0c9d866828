//! The two programs, `migrate-tokens` and `manage-secrets`: the only place where everything is wired together.

pub mod exit;
#[cfg(feature = "secrets")]
pub mod manage_secrets;
pub mod migrate_tokens;

mod checks;
mod cli;
mod output;
mod progress;
mod services;
mod settings;
mod startup;
mod stdin;
mod telemetry;

/// The workspace's README, so that its examples are compiled and run as doctests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
