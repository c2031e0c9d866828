//! Reading several secrets together.

use std::sync::Arc;
use std::time::Instant;

use super::fetch::Patience;
use super::{Inner, key};
use crate::error::{self, SourceError};
use crate::name::SecretName;
use crate::secret::{Secret, Stage};
use crate::source::SecretSource;

type Answers = Vec<Option<Result<Arc<Secret>, SourceError>>>;

impl Inner {
    pub(super) async fn get_many(self: &Arc<Self>, names: &[&str]) -> Vec<Result<Arc<Secret>, SourceError>> {
        let mut answers: Answers = vec![None; names.len()];
        if !self.from_memory(names, &mut answers).await {
            let _together = self.together.lock().await;
            // An earlier caller may have fetched the same names.
            if !self.from_memory(names, &mut answers).await {
                self.fetch_missing(names, &mut answers).await;
            }
        }
        let unanswered = || Err(SourceError::Unavailable { operation: error::GET_MANY, cause: None });
        answers.into_iter().map(|answer| answer.unwrap_or_else(unanswered)).collect()
    }

    /// Answers as many names as it can without asking the source, and returns whether those were all.
    async fn from_memory(self: &Arc<Self>, names: &[&str], answers: &mut Answers) -> bool {
        for (name, answer) in names.iter().zip(answers.iter_mut()).filter(|(_, answer)| answer.is_none()) {
            if let Some(entry) = self.fresh(name).await {
                *answer = Some(self.hit(name, &entry));
            } else if let Err(error) = SecretName::new(name) {
                *answer = Some(Err(error.into()));
            }
        }
        answers.iter().all(Option::is_some)
    }

    async fn fetch_missing(self: &Arc<Self>, names: &[&str], answers: &mut Answers) {
        let missing = names.iter().zip(answers.iter()).filter(|(_, answer)| answer.is_none());
        let mut missing: Vec<SecretName> =
            missing.filter_map(|(name, _)| SecretName::new(name).ok()).collect();
        missing.sort_unstable();
        missing.dedup();
        self.start_janitor();
        let asked = Instant::now();
        for (name, fetched) in self.fetch_many(missing).await {
            self.missed(&name, &Stage::Current);
            let key = key(&name, &Stage::Current);
            let settled = self.settle(&key, asked, fetched).await;
            let outcome = match settled {
                Ok(entry) => self.answer(&entry),
                Err(error) => Err(error),
            };
            for (_, answer) in
                names.iter().zip(answers.iter_mut()).filter(|(asked, _)| **asked == name.as_str())
            {
                *answer = Some(outcome.clone());
            }
        }
    }

    /// Fetches names together; those that fail because the source is not answering are asked for again.
    async fn fetch_many(&self, mut open: Vec<SecretName>) -> Vec<(SecretName, Result<Secret, SourceError>)> {
        let mut patience = Patience::new(&self.options);
        let mut done = Vec::with_capacity(open.len());
        loop {
            let fetched = patience.bound(error::GET_MANY, self.source.get_many(&open)).await;
            let fetched = fetched.unwrap_or_else(|error| open.iter().map(|_| Err(error.clone())).collect());
            let mut failed = Vec::new();
            for (name, answer) in open.into_iter().zip(fetched) {
                match answer {
                    Err(error) if error.is_outage() => failed.push((name, Err(error))),
                    answer => done.push((name, answer)),
                }
            }
            if failed.is_empty() || !patience.wait().await {
                done.extend(failed);
                return done;
            }
            open = failed.into_iter().map(|(name, _)| name).collect();
        }
    }
}
