//! The promises of the example service, one module per promise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails, fails")]

mod support;

mod each_class_of_error_counts;
mod every_documented_metric_is_scraped;
mod lines_for_cloudwatch_are_what_alarms_expect;
mod readiness_follows_what_is_needed;
mod refreshes_can_be_paused;
mod secrets_stay_inside;
mod shutdown_finishes_what_was_begun;
