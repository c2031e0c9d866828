//! Rewrapping: data keys under another key of the key service, payloads untouched and unseen. A value whose data key is
//! another service's is opened, and sealed again.

use envelope_core::Format;
use envelope_core::format::has_strong_mark;
use zeroize::Zeroizing;

use crate::cipher::{Recorded, TokenCipher};
use crate::database::change::{Change, Marks};
use crate::database::layout::Layout;
use crate::database::row::StoredRow;
use crate::error::{Needed, SealFailure};
use crate::plan::{CellCause, CellFailure, RowPlan, bad_record, readable};
use crate::profile::Unmarked;
use crate::write_format::WriteFormat;

/// Which data keys are re-wrapped.
#[derive(Clone, Debug, Default)]
pub(crate) struct RewrapGoal {
    /// Only those of rows that name this key.
    pub(crate) from: Option<String>,
    /// The key that they come under, as rows name it; where a row names it, nothing is left to do.
    pub(crate) to: String,
    /// Further keys that count as that one.
    pub(crate) also: Vec<String>,
    /// How a text without a mark is read, where a value has to be opened.
    pub(crate) unmarked: Unmarked,
    pub(crate) dry_run: bool,
}

/// Plans one row. Rows under another key than `from`, and those with something else than envelopes, are left as they are.
///
/// A dry run believes the key that a row names. Where it names none, only the key service knows: it is asked as
/// in a real run, and its answer is not stored.
pub(crate) async fn plan_rewrap(
    cipher: &TokenCipher,
    layout: &Layout,
    row: StoredRow,
    goal: &RewrapGoal,
) -> Result<RowPlan, CellFailure> {
    readable(&row)?;
    let is_other = goal.from.is_some() && layout.version().is_some() && row.key_id != goal.from;
    let envelopes = row.values.iter().flatten().filter(|text| has_strong_mark(text)).count() as u64;
    if is_other || row.key_id.as_deref() == Some(&goal.to) {
        return Ok(RowPlan::Already);
    }
    if envelopes == 0 {
        return without_envelopes(layout, row, goal);
    }
    let names_its_key = row.key_id.as_ref().is_some_and(|id| !id.is_empty());
    if goal.dry_run && names_its_key {
        return Ok(RowPlan::WouldChange { sealed: envelopes, calls: envelopes });
    }
    Ok(match rewrap_row(cipher, layout, row, goal).await? {
        RowPlan::Change { sealed, .. } if goal.dry_run => RowPlan::WouldChange { sealed, calls: 0 },
        plan => plan,
    })
}

/// A row of version 2 without any token comes under the key like its neighbours, or `status` would name the old one for
/// ever; every other row without an envelope stays as it is.
fn without_envelopes(layout: &Layout, row: StoredRow, goal: &RewrapGoal) -> Result<RowPlan, CellFailure> {
    let holds_nothing = row.values.iter().flatten().all(|text| text.is_empty());
    if layout.version().is_none() || row.version.as_deref() != Some("2") || !holds_nothing {
        return Ok(RowPlan::Already);
    }
    if goal.dry_run {
        return Ok(RowPlan::WouldChange { sealed: 0, calls: 0 });
    }
    let marks = Marks { version: 2, method: Some("kms-envelope".into()), key_id: Some(goal.to.clone()) };
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
        let Some(text) = value.as_ref().filter(|text| has_strong_mark(text)) else {
            values.push(value.clone());
            continue;
        };
        let fail = |cause: CellCause| CellFailure { column: column.clone(), cause };
        let missing = SealFailure::MissingKey { format: Format::KmsEnvelope, needed: Needed::KeyService };
        let sealer = cipher.key_service().ok_or_else(|| fail(missing.into()))?;
        let binding = row.binding(layout, column);
        let key_id = row.key_id.as_deref();
        if !sealer.can_rewrap(text, key_id).map_err(|error| fail(error.into()))? {
            let opened = cipher.open(text, Recorded::of(&row, layout, goal.unmarked), &binding).await;
            let opened = opened.map_err(|error| fail(error.into()))?;
            rewrapped += 1;
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
    if goal.dry_run && rewrapped > 0 {
        return Ok(RowPlan::WouldChange { sealed: rewrapped, calls: 0 });
    }
    if rewrapped == 0 {
        return Ok(RowPlan::Already);
    }
    let marks = Marks { version: 2, method: Some("kms-envelope".into()), key_id: new_key_id };
    let change = Change::new(layout, row, values, marks).map_err(|error| bad_record(layout, error))?;
    Ok(RowPlan::Change { change, sealed: rewrapped })
}
