//! Fetching from the source: retries, and what becomes of an answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;
use time::OffsetDateTime;

use super::Inner;
use super::entry::{Answer, Entry};
use super::options::Options;
use crate::error::{self, SourceError};
use crate::name::SecretName;
use crate::secret::{Secret, Stage};
use crate::source::SecretSource;

impl Inner {
    /// Asks the source, again and again while it is not answering.
    pub(super) async fn fetch(&self, name: &SecretName, stage: &Stage) -> Result<Secret, SourceError> {
        let mut patience = Patience::new(&self.options);
        loop {
            let answer = patience.bound(error::GET, self.source.get(name, stage)).await;
            match answer {
                Err(error) if error.is_outage() && patience.wait().await => {}
                answer => return answer,
            }
        }
    }

    /// Keeps the source's answer, and turns it into the result for readers: the value, that there is none, or
    /// the last value in an outage.
    pub(super) async fn settle(
        &self,
        key: &Arc<str>,
        asked: Instant,
        answer: Result<Secret, SourceError>,
    ) -> Result<Arc<Entry>, SourceError> {
        let before = self.kept.get(key).await;
        let entry = match (answer, before) {
            // Another request was made later and answered sooner: its value is the newer one.
            (Ok(_), Some(before)) if before.asked > asked && before.secret().is_some() => return Ok(before),
            (Ok(secret), before) => {
                let known = before.as_ref().and_then(|before| before.secret());
                if known.is_none_or(|known| known.version != secret.version) {
                    self.forget_other_stages(key).await;
                }
                self.found(key, asked, secret)
            }
            (Err(error), Some(before)) if error.is_outage() => {
                before.stale(self.options.stale_retry).ok_or(error)?
            }
            (Err(error), _) if error.is_outage() => return Err(error),
            (Err(error), _) if error.is_not_found() => {
                let time = self.options.negative_ttl;
                Entry::new(Answer::Absent(error), asked, time, time)
            }
            (Err(error), _) => {
                // This is an answer: the previous value is no longer served.
                self.kept.invalidate(key).await;
                return Err(error);
            }
        };
        let entry = Arc::new(entry);
        self.kept.insert(Arc::clone(key), Arc::clone(&entry)).await;
        if self.was_forgotten(key, asked).await {
            self.kept.invalidate(key).await;
        }
        Ok(entry)
    }

    /// Whether the secret, or everything, was forgotten after this request began.
    async fn was_forgotten(&self, key: &str, asked: Instant) -> bool {
        for key in [key, EVERYTHING] {
            if self.forgotten.get(key).await.is_some_and(|at| at >= asked) {
                return true;
            }
        }
        false
    }

    /// A new current version changes which one is the previous, and that there is one.
    async fn forget_other_stages(&self, key: &str) {
        if !key.contains('\0') {
            for stage in [Stage::Previous, Stage::Pending] {
                self.kept.invalidate(format!("{key}\0{stage}").as_str()).await;
            }
        }
    }

    fn found(&self, key: &str, asked: Instant, secret: Secret) -> Entry {
        let left = left(&secret);
        let fresh = self.options.jittered_ttl().min(left);
        let kept = (self.options.ttl + self.options.max_stale).min(left);
        let entry = Entry::new(Answer::Found(Arc::new(secret)), asked, fresh, kept);
        let early = self.options.early_refresh;
        // Other stages than the current are not refreshed: a previous version does not change.
        let is_current = !key.contains('\0');
        if early > 0.0 && is_current { entry.refreshed_after(fresh.mul_f64(1.0 - early)) } else { entry }
    }
}

impl Options {
    fn jittered_ttl(&self) -> Duration {
        self.ttl.mul_f64(1.0 - rand::rng().random_range(0.0..=self.jitter))
    }
}

/// The name that means every secret among the forgotten ones: no secret has an empty name.
pub(super) const EVERYTHING: &str = "";

/// A time that is as good as for ever, and can be added to an instant.
const MAX_LIFE: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// How long the secret itself may be served.
fn left(secret: &Secret) -> Duration {
    let expires = secret.expires.map(|at| at - OffsetDateTime::now_utc());
    expires.map_or(MAX_LIFE, |left| left.try_into().unwrap_or(Duration::ZERO))
}

/// The attempts and the time that are left for a request.
pub(super) struct Patience {
    attempts: u32,
    pause: Duration,
    end: Instant,
}

impl Patience {
    pub(super) fn new(options: &Options) -> Self {
        Self { attempts: options.attempts, pause: options.backoff, end: Instant::now() + options.deadline }
    }

    /// Waits for an answer, but not beyond the deadline.
    pub(super) async fn bound<T>(
        &self,
        operation: &'static str,
        request: impl Future<Output = Result<T, SourceError>>,
    ) -> Result<T, SourceError> {
        let bounded = tokio::time::timeout_at(self.end.into(), request).await;
        bounded.unwrap_or(Err(SourceError::Timeout { operation }))
    }

    /// Pauses before the next attempt; false if there is none.
    pub(super) async fn wait(&mut self) -> bool {
        self.attempts -= 1;
        // At random up to the whole pause, so that callers who failed together do not come back together.
        let pause = self.pause.mul_f64(rand::rng().random_range(0.5..=1.0));
        if self.attempts == 0 || Instant::now() + pause >= self.end {
            return false;
        }
        self.pause *= 2;
        tokio::time::sleep(pause).await;
        true
    }
}
