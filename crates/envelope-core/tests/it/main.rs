//! The promises of this crate, one module for each.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    missing_docs,
    reason = "tests fail by panicking, and their helpers are for themselves"
)]

mod bound_envelopes_follow_their_vectors;
mod cells_follow_their_vectors;
mod contexts_are_unambiguous;
mod damaged_values_are_typed_errors;
mod decoding_undoes_encoding;
mod detection_answers_every_text;
mod durations_are_those_of_the_clients;
mod every_stored_format_opens;
mod fields_open_in_their_cell;
mod forgeries_meet_a_commitment;
mod forked_processes_share_no_randomness;
mod indexes_follow_their_vectors;
mod keys_and_nonces_never_repeat;
mod limits_hold_to_the_byte;
mod nobody_gets_somebody_elses_value;
mod non_canonical_forms_are_refused;
mod nothing_is_downgraded;
mod primitives_pass_wycheproof;
mod purposes_never_mix;
mod rewrapping_leaves_the_payload;
mod sealing_and_opening_take_little_memory;
mod secrets_do_not_leak;
mod support;
mod version_2_envelopes_follow_their_vectors;
