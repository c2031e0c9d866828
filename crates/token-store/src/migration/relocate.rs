//! Relocating: values whose row, owner, table or column got another name or key, opened under the address that they were
//! sealed for, and sealed for the one that they are at.

use envelope_core::{Binding, OpenError};
use zeroize::Zeroizing;

use super::{Failure, MAX_LISTED, Outcome, RelocateReport};
use crate::audit;
use crate::blind_index::Draft;
use crate::cipher::{OpenedCell, Recorded};
use crate::database::change::Change;
use crate::database::layout::Layout;
use crate::database::row::StoredRow;
use crate::database::swap::{Fate, Locked, Writing};
use crate::error::{SealFailure, StoreError};
use crate::marks::Marks;
use crate::plan::{CellCause, CellFailure, Goal, bad_record, readable};
use crate::store::{TokenKey, TokenStore};
use crate::write_format::WriteFormat;

/// The differences of a row's address when its values were sealed; everything that is left out is as today.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Former {
    /// The table's name.
    pub table: Option<String>,
    /// The token column's name.
    pub column: Option<String>,
    /// Key and owner columns, by the names that values are bound to: the value, or none where the column was not bound.
    pub columns: Vec<(String, Option<String>)>,
}

/// How often a row that others change is tried.
const ATTEMPTS: u32 = 4;
/// Its name in the audit trail.
const RELOCATE: &str = "relocate";

/// The result of one row.
enum Row {
    Relocated(u64),
    Already,
}

/// Relocates rows, one after the other. `progress` is called after each.
///
/// A value that opens where it is stays as it is. Values are written as [`TokenStore::put`] writes them: the whole row in
/// one statement, only if it is unchanged since it was read.
pub async fn relocate(
    store: &TokenStore,
    rows: &[(TokenKey, Former)],
    dry_run: bool,
    mut progress: impl FnMut(&RelocateReport),
) -> Outcome<RelocateReport> {
    if store.cipher().reads_below_floor() {
        store.trail(RELOCATE).below_floor();
    }
    let mut report = RelocateReport { dry_run, ..RelocateReport::default() };
    for (key, former) in rows {
        report.scanned += 1;
        match row(store, key, former, dry_run).await {
            Ok(Row::Relocated(values)) => {
                report.relocated += 1;
                report.values += values;
            }
            Ok(Row::Already) => report.already += 1,
            Err(Problem::Ends(error)) => return Outcome { report, ended_by: Some(error.into()) },
            Err(Problem::Row(failure)) => {
                report.failed += 1;
                if report.failures.len() < MAX_LISTED {
                    report.failures.push(failure);
                }
            }
        }
        progress(&report);
    }
    report.left = Some(report.failed);
    Outcome { report, ended_by: None }
}

enum Problem {
    Row(Failure),
    Ends(StoreError),
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::Ends(error)
    }
}

async fn row(store: &TokenStore, key: &TokenKey, former: &Former, dry_run: bool) -> Result<Row, Problem> {
    let layout = store.layout(key)?;
    let fail = |columns: &str, class: &str, error: &(dyn std::error::Error + 'static)| {
        let name = crate::database::row::row_name(&layout.table.key, key.values());
        Problem::Row(Failure::new(&layout.table.name, name, columns, class, error))
    };
    let columns = layout.table.tokens.join(",");
    for _ in 0..ATTEMPTS {
        let found = match store.find_row(layout, key).await {
            Ok(Some(found)) => found,
            Ok(None) => {
                let row = crate::database::row::row_name(&layout.table.key, key.values());
                let error = StoreError::NotFound { table: layout.table.name.clone(), row };
                return Err(fail(&columns, error.class(), &error));
            }
            Err(StoreError::Database(error)) if !error.is_about_rows() => {
                return Err(Problem::Ends(error.into()));
            }
            Err(error) => return Err(fail(&columns, error.class(), &error)),
        };
        let planned = plan(store, layout, found, former, dry_run).await;
        let planned =
            planned.map_err(|failure| fail(&failure.column, failure.cause.class(), &failure.cause))?;
        let (change, values) = match planned {
            Plan::Already => return Ok(Row::Already),
            Plan::Would(values) => return Ok(Row::Relocated(values)),
            Plan::Change(change, values) => (change, values),
        };
        let writing = Writing::tokens(Locked::Wait);
        let fates = match store.database().swap(layout, std::slice::from_ref(&*change), &writing).await {
            // The next row may meet no lock.
            Err(error) if error.is_transient() => return Err(fail(&columns, "conflict", &error)),
            fates => fates,
        };
        match fates.map_err(StoreError::from)?.into_iter().next() {
            Some(Fate::Written) => {
                store.trail(RELOCATE).changed(audit::ROW_RELOCATED, layout, &change);
                return Ok(Row::Relocated(values));
            }
            Some(Fate::Refused(error)) => return Err(fail(&columns, "database", &error)),
            Some(Fate::Blocked(error)) => return Err(fail(&columns, "conflict", &error)),
            Some(Fate::Altered) => {
                let (table, row) = (layout.table.name.clone(), change.old.name(layout));
                return Err(fail(&columns, "database", &StoreError::Altered { table, row }));
            }
            Some(Fate::Stale) => store.held_keys().forget(&layout.table.name),
            Some(Fate::Unmatched) | None => {}
        }
    }
    let row = crate::database::row::row_name(&layout.table.key, key.values());
    let error = StoreError::Contended { table: layout.table.name.clone(), row };
    Err(fail(&columns, error.class(), &error))
}

enum Plan {
    Already,
    Would(u64),
    Change(Box<Change>, u64),
}

/// Opens every value where it is, or else at its former address; if one moved, all of the row are sealed for today's.
async fn plan(
    store: &TokenStore,
    layout: &Layout,
    row: StoredRow,
    former: &Former,
    dry_run: bool,
) -> Result<Plan, CellFailure> {
    readable(&row)?;
    let (mut opened, mut moved) = (Vec::with_capacity(row.values.len()), 0);
    for (column, value) in layout.table.tokens.iter().zip(&row.values) {
        let Some(text) = value.as_ref().filter(|text| !text.is_empty()) else {
            opened.push(None);
            continue;
        };
        let fail = |cause: OpenError| CellFailure { column: column.clone(), cause: cause.into() };
        let (cell, is_moved) = open(store, layout, &row, column, text, former).await.map_err(fail)?;
        moved += u64::from(is_moved);
        opened.push(Some(cell));
    }
    if moved == 0 {
        return Ok(Plan::Already);
    }
    if dry_run {
        return Ok(Plan::Would(moved));
    }
    let format = store.write_format();
    if format == WriteFormat::Plaintext {
        // A sealed value does not become a readable one because it moved.
        let cause = SealFailure::PlaintextForbidden.into();
        return Err(CellFailure { column: layout.table.tokens.join(","), cause });
    }
    let (mut values, mut key_id) = (Vec::with_capacity(opened.len()), None);
    let goal = Goal { format, rebind: false, dry_run };
    let draft = Draft::new(layout, &row, store.index_keys_for(layout, goal).await?);
    for ((column, cell), stored) in layout.table.tokens.iter().zip(opened).zip(&row.values) {
        let Some(cell) = cell else {
            values.push(stored.clone());
            continue;
        };
        let fail = |cause: CellCause| CellFailure { column: column.clone(), cause };
        draft.set(column, &cell.plaintext);
        let sealed = store.cipher().seal(format, &cell.plaintext, &row.binding(layout, column)).await;
        let sealed = sealed.map_err(|error| fail(error.into()))?;
        key_id = sealed.key_id.or(key_id);
        values.push(Some(Zeroizing::new(sealed.text)));
    }
    let indexes = draft.finish();
    let change = Change::new(layout, row, values, Marks::of(format, key_id));
    let change = change.map_err(|error| bad_record(layout, error))?.with_indexes(indexes);
    Ok(Plan::Change(Box::new(change), moved))
}

/// Opens a value at today's address, or else at its former one, under the former column's name or today's; says whether it
/// moved.
async fn open(
    store: &TokenStore,
    layout: &Layout,
    row: &StoredRow,
    column: &str,
    text: &str,
    former: &Former,
) -> Result<(OpenedCell, bool), OpenError> {
    let recorded = Recorded::of(row, layout, store.profile().unmarked);
    let today = row.binding(layout, column);
    let refused = match store.cipher().open(text, recorded, &today).await {
        Ok(cell) => return Ok((cell, false)),
        Err(error) => error,
    };
    let own = layout.table.bound_column(column);
    for name in former.column.as_deref().into_iter().chain([own]) {
        let binding = former_binding(layout, row, former, name);
        if let Ok(cell) = store.cipher().open(text, recorded, &binding).await {
            return Ok((cell, true));
        }
    }
    Err(refused)
}

fn former_binding<'a>(
    layout: &'a Layout,
    row: &'a StoredRow,
    former: &'a Former,
    column: &'a str,
) -> Binding<'a> {
    let table = &layout.table;
    let mut binding = Binding::new(former.table.as_deref().unwrap_or(table.bound_name()), column);
    let was = |name: &str| former.columns.iter().find(|(column, _)| column == name).map(|(_, value)| value);
    for (name, value) in table.key.iter().zip(row.key.iter()) {
        let name = table.bound_column(name);
        match was(name) {
            Some(former) => {
                if let Some(former) = former {
                    binding = binding.key(name, former);
                }
            }
            None => binding = binding.key(name, value),
        }
    }
    for (name, value) in table.owner.iter().zip(&row.owner) {
        let name = table.bound_column(name);
        let value = was(name).map_or(value.as_deref(), Option::as_deref);
        binding = binding.owner(name, value.unwrap_or_default());
    }
    // Columns that were bound and are no more: part of an earlier key.
    let own =
        |name: &str| table.key.iter().chain(&table.owner).any(|column| table.bound_column(column) == name);
    for (name, value) in former.columns.iter().filter(|(name, _)| !own(name)) {
        if let Some(value) = value {
            binding = binding.key(name, value);
        }
    }
    binding
}
