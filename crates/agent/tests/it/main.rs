//! The agent as its callers meet it: a process of its own, on a socket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

mod a_client_that_is_slow_holds_no_one_up;
mod a_secret_has_one_answer_in_every_spelling;
mod a_value_opens_in_its_own_cell_alone;
mod an_outage_of_the_key_service_is_bounded;
mod every_limit_has_its_answer;
mod every_refusal_has_its_code_and_its_event;
mod it_ends_in_order;
mod it_starts_only_as_it_was_meant_to;
mod leases_are_held_once;
mod many_agents_refresh_each_token_once;
mod metrics_and_events_are_documented;
mod owners_see_their_own_rows_only;
mod rows_are_read_written_and_deleted;
mod single_cells_open_and_seal_in_batches;
mod values_are_found_by_their_index;
mod vectors_of_the_node_service_open_through_the_agent;
mod vectors_open_through_the_agent;
mod writers_and_a_migration_lose_nothing;
