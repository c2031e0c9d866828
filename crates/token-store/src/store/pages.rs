//! The rows of a table, page by page; the next page is read while the one before is worked on.

use futures_util::stream::{self, Stream};
use tokio::task::JoinHandle;

use super::TokenStore;
use crate::database::layout::Layout;
use crate::database::row::{StoredKey, StoredRow};
use crate::database::select::Walk;
use crate::error::StoreError;

/// Rows that are read from the database at once.
const PAGE: usize = 500;

/// A page that is being read, in a task of its own: it gives its connection back also while no one asks for the page, so
/// that the reader of a row may use the same pool, were it of one connection.
struct Reading {
    after: StoredKey,
    task: JoinHandle<Result<Vec<StoredRow>, StoreError>>,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The pages that follow.
enum Next {
    First,
    Reading(Reading),
    End,
}

impl TokenStore {
    /// The pages of a table in key order. The stream ends after an error.
    pub(super) fn pages<'a>(
        &'a self,
        layout: &'a Layout,
    ) -> impl Stream<Item = Result<Vec<StoredRow>, StoreError>> + 'a {
        stream::unfold(Next::First, move |next| async move {
            let page = match next {
                Next::First => self.page(layout, None).await,
                Next::Reading(reading) => self.finish(layout, reading).await,
                Next::End => return None,
            };
            match page {
                Ok(rows) => {
                    let after = rows.last()?.key.clone();
                    Some((Ok(rows), Next::Reading(self.read(layout, after))))
                }
                Err(error) => Some((Err(error), Next::End)),
            }
        })
    }

    fn read(&self, layout: &Layout, after: StoredKey) -> Reading {
        let (store, layout, from) = (self.clone(), layout.clone(), after.clone());
        let task = tokio::spawn(async move { store.page(&layout, Some(from)).await });
        Reading { after, task }
    }

    async fn finish(&self, layout: &Layout, mut reading: Reading) -> Result<Vec<StoredRow>, StoreError> {
        match (&mut reading.task).await {
            Ok(page) => page,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime of the task is shutting down.
                Err(_) => self.page(layout, Some(reading.after.clone())).await,
            },
        }
    }

    async fn page(&self, layout: &Layout, after: Option<StoredKey>) -> Result<Vec<StoredRow>, StoreError> {
        Walk::between(self.database(), layout, PAGE, after, None).next().await
    }
}
