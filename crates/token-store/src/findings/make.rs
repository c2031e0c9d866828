//! The findings that more than one database makes.

use super::{Finding, Kind, Severity};
use crate::database::layout::Layout;
use crate::error::DatabaseError;
#[cfg(feature = "mysql")]
use crate::profile::History;
use crate::profile::LostIndexes;

/// Whether the profile accepts that an index over this column finds nothing after sealing.
pub(crate) fn accepts_lost_index(layout: &Layout, column: &str) -> bool {
    layout.table.lost_indexes == LostIndexes::Accept || layout.table.index_over(column).is_some()
}

/// Characters of the largest envelope for a value of this length in bytes: a wrapped key of about 200 bytes,
/// the header of version 3 and base64 of the value with its nonce and tag.
pub(crate) fn envelope_length(value: u64) -> u64 {
    const HEADER: u64 = 500;
    HEADER + (value + 28).div_ceil(3) * 4
}

/// The finding about a column that does not hold the envelope of its largest value.
pub(crate) fn too_short(layout: &Layout, column: &str, declared: &str, largest: u64) -> Finding {
    let hint = format!(
        "the envelope of its largest value may take {} characters: change its type to text",
        envelope_length(largest)
    );
    Finding::new(layout, Kind::ColumnLength, Severity::Refuse, hint).on(column).of(declared)
}

/// The finding about a filter that the database does not take.
pub(crate) fn bad_filter(layout: &Layout) -> Finding {
    let hint = "the database does not take the profile's `filter` as a condition: correct it, as it would be after WHERE; each \
                parenthesis and quote in it has its other half";
    Finding::new(layout, Kind::Filter, Severity::Refuse, hint)
}

/// The finding about a filter that the database takes, and that fails on rows.
pub(crate) fn failing_filter(layout: &Layout, error: &DatabaseError) -> Finding {
    let hint = format!(
        "the database takes the profile's `filter` as a condition, and reading rows by it fails ({error}): write it so that it \
         has an answer for every row"
    );
    Finding::new(layout, Kind::Filter, Severity::Refuse, hint)
}

/// The finding about an index over a token column.
pub(crate) fn lost_index(layout: &Layout, column: &str, index: &str, unique: bool) -> Finding {
    let (kind, what) = match unique {
        true => (Kind::UniqueIndex, "guarantees nothing: equal values have different envelopes"),
        false => (Kind::Index, "finds nothing: a query by value matches no envelope"),
    };
    let hint = format!(
        "after sealing this index {what}. To go on finding rows by {column:?}, add a blind index to the profile: {}. If \
         nothing relies on it, drop it or set lost_indexes = \"accept\" in the profile",
        offered(column, unique)
    );
    Finding::new(layout, kind, Severity::Refuse, hint).on(column).of(index)
}

/// The profile lines of a blind index over a column, on one line.
fn offered(column: &str, unique: bool) -> String {
    let name = column.to_ascii_lowercase();
    let is_about = |words: &[&str]| words.iter().any(|word| name.contains(word));
    let normalize = match () {
        () if is_about(&["mail"]) => "email",
        () if is_about(&["phone", "mobile"]) => "e164",
        () => "none",
    };
    let into = format!("{column}_index");
    let unique = if unique { " unique = true" } else { "" };
    format!(
        "[[tables.index]] column = {column:?} into = {into:?} normalize = {normalize:?} bits = 256{unique} (each on a line \
         of its own), then run `migrate-tokens schema`"
    )
}

/// The finding about a foreign key that refers to a token column.
///
/// Where the database would change the rows that refer to it, they would get an envelope or nothing instead of their value;
/// where it would not, it refuses the rows that are referred to.
pub(crate) fn referenced(layout: &Layout, column: &str, constraint: &str, changes: bool) -> Finding {
    let (severity, hint) = match changes {
        true => (
            Severity::Refuse,
            "the database changes the rows that refer to this column when a value is sealed, and their values are lost: let \
             them refer to the key instead, or drop the foreign key",
        ),
        false => (
            Severity::Warn,
            "the database refuses to change a value that is referred to: such rows are named and stay as they are. Let others \
             refer to the key instead, or drop the foreign key",
        ),
    };
    Finding::new(layout, Kind::Referenced, severity, hint).on(column).of(constraint)
}

/// The finding about a table whose history the database keeps: a run itself writes the readable values into it.
#[cfg(feature = "mysql")]
pub(crate) fn history(layout: &Layout) -> Finding {
    let (severity, hint) = match layout.table.history {
        History::Refuse => (
            Severity::Refuse,
            "the table has SYSTEM VERSIONING: its history keeps every readable value, and a run adds each that it seals. Drop it \
             (ALTER TABLE … DROP SYSTEM VERSIONING) before the run, or set history = \"accept\" in the profile and remove it \
             after the run (DELETE HISTORY FROM …)",
        ),
        History::Accept => (
            Severity::Warn,
            "the table has SYSTEM VERSIONING: readable values stay in its history until you remove it (DELETE HISTORY FROM …)",
        ),
    };
    Finding::new(layout, Kind::History, severity, hint)
}

/// The finding about blind indexes whose key is not stored.
pub(crate) fn key_lost(layout: &Layout, column: &str) -> Finding {
    let hint = "rows have blind indexes, and their key is not in tokenseal_index_keys: under a new one they would not be found. \
                Give the profile its former name, `bound_as` or `bound_columns` back, or copy the rows of tokenseal_index_keys \
                into the schema that the table is in now";
    Finding::new(layout, Kind::IndexKeyLost, Severity::Refuse, hint).on(column).of(layout.profile.clone())
}

/// The finding about a blind index that the profile calls unique.
pub(crate) fn not_unique(layout: &Layout, column: &str, into: &str) -> Finding {
    let hint = "the profile says `unique`, and no unique database index over this column alone keeps equal values out: run \
                `migrate-tokens schema`";
    Finding::new(layout, Kind::IndexNotUnique, Severity::Refuse, hint).on(column).of(into)
}

/// The finding about a column that the database computes from a token column.
pub(crate) fn dependent(layout: &Layout, token: &str, column: &str) -> Finding {
    let is = |names: &[String]| names.iter().any(|name| name == column);
    let (severity, hint) = match is(&layout.table.key) || is(&layout.table.owner) {
        true => (
            Severity::Refuse,
            "the database computes this column from the sealed text, and values are bound to it: sealing a value would change \
             the key or owner that it is sealed for. Name a column that does not depend on the token",
        ),
        false => (
            Severity::Warn,
            "the database computes it from the sealed text: it holds nothing useful after sealing, or refuses rows",
        ),
    };
    Finding::new(layout, Kind::DependentColumn, severity, hint).on(token).of(column)
}

#[cfg(test)]
mod tests {
    use super::envelope_length;

    #[test]
    fn an_envelope_is_longer_than_its_value() {
        assert_eq!(envelope_length(0), 540);
        assert!(envelope_length(3_000) > 4_500);
    }
}
