//! The promises of this crate, one module per promise.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails, fails")]

mod support;

#[cfg(all(feature = "local-store", target_os = "linux"))]
mod a_full_disk_is_read_and_written_again_later;
mod a_warm_cache_asks_nobody;
mod an_outage_is_bounded;
#[cfg(all(feature = "local-store", feature = "dotenv"))]
mod backups_are_all_or_nothing;
mod configuration_tells_every_problem;
#[cfg(feature = "dotenv")]
mod dotenv_is_for_development;
#[cfg(feature = "local-store")]
mod kills_lose_nothing;
mod layers_answer_in_order;
#[cfg(feature = "local-store")]
mod local_values_are_bound;
#[cfg(feature = "local-store")]
mod local_versions_follow_their_rules;
#[cfg(all(feature = "local-store", feature = "secrets-manager", feature = "vault"))]
mod lost_answers_and_races_cost_no_value;
mod metrics_begin_at_zero;
#[cfg(feature = "local-store")]
mod node_values_come_over;
#[cfg(all(feature = "local-store", feature = "dotenv", feature = "secrets-manager"))]
mod nothing_leaks;
mod rotations_are_seen;
mod scans_find_and_never_show;
mod scans_find_every_form_of_a_setting;
mod scans_report_every_finding_of_a_line;
mod scans_show_no_part_of_a_secret;
mod scans_tell_tokens_from_settings;
mod sealed_streams_betray_every_change;
#[cfg(feature = "secrets-manager")]
mod secrets_manager_is_asked_sparingly;
#[cfg(all(feature = "secrets-manager", feature = "local-store"))]
mod secrets_manager_names_what_fails;
#[cfg(feature = "local-store")]
mod the_local_store_is_as_it_was_left;
mod typed_reads_never_show_values;
#[cfg(feature = "vault")]
mod vault_versions_are_kept_apart;
#[cfg(feature = "secrets-manager")]
mod writes_through_a_faulty_network_lose_nothing;
