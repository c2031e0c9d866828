//! Audit events: who did what to which row, and how it ended; never a value.
//!
//! Every event is a `tracing` event of the target [`TARGET`], so a subscriber decides where the trail goes. Its fields
//! are `event`, `actor`, `operation`, `table`, `row`, `column`, `from_version`, `to_version`, `method`, `key`,
//! `statement`, `outcome` and `correlation_id`, and counts where a run begins or ends; those that do not apply are left
//! out. [`TOKEN_READ`] is of level DEBUG, since it may occur thousands of times a second; everything else is INFO, and
//! failures and weaker writes are WARN.

mod trail;

pub(crate) use trail::{RunCounts, Trail, VerificationCounts, schema_changed};

/// The target of every audit event.
pub const TARGET: &str = "audit";

/// A row's tokens were read; `outcome` is `ok`, or `not_found` where there is no such row.
pub const TOKEN_READ: &str = "token_read";
/// A row's tokens were written, or a new row was made.
pub const TOKEN_WRITTEN: &str = "token_written";
/// In addition to [`TOKEN_WRITTEN`]: in direct AES, because the key service was unavailable.
pub const FALLBACK_WRITE: &str = "fallback_write";
/// Beside [`TOKEN_WRITTEN`]: readable by everyone who reads the table.
pub const PLAINTEXT_WRITTEN: &str = "plaintext_written";
/// A row was not written or not deleted; `outcome` says why: `plaintext_forbidden`, `denied`, `database`, ….
pub const TOKEN_WRITE_FAILED: &str = "token_write_failed";
/// A row was deleted.
pub const TOKEN_DELETED: &str = "token_deleted";
/// A stored value did not open; `outcome` says how, `operation` on which occasion.
pub const DECRYPTION_FAILED: &str = "decryption_failed";
/// A row was re-sealed because it was read in an older form.
pub const ROW_RESEALED: &str = "row_resealed";
/// A migration moved a row to the same or a higher version.
pub const ROW_MIGRATED: &str = "row_migrated";
/// A migration moved a row to a lower version.
pub const ROW_ROLLED_BACK: &str = "row_rolled_back";
/// A row's data keys were re-wrapped.
pub const ROW_REWRAPPED: &str = "row_rewrapped";
/// A row was sealed for the address that it is at, after it got another key, owner, table or column.
pub const ROW_RELOCATED: &str = "row_relocated";
/// A search for rows by a sealed value; `outcome` is `ok`, or `not_found` if no row matches.
pub const TOKEN_SEARCHED: &str = "token_searched";
/// A row's blind indexes were rewritten under another key.
pub const ROW_REINDEXED: &str = "row_reindexed";
/// The key of a blind index was made.
pub const INDEX_KEY_MADE: &str = "index_key_made";
/// The key of a blind index was wrapped again.
pub const INDEX_KEY_REWRAPPED: &str = "index_key_rewrapped";
/// The key of a blind index was removed, because no index is under it any more.
pub const INDEX_KEY_REMOVED: &str = "index_key_removed";
/// A migration or a rewrap began.
pub const RUN_STARTED: &str = "run_started";
/// Before [`RUN_STARTED`]: the run may read values below the floor.
pub const BELOW_FLOOR: &str = "below_floor_allowed";
/// A migration or a rewrap ended; `outcome` says how.
pub const RUN_FINISHED: &str = "run_finished";
/// A verification ended; `outcome` says how.
pub const VERIFICATION_FINISHED: &str = "verification_finished";
/// A column was added to a table.
pub const SCHEMA_CHANGED: &str = "schema_changed";
