//! Writing rows that are unchanged since they were read: all in one statement, and row by row where the
//! database refuses some.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::change::Change;
use super::index::Rival;
use super::insert::{Inserted, NewRow};
use super::layout::Layout;
use super::row::{StoredKey, StoredRow};
use crate::error::DatabaseError;

/// The treatment of a row that another transaction has locked. SQLite locks no rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Locked {
    /// The statement waits for it.
    Wait,
    /// It is skipped. Waiting for one row while holding others could hold up, or deadlock with, the
    /// application that the table belongs to.
    PassOver,
}

/// How changes are written, and the data written with them.
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
    /// The row holds the values that were sent.
    Written,
    /// The row has changed since it was read, or it is locked or gone.
    Unmatched,
    /// The index keys are others than those that the change was computed under: it has to be planned again.
    Stale,
    /// The database would store other values than those sent, and the row was left as it was.
    Altered,
    /// The database refuses the row, and it was left as it was.
    Refused(DatabaseError),
    /// The row meets a lock, a deadlock or a serialization failure each time, and it was left as it was.
    Blocked(DatabaseError),
}

/// How one statement over several changes went; the changes are named by their places.
#[derive(Debug, Default)]
pub(crate) struct Attempt {
    /// Rows that hold the values that were sent.
    pub(crate) written: Vec<usize>,
    /// Rows that were matched, and do not hold the values that were sent.
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
    /// The same, and the statement waits for the locks that triggers and constraints take for a moment only, so that rows
    /// which meet none are soon found.
    Brief,
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
    /// The generation of the table's index keys, which does not change until this transaction ends.
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

/// Writes every change whose row is unchanged since it was read.
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
        match swap_chunk::<S>(connections, layout, chunk, writing).await {
            Ok(chunk) => fates.extend(chunk),
            Err(error) if fates.is_empty() => return Err(error),
            // The caller learns what is committed, and meets the error again when it looks at the others.
            Err(_) => {
                fates.resize(changes.len(), Fate::Unmatched);
                break;
            }
        }
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
    // All rows at once are tried so often, and so long, before they are divided.
    const UNDIVIDED: u32 = 3;
    const SOON: Duration = Duration::from_millis(500);
    let started = Instant::now();
    let mut care = if layout.facts.is_guarded { Care::Full } else { Care::One };
    let mut attempt = 1;
    loop {
        let outcome = match care {
            Care::One => at_once::<S>(connections, layout, changes, writing).await,
            Care::Full | Care::Brief => {
                with_care::<S>(connections, layout, changes, writing, care).await.map(Some)
            }
        };
        match outcome {
            Ok(Some(fates)) => return Ok(fates),
            Ok(None) => care = Care::Full,
            // Another writer held the row, and has finished now.
            Err(error) if error.is_transient() && attempt < ATTEMPTS => {
                tokio::time::sleep(Duration::from_millis(20 << attempt)).await;
                attempt += 1;
                // One of the rows may be what meets the lock each time.
                if writing.locked == Locked::PassOver && (attempt > UNDIVIDED || started.elapsed() > SOON) {
                    care = Care::Brief;
                }
            }
            Err(error) if error.is_transient() && writing.locked == Locked::PassOver => {
                return Ok(vec![Fate::Blocked(error); changes.len()]);
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
/// refuses some rows at the commit, some triggers take back everything, and some rows meet locks.
async fn with_care<S: Session>(
    connections: &S::Connections,
    layout: &Layout,
    changes: &[Change],
    writing: &Writing<'_>,
    care: Care,
) -> Result<Vec<Fate>, DatabaseError> {
    let mut fates = vec![Fate::Unmatched; changes.len()];
    // The larger ranges first: those that meet no lock are written before time is spent on the others.
    let mut ranges: VecDeque<_> = std::iter::once(0..changes.len()).collect();
    let (mut is_committed, mut patience) = (false, Patience::default());
    while let Some(range) = ranges.pop_front() {
        if let Some(error) = patience.is_over() {
            fates[range].fill(Fate::Blocked(error.clone()));
            continue;
        }
        let started = Instant::now();
        match in_one_transaction::<S>(connections, layout, &changes[range.clone()], writing, care).await {
            Ok(Together::Done(done)) => {
                is_committed = true;
                fates[range].clone_from_slice(&done);
            }
            Ok(Together::Stale(done)) => fates[range].clone_from_slice(&done),
            Ok(Together::Ended(error)) if range.len() == 1 && error.is_transient() => {
                patience.waited(started.elapsed(), &error);
                fates[range.start] = Fate::Blocked(error);
            }
            Ok(Together::Ended(error)) if range.len() == 1 => fates[range.start] = Fate::Refused(error),
            // As for chunks: others of these changes are committed.
            Err(error) if is_committed && !error.is_transient() => break,
            Err(error) => return Err(error),
            Ok(Together::Ended(error)) => {
                if error.is_transient() {
                    patience.waited(started.elapsed(), &error);
                }
                let middle = range.start + range.len() / 2;
                ranges.extend([range.start..middle, middle..range.end]);
            }
        }
    }
    Ok(fates)
}

/// How long changes are divided that meet locks: a run over many such rows comes to its end.
#[derive(Default)]
struct Patience {
    spent: Duration,
    attempts: u32,
    error: Option<DatabaseError>,
}

impl Patience {
    /// So many attempts are made unless each of them waits long: enough for a single row among a thousand.
    const ATTEMPTS: u32 = 24;
    const TIME: Duration = Duration::from_secs(10);

    fn waited(&mut self, time: Duration, error: &DatabaseError) {
        self.spent += time;
        self.attempts += 1;
        self.error = Some(error.clone());
    }

    /// The lock that was met last, where no more changes are to be tried.
    fn is_over(&self) -> Option<&DatabaseError> {
        let is_enough = self.attempts > Self::ATTEMPTS || self.spent > 3 * Self::TIME;
        self.error.as_ref().filter(|_| is_enough && self.spent > Self::TIME)
    }
}

/// The fate of changes that were written in one transaction.
enum Together {
    Done(Vec<Fate>),
    /// Nothing was written, because the changes have to be planned again.
    Stale(Vec<Fate>),
    /// Nothing was written, because of a row that the database refuses with the whole transaction, or that meets a lock.
    Ended(DatabaseError),
}

/// Writes the changes in a transaction of their own.
async fn in_one_transaction<S: Session>(
    connections: &S::Connections,
    layout: &Layout,
    changes: &[Change],
    writing: &Writing<'_>,
    care: Care,
) -> Result<Together, DatabaseError> {
    let mut session = S::begin(connections).await?;
    let together = in_parts::<S>(&mut session, connections, layout, changes, writing, care).await;
    let is_divided = |error: &DatabaseError| error.is_transient() && care == Care::Brief;
    match together {
        Ok(Together::Done(fates)) => match session.commit().await {
            Err(error) if error.is_about_rows() || is_divided(&error) => Ok(Together::Ended(error)),
            committed => committed.map(|()| Together::Done(fates)),
        },
        Ok(Together::Stale(fates)) => session.cancel().await.map(|()| Together::Stale(fates)),
        // The rows must be free at the next attempt, which may come on another connection.
        Err(error) if is_divided(&error) => {
            let _ = session.cancel().await;
            Ok(Together::Ended(error))
        }
        ended => ended,
    }
}

/// Divides the changes until each that the database refuses or alters is alone; all others are written.
async fn in_parts<S: Session>(
    session: &mut S,
    connections: &S::Connections,
    layout: &Layout,
    changes: &[Change],
    writing: &Writing<'_>,
    care: Care,
) -> Result<Together, DatabaseError> {
    let mut fates = vec![Fate::Unmatched; changes.len()];
    if let Some(fates) = stale(session, layout, changes).await? {
        return Ok(Together::Stale(fates));
    }
    let mut parts: Vec<Vec<usize>> = vec![(0..changes.len()).collect()];
    while let Some(places) = parts.pop() {
        if places.is_empty() {
            continue;
        }
        let part: Vec<&Change> = places.iter().map(|place| &changes[*place]).collect();
        session.mark().await?;
        match session.write(layout, &part, writing, care).await {
            Ok(attempt) if attempt.altered.is_empty() => {
                let refused = rivals(session, layout, &part, &attempt.written).await?;
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
                // Without the mark the database has ended the transaction, and undone all earlier writes.
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
    Ok(Together::Done(fates))
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

#[cfg(test)]
mod tests;
