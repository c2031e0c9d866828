//! The walk over a span of a table: rows are read, planned and written at the same time, across the pages that they come in.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep};

use super::batch::{Batch, Lost, PlannedChange, Tried};
use super::worker::{Planned, Worker};
use super::{Ended, RunOptions};
use crate::database::row::{StoredKey, StoredRow};
use crate::database::select::Walk;
use crate::error::StoreError;

/// Bytes of stored text between reading and the end of writing, beyond which no further page is read.
pub(super) const MOST_BYTES: usize = 4 << 20;

/// Bytes of text, old and new, that are written at once; one row, however large, always is.
const MOST_WRITTEN: usize = 8 << 20;

/// How long a planned change waits at most for others that are written with it.
const MOST_DELAY: Duration = Duration::from_secs(1);

/// How often a request to stop is looked for while nothing else happens.
const TICK: Duration = Duration::from_millis(100);

/// The work in progress in a span.
pub(super) struct Pipeline<'a> {
    worker: Worker<'a>,
    options: &'a RunOptions,
    /// How many transactions may write at once: one, until one has written a row, so that a table that refuses every row is
    /// noticed before many are tried.
    writers: usize,
    /// The walk, when no page is being read.
    walk: Option<Walk<'a>>,
    reading: Option<BoxFuture<'a, (Walk<'a>, Page)>>,
    /// Rows that were read.
    read: VecDeque<StoredRow>,
    /// Rows that others changed, as they are now.
    again: VecDeque<Tried>,
    plans: FuturesUnordered<BoxFuture<'a, Planned>>,
    /// Planned changes, and when the oldest of them was planned.
    open: Open,
    open_since: Option<Instant>,
    writes: FuturesUnordered<BoxFuture<'a, Written>>,
    /// The rows that are being written, those of them that count as moved, and the bytes of all.
    writing_rows: usize,
    writing_moves: usize,
    writing_bytes: usize,
    /// Bytes of the rows that were read and are not decided.
    bytes: usize,
    /// The last row that was begun.
    begun: Option<StoredKey>,
    /// Whether no further row of the walk is begun, and no further page read.
    is_halted: bool,
    /// Whether nothing is planned any more.
    is_stopped: bool,
    /// Whether nothing is begun for now.
    is_paused: bool,
    is_at_end: bool,
}

type Page = Result<Vec<StoredRow>, StoreError>;

/// The next event.
pub(super) enum Event {
    Read(Page),
    Planned(Planned),
    Written(Written),
    /// Nothing, for a while.
    Tick,
}

/// A statement that ended.
pub(super) struct Written {
    pub(super) batch: Batch,
    pub(super) lost: Lost,
    pub(super) error: Option<Ended>,
    rows: usize,
    moves: usize,
    bytes: usize,
    /// Bytes of the rows as they were read.
    read_bytes: usize,
}

impl<'a> Pipeline<'a> {
    /// Works through a walk.
    pub(super) fn over(worker: Worker<'a>, options: &'a RunOptions, walk: Walk<'a>) -> Self {
        Self { walk: Some(walk), ..Self::new(worker, options) }
    }

    /// Works through rows that other transactions blocked.
    pub(super) fn of_lost(worker: Worker<'a>, options: &'a RunOptions, lost: Lost) -> Self {
        let mut pipeline = Self::new(worker, options);
        lost.changed.into_iter().for_each(|row| pipeline.take_again(row));
        for change in lost.locked {
            let read_bytes = change.change.old.bytes();
            pipeline.bytes += read_bytes;
            pipeline.take_change(read_bytes, Some(change));
        }
        pipeline
    }

    fn new(worker: Worker<'a>, options: &'a RunOptions) -> Self {
        Self {
            worker,
            options,
            writers: 1,
            walk: None,
            reading: None,
            read: VecDeque::new(),
            again: VecDeque::new(),
            plans: FuturesUnordered::new(),
            open: Open::default(),
            open_since: None,
            writes: FuturesUnordered::new(),
            writing_rows: 0,
            writing_moves: 0,
            writing_bytes: 0,
            bytes: 0,
            begun: None,
            is_halted: false,
            is_stopped: false,
            is_paused: false,
            is_at_end: false,
        }
    }

    /// Begins as much work as there is room for, and waits for the next event; `None` when no work is in
    /// progress and none is begun any more. `most_moves` is how many rows may still be moved.
    pub(super) async fn next(&mut self, most_moves: u64) -> Option<Event> {
        if !self.is_paused {
            self.begin_plans(most_moves);
            self.begin_reading(most_moves);
            self.begin_writes(most_moves);
        }
        if self.plans.is_empty() && self.writes.is_empty() && self.reading.is_none() {
            return None;
        }
        // Plans may all be ready at once: others on this thread get their turn.
        tokio::task::consume_budget().await;
        let event = tokio::select! {
            biased;
            Some(written) = self.writes.next(), if !self.writes.is_empty() => Event::Written(written),
            (walk, page) = read(&mut self.reading), if self.reading.is_some() => {
                self.reading = None;
                self.walk = Some(walk);
                Event::Read(page)
            }
            Some(planned) = self.plans.next(), if !self.plans.is_empty() => Event::Planned(planned),
            () = sleep(TICK) => Event::Tick,
        };
        self.account(&event);
        Some(event)
    }

    fn account(&mut self, event: &Event) {
        match event {
            Event::Written(written) => {
                if written.batch.report.migrated > 0 {
                    self.writers = self.worker.writers();
                }
                self.writing_rows -= written.rows;
                self.writing_moves -= written.moves;
                self.writing_bytes -= written.bytes;
                self.bytes = self.bytes.saturating_sub(written.read_bytes);
            }
            Event::Read(Ok(page)) => self.is_at_end |= page.is_empty(),
            Event::Read(Err(_)) | Event::Planned(_) | Event::Tick => {}
        }
    }

    /// Takes the rows of a page, unless no further row is to be begun.
    pub(super) fn take_page(&mut self, page: Vec<StoredRow>) {
        if !self.is_halted {
            self.bytes += page.iter().map(StoredRow::bytes).sum::<usize>();
            self.read.extend(page);
        }
    }

    /// Takes what became of a plan: a change that is to be written, or none.
    pub(super) fn take_change(&mut self, read_bytes: usize, change: Option<PlannedChange>) {
        match change {
            Some(change) => {
                self.open_since.get_or_insert_with(Instant::now);
                self.open.push(change);
            }
            None => self.bytes = self.bytes.saturating_sub(read_bytes),
        }
    }

    /// Takes a row that another writer changed, to be planned again.
    pub(super) fn take_again(&mut self, row: Tried) {
        self.bytes += row.row.bytes();
        self.again.push_back(row);
    }

    /// Begins nothing until it is resumed, and finishes work in progress: nothing that holds a connection, a
    /// lock or a place in a queue is left half-way while other work is done.
    pub(super) fn pause(&mut self) {
        self.is_paused = true;
    }

    pub(super) fn resume(&mut self) {
        self.is_paused = false;
    }

    /// Takes out some of the planned changes, from all over them.
    pub(super) fn take_some(&mut self, most: usize) -> Vec<PlannedChange> {
        let taken = self.open.take_some(most);
        let read_bytes = taken.iter().map(|planned| planned.change.old.bytes()).sum();
        self.bytes = self.bytes.saturating_sub(read_bytes);
        taken
    }

    /// Leaves out a row that was read and is not begun.
    pub(super) fn pass_over(&mut self, key: &StoredKey) {
        if let Some(place) = self.read.iter().position(|row| row.key == *key)
            && let Some(row) = self.read.remove(place)
        {
            self.bytes = self.bytes.saturating_sub(row.bytes());
        }
    }

    /// Reads no further page, and finishes the rows that were read.
    pub(super) fn end_reading(&mut self) {
        self.is_at_end = true;
    }

    /// Begins no further row of the walk, and finishes those that were begun.
    pub(super) fn halt(&mut self) {
        self.is_halted = true;
        for row in self.read.drain(..) {
            self.bytes = self.bytes.saturating_sub(row.bytes());
        }
    }

    /// Also drops the rows that are being planned; planned changes are written.
    pub(super) fn drop_plans(&mut self) {
        self.halt();
        self.is_stopped = true;
        self.plans.clear();
    }

    /// Writes nothing more.
    pub(super) fn drop_changes(&mut self) {
        self.drop_plans();
        self.again.clear();
        self.open = Open::default();
        self.open_since = None;
    }

    /// Rows that others changed, and that are not planned again.
    pub(super) fn left_again(&mut self) -> usize {
        self.again.drain(..).count()
    }

    /// The last row that was begun.
    pub(super) fn begun(&self) -> Option<StoredKey> {
        self.begun.clone()
    }

    /// Whether it works through a walk, and not through rows that other transactions blocked.
    pub(super) fn is_of_walk(&self) -> bool {
        self.walk.is_some() || self.reading.is_some()
    }

    /// Whether the walk was left before its end.
    pub(super) fn has_more(&self) -> bool {
        self.is_halted
    }

    fn begin_reading(&mut self, most_moves: u64) {
        let has_room = self.bytes < MOST_BYTES
            && self.read.len() < self.options.batch_size.max(self.options.concurrency);
        let is_idle = self.read.is_empty()
            && self.plans.is_empty()
            && self.open.changes.is_empty()
            && self.writes.is_empty();
        let is_wanted = !self.is_halted && !self.is_at_end && most_moves > 0 && (has_room || is_idle);
        let Some(mut walk) = self.walk.take_if(|_| is_wanted) else { return };
        self.reading = Some(Box::pin(async move {
            let page = walk.next().await;
            (walk, page)
        }));
    }

    /// Begins rows, one batch more than is being written, and as many as may be moved at most: beyond that, calls would be
    /// made for nothing.
    fn begin_plans(&mut self, most_moves: u64) {
        let most_planned = self.options.batch_size.max(1).saturating_mul(self.writers + 1);
        let most_moves = usize::try_from(most_moves).unwrap_or(usize::MAX);
        while !self.is_stopped
            && self.plans.len() < self.options.concurrency.max(1)
            && self.plans.len() + self.open.changes.len() + self.writing_rows < most_planned
            && self.plans.len() + self.open.moves + self.writing_moves < most_moves
        {
            let row = match self.again.pop_front() {
                Some(row) => row,
                None => {
                    let Some(row) = self.read.pop_front() else { return };
                    self.begun = Some(row.key.clone());
                    Tried { row, tries: 0 }
                }
            };
            self.plans.push(self.worker.plan(row));
        }
    }

    /// Writes a batch when it is full, when its time has come, or when no further change will come to it.
    fn begin_writes(&mut self, most_moves: u64) {
        let most_moves = usize::try_from(most_moves).unwrap_or(usize::MAX);
        while self.writes.len() < self.writers && self.is_due() {
            let room = most_moves.saturating_sub(self.writing_moves);
            let batch = self.open.take(self.options.batch_size.max(1), room);
            if batch.changes.is_empty() {
                return;
            }
            self.open_since = (!self.open.changes.is_empty()).then(Instant::now);
            self.writing_rows += batch.changes.len();
            self.writing_moves += batch.moves;
            self.writing_bytes += batch.bytes;
            self.writes.push(Box::pin(write(self.worker, batch)));
        }
    }

    fn is_due(&self) -> bool {
        let (Some(since), Some(first)) = (self.open_since, self.open.changes.front()) else { return false };
        if !self.writes.is_empty() && self.writing_bytes + first.bytes() > MOST_WRITTEN {
            return false;
        }
        // Whatever there is room for was begun just now.
        let is_last = self.plans.is_empty() && self.reading.is_none();
        is_last
            || self.open.changes.len() >= self.options.batch_size
            || self.open.bytes >= MOST_WRITTEN
            || since.elapsed() >= MOST_DELAY
    }
}

/// Planned changes, those of them whose rows count as moved, and their bytes.
#[derive(Default)]
struct Open {
    changes: VecDeque<PlannedChange>,
    moves: usize,
    bytes: usize,
}

impl Open {
    fn push(&mut self, change: PlannedChange) {
        self.moves += usize::from(!change.corrects);
        self.bytes += change.bytes();
        self.changes.push_back(change);
    }

    fn take_some(&mut self, most: usize) -> Vec<PlannedChange> {
        let each = self.changes.len().div_ceil(most.max(1));
        let mut taken = Vec::new();
        for (place, change) in std::mem::take(self).changes.into_iter().enumerate() {
            match (place + 1).is_multiple_of(each) && taken.len() < most {
                true => taken.push(change),
                false => self.push(change),
            }
        }
        taken
    }

    /// Takes out the first ones, as many as are written at once, and no more moves than this.
    fn take(&mut self, most: usize, most_moves: usize) -> Self {
        let mut taken = Self::default();
        while let Some(change) = self.changes.pop_front() {
            let is_full = taken.changes.len() == most || taken.bytes + change.bytes() > MOST_WRITTEN;
            let is_too_much = !change.corrects && taken.moves == most_moves;
            if is_too_much || (is_full && !taken.changes.is_empty()) {
                self.changes.push_front(change);
                break;
            }
            taken.push(change);
        }
        self.moves -= taken.moves;
        self.bytes -= taken.bytes;
        taken
    }
}

async fn write(worker: Worker<'_>, open: Open) -> Written {
    let Open { changes, moves, bytes } = open;
    let rows = changes.len();
    let read_bytes = changes.iter().map(|planned| planned.change.old.bytes()).sum();
    let mut batch = Batch::of(&changes);
    let (lost, error) = match worker.write(changes.into(), &mut batch).await {
        Ok(lost) => (lost, None),
        Err(error) => (Lost::default(), Some(error)),
    };
    batch.lost = lost.first_time();
    Written { batch, lost, error, rows, moves, bytes, read_bytes }
}

async fn read<'a>(reading: &mut Option<BoxFuture<'a, (Walk<'a>, Page)>>) -> (Walk<'a>, Page) {
    match reading {
        Some(reading) => reading.await,
        None => std::future::pending().await,
    }
}
