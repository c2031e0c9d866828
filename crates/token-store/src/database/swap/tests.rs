//! A connection that breaks in the middle of several transactions, which no real database does on request.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::*;
use crate::database::layout::Facts;
use crate::error::Scope;
use crate::marks::Marks;
use crate::profile::Profile;
use crate::write_format::WriteFormat;

const PROFILE: &str = "name = \"t\"\n[context]\nApplication = \"t\"\n[[tables]]\nname = \"t\"\nkey = [\"id\"]\ntokens = [\"a\"]\n";

/// What the commits answer, one after the other.
type Commits = Arc<Mutex<VecDeque<Result<(), DatabaseError>>>>;

struct Scripted(Commits);

impl Session for Scripted {
    type Connections = Commits;

    fn most(_: &Layout) -> usize {
        4
    }

    async fn begin(commits: &Commits) -> Result<Self, DatabaseError> {
        Ok(Self(commits.clone()))
    }

    async fn write(
        &mut self,
        _: &Layout,
        changes: &[&Change],
        _: &Writing<'_>,
        _: Care,
    ) -> Result<Attempt, DatabaseError> {
        Ok(Attempt { written: (0..changes.len()).collect(), ..Attempt::default() })
    }

    async fn insert(&mut self, _: &Layout, _: &NewRow<'_>) -> Result<Inserted, DatabaseError> {
        Err(broken())
    }

    async fn find(&mut self, _: &Layout, _: &[String]) -> Result<Vec<StoredRow>, DatabaseError> {
        Ok(Vec::new())
    }

    async fn index_generation(&mut self, _: &Layout) -> Result<u64, DatabaseError> {
        Ok(0)
    }

    async fn has_rival(&mut self, _: &Layout, _: &StoredKey, _: &Rival) -> Result<bool, DatabaseError> {
        Ok(false)
    }

    async fn mark(&mut self) -> Result<(), DatabaseError> {
        Ok(())
    }

    async fn undo(&mut self) -> Result<(), DatabaseError> {
        Ok(())
    }

    async fn keep(&mut self) -> Result<(), DatabaseError> {
        Ok(())
    }

    async fn commit(self) -> Result<(), DatabaseError> {
        self.0.lock().unwrap().pop_front().unwrap_or(Ok(()))
    }

    async fn cancel(self) -> Result<(), DatabaseError> {
        Ok(())
    }

    async fn judge(_: &Commits, _: &Layout, _: &Writing<'_>, error: DatabaseError) -> DatabaseError {
        error
    }
}

fn broken() -> DatabaseError {
    DatabaseError { message: "broken".into(), code: None, unreachable: true, scope: Scope::Whole }
}

fn refused() -> DatabaseError {
    DatabaseError::of_row("refused".into())
}

fn layout(is_guarded: bool) -> Layout {
    let profile = Profile::from_toml(PROFILE).unwrap();
    let facts = Facts { is_guarded, ..Facts::default() };
    let table = Arc::new(profile.tables[0].clone());
    Layout { table, facts, profile: String::new(), is_of_fields: false, only: Vec::new() }
}

fn row() -> StoredRow {
    StoredRow {
        key: StoredKey::default(),
        owner: Vec::new(),
        version: None,
        method: None,
        key_id: None,
        values: vec![None],
        record: Ok(None),
        indexes: Vec::new(),
        plain: Vec::new(),
        unreadable: None,
    }
}

/// Swaps so many changes, and returns how many of each fate there are: written, and not known.
async fn fates(
    is_guarded: bool,
    changes: usize,
    commits: Vec<Result<(), DatabaseError>>,
) -> Result<(usize, usize), DatabaseError> {
    let layout = layout(is_guarded);
    let marks = || Marks::of(WriteFormat::KmsEnvelope, None);
    let change = |_| Change::new(&layout, row(), vec![None], marks()).unwrap();
    let changes: Vec<Change> = (0..changes).map(change).collect();
    let commits: Commits = Arc::new(Mutex::new(commits.into()));
    let fates = swap::<Scripted>(&commits, &layout, &changes, &Writing::tokens(Locked::PassOver)).await?;
    assert_eq!(fates.len(), changes.len());
    let count = |is: fn(&Fate) -> bool| fates.iter().filter(|fate| is(fate)).count();
    Ok((count(|fate| matches!(fate, Fate::Written)), count(|fate| matches!(fate, Fate::Unmatched))))
}

#[tokio::test]
async fn rows_that_are_committed_are_reported_although_a_later_transaction_breaks() {
    // Three statements of four, four and two changes.
    assert_eq!(fates(false, 10, vec![]).await.unwrap(), (10, 0));
    assert_eq!(fates(false, 10, vec![Ok(()), Err(broken())]).await.unwrap(), (4, 6));
    assert!(fates(false, 10, vec![Err(broken())]).await.is_err(), "nothing is committed");
    // A transaction that is refused as a whole, and its halves.
    assert_eq!(fates(true, 4, vec![Err(refused()), Ok(()), Ok(())]).await.unwrap(), (4, 0));
    assert_eq!(fates(true, 4, vec![Err(refused()), Ok(()), Err(broken())]).await.unwrap(), (2, 2));
    assert!(fates(true, 4, vec![Err(refused()), Err(broken())]).await.is_err(), "nothing is committed");
}
