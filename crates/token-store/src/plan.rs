//! The change of one row, decided and sealed without a transaction.

use envelope_core::format::{FormatError, kms_envelope};
use envelope_core::{Binding, BindingPolicy, ErrorClass, Format, KeyError, OpenError, SealError};
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use std::sync::Arc;

use crate::audit::Trail;
use crate::blind_index::{Draft, LayoutKeys};
use crate::cipher::{OpenedCell, Recorded, TokenCipher};
use crate::database::Text;
use crate::database::change::Change;
use crate::database::index::IndexEntries;
use crate::database::layout::Layout;
use crate::database::row::{NoText, StoredRow, Unreadable};
use crate::error::{CorrelationId, DatabaseError, Needed, SealFailure, StoreError};
use crate::marks::{Marks, is_named};
use crate::profile::Unmarked;
use crate::record::{self, RecordError};
use crate::write_format::WriteFormat;

/// The new contents of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Goal {
    pub(crate) format: WriteFormat,
    /// Also open envelopes, and rewrite those that are not bound to their row.
    pub(crate) rebind: bool,
    /// Open what a real run would open, and seal nothing.
    pub(crate) dry_run: bool,
}

/// The decision about one row.
pub(crate) enum RowPlan {
    /// It is there already.
    Already,
    /// It is to be written; the number of its values that were sealed.
    Change { change: Change, sealed: u64 },
    /// It would be written: the number of sealed values, and of calls to the key service that were not made
    /// now.
    WouldChange { sealed: u64, calls: u64 },
    /// It is at the target, and the method in its column has to be corrected; a dry run makes no change.
    Corrects(Option<Change>),
    /// It cannot be moved.
    Failed(CellFailure),
    /// One of its values cannot be moved, and the others are: in a table without version columns, each says for itself how it
    /// is stored.
    Partly { rest: Box<RowPlan>, failure: CellFailure },
}

/// Why a cell, and with it its row, stays as it is.
#[derive(Clone, Debug)]
pub(crate) struct CellFailure {
    pub(crate) column: String,
    pub(crate) cause: CellCause,
}

#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum CellCause {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Seal(#[from] SealFailure),
    #[error(transparent)]
    Unreadable(#[from] NoText),
    #[error("index keys cannot be read")]
    IndexKeys(#[source] DatabaseError),
}

impl CellCause {
    pub(crate) fn class(&self) -> &'static str {
        match self {
            Self::Open(error) => error.class(),
            Self::Seal(error) => error.class(),
            Self::Unreadable(_) => "unreadable",
            Self::IndexKeys(_) => "database",
        }
    }

    /// The setting that is missing, where that is the cause.
    pub(crate) fn needed(&self) -> Option<Needed> {
        match self {
            Self::Open(error) => error.needed(),
            Self::Seal(SealFailure::MissingKey { needed, .. }) => Some(*needed),
            Self::Seal(_) | Self::Unreadable(_) | Self::IndexKeys(_) => None,
        }
    }
}

impl CellFailure {
    /// The key service's own error, if it does not answer or refuses every caller: continuing makes no sense.
    pub(crate) fn outage(&self) -> Option<&KeyError> {
        match &self.cause {
            CellCause::Seal(SealFailure::Envelope(SealError::Key(error))) => {
                error.class().is_outage().then_some(error)
            }
            CellCause::Open(OpenError::Key(error)) => concerns_every_value(error).then_some(error),
            _ => None,
        }
    }

    /// Reports to the log and the audit trail. A value that does not open is given a name, for reports to repeat.
    pub(crate) fn tell(&self, trail: Trail<'_>, layout: &Layout, row: &str) -> Option<CorrelationId> {
        match &self.cause {
            CellCause::Open(error) => Some(trail.did_not_open(layout, row, &self.column, error)),
            CellCause::Seal(error) => {
                trail.write_failed(layout, row, error.class(), None);
                None
            }
            CellCause::Unreadable(_) | CellCause::IndexKeys(_) => {
                trail.write_failed(layout, row, self.cause.class(), None);
                None
            }
        }
    }
}

/// Whether a failure to open one value would meet every other as well. A disabled or deleted key concerns the rows
/// under that key; another row may be under another.
pub(crate) fn concerns_every_value(error: &KeyError) -> bool {
    error.class().is_retryable() || matches!(error.class(), ErrorClass::Denied | ErrorClass::Misconfigured)
}

/// The key that rows without any token name: the current one, so that they count with their neighbours. It is
/// asked for once, and only where there is such a row.
#[derive(Default)]
pub(crate) struct CurrentKey(OnceCell<String>);

impl CurrentKey {
    async fn id(&self, cipher: &TokenCipher) -> Option<String> {
        let provider = cipher.key_service()?.provider();
        let ask = async || provider.describe().await.map(|key| key.key_id);
        self.0.get_or_try_init(ask).await.ok().cloned()
    }
}

/// Plans one row: opens what has to be opened and seals it again.
pub(crate) async fn plan(
    cipher: &TokenCipher,
    layout: &Layout,
    unmarked: Unmarked,
    row: StoredRow,
    goal: Goal,
    current_key: &CurrentKey,
    keys: Option<Arc<LayoutKeys>>,
) -> RowPlan {
    let planner = Planner { cipher, layout, unmarked, goal, current_key, keys };
    planner.plan(row).await.unwrap_or_else(RowPlan::from)
}

/// A row whose record cannot be kept true is left as it is.
pub(crate) fn bad_record(layout: &Layout, error: RecordError) -> CellFailure {
    let column = layout.record().map(|record| record.column.clone()).unwrap_or_default();
    CellFailure { column, cause: SealFailure::from(error).into() }
}

/// A row whose version no program of this project writes is left as it is.
fn unknown_version(layout: &Layout) -> CellFailure {
    let column = layout.version().map(|columns| columns.version.clone()).unwrap_or_default();
    CellFailure { column, cause: OpenError::from(FormatError::UnknownVersion).into() }
}

/// A row with a column that is no text is left as it is.
pub(crate) fn readable(row: &StoredRow) -> Result<(), CellFailure> {
    match row.unreadable.as_deref() {
        Some(Unreadable { column, reason }) => {
            Err(CellFailure { column: column.clone(), cause: reason.clone().into() })
        }
        None => Ok(()),
    }
}

impl From<CellFailure> for RowPlan {
    fn from(failure: CellFailure) -> Self {
        Self::Failed(failure)
    }
}

/// A failure to get index keys, as one of a cell.
impl From<StoreError> for CellFailure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::IndexKey { column, source, .. } => Self { column, cause: source.into() },
            StoreError::Database(error) => Self { column: String::new(), cause: CellCause::IndexKeys(error) },
            other => {
                let error = DatabaseError::of_row(other.to_string());
                Self { column: String::new(), cause: CellCause::IndexKeys(error) }
            }
        }
    }
}

/// A row that gets other indexes, if they are others, and stays as it is otherwise.
pub(crate) fn reindexed(
    layout: &Layout,
    row: StoredRow,
    indexes: IndexEntries,
) -> Result<RowPlan, CellFailure> {
    if indexes.values == row.indexes {
        return Ok(RowPlan::Already);
    }
    let marks = Marks::read(&row).ok_or_else(|| unknown_version(layout))?;
    let values = row.values.clone();
    let change = Change::new(layout, row, values, marks).map_err(|error| bad_record(layout, error))?;
    Ok(RowPlan::Change { change: change.with_indexes(indexes), sealed: 0 })
}

/// The state of one of a row's values.
enum Cell {
    /// It is in the form that the row is to have.
    There,
    Opened(OpenedCell),
    /// There is none, or its text stays as it is.
    Stays,
}

struct Planner<'a> {
    cipher: &'a TokenCipher,
    layout: &'a Layout,
    unmarked: Unmarked,
    goal: Goal,
    current_key: &'a CurrentKey,
    /// The keys of the table's blind indexes; without any, rows get none.
    keys: Option<Arc<LayoutKeys>>,
}

impl Planner<'_> {
    async fn plan(&self, row: StoredRow) -> Result<RowPlan, CellFailure> {
        readable(&row)?;
        let mut there = self.marks_are_there(&row);
        let mut failure = None;
        let is_described = record::is_true(self.layout, &row, self.goal.format.method());
        let mut cells = Vec::with_capacity(row.values.len());
        for (column, value) in self.layout.table.tokens.iter().zip(&row.values) {
            let Some(text) = value.as_ref().filter(|text| !text.is_empty()) else {
                cells.push(Cell::Stays);
                continue;
            };
            let fail = |cause: OpenError| CellFailure { column: column.clone(), cause: cause.into() };
            let recorded = Recorded::of(&row, self.layout, self.unmarked);
            let format = match TokenCipher::classify(text, recorded).map_err(fail) {
                Err(refused) if self.layout.version().is_none() => {
                    failure.get_or_insert(refused);
                    cells.push(Cell::Stays);
                    continue;
                }
                format => format?,
            };
            let at_goal = self.is_goal(format);
            if at_goal && !self.goal.rebind {
                cells.push(Cell::There);
                continue;
            }
            let binding = row.binding(self.layout, column);
            let cell = self.cipher.open(text, recorded, &binding).await.map_err(fail)?;
            there &= at_goal && self.is_bound(&cell, text);
            cells.push(Cell::Opened(cell));
        }
        let rest = match there && is_described {
            true if self.is_indexed(&row) => self.name_method(row)?,
            true => self.index(row, cells).await?,
            false => {
                record::check(self.layout, &row).map_err(|error| bad_record(self.layout, error))?;
                self.seal(row, cells).await?
            }
        };
        Ok(match failure {
            None => rest,
            Some(failure) if matches!(rest, RowPlan::Already) => RowPlan::Failed(failure),
            Some(failure) => RowPlan::Partly { rest: Box::new(rest), failure },
        })
    }

    /// Seals every value of the row, so that all of them are under the same marks.
    async fn seal(&self, row: StoredRow, cells: Vec<Cell>) -> Result<RowPlan, CellFailure> {
        let mut values = Vec::with_capacity(row.values.len());
        let (mut sealed, mut key_id) = (0, None);
        let draft = Draft::new(self.layout, &row, self.keys.clone());
        for ((column, cell), stored) in self.layout.table.tokens.iter().zip(cells).zip(&row.values) {
            let binding = row.binding(self.layout, column);
            let cell = match (cell, stored) {
                (Cell::Opened(cell), _) => cell,
                (Cell::There, Some(text)) => self.reopen(&row, text, &binding, column).await?,
                (Cell::Stays | Cell::There, _) => {
                    if stored.as_ref().is_some_and(|text| !text.is_empty()) {
                        draft.keep(column);
                    }
                    values.push(stored.clone());
                    continue;
                }
            };
            sealed += 1;
            draft.set(column, &cell.plaintext);
            if self.goal.dry_run {
                continue;
            }
            let fail = |cause: SealFailure| CellFailure { column: column.clone(), cause: cause.into() };
            let new = self.cipher.seal(self.goal.format, &cell.plaintext, &binding).await.map_err(fail)?;
            values.push(Some(Zeroizing::new(new.text)));
            key_id = new.key_id.or(key_id);
        }
        if self.goal.dry_run {
            let calls = if self.goal.format == WriteFormat::KmsEnvelope { sealed } else { 0 };
            return Ok(RowPlan::WouldChange { sealed, calls });
        }
        let key_id = match key_id {
            None if self.layout.version().is_some() => self.current_key_id().await,
            known => known,
        };
        let indexes = draft.finish();
        Ok(RowPlan::Change { change: self.change(row, values, key_id)?.with_indexes(indexes), sealed })
    }

    fn change(
        &self,
        row: StoredRow,
        values: Vec<Option<Text>>,
        key_id: Option<String>,
    ) -> Result<Change, CellFailure> {
        let change = Change::new(self.layout, row, values, Marks::of(self.goal.format, key_id));
        change.map_err(|error| bad_record(self.layout, error))
    }

    /// A row that is there: what its column calls the method is corrected, where older programs left another name, or none.
    fn name_method(&self, row: StoredRow) -> Result<RowPlan, CellFailure> {
        if self.layout.version().is_none() || is_named(row.method.as_deref(), self.goal.format) {
            return Ok(RowPlan::Already);
        }
        if self.goal.dry_run {
            return Ok(RowPlan::Corrects(None));
        }
        let (values, key_id) = (row.values.clone(), row.key_id.clone());
        Ok(RowPlan::Corrects(Some(self.change(row, values, key_id)?)))
    }

    /// Whether every blind index of the row is there, under the key that indexes are written under now.
    fn is_indexed(&self, row: &StoredRow) -> bool {
        let indexes = self.layout.table.index.iter().zip(&row.indexes).enumerate();
        let mut there = indexes.map(|(place, (index, stored))| {
            let column = self.layout.table.tokens.iter().position(|name| *name == index.column);
            let value = column.and_then(|column| row.values[column].as_ref());
            let is_empty = value.is_none_or(|text| text.is_empty());
            if is_empty || self.goal.format != WriteFormat::KmsEnvelope {
                return stored.is_none();
            }
            let key = self.keys.as_ref().and_then(|keys| keys.column(place));
            key.is_some_and(|key| key.is_current(stored.as_deref()))
        });
        there.all(|there| there)
    }

    /// Puts the blind indexes of a row in order whose values stay as they are.
    async fn index(&self, row: StoredRow, cells: Vec<Cell>) -> Result<RowPlan, CellFailure> {
        if self.goal.dry_run {
            return Ok(RowPlan::WouldChange { sealed: 0, calls: 0 });
        }
        let draft = Draft::new(self.layout, &row, self.keys.clone());
        for ((column, cell), stored) in self.layout.table.tokens.iter().zip(cells).zip(&row.values) {
            let text = stored.as_ref().filter(|text| !text.is_empty());
            let Some(text) = text.filter(|_| self.keys.is_some()) else { continue };
            if self.layout.table.index_over(column).is_none() {
                continue;
            }
            match cell {
                Cell::Opened(cell) => draft.set(column, &cell.plaintext),
                Cell::There => {
                    let binding = row.binding(self.layout, column);
                    draft.set(column, &self.reopen(&row, text, &binding, column).await?.plaintext);
                }
                Cell::Stays => draft.keep(column),
            }
        }
        let indexes = draft.finish();
        reindexed(self.layout, row, indexes)
    }

    async fn reopen(
        &self,
        row: &StoredRow,
        text: &str,
        binding: &Binding<'_>,
        column: &str,
    ) -> Result<OpenedCell, CellFailure> {
        let recorded = Recorded::of(row, self.layout, self.unmarked);
        let opened = self.cipher.open(text, recorded, binding).await;
        opened.map_err(|cause| CellFailure { column: column.into(), cause: cause.into() })
    }

    async fn current_key_id(&self) -> Option<String> {
        match self.goal.format {
            WriteFormat::KmsEnvelope => self.current_key.id(self.cipher).await,
            WriteFormat::DirectAes => Some(envelope_core::format::direct_aes::KEY_ID.into()),
            _ => None,
        }
    }

    /// Whether the version columns need no change; without such columns there is nothing to change.
    fn marks_are_there(&self, row: &StoredRow) -> bool {
        self.layout.version().is_none()
            || row.version.as_deref() == Some(self.goal.format.version().to_string().as_str())
    }

    fn is_goal(&self, format: Format) -> bool {
        format == self.cipher.goal(self.goal.format)
    }

    fn is_bound(&self, cell: &OpenedCell, text: &str) -> bool {
        let wants_bound =
            self.cipher.key_service().is_some_and(|sealer| sealer.policy() != BindingPolicy::Off);
        !self.goal.rebind || !wants_bound || (cell.bound && !kms_envelope::is_encoded_twice(text))
    }
}
