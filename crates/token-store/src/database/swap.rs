//! Writing rows that still are what was read: all in one statement, and row by row where the database refuses some.

use std::time::Duration;

use super::Text;
use super::index::{IndexEntries, Rival};
use super::insert::{Inserted, NewRow};
use super::layout::Layout;
use super::row::{StoredKey, StoredRow};
use crate::error::DatabaseError;
use crate::record::{self, RecordError};
use crate::write_format::WriteFormat;

/// The method of a row that is not sealed.
const PLAINTEXT: &str = "plaintext";

/// The new tokens and version columns of a row, if it still holds what was read.
pub(crate) struct Change {
    pub(crate) old: StoredRow,
    pub(crate) values: Vec<Option<Text>>,
    pub(crate) marks: Marks,
    /// What the row's record is to become, where the table has one.
    record: Option<String>,
    pub(crate) indexes: IndexEntries,
}

/// The contents of a row's version columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) version: i32,
    pub(crate) method: Option<String>,
    pub(crate) key_id: Option<String>,
}

/// The treatment of a row that another transaction has locked. SQLite locks no rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Locked {
    /// The statement waits for it.
    Wait,
    /// It is passed over. Waiting for one row while holding others could hold up, or deadlock with, the application that
    /// the table belongs to.
    PassOver,
}

/// How changes are written, and what is written with them.
pub(crate) struct Writing<'a> {
    pub(crate) locked: Locked,
    /// Plain columns that are set in the same statement.
    pub(crate) plain: &'a [(String, Option<String>)],
    /// Whether the profile's `updated` column is set to the current time.
    pub(crate) touch: bool,
}

impl Writing<'_> {
    /// Tokens and version columns only.
    pub(crate) fn tokens(locked: Locked) -> Self {
        Self { locked, plain: &[], touch: false }
    }
}

/// The result of a change.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    /// The row holds what was sent.
    Written,
    /// The row is not what was read any more, or it is locked or gone.
    Unmatched,
    /// The index keys are others than those that the change was computed under: it has to be planned again.
    Stale,
    /// The database stores something else than what was sent, and the row was left as it was.
    Altered,
    /// The database refuses the row, and it was left as it was.
    Refused(DatabaseError),
}

/// How one statement over several changes went; the changes are named by their places.
#[derive(Debug, Default)]
pub(crate) struct Attempt {
    /// Rows that hold what was sent.
    pub(crate) written: Vec<usize>,
    /// Rows that were matched, and do not hold what was sent.
    pub(crate) altered: Vec<usize>,
    /// Whether triggers, rules or policies have a say, so that the statement alone proves nothing.
    pub(crate) is_guarded: bool,
}

/// How carefully a statement is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Care {
    /// One statement.
    One,
    /// Rows are locked and compared first, constraints and deferred triggers run at once, and the rows are read again.
    Full,
}

/// A transaction that writes changes, in one kind of database.
pub(crate) trait Session: Sized + Send {
    type Connections: Sync;

    /// How many changes fit into one statement.
    fn most(layout: &Layout) -> usize;

    fn begin(connections: &Self::Connections) -> impl Future<Output = Result<Self, DatabaseError>> + Send;

    /// Writes the changes at these places.
    fn write(
        &mut self,
        layout: &Layout,
        changes: &[&Change],
        writing: &Writing<'_>,
        care: Care,
    ) -> impl Future<Output = Result<Attempt, DatabaseError>> + Send;

    /// Adds a row and reads it back; a result other than [`Inserted::Written`] has to be undone.
    fn insert(
        &mut self,
        layout: &Layout,
        row: &NewRow<'_>,
    ) -> impl Future<Output = Result<Inserted, DatabaseError>> + Send;

    /// The rows that a caller's key names, two at most.
    fn find(
        &mut self,
        layout: &Layout,
        key: &[String],
    ) -> impl Future<Output = Result<Vec<StoredRow>, DatabaseError>> + Send;
    /// The generation of the table's index keys, which stays what it is until this transaction ends.
    fn index_generation(
        &mut self,
        layout: &Layout,
    ) -> impl Future<Output = Result<u64, DatabaseError>> + Send;

    /// Whether another row than the one of a key has this index.
    fn has_rival(
        &mut self,
        layout: &Layout,
        key: &StoredKey,
        rival: &Rival,
    ) -> impl Future<Output = Result<bool, DatabaseError>> + Send;

    /// Sets a mark that [`undo`](Self::undo) goes back to.
    fn mark(&mut self) -> impl Future<Output = Result<(), DatabaseError>> + Send;

    fn undo(&mut self) -> impl Future<Output = Result<(), DatabaseError>> + Send;

    fn keep(&mut self) -> impl Future<Output = Result<(), DatabaseError>> + Send;

    fn commit(self) -> impl Future<Output = Result<(), DatabaseError>> + Send;

    fn cancel(self) -> impl Future<Output = Result<(), DatabaseError>> + Send;

    /// Says of an error that may be about a row or about the table which of them it is.
    fn judge(
        connections: &Self::Connections,
        layout: &Layout,
        writing: &Writing<'_>,
        error: DatabaseError,
    ) -> impl Future<Output = DatabaseError> + Send;
}

/// Writes every change whose row still is what was read.
///
/// # Errors
/// Errors of the connection or of the whole table; rows that the database refuses are among the fates.
pub(crate) async fn swap<S: Session>(
    connections: &S::Connections,
    layout: &Layout,
    changes: &[Change],
    writing: &Writing<'_>,
) -> Result<Vec<Fate>, DatabaseError> {
    let mut fates = Vec::with_capacity(changes.len());
    for chunk in changes.chunks(S::most(layout).max(1)) {
        fates.extend(swap_chunk::<S>(connections, layout, chunk, writing).await?);
    }
    Ok(fates)
}

async fn swap_chunk<S: Session>(
    connections: &S::Connections,
    layout: &Layout,
    changes: &[Change],
    writing: &Writing<'_>,
) -> Result<Vec<Fate>, DatabaseError> {
    const ATTEMPTS: u32 = 5;
    let mut care = if layout.facts.is_guarded { Care::Full } else { Care::One };
    let mut attempt = 1;
    loop {
        let outcome = match care {
            Care::One => at_once::<S>(connections, layout, changes, writing).await,
            Care::Full => with_care::<S>(connections, layout, changes, writing).await.map(Some),
        };
        match outcome {
            Ok(Some(fates)) => return Ok(fates),
            Ok(None) => care = Care::Full,
            // Another writer was in the way, and is done now.
            Err(error) if error.is_transient() && attempt < ATTEMPTS => {
                tokio::time::sleep(Duration::from_millis(20 << attempt)).await;
                attempt += 1;
            }
            Err(error) if error.is_transient() && writing.locked == Locked::PassOver => {
                return Ok(vec![Fate::Unmatched; changes.len()]);
            }
            Err(error) if care == Care::One && !error.is_transient() => {
                let error = S::judge(connections, layout, writing, error).await;
                if !error.is_about_rows() {
                    return Err(error);
                }
                care = Care::Full;
            }
            Err(error) => return Err(error),
        }
    }
}

/// One statement for all; `None` where it does not do, and nothing was written.
async fn at_once<S: Session>(
    connections: &S::Connections,
    layout: &Layout,
    changes: &[Change],
    writing: &Writing<'_>,
) -> Result<Option<Vec<Fate>>, DatabaseError> {
    let all: Vec<&Change> = changes.iter().collect();
    let mut session = S::begin(connections).await?;
    if let Some(fates) = stale(&mut session, layout, changes).await? {
        session.cancel().await?;
        return Ok(Some(fates));
    }
    let attempt = session.write(layout, &all, writing, Care::One).await?;
    let has_rivals = !rivals(&mut session, layout, &all, &attempt.written).await?.is_empty();
    if attempt.is_guarded || !attempt.altered.is_empty() || has_rivals {
        session.cancel().await?;
        return Ok(None);
    }
    session.commit().await?;
    let mut fates = vec![Fate::Unmatched; changes.len()];
    attempt.written.into_iter().for_each(|place| fates[place] = Fate::Written);
    Ok(Some(fates))
}

/// Writes the changes in one transaction, or in more and smaller ones where the database ends a transaction as a whole: it
/// refuses some rows at the commit, and some triggers take back everything.
async fn with_care<S: Session>(
    connections: &S::Connections,
    layout: &Layout,
    changes: &[Change],
    writing: &Writing<'_>,
) -> Result<Vec<Fate>, DatabaseError> {
    let mut fates = vec![Fate::Unmatched; changes.len()];
    let mut ranges: Vec<_> = std::iter::once(0..changes.len()).collect();
    while let Some(range) = ranges.pop() {
        match in_one_transaction::<S>(connections, layout, &changes[range.clone()], writing).await? {
            Together::Done(done) => fates[range].clone_from_slice(&done),
            Together::Ended(error) if range.len() == 1 => fates[range.start] = Fate::Refused(error),
            Together::Ended(_) => {
                let middle = range.start + range.len() / 2;
                ranges.extend([middle..range.end, range.start..middle]);
            }
        }
    }
    Ok(fates)
}

/// What became of changes that were written in one transaction.
enum Together {
    Done(Vec<Fate>),
    /// Nothing was written, because of a row that the database refuses with the whole transaction.
    Ended(DatabaseError),
}

/// Divides the changes until each that the database refuses or alters is alone; all others are written.
async fn in_one_transaction<S: Session>(
    connections: &S::Connections,
    layout: &Layout,
    changes: &[Change],
    writing: &Writing<'_>,
) -> Result<Together, DatabaseError> {
    let mut fates = vec![Fate::Unmatched; changes.len()];
    let mut session = S::begin(connections).await?;
    if let Some(fates) = stale(&mut session, layout, changes).await? {
        session.cancel().await?;
        return Ok(Together::Done(fates));
    }
    let mut parts: Vec<Vec<usize>> = vec![(0..changes.len()).collect()];
    while let Some(places) = parts.pop() {
        if places.is_empty() {
            continue;
        }
        let part: Vec<&Change> = places.iter().map(|place| &changes[*place]).collect();
        session.mark().await?;
        match session.write(layout, &part, writing, Care::Full).await {
            Ok(attempt) if attempt.altered.is_empty() => {
                let refused = rivals(&mut session, layout, &part, &attempt.written).await?;
                if refused.is_empty() {
                    session.keep().await?;
                    attempt.written.into_iter().for_each(|index| fates[places[index]] = Fate::Written);
                    continue;
                }
                session.undo().await?;
                refused
                    .iter()
                    .for_each(|index| fates[places[*index]] = Fate::Refused(DatabaseError::rival()));
                parts.push(without(places, &refused));
            }
            Ok(attempt) => {
                session.undo().await?;
                attempt.altered.iter().for_each(|index| fates[places[*index]] = Fate::Altered);
                parts.push(without(places, &attempt.altered));
            }
            Err(error) if error.is_transient() || error.unreachable => return Err(error),
            Err(error) => {
                // Without the mark the database has ended the transaction, and with it what was written before.
                let is_ended = session.undo().await.is_err();
                let error = S::judge(connections, layout, writing, error).await;
                if !error.is_about_rows() {
                    return Err(error);
                }
                if is_ended {
                    return Ok(Together::Ended(error));
                }
                match places.as_slice() {
                    [place] => fates[*place] = Fate::Refused(error),
                    _ => {
                        let (first, second) = places.split_at(places.len() / 2);
                        parts.extend([second.to_vec(), first.to_vec()]);
                    }
                }
            }
        }
    }
    match session.commit().await {
        Err(error) if error.is_about_rows() => Ok(Together::Ended(error)),
        committed => committed.map(|()| Together::Done(fates)),
    }
}

/// Writes one change in a transaction that is not ended here, and leaves nothing of it where it is not written.
pub(crate) async fn swap_within<S: Session>(
    session: &mut S,
    layout: &Layout,
    change: &Change,
    writing: &Writing<'_>,
) -> Result<Fate, DatabaseError> {
    if stale(session, layout, std::slice::from_ref(change)).await?.is_some() {
        return Ok(Fate::Stale);
    }
    session.mark().await?;
    match session.write(layout, &[change], writing, Care::Full).await {
        Ok(attempt) if attempt.altered.is_empty() => {
            if !rivals(session, layout, &[change], &attempt.written).await?.is_empty() {
                session.undo().await?;
                return Ok(Fate::Refused(DatabaseError::rival()));
            }
            session.keep().await?;
            Ok(if attempt.written.is_empty() { Fate::Unmatched } else { Fate::Written })
        }
        Ok(_) => {
            session.undo().await?;
            Ok(Fate::Altered)
        }
        Err(error) => {
            // After some errors the database has ended the transaction, and with it the mark; the error says enough.
            let _ = session.undo().await;
            if error.is_about_rows() { Ok(Fate::Refused(error)) } else { Err(error) }
        }
    }
}

/// Adds a row in a transaction of its own.
pub(crate) async fn insert<S: Session>(
    connections: &S::Connections,
    layout: &Layout,
    row: &NewRow<'_>,
) -> Result<Inserted, DatabaseError> {
    let mut session = S::begin(connections).await?;
    let inserted = insert_checked(&mut session, layout, row).await?;
    match inserted {
        Inserted::Written => session.commit().await?,
        Inserted::Exists | Inserted::Stale | Inserted::Rival | Inserted::Other(_) => session.cancel().await?,
    }
    Ok(inserted)
}

/// Adds a row in a transaction that is not ended here, and leaves nothing of it where it is not stored as it was sent.
pub(crate) async fn insert_within<S: Session>(
    session: &mut S,
    layout: &Layout,
    row: &NewRow<'_>,
) -> Result<Inserted, DatabaseError> {
    session.mark().await?;
    match insert_checked(session, layout, row).await {
        Ok(Inserted::Written) => {
            session.keep().await?;
            Ok(Inserted::Written)
        }
        Ok(inserted) => {
            session.undo().await?;
            Ok(inserted)
        }
        Err(error) => {
            let _ = session.undo().await;
            Err(error)
        }
    }
}

/// Adds a row whose indexes are under today's keys, and looks for another row with the same value.
async fn insert_checked<S: Session>(
    session: &mut S,
    layout: &Layout,
    row: &NewRow<'_>,
) -> Result<Inserted, DatabaseError> {
    if stale(session, layout, std::slice::from_ref(row.change)).await?.is_some() {
        return Ok(Inserted::Stale);
    }
    let inserted = session.insert(layout, row).await?;
    let is_written = matches!(inserted, Inserted::Written);
    if is_written && !rivals(session, layout, &[row.change], &[0]).await?.is_empty() {
        return Ok(Inserted::Rival);
    }
    Ok(inserted)
}

/// The fates of all changes, where one was computed under other index keys than those of now.
async fn stale<S: Session>(
    session: &mut S,
    layout: &Layout,
    changes: &[Change],
) -> Result<Option<Vec<Fate>>, DatabaseError> {
    if changes.iter().all(|change| change.indexes.generation.is_none()) {
        return Ok(None);
    }
    let now = session.index_generation(layout).await?;
    let is_stale = |change: &Change| change.indexes.generation.is_some_and(|generation| generation != now);
    Ok(changes.iter().any(is_stale).then(|| vec![Fate::Stale; changes.len()]))
}

/// The changes that were written although another row has the same value under a key that is being retired.
async fn rivals<S: Session>(
    session: &mut S,
    layout: &Layout,
    changes: &[&Change],
    written: &[usize],
) -> Result<Vec<usize>, DatabaseError> {
    let mut refused = Vec::new();
    for place in written {
        for rival in &changes[*place].indexes.rivals {
            if session.has_rival(layout, &changes[*place].old.key, rival).await? {
                refused.push(*place);
                break;
            }
        }
    }
    Ok(refused)
}

fn without(places: Vec<usize>, left_out: &[usize]) -> Vec<usize> {
    let kept = places.into_iter().enumerate().filter(|(index, _)| !left_out.contains(index));
    kept.map(|(_, place)| place).collect()
}

/// Number of values that a change consists of: key, owner, old and new tokens, old version, new marks, old and new record, old and
/// new indexes.
pub(crate) fn change_columns(layout: &Layout) -> usize {
    let marks = if layout.version().is_some() { 4 } else { 0 };
    layout.table.key.len()
        + layout.table.owner.len()
        + 2 * layout.table.tokens.len()
        + marks
        + records(layout)
        + 2 * layout.table.index.len()
}

fn records(layout: &Layout) -> usize {
    if layout.record().is_some() { 2 } else { 0 }
}

/// The record's column, and the places of its old and its new text in a change.
pub(crate) fn record_places(layout: &Layout) -> Option<(&str, usize, usize)> {
    let record = layout.record()?;
    let end = change_columns(layout) - 2 * layout.table.index.len();
    Some((&record.column, end - 2, end - 1))
}

/// The values of a change, in that order.
pub(crate) fn change_values<'a>(layout: &Layout, change: &'a Change) -> Vec<Option<&'a str>> {
    let mut values: Vec<Option<&str>> = Vec::with_capacity(change_columns(layout));
    values.extend(change.old.key.iter().map(|text| Some(text.as_str())));
    values.extend(change.old.owner.iter().map(Option::as_deref));
    values.extend(change.old.values.iter().map(|value| value.as_ref().map(|text| text.as_str())));
    values.extend(change.values.iter().map(|value| value.as_ref().map(|text| text.as_str())));
    if layout.version().is_some() {
        values.push(change.old.version.as_deref());
        values.push(Some(change.marks.version_text()));
        values.push(change.marks.method.as_deref());
        values.push(change.marks.key_id.as_deref());
    }
    if layout.record().is_some() {
        values.push(change.old.record_text().unwrap_or_default());
        values.push(change.record.as_deref());
    }
    values.extend(change.old.indexes.iter().map(Option::as_deref));
    values.extend(change.indexes.values.iter().map(Option::as_deref));
    values
}

/// The index columns, each with the places of its old and of its new text among the values of a change.
pub(crate) fn index_places(layout: &Layout) -> impl Iterator<Item = (&String, usize, usize)> {
    let count = layout.table.index.len();
    let first = change_columns(layout) - 2 * count;
    layout.table.index_columns().enumerate().map(move |(n, name)| (name, first + n, first + count + n))
}

impl Change {
    /// No change of a row: the comparison values are those that were read.
    pub(crate) fn none(old: StoredRow) -> Self {
        let values = vec![None; old.values.len()];
        let indexes = IndexEntries::unchanged(&old);
        Self { old, values, marks: Marks { version: 0, method: None, key_id: None }, record: None, indexes }
    }

    /// A change that keeps the row's record true.
    ///
    /// # Errors
    /// [`RecordError`] where the record cannot be.
    pub(crate) fn new(
        layout: &Layout,
        old: StoredRow,
        values: Vec<Option<Text>>,
        marks: Marks,
    ) -> Result<Self, RecordError> {
        let (method, key_id) = (marks.method.as_deref(), marks.key_id.as_deref());
        let record = record::rewritten(layout, old.record_text(), method, key_id)?;
        let indexes = IndexEntries::unchanged(&old);
        Ok(Self { old, values, marks, record, indexes })
    }

    /// The same where the caller gives the record another text, which is made true as well.
    ///
    /// # Errors
    /// [`RecordError`] where it cannot be.
    pub(crate) fn with_record(
        layout: &Layout,
        old: StoredRow,
        values: Vec<Option<Text>>,
        marks: Marks,
        given: Option<&str>,
    ) -> Result<Self, RecordError> {
        let (method, key_id) = (marks.method.as_deref(), marks.key_id.as_deref());
        let record = record::rewritten(layout, Ok(given), method, key_id)?;
        let indexes = IndexEntries::unchanged(&old);
        Ok(Self { old, values, marks, record, indexes })
    }

    /// The same change, with these blind indexes instead of those that the row has.
    pub(crate) fn with_indexes(self, indexes: IndexEntries) -> Self {
        Self { indexes, ..self }
    }

    /// What the row's record is to become, where the table has one.
    pub(crate) fn record(&self) -> Option<&str> {
        self.record.as_deref()
    }

    /// Whether a row, read afterwards, still is what this change starts from: then it was locked, or kept out of reach.
    pub(crate) fn is_to_come(&self, now: &StoredRow) -> bool {
        now.values == self.old.values
            && now.version == self.old.version
            && now.owner == self.old.owner
            && now.record_text().unwrap_or_default() == self.old.record_text().unwrap_or_default()
            && now.indexes == self.old.indexes
    }

    /// Whether a row, read afterwards, holds what this change was to write.
    pub(crate) fn is_written(&self, now: &StoredRow, layout: &Layout) -> bool {
        now.values == self.values
            && now.owner == self.old.owner
            && now.indexes == self.indexes.values
            && (layout.version().is_none() || now.version.as_deref() == Some(self.marks.version_text()))
            && record::is_same(now.record_text().unwrap_or_default(), self.record())
    }
}

impl Marks {
    /// What is written next to values of a form.
    pub(crate) fn of(format: WriteFormat, key_id: Option<String>) -> Self {
        let method = format.method().unwrap_or(PLAINTEXT);
        Self { version: format.version(), method: Some(method.into()), key_id }
    }

    /// What a row's version columns say already.
    pub(crate) fn kept(row: &StoredRow) -> Self {
        let version = row.version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0);
        Self { version, method: row.method.clone(), key_id: row.key_id.clone() }
    }

    /// The number of the form, as text.
    pub(crate) fn version_text(&self) -> &'static str {
        match self.version {
            0 => "0",
            1 => "1",
            _ => "2",
        }
    }
}
