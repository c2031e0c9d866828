//! Removes versions that are no longer served.

use std::time::Duration;

use sqlx::Row;
use tokio::task::JoinHandle;

use super::read::now_ms;
use super::record::{self, Version};
use super::writing::{Writing, failed};
use super::{ID, LocalStore, rows};
use crate::audit::{self, Record};
use crate::error::SourceError;
use crate::name::SecretName;

const CLEAN_UP: &str = "remove what has expired";

/// The result of a clean-up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CleanedUp {
    /// Secrets whose time had been over for the retention period.
    pub secrets: Vec<SecretName>,
    /// Previous versions after their grace period.
    pub versions: u64,
}

/// A running clean-up; it stops when this is dropped.
#[derive(Debug)]
pub struct CleanUp(JoinHandle<()>);

impl Drop for CleanUp {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl LocalStore {
    /// Removes secrets that expired at least `retention` ago, and previous versions after their grace period.
    ///
    /// # Errors
    /// [`SourceError::Storage`]; then nothing was removed.
    pub async fn clean_up(&self, retention: Duration) -> Result<CleanedUp, SourceError> {
        let now = now_ms();
        let mut writing = Writing::begin(self, CLEAN_UP).await?;
        let gone = "SELECT id FROM secrets WHERE expires_ms <= ?";
        let mut secrets = Vec::new();
        for record in due(&mut writing, gone, now.saturating_sub(rows::duration_ms(retention))).await? {
            run(&mut writing, "DELETE FROM secrets WHERE id = ?", record.id).await?;
            writing.removed(&record.name);
            secrets.extend(SecretName::new(&record.name));
        }
        let mut versions = 0;
        let over = "SELECT DISTINCT secret AS id FROM versions WHERE until_ms <= ?";
        for record in due(&mut writing, over, now).await? {
            let is_over = |version: &&Version| version.until_ms.is_some_and(|until| until <= now);
            for version in record.versions.iter().filter(is_over) {
                versions += run(&mut writing, "DELETE FROM versions WHERE id = ?", version.id).await?;
            }
            writing.seal(record.id).await?;
        }
        if secrets.is_empty() && versions == 0 {
            return Ok(CleanedUp::default());
        }
        let query = "INSERT INTO counters (name, value) VALUES ('cleaned_up', ?) \
                     ON CONFLICT (name) DO UPDATE SET value = value + excluded.value";
        run(&mut writing, query, i64::try_from(secrets.len()).unwrap_or(i64::MAX)).await?;
        writing.commit().await?;
        for name in &secrets {
            audit::noted(audit::SECRET_EXPIRED, Record::of(name).source(ID).outcome("removed"));
        }
        Ok(CleanedUp { secrets, versions })
    }

    /// Cleans up periodically, on the current runtime. A failure is logged, and the clean-up is repeated next
    /// time.
    #[must_use = "the clean-up stops when this is dropped"]
    pub fn clean_up_every(&self, interval: Duration, retention: Duration) -> CleanUp {
        let store = self.clone();
        CleanUp(tokio::spawn(async move {
            let mut ticks = tokio::time::interval(interval);
            loop {
                ticks.tick().await;
                if let Err(error) = store.clean_up(retention).await {
                    tracing::warn!(error = &error as &dyn std::error::Error, "clean-up failed");
                }
            }
        }))
    }
}

/// The secrets that a query names, whose times are authentic: a time that another program has set removes nothing.
async fn due(
    writing: &mut Writing<'_>,
    query: &'static str,
    at: i64,
) -> Result<Vec<record::Record>, SourceError> {
    let rows = sqlx::query(query).bind(at).fetch_all(writing.connection()).await;
    let mut due = Vec::new();
    for row in rows.map_err(failed(CLEAN_UP))? {
        let Some(record) = writing.record(row.get("id")).await? else {
            continue;
        };
        let name = SecretName::new(&record.name)?;
        match writing.check(&record, &name) {
            Ok(()) => {
                writing.check_bucket(&name).await?;
                due.push(record);
            }
            Err(error) => tracing::warn!(
                secret = %name,
                class = error.class(),
                "secret is not as it was stored, and is not cleaned up"
            ),
        }
    }
    Ok(due)
}

async fn run(writing: &mut Writing<'_>, query: &'static str, value: i64) -> Result<u64, SourceError> {
    let done = sqlx::query(query).bind(value).execute(writing.connection()).await;
    Ok(done.map_err(failed(CLEAN_UP))?.rows_affected())
}
