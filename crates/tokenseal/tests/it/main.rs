//! What the crate promises to services and programs.
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test reports by panicking")]

mod every_variable_is_read_in_one_place;
mod failed_opens_are_counted_once;
#[cfg(all(feature = "dotenv", feature = "oauth"))]
mod tokens_are_refreshed_at_their_provider;
