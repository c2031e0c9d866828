//! Single flight: callers that ask for the same name at the same time share one request.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Mutex;

use super::entry::Entry;
use super::{Inner, key};
use crate::error::SourceError;
use crate::name::SecretName;
use crate::secret::{Secret, Stage};

/// The request for a name that was made last.
///
/// Its lock is held while a request is under way. If the task that holds it is cancelled, the next one takes over.
#[derive(Default)]
pub(super) struct Flight(Mutex<Option<Last>>);

struct Last {
    asked: Instant,
    answered: Instant,
    failure: Option<SourceError>,
}

/// How new an answer has to be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Any that is within its time to live, or comes while the caller waits.
    Fresh,
    /// One that was asked for after the caller came.
    Newer,
}

impl Inner {
    /// The answer for a name: from memory if another caller has just brought it, else from the source.
    pub(super) async fn fly(
        self: &Arc<Self>,
        name: &SecretName,
        stage: &Stage,
        need: Need,
    ) -> Result<Arc<Entry>, SourceError> {
        self.start_janitor();
        let came = Instant::now();
        let key = key(name, stage);
        let flight = self.flights.get_with(Arc::clone(&key), async { Arc::default() }).await;
        let mut last = flight.0.lock().await;
        if let Some(answer) = self.shared(&key, last.as_ref(), came, need).await {
            return answer;
        }
        let asked = Instant::now();
        let answer = self.fetch(name, stage).await;
        let outcome = match (need, answer) {
            // Who wants a newer value gets none in an outage; the cached value stays as it is.
            (Need::Newer, Err(error)) if error.is_outage() => Err(error),
            (_, answer) => self.settle(&key, asked, answer).await,
        };
        *last = Some(Last { asked, answered: Instant::now(), failure: outcome.as_ref().err().cloned() });
        outcome
    }

    /// The result of another caller's request, if it is new enough.
    async fn shared(
        &self,
        key: &Arc<str>,
        last: Option<&Last>,
        came: Instant,
        need: Need,
    ) -> Option<Result<Arc<Entry>, SourceError>> {
        let is_new_enough = |last: &&Last| match need {
            Need::Fresh => last.answered >= came,
            Need::Newer => last.asked >= came,
        };
        let last = last.filter(is_new_enough);
        if let Some(failure) = last.and_then(|last| last.failure.as_ref()) {
            return Some(Err(failure.clone()));
        }
        if last.is_none() && need == Need::Newer {
            return None;
        }
        let entry = self.kept.get(key).await?;
        entry.is_fresh(Instant::now()).then_some(Ok(entry))
    }

    /// The value as the source has it now.
    pub(super) async fn force(self: &Arc<Self>, name: &SecretName) -> Result<Arc<Secret>, SourceError> {
        let entry = self.fly(name, &Stage::Current, Need::Newer).await?;
        self.answer(&entry)
    }
}
