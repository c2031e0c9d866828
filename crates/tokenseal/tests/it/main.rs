//! The promises of the crate to services and programs.
#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test reports by panicking")]

mod a_run_over_every_row_keeps_no_data_key_of_one_value;
#[cfg(feature = "local-store")]
mod each_purpose_refuses_what_was_made_for_another;
mod every_variable_is_read_in_one_place;
mod failed_opens_are_counted_once;
#[cfg(feature = "local-store")]
mod forgeries_meet_the_commitments_of_keyrings_and_streams;
#[cfg(feature = "local-store")]
// The same arithmetic as in the tests of the formats, which this crate is above.
#[path = "../../../envelope-core/tests/it/support/gcm.rs"]
mod gcm;
#[cfg(all(feature = "dotenv", feature = "oauth"))]
mod tokens_are_refreshed_at_their_provider;
