//! Rewrapping: data keys under another key of the key service, payloads untouched and unseen. A value whose data key is
//! another service's is opened, and sealed again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use envelope_core::Format;
use envelope_core::format::has_strong_mark;
use zeroize::Zeroizing;

use crate::cipher::{Recorded, TokenCipher};
use crate::database::change::Change;
use crate::database::layout::Layout;
use crate::database::row::StoredRow;
use crate::error::{Needed, SealFailure};
use crate::marks::{Marks, Version};
use crate::plan::{CellCause, CellFailure, RowPlan, bad_record, readable};
use crate::profile::Unmarked;
use crate::write_format::WriteFormat;

/// Which data keys are re-wrapped.
#[derive(Clone, Debug, Default)]
pub(crate) struct RewrapGoal {
    /// Only those of rows that name one of these keys, see [`is_chosen`].
    pub(crate) from: Option<Vec<String>>,
    /// The key that they come under, as rows name it; where a row names it, nothing is left to do.
    pub(crate) to: String,
    /// Further keys that count as that one.
    pub(crate) also: Vec<String>,
    /// How a text without a mark is read, where a value has to be opened.
    pub(crate) unmarked: Unmarked,
    pub(crate) dry_run: bool,
    /// Set where a value has to be opened.
    pub(crate) opened: Arc<AtomicBool>,
}

impl RewrapGoal {
    /// Whether a row is re-wrapped that names this key. Rows of tables without version columns, and fields, name none, and
    /// always are.
    pub(super) fn chooses(&self, layout: &Layout, key: Option<&str>) -> bool {
        layout.version().is_none() || is_chosen(self.from.as_deref(), key)
    }
}

/// Whether a recorded key is one of those that are asked for. A key of Transit without its version is each of its versions.
pub(crate) fn is_chosen(from: Option<&[String]>, key: Option<&str>) -> bool {
    let is_version =
        |rest: &str| rest.strip_prefix(":v").is_some_and(|version| version.parse::<u32>().is_ok());
    let is_one = |key: &str, asked: &String| {
        key.strip_prefix(asked.as_str()).is_some_and(|rest| rest.is_empty() || is_version(rest))
    };
    from.is_none_or(|from| key.is_some_and(|key| from.iter().any(|asked| is_one(key, asked))))
}

/// Plans one row. Rows under another key than `from`, and rows of other versions than 2, are left as they are; one whose
/// texts are not of its version is named.
///
/// A dry run believes the key that a row names, where its data keys can be re-wrapped. Where it names none, only the key
/// service knows: it is asked as in a real run, and its answer is not stored. Values that have to be opened are.
pub(crate) async fn plan_rewrap(
    cipher: &TokenCipher,
    layout: &Layout,
    row: StoredRow,
    goal: &RewrapGoal,
) -> Result<RowPlan, CellFailure> {
    readable(&row)?;
    if !goal.chooses(layout, row.key_id.as_deref()) {
        return Ok(RowPlan::Already);
    }
    if !may_hold_envelopes(layout, &row) {
        check_version(layout, &row, goal)?;
        return Ok(RowPlan::Already);
    }
    if row.key_id.as_deref() == Some(&goal.to) {
        return Ok(RowPlan::Already);
    }
    let envelopes = row.values.iter().flatten().filter(|text| is_envelope(layout, text)).count() as u64;
    if envelopes == 0 {
        return without_envelopes(layout, row, goal);
    }
    let names_its_key = row.key_id.as_ref().is_some_and(|id| !id.is_empty());
    if goal.dry_run && names_its_key && can_be_rewrapped(cipher, layout, &row)? {
        return Ok(RowPlan::WouldChange { sealed: envelopes, calls: envelopes });
    }
    rewrap_row(cipher, layout, row, goal).await
}

/// Whether a row has version 2, or nothing but its texts says how they are stored.
fn may_hold_envelopes(layout: &Layout, row: &StoredRow) -> bool {
    layout.version().is_none() || Version::read(row.version.as_deref()) == Some(Version::Envelope)
}

/// A row of another version gets no new marks: they would be those of every value in it. So it is named where a text
/// contradicts its version.
fn check_version(layout: &Layout, row: &StoredRow, goal: &RewrapGoal) -> Result<(), CellFailure> {
    let recorded = Recorded::of(row, layout, goal.unmarked);
    for (column, value) in layout.table.tokens.iter().zip(&row.values) {
        let Some(text) = value.as_ref().filter(|text| !text.is_empty()) else { continue };
        let classified = TokenCipher::classify(text, recorded);
        classified.map_err(|cause| CellFailure { column: column.clone(), cause: cause.into() })?;
    }
    Ok(())
}

/// Whether a text is an envelope, or has to be one because its row says so: then it is opened, and named if it does not open.
fn is_envelope(layout: &Layout, text: &str) -> bool {
    has_strong_mark(text) || layout.version().is_some() && !text.is_empty()
}

/// Whether the key service can re-wrap the data keys of every value of a row.
fn can_be_rewrapped(cipher: &TokenCipher, layout: &Layout, row: &StoredRow) -> Result<bool, CellFailure> {
    for (column, value) in layout.table.tokens.iter().zip(&row.values) {
        let Some(text) = value.as_ref().filter(|text| is_envelope(layout, text)) else { continue };
        if !can_rewrap(cipher, column, text, row)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn can_rewrap(cipher: &TokenCipher, column: &str, text: &str, row: &StoredRow) -> Result<bool, CellFailure> {
    if !has_strong_mark(text) {
        return Ok(false);
    }
    let fail = |cause: CellCause| CellFailure { column: column.to_owned(), cause };
    let missing = SealFailure::MissingKey { format: Format::KmsEnvelope, needed: Needed::KeyService };
    let sealer = cipher.key_service().ok_or_else(|| fail(missing.into()))?;
    sealer.can_rewrap(text, row.key_id.as_deref()).map_err(|error| fail(error.into()))
}

/// A row of version 2 without any token comes under the key like its neighbours, or `status` would name the old one for
/// ever; every other row without an envelope stays as it is.
fn without_envelopes(layout: &Layout, row: StoredRow, goal: &RewrapGoal) -> Result<RowPlan, CellFailure> {
    if layout.version().is_none() {
        return Ok(RowPlan::Already);
    }
    if goal.dry_run {
        return Ok(RowPlan::WouldChange { sealed: 0, calls: 0 });
    }
    let marks = Marks::of(WriteFormat::KmsEnvelope, Some(goal.to.clone()));
    let values = row.values.clone();
    let change = Change::new(layout, row, values, marks).map_err(|error| bad_record(layout, error))?;
    Ok(RowPlan::Change { change, sealed: 0 })
}

async fn rewrap_row(
    cipher: &TokenCipher,
    layout: &Layout,
    row: StoredRow,
    goal: &RewrapGoal,
) -> Result<RowPlan, CellFailure> {
    let mut values = Vec::with_capacity(row.values.len());
    let (mut rewrapped, mut new_key_id) = (0, None);
    for (column, value) in layout.table.tokens.iter().zip(&row.values) {
        let Some(text) = value.as_ref().filter(|text| is_envelope(layout, text)) else {
            values.push(value.clone());
            continue;
        };
        let fail = |cause: CellCause| CellFailure { column: column.clone(), cause };
        let missing = SealFailure::MissingKey { format: Format::KmsEnvelope, needed: Needed::KeyService };
        let sealer = cipher.key_service().ok_or_else(|| fail(missing.into()))?;
        let binding = row.binding(layout, column);
        let key_id = row.key_id.as_deref();
        if !can_rewrap(cipher, column, text, &row)? {
            let opened = cipher.open(text, Recorded::of(&row, layout, goal.unmarked), &binding).await;
            let opened = opened.map_err(|error| fail(error.into()))?;
            rewrapped += 1;
            goal.opened.store(true, Ordering::Relaxed);
            if !goal.dry_run {
                let new = cipher.seal(WriteFormat::KmsEnvelope, &opened.plaintext, &binding).await;
                let new = new.map_err(|error| fail(error.into()))?;
                new_key_id = new.key_id.or(new_key_id);
                values.push(Some(Zeroizing::new(new.text)));
            }
            continue;
        }
        let new = sealer.rewrap(text, key_id, &binding).await.map_err(|error| fail(error.into()))?;
        rewrapped += u64::from(new.changed);
        new_key_id = new.key_id.or(new_key_id);
        values.push(Some(Zeroizing::new(new.text)));
    }
    // Data keys that are under the key already, in a row that names none or another, as an alias is.
    let is_misnamed = layout.version().is_some() && new_key_id.is_some() && new_key_id != row.key_id;
    if rewrapped == 0 && !is_misnamed {
        return Ok(RowPlan::Already);
    }
    if goal.dry_run {
        return Ok(RowPlan::WouldChange { sealed: rewrapped, calls: 0 });
    }
    let marks = Marks::of(WriteFormat::KmsEnvelope, new_key_id);
    let change = Change::new(layout, row, values, marks).map_err(|error| bad_record(layout, error))?;
    Ok(RowPlan::Change { change, sealed: rewrapped })
}

#[cfg(test)]
mod tests {
    use super::is_chosen;

    #[test]
    fn a_key_is_chosen_by_its_name_and_a_key_of_transit_also_without_its_version() {
        let from = ["keyring:a".to_owned(), "vault:transit/k".to_owned()];
        for (key, chosen) in [
            (Some("keyring:a"), true),
            (Some("vault:transit/k"), true),
            (Some("vault:transit/k:v12"), true),
            (Some("vault:transit/k2:v1"), false),
            (Some("vault:transit/k:vx"), false),
            (Some("keyring:ab"), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(is_chosen(Some(&from), key), chosen, "{key:?}");
            assert!(is_chosen(None, key) && !is_chosen(Some(&[]), key), "{key:?}");
        }
    }
}
