//! The promises of the store, one module per promise; those about a database hold on SQLite and PostgreSQL.
#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test reports by panicking")]

#[macro_use]
mod support;

mod a_dry_rotation_says_what_a_rotation_does;
mod a_key_names_only_its_own_row;
mod a_rewrap_gives_no_row_another_version;
mod a_row_waits_for_its_keys_at_once;
mod a_service_uses_its_own_pool_and_statements;
mod a_transaction_of_the_service_holds_its_writes;
mod a_write_applies_to_the_row_that_was_read;
mod aws_kms_holds_the_keys;
mod binding_follows_its_setting;
mod blind_indexes_find_sealed_values;
mod blind_indexes_rotate_under_look_ups;
mod blind_indexes_stay_what_the_profile_says;
mod errors_carry_no_token;
mod every_version_reads;
mod every_walk_ends;
mod everything_leaves_an_audit_event;
mod fields_of_a_service_are_looked_after;
mod index_keys_are_asked_for_once;
mod index_keys_move_between_key_services;
mod keys_have_one_text;
mod leases_have_one_holder;
mod many_processes_refresh_each_token_once;
mod migration_moves_every_row;
mod migration_overlaps_its_stages;
mod migration_shares_the_table_with_others;
mod migration_waits_for_nobodys_lock;
mod mixed_tables_are_told_apart;
mod nobody_gets_somebody_elses_token;
mod nothing_is_downgraded;
mod one_bad_row_is_one_bad_row;
mod others_rows_and_bindings_are_not_lost;
mod plaintext_follows_its_policy;
mod poolers_and_schemas_change_nothing;
mod profiles_describe_tables;
mod random_dependencies_lose_nothing;
mod random_layouts_survive;
mod random_tables_survive;
mod reading_reseals_when_asked;
mod renamed_tables_go_on_opening;
mod rollback_returns_to_the_legacy_format;
mod rows_that_meet_locks_are_left_alone;
mod schema_migration_is_safe_to_repeat;
mod stored_texts_live_in_the_services_own_structs;
mod stored_vectors_open_in_their_tables;
mod the_audit_trail_is_documented;
mod the_database_makes_keys;
mod the_floor_holds_for_every_command;
mod tokens_are_refreshed_once;
mod values_and_marks_move_together;
mod what_a_provider_gives_is_kept;
mod what_is_stored_is_what_was_sent;
mod what_stands_in_the_way_is_found;
