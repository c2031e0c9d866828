//! The peers, and the order in which they are shown.

mod asherah;
mod raw;
mod tink;
mod tokenseal;

use crate::measure::Contest;

/// The limits are about this one.
pub(crate) const V2: &str = "v2, a data key for each value";
/// What everything is compared with in the table.
pub(crate) const RAW: &str = "AES-256-GCM alone, key prepared";
pub(crate) const ASHERAH: &str = "Asherah, its record in memory";

/// All of them, for values like this one.
pub(crate) fn contests(value: &str) -> anyhow::Result<Vec<Contest>> {
    let mut contests = tokenseal::contests(value)?;
    contests.extend(raw::contests(value)?);
    contests.extend(asherah::contests(value)?);
    contests.extend(tink::contests(value)?);
    Ok(contests)
}
