//! The promises of this crate, one module for each.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails, fails")]

mod a_concurrent_edit_survives;
mod a_file_is_whole_or_as_before;
mod only_regular_files_are_touched;
mod owner_and_permissions_are_kept;
