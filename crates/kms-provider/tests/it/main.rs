//! The promises of the key services and their decorators, a module for each of them.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test reports by panicking")]
#![expect(clippy::print_stdout, reason = "it is shown where a test fails, and shows in which of many runs")]

mod a_run_over_every_value_keeps_only_shared_keys;
mod an_outage_of_half_a_minute;
mod another_emulator;
mod answers_are_those_asked_for;
mod aws;
mod aws_errors;
mod aws_live;
mod behind_a_proxy;
mod caching;
mod caching_in_time;
mod conformance;
mod keyring;
mod keyring_file;
mod leaks;
mod leaks_on_the_wire;
mod metrics;
mod openbao_fails;
mod outages;
mod pacing;
mod readers;
mod refusals_count_for_the_cache_and_for_a_run_without_it;
mod regions;
mod resilience;
mod reuse;
mod stacks;
mod support;
mod vault;
mod vault_answers_are_those_asked_for;
mod vault_policies;
mod wire;
