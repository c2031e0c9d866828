//! The obstacles to sealing a profile's columns, found before a row is touched.
//!
//! A finding that is refused ends a migration before its first row, because values would be lost, left readable or no
//! longer found; a warning lets the run continue, in which single rows may fail.

mod make;
mod own_columns;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::database::select::Range;
use crate::database::{self, layout::Layout};
use crate::error::StoreError;
use crate::migration::pending;
use crate::profile::Profile;
use crate::profile::types::{self, KeyType};
use crate::store::TokenStore;
use crate::write_format::WriteFormat;

#[cfg(feature = "mysql")]
pub(crate) use make::history;
pub(crate) use make::{
    accepts_lost_index, bad_filter, dependent, envelope_length, lost_index, referenced, too_short,
};

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
    /// Whether a migration continues.
    pub severity: Severity,
    /// The next step for the operator.
    pub hint: String,
}

/// Whether a migration continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Severity {
    /// A migration does not start while rows are pending.
    Refuse,
    /// A migration continues; rows may fail one by one.
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
    /// A type in the profile that is not the type of the key or owner column, so that a client would bind values to
    /// another text than the database has. The commands of this program ask the database, and continue.
    KeyType,
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
    /// A materialized view that keeps a copy of a token column.
    MaterializedView,
    /// Row-level security.
    RowSecurity,
    /// An engine without transactions.
    Engine,
    /// A published table whose rows cannot be identified by a subscriber.
    ReplicaIdentity,
    /// A foreign key that refers to a token column.
    Referenced,
    /// A history of the rows that the database keeps, readable values included.
    History,
    /// A blind index that is to be unique, and that no database index keeps so.
    IndexNotUnique,
    /// Blind indexes whose key is not stored.
    IndexKeyLost,
    /// A condition of the profile that names no column.
    Filter,
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
            Self::KeyType => "key-type",
            Self::ColumnType => "column-type",
            Self::ColumnLength => "column-length",
            Self::Index => "index",
            Self::UniqueIndex => "unique-index",
            Self::MissingColumn => "missing-column",
            Self::Trigger => "trigger",
            Self::Rule => "rule",
            Self::Check => "check",
            Self::DependentColumn => "dependent-column",
            Self::MaterializedView => "materialized-view",
            Self::RowSecurity => "row-security",
            Self::Engine => "engine",
            Self::ReplicaIdentity => "replica-identity",
            Self::Referenced => "referenced",
            Self::History => "history",
            Self::IndexNotUnique => "index-not-unique",
            Self::IndexKeyLost => "index-key-lost",
            Self::Filter => "filter",
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
/// Nothing is refused in a table without pending rows: existing sealed values still work.
///
/// # Errors
/// [`StoreError::Database`].
pub async fn findings(store: &TokenStore, to: WriteFormat) -> Result<Vec<Finding>, StoreError> {
    let mut all = Vec::new();
    for layout in store.layouts() {
        // Where the filter is at fault, no other statement about the table's rows works as it seems.
        match store.database().filter_fault(layout).await? {
            Some(fault) => all.push(fault),
            None => all.extend(of_table(store, layout, to).await?),
        }
    }
    Ok(all)
}

/// The obstacles in one table, whose filter is a condition.
async fn of_table(store: &TokenStore, layout: &Layout, to: WriteFormat) -> Result<Vec<Finding>, StoreError> {
    if layout.table.filter.is_some() {
        match store.database().count(layout, Range::default()).await {
            Err(error) if error.is_about_the_statement() && !error.is_whole() => {
                return Ok(vec![make::failing_filter(layout, &error)]);
            }
            counted => counted?,
        };
    }
    let mut found = of_layout(layout);
    found.extend(wrong_types(layout, store.database().has_uuids()));
    found.extend(store.database().obstacles(layout).await?);
    found.extend(of_indexes(store, layout).await?);
    // Rows without a value have nothing to lose.
    if store.database().count_unnamed(layout).await? == 0 {
        let null_keys = found.iter_mut().filter(|finding| finding.kind == Kind::NullKey);
        null_keys.for_each(|finding| finding.severity = Severity::Warn);
    }
    let is_about_rows =
        |finding: &Finding| finding.severity == Severity::Refuse && finding.kind != Kind::KeyType;
    if found.iter().any(is_about_rows) && pending(store, layout, to).await? == 0 {
        // The faults of an empty table's key are reported before the first row can be damaged.
        let is_empty = store.database().count(layout, Range::default()).await? == 0;
        let stays = |finding: &Finding| match finding.kind {
            Kind::KeyNotUnique | Kind::MissingColumn => is_empty,
            // No look-up and no write of the column works; the filter's rows are unknown; a
            // client writes wrong values even if no row is pending.
            Kind::IndexKeyLost | Kind::Filter | Kind::KeyType => true,
            _ => false,
        };
        found
            .iter_mut()
            .filter(|finding| !stays(finding))
            .for_each(|finding| finding.severity = Severity::Warn);
    }
    Ok(found)
}

/// The obstacles in the blind indexes: without their key, or without the database index that keeps them unique.
async fn of_indexes(store: &TokenStore, layout: &Layout) -> Result<Vec<Finding>, StoreError> {
    let mut found = Vec::new();
    if layout.table.index.is_empty() {
        return Ok(found);
    }
    let stored = store.database().index_keys(layout).await?;
    match store.check_not_lost(layout, &stored).await {
        Err(StoreError::IndexKeyLost { column, .. }) => found.push(make::key_lost(layout, &column)),
        checked => checked?,
    }
    for index in layout.table.index.iter().filter(|index| index.unique) {
        if store.database().indexed(&layout.table, &index.into).await? != Some(true) {
            found.push(make::not_unique(layout, &index.column, &index.into));
        }
    }
    Ok(found)
}

/// The types of each table's key and owner columns, as a profile gives them to clients that make keys canonical by
/// themselves: table → column → type.
#[must_use]
pub fn key_types(store: &TokenStore) -> BTreeMap<String, BTreeMap<String, String>> {
    let of_column = |layout: &Layout, name: &String| {
        let column = layout.column(name)?;
        Some((name.clone(), types::word(column.kind, &column.declared)?))
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
    found.extend(own_columns::of_own(layout));
    found
}

/// The types in the profile that are not those of their columns. Where the database has no type for UUIDs they are kept as
/// text, which a client reads if it is in lower case with hyphens. The types of a built-in profile are those of the original
/// tables, which the operator did not choose for this one.
fn wrong_types(layout: &Layout, has_uuids: bool) -> Vec<Finding> {
    let is_built_in = Profile::BUILT_IN.iter().any(|(name, _)| *name == layout.profile);
    let hint = "a client would bind values to another text than the database has, and they would not open: run \
                `migrate-tokens profile check --write`";
    let wrong = |(name, declared): (&String, &String)| {
        let column = layout.column(name)?;
        let severity = match KeyType::of(declared) {
            Some(declared) if declared.fits(column.kind) => return None,
            Some(KeyType::Uuid) if column.kind == database::Kind::Text && !has_uuids => Severity::Warn,
            _ if is_built_in => Severity::Warn,
            _ => Severity::Refuse,
        };
        let object = format!("{declared} in the profile, {} in the database", column.declared);
        Some(Finding::new(layout, Kind::KeyType, severity, hint).on(name).of(object))
    };
    layout.table.types.iter().filter_map(wrong).collect()
}

/// A problem of the column that describes the tokens to another program.
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
