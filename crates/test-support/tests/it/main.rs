//! The promises that other crates' tests rely on.
#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

mod aws_emulator;
mod parts_are_never_passed_over_in_silence;
mod real_servers;
mod wire_faults;
