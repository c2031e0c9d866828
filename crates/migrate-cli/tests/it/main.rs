//! The promises of `migrate-tokens`, tested on the real program: one module per promise.
#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test reports by panicking")]

#[macro_use]
mod support;

mod a_gate_without_data_is_closed;
mod a_report_names_every_value;
mod a_second_command_loses_no_value;
mod an_absent_source_is_not_an_empty_one;
mod an_independent_program_reads_every_token;
mod at_once_no_value_is_lost;
mod audit_shows_who_and_what_was_changed;
mod commands_do_what_they_say;
mod credentials_rotate_without_a_failed_login;
mod doctor_finds_what_is_wrong;
mod events_are_told_by_their_names;
mod every_failure_has_its_code_and_its_hint;
mod exec_gives_secrets_to_one_program;
mod exported_documents_are_sealed_again;
mod files_are_sealed_under_the_key_that_is_there;
mod guides_are_rehearsed;
mod help_is_complete;
mod imports_lose_nothing;
mod imports_survive_anything;
mod index_keys_move_with_their_values;
mod killed_at_any_moment_nothing_is_lost;
mod leases_end_with_the_program;
mod lines_for_cloudwatch_are_what_alarms_expect;
mod manage_secrets_does_no_harm;
mod mariadb_is_a_database;
#[cfg(target_os = "linux")]
mod memory_gives_nothing_away;
mod methods_are_true_of_every_row;
mod no_part_of_a_value_is_shown_or_left_behind;
mod openbao_is_a_key_service;
mod operations_are_rehearsed;
mod output_is_for_people_or_machines;
mod personal_data_is_still_found;
mod pipes_are_not_waited_for;
mod pulseplan_reads_its_own_status_right;
mod rotated_logs_are_sealed_as_they_close;
mod rotations_prove_and_hide_the_password;
mod scans_are_for_people_machines_and_hooks;
mod secrets_leave_the_env_file;
mod secrets_never_reach_the_output;
mod statements_take_their_time_and_no_more;
mod tables_of_any_kind_lose_nothing;
mod texts_that_begin_like_an_envelope;
mod the_floor_closes_the_door;
mod the_second_user_may_do_no_more_than_the_first;
mod values_move_between_key_services;
