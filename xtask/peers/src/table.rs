//! The tables, in Markdown.

use std::fmt::Write as _;

use crate::measure::{Time, Times};
use crate::peer::{ASHERAH, RAW, V2};

/// What each of them does, which its time buys.
const DIFFERENCES: &str = "\
| | key per value | bound to its cell | commits to its key | result | random bytes from | wiped after use |
| --- | --- | --- | --- | --- | --- | --- |
| v2, a data key for each value | yes, wrapped by the keyring | yes, by the context of the wrapped key | the wrapped key does | text | the operating system, each time | keys, schedules and plaintexts |
| v3, a data key for each value | yes, and one derived from it | yes, by associated data | yes | text | the operating system, each time | keys, schedules and plaintexts |
| v3, one data key for many values | derived for each from the shared one | yes, by associated data | yes | text | the operating system, each time | keys, schedules and plaintexts |
| AES-256-GCM alone | no | no | no | bytes, the nonce by itself | a generator in the process | the schedule |
| Asherah | yes, wrapped under its session's key | to the partition of the session | no | a record in memory, or JSON text | a generator in the process | the data key; not its schedule |
| Tink, one keyset | no | yes, by associated data | no | bytes | a generator in the process | nothing |
| Tink, envelope encryption | yes, wrapped under a keyset | yes, by associated data | no | bytes | a generator in the process | nothing |";

pub(crate) fn differences() -> &'static str {
    DIFFERENCES
}

/// The times for values of this length, and how they compare.
pub(crate) fn times(length: usize, times: &[(&str, Times)]) -> String {
    let both = |name: &str| times.iter().find(|(other, _)| *other == name).map(|(_, times)| times.both());
    let mut out = format!(
        "| {length} bytes, fastest round / median | seal | open | both | both, AES-256-GCM alone = 1 |\n| --- | ---: | ---: | ---: | ---: |\n"
    );
    for (name, times) in times {
        let factor = both(RAW).map_or(f64::NAN, |raw| times.both().median / raw.median);
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "| {name} | {} | {} | {} | {factor:.2} |",
            shown(times.seal),
            shown(times.open),
            shown(times.both())
        );
    }
    let ratio = |a: Option<f64>, b: Option<f64>| a.zip(b).map_or(f64::NAN, |(a, b)| a / b);
    let opened = times.iter().find(|(name, _)| *name == V2).map(|(_, times)| times.open.median);
    let (v2, raw, asherah) = (both(V2), both(RAW), both(ASHERAH));
    let median = |time: Option<Time>| time.map(|time| time.median);
    let _ = write!(
        out,
        "\nBy the medians, v2 takes {:.2} times what Asherah's record in memory takes, both ways; opening it from the cache takes \
         {:.2} times what AES-256-GCM alone takes both ways.",
        ratio(median(v2), median(asherah)),
        ratio(opened, median(raw)),
    );
    out
}

impl Times {
    /// Sealing and opening: the sum.
    fn both(&self) -> Time {
        Time { fastest: self.seal.fastest + self.open.fastest, median: self.seal.median + self.open.median }
    }
}

fn shown(time: Time) -> String {
    format!("{:.0} / {:.0} ns", time.fastest, time.median)
}
