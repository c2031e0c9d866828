//! How the store's events are emitted: the operations of one actor, each reported in one place.

use envelope_core::OpenError;

use super::{
    BELOW_FLOOR, DECRYPTION_FAILED, FALLBACK_WRITE, PLAINTEXT_WRITTEN, ROW_MIGRATED, ROW_ROLLED_BACK,
    RUN_FINISHED, RUN_STARTED, SCHEMA_CHANGED, TARGET, TOKEN_DELETED, TOKEN_READ, TOKEN_SEARCHED,
    TOKEN_WRITE_FAILED, TOKEN_WRITTEN, VERIFICATION_FINISHED,
};
use crate::cipher::{Recorded, TokenCipher};
use crate::database::change::Change;
use crate::database::index::StoredIndexKey;
use crate::database::layout::Layout;
use crate::database::row::StoredRow;
use crate::error::CorrelationId;
use crate::marks::Version;
use crate::profile::Unmarked;

/// The subject of an event.
#[derive(Clone, Copy, Default)]
struct Record<'a> {
    actor: Option<&'a str>,
    operation: Option<&'a str>,
    table: Option<&'a str>,
    row: Option<&'a str>,
    column: Option<&'a str>,
    from_version: Option<i64>,
    to_version: Option<i64>,
    method: Option<&'a str>,
    key: Option<&'a str>,
    statement: Option<&'a str>,
    outcome: Option<&'a str>,
    correlation_id: Option<CorrelationId>,
}

macro_rules! emit {
    ($level:ident, $event:expr, $record:expr $(, $count:ident = $value:expr)*) => {{
        let Record {
            actor, operation, table, row, column, from_version, to_version, method, key, statement, outcome,
            correlation_id,
        } = $record;
        tracing::$level!(
            target: TARGET, event = $event, actor, operation, table, row, column, from_version, to_version, method,
            key, statement, outcome, correlation_id = correlation_id.map(tracing::field::display)
            $(, $count = $value)*
        );
    }};
}

/// The end of something long, which warns unless it ended well.
macro_rules! emit_end {
    ($event:expr, $record:expr, $($count:ident),*) => {
        match $record.outcome {
            Some("ok" | "interrupted") => emit!(info, $event, $record $(, $count = $count)*),
            _ => emit!(warn, $event, $record $(, $count = $count)*),
        }
    };
}

/// The result of a migration or a rewrap.
pub(crate) struct RunCounts {
    pub(crate) dry_run: bool,
    pub(crate) scanned: u64,
    pub(crate) changed: u64,
    pub(crate) already: u64,
    pub(crate) conflicts: u64,
    pub(crate) failed: u64,
    pub(crate) values: u64,
}

/// The result of a verification.
pub(crate) struct VerificationCounts {
    pub(crate) rows: u64,
    pub(crate) checked: u64,
    pub(crate) failed: u64,
    pub(crate) plaintext: u64,
    pub(crate) unbound: u64,
}

/// The events of one operation of one actor.
#[derive(Clone, Copy)]
pub(crate) struct Trail<'a> {
    actor: &'a str,
    operation: &'static str,
    unmarked: Unmarked,
}

impl<'a> Trail<'a> {
    pub(crate) fn new(actor: &'a str, operation: &'static str, unmarked: Unmarked) -> Self {
        Self { actor, operation, unmarked }
    }

    /// A row was read. It costs one comparison if nothing subscribes.
    pub(crate) fn read(&self, layout: &Layout, row: &StoredRow) {
        if tracing::enabled!(target: TARGET, tracing::Level::DEBUG) {
            let from_version = self.stored_version(layout, row);
            let name = row.name(layout);
            emit!(debug, TOKEN_READ, Record { from_version, outcome: Some("ok"), ..self.of(layout, &name) });
        }
    }

    /// There was no row to read.
    pub(crate) fn not_found(&self, layout: &Layout, row: &str) {
        emit!(debug, TOKEN_READ, Record { outcome: Some("not_found"), ..self.of(layout, row) });
    }

    /// A caller wrote a row.
    pub(crate) fn written(&self, layout: &Layout, change: &Change) {
        let name = change.old.name(layout);
        let record = self.of_change(layout, change, &name);
        emit!(info, TOKEN_WRITTEN, record);
        if change.marks.is_fallback() {
            emit!(warn, FALLBACK_WRITE, record);
        }
        self.weaker(record);
    }

    /// The store itself wrote a row, in an operation over many.
    pub(crate) fn changed(&self, event: &'static str, layout: &Layout, change: &Change) {
        if is_heard(change) {
            let name = change.old.name(layout);
            let record = self.of_change(layout, change, &name);
            emit!(info, event, record);
            self.weaker(record);
        }
    }

    /// A migration wrote a row.
    pub(crate) fn migrated(&self, layout: &Layout, change: &Change) {
        if is_heard(change) {
            let falls = self.stored_version(layout, &change.old) > Some(change.marks.version.number().into());
            self.changed(if falls { ROW_ROLLED_BACK } else { ROW_MIGRATED }, layout, change);
        }
    }

    /// Rows were looked for by a sealed value.
    pub(crate) fn searched(&self, layout: &Layout, column: &str, outcome: &str, rows: u64) {
        let table = Some(layout.table.name.as_str());
        let record = Record { table, column: Some(column), outcome: Some(outcome), ..self.base() };
        emit!(info, TOKEN_SEARCHED, record, rows = rows);
    }

    /// Something became of the key of a blind index.
    pub(crate) fn index_key(&self, event: &'static str, layout: &Layout, key: &StoredIndexKey) {
        let record = Record {
            table: Some(layout.table.name.as_str()),
            column: Some(key.column.as_str()),
            key: key.key_id.as_deref().map(shown),
            outcome: Some("ok"),
            ..self.base()
        };
        emit!(info, event, record);
    }

    pub(crate) fn deleted(&self, layout: &Layout, row: &str) {
        emit!(info, TOKEN_DELETED, Record { outcome: Some("ok"), ..self.of(layout, row) });
    }

    /// A row stays as it was, for this class of failure.
    pub(crate) fn write_failed(
        &self,
        layout: &Layout,
        row: &str,
        class: &str,
        correlation_id: Option<CorrelationId>,
    ) {
        let record = Record { outcome: Some(class), correlation_id, ..self.of(layout, row) };
        emit!(warn, TOKEN_WRITE_FAILED, record);
    }

    /// Reports a value that does not open to the log and the trail, and gives the failure its name. Both say which row
    /// and what class, never the value.
    pub(crate) fn did_not_open(
        &self,
        layout: &Layout,
        row: &str,
        column: &str,
        error: &OpenError,
    ) -> CorrelationId {
        let (table, class, id) = (layout.table.name.as_str(), error.class(), CorrelationId::random());
        tracing::error!(table, row, column, class, correlation_id = %id, "token does not open");
        let (column, outcome, correlation_id) = (Some(column), Some(class), Some(id));
        emit!(warn, DECRYPTION_FAILED, Record { column, outcome, correlation_id, ..self.of(layout, row) });
        id
    }

    /// The run that begins may read values below the floor.
    pub(crate) fn below_floor(&self) {
        emit!(warn, BELOW_FLOOR, Record { outcome: Some("ok"), ..self.base() });
    }

    /// A run over all rows begins: towards this form, or under this key.
    pub(crate) fn started(&self, method: Option<&str>, key: Option<&str>, dry_run: bool) {
        let record = Record { method, key: key.map(shown), ..self.base() };
        emit!(info, RUN_STARTED, record, dry_run = dry_run);
    }

    /// A run over all rows ended.
    pub(crate) fn finished(&self, outcome: &str, counts: &RunCounts) {
        let record = Record { outcome: Some(outcome), ..self.base() };
        let RunCounts { dry_run, scanned, changed, already, conflicts, failed, values } = *counts;
        emit_end!(RUN_FINISHED, record, dry_run, scanned, changed, already, conflicts, failed, values);
    }

    /// A verification ended.
    pub(crate) fn verified(&self, outcome: &str, counts: &VerificationCounts) {
        let record = Record { outcome: Some(outcome), ..self.base() };
        let VerificationCounts { rows, checked, failed, plaintext, unbound } = *counts;
        emit_end!(VERIFICATION_FINISHED, record, rows, checked, failed, plaintext, unbound);
    }

    fn base(&self) -> Record<'a> {
        Record { actor: Some(self.actor), operation: Some(self.operation), ..Record::default() }
    }

    fn of<'r>(&self, layout: &'r Layout, row: &'r str) -> Record<'r>
    where
        'a: 'r,
    {
        Record { table: Some(&layout.table.name), row: Some(row), ..self.base() }
    }

    fn of_change<'r>(&self, layout: &'r Layout, change: &'r Change, name: &'r str) -> Record<'r>
    where
        'a: 'r,
    {
        Record {
            from_version: self.stored_version(layout, &change.old),
            to_version: Some(change.marks.version.number().into()),
            method: change.marks.method.as_deref().or(Some("plaintext")),
            key: change.marks.key_id.as_deref().map(shown),
            outcome: Some("ok"),
            ..self.of(layout, name)
        }
    }

    fn weaker(&self, record: Record<'_>) {
        if record.to_version == Some(0) {
            emit!(warn, PLAINTEXT_WRITTEN, record);
        }
    }

    /// The version that a row was stored in: none where it held no token, or where no number fits.
    fn stored_version(&self, layout: &Layout, row: &StoredRow) -> Option<i64> {
        let mut texts = row.values.iter().flatten();
        let first = texts.clone().find(|text| !text.is_empty()).or_else(|| texts.next())?;
        match layout.version() {
            Some(_) => row.version.as_deref().map_or(Some(0), |version| version.parse().ok()),
            None => TokenCipher::kind(first, Recorded::of(row, layout, self.unmarked)).0,
        }
    }
}

/// Whether a subscriber may receive the writing of a row; if not, nothing is prepared for it.
fn is_heard(change: &Change) -> bool {
    change.marks.version == Version::Plaintext || tracing::enabled!(target: TARGET, tracing::Level::INFO)
}

/// A statement changed the schema.
pub(crate) fn schema_changed(statement: &str) {
    let record = Record { statement: Some(statement), outcome: Some("ok"), ..Record::default() };
    emit!(info, SCHEMA_CHANGED, record);
}

/// A key id as it may be logged: of an ARN only its end, `key/…`, because the account id is not for logs.
fn shown(key_id: &str) -> &str {
    match key_id.starts_with("arn:") {
        true => key_id.rsplit(':').next().unwrap_or_default(),
        false => key_id,
    }
}
