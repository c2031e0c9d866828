//! The obstacles to sealing a profile's columns, found before a row is touched.
//!
//! A finding that is refused ends a migration before its first row, because values would be lost, left readable or no
//! longer found; one that is warned of lets the run go on, in which single rows may fail.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::database::select::Range;
use crate::database::{self, layout::Layout};
use crate::error::StoreError;
use crate::migration::pending;
use crate::profile::LostIndexes;
use crate::store::TokenStore;
use crate::write_format::WriteFormat;

/// One obstacle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The table.
    pub table: String,
    /// The column that it is about, where it is about one.
    pub column: Option<String>,
    /// The kind of obstacle.
    pub kind: Kind,
    /// The name of the index, trigger, constraint or other object, or the type of the column.
    pub object: Option<String>,
    /// Whether a migration goes on.
    pub severity: Severity,
    /// The next step for the operator.
    pub hint: String,
}

/// Whether a migration goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Severity {
    /// A migration does not start while rows are pending.
    Refuse,
    /// A migration goes on; rows may fail one by one.
    Warn,
}

/// The kinds of obstacles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// A token column that the database computes.
    GeneratedColumn,
    /// A key that the database does not guarantee to be unique.
    KeyNotUnique,
    /// A key column that is NULL in some rows.
    NullKey,
    /// A key or owner column whose values have no canonical text.
    NoCanonicalText,
    /// A token column that does not hold text.
    ColumnType,
    /// A token column that is too short for the largest envelope.
    ColumnLength,
    /// An index over a token column, which finds nothing after sealing.
    Index,
    /// A unique index over a token column, which guarantees nothing after sealing.
    UniqueIndex,
    /// A column of the profile that the table does not have.
    MissingColumn,
    /// A trigger.
    Trigger,
    /// A rewrite rule.
    Rule,
    /// A CHECK constraint on a token column.
    Check,
    /// A column that the database computes from a token column.
    DependentColumn,
    /// Row-level security.
    RowSecurity,
    /// An engine without transactions.
    Engine,
    /// A published table whose rows cannot be identified by a subscriber.
    ReplicaIdentity,
}

impl Kind {
    /// The kind as it is in JSON.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::GeneratedColumn => "generated-column",
            Self::KeyNotUnique => "key-not-unique",
            Self::NullKey => "null-key",
            Self::NoCanonicalText => "no-canonical-text",
            Self::ColumnType => "column-type",
            Self::ColumnLength => "column-length",
            Self::Index => "index",
            Self::UniqueIndex => "unique-index",
            Self::MissingColumn => "missing-column",
            Self::Trigger => "trigger",
            Self::Rule => "rule",
            Self::Check => "check",
            Self::DependentColumn => "dependent-column",
            Self::RowSecurity => "row-security",
            Self::Engine => "engine",
            Self::ReplicaIdentity => "replica-identity",
        }
    }
}

impl Finding {
    pub(crate) fn new(layout: &Layout, kind: Kind, severity: Severity, hint: impl Into<String>) -> Self {
        let table = layout.table.name.clone();
        Self { table, column: None, kind, object: None, severity, hint: hint.into() }
    }

    pub(crate) fn on(self, column: &str) -> Self {
        Self { column: Some(column.into()), ..self }
    }

    pub(crate) fn of(self, object: impl Into<String>) -> Self {
        Self { object: Some(object.into()), ..self }
    }

    /// The finding in one line, without its hint.
    #[must_use]
    pub fn summary(&self) -> String {
        let column = self.column.as_ref().map(|column| format!(".{column}")).unwrap_or_default();
        let object = self.object.as_ref().map(|object| format!(" {object}")).unwrap_or_default();
        format!("{}{column}: {}{object}", self.table, self.kind.label())
    }
}

/// Asks the database for the obstacles to moving the store's tables to a form.
///
/// Nothing is refused in a table without pending rows: what is there already goes on working.
///
/// # Errors
/// [`StoreError::Database`].
pub async fn findings(store: &TokenStore, to: WriteFormat) -> Result<Vec<Finding>, StoreError> {
    let mut all = Vec::new();
    for layout in store.layouts() {
        let mut found = of_layout(layout);
        found.extend(store.database().obstacles(layout).await?);
        if found.iter().any(|finding| finding.severity == Severity::Refuse)
            && pending(store, layout, to).await? == 0
        {
            // An empty table shows its key's faults before the first row comes to harm.
            let is_empty = store.database().count(layout, Range::default()).await? == 0;
            let stays = |finding: &Finding| match finding.kind {
                Kind::KeyNotUnique | Kind::MissingColumn => is_empty,
                _ => false,
            };
            found
                .iter_mut()
                .filter(|finding| !stays(finding))
                .for_each(|finding| finding.severity = Severity::Warn);
        }
        all.extend(found);
    }
    Ok(all)
}

/// The types of each table's key and owner columns, as a profile gives them to clients that make keys canonical by
/// themselves: table → column → type.
#[must_use]
pub fn key_types(store: &TokenStore) -> BTreeMap<String, BTreeMap<String, String>> {
    let of_column = |layout: &Layout, name: &String| {
        let column = layout.column(name)?;
        let declared = match column.kind {
            database::Kind::Integer => "bigint".into(),
            database::Kind::Uuid => "uuid".into(),
            database::Kind::Text => "text".into(),
            _ => column.declared.to_ascii_lowercase(),
        };
        Some((name.clone(), declared))
    };
    let of_table = |layout: &Layout| {
        let names = layout.table.key.iter().chain(&layout.table.owner);
        (layout.table.name.clone(), names.filter_map(|name| of_column(layout, name)).collect())
    };
    store.layouts().iter().map(of_table).collect()
}

/// The obstacles in the columns and the key by themselves.
fn of_layout(layout: &Layout) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(reason) = &layout.facts.not_unique {
        let hint =
            "name the columns that identify a row, or add a unique index that covers every row of the table";
        found.push(Finding::new(layout, Kind::KeyNotUnique, Severity::Refuse, hint).of(reason.clone()));
    }
    for name in layout.table.key.iter().chain(&layout.table.owner) {
        if let Some(column) = layout.column(name).filter(|column| !column.kind.is_canonical()) {
            let hint = "values are bound to the text of this column, and equal values of its type may have several: \
                        use a text, integer, uuid, boolean or numeric(p,s) column";
            let finding = Finding::new(layout, Kind::NoCanonicalText, Severity::Refuse, hint);
            found.push(finding.on(name).of(column.declared.clone()));
        }
    }
    for name in &layout.table.tokens {
        let Some(column) = layout.column(name) else { continue };
        if column.is_generated {
            let hint = "the database computes this column: name the column that it is computed from";
            found.push(Finding::new(layout, Kind::GeneratedColumn, Severity::Refuse, hint).on(name));
        } else if !column.holds_text {
            let finding =
                Finding::new(layout, Kind::ColumnType, Severity::Refuse, type_hint(&column.declared));
            found.push(finding.on(name).of(column.declared.clone()));
        }
    }
    if let Some(updated) = layout.table.updated.as_deref().filter(|name| !layout.has(name)) {
        let hint = "the profile's `updated` names a column that the table does not have, and would never be set: correct \
                    the name, or take it out";
        found.push(Finding::new(layout, Kind::MissingColumn, Severity::Refuse, hint).on(updated));
    }
    found.extend(of_record(layout));
    found
}

/// What is wrong with the column that describes the tokens to another program.
fn of_record(layout: &Layout) -> Option<Finding> {
    let record = layout.table.record.as_ref()?;
    let Some(column) = layout.column(&record.column) else {
        let hint = "the profile's `record` names a column that the table does not have: correct the name, or set \
                    optional = true in it";
        let finding = Finding::new(layout, Kind::MissingColumn, Severity::Refuse, hint).on(&record.column);
        return (!record.optional).then_some(finding);
    };
    let holds_json = column.holds_text || matches!(column.declared.as_str(), "json" | "jsonb");
    if holds_json && !column.is_generated {
        return None;
    }
    let hint = "a record of the tokens is kept in a column of type jsonb, json or text";
    let finding = Finding::new(layout, Kind::ColumnType, Severity::Refuse, hint);
    Some(finding.on(&record.column).of(column.declared.clone()))
}

/// The text that makes bytes or documents out of a column must be chosen by its owner.
fn type_hint(declared: &str) -> String {
    match declared {
        "bytea" => {
            "envelopes are text: add a text column, fill it with convert_from(…, 'UTF8') if the bytes are \
                    UTF-8 text or with encode(…, 'base64') if they are not, and change every reader first"
                .into()
        }
        "json" | "jsonb" => "envelopes are no JSON: move the value into a text column of its own".into(),
        _ => format!("envelopes are text, and {declared} does not hold every text: change its type to text"),
    }
}

/// Whether the profile accepts that an index over this column finds nothing after sealing.
pub(crate) fn accepts_lost_index(layout: &Layout, column: &str) -> bool {
    layout.table.lost_indexes == LostIndexes::Accept || layout.table.index_over(column).is_some()
}

/// Characters of the largest envelope for a value of so many bytes: a wrapped key of about 200 bytes, the header of
/// version 3 and base64 of the value with its nonce and tag.
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

#[cfg(test)]
mod tests {
    use super::envelope_length;

    #[test]
    fn an_envelope_is_longer_than_its_value() {
        assert_eq!(envelope_length(0), 540);
        assert!(envelope_length(3_000) > 4_500);
    }
}
