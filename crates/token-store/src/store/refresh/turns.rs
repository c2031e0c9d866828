//! Turns within one process: of the callers that want the same row refreshed, one asks the database for the lease.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

type Turn = tokio::sync::Mutex<()>;

/// One turn for each row, by table and key, while any caller waits for it.
#[derive(Default)]
pub(in crate::store) struct Turns {
    rows: Mutex<HashMap<(String, String), Weak<Turn>>>,
}

/// How many rows are kept before those are removed that no caller waits for.
const KEPT: usize = 1000;

impl Turns {
    pub(super) fn of(&self, table: &str, row: &str) -> Arc<Turn> {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if rows.len() > KEPT {
            rows.retain(|_, turn| turn.strong_count() > 0);
        }
        let kept = rows.entry((table.to_owned(), row.to_owned())).or_default();
        kept.upgrade().unwrap_or_else(|| {
            let turn = Arc::default();
            *kept = Arc::downgrade(&turn);
            turn
        })
    }
}
