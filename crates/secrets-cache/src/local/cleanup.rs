//! Removing what is not served any more.

use std::time::Duration;

use sqlx::Row;
use tokio::task::JoinHandle;

use super::read::now_ms;
use super::{ID, LocalStore, rows, write};
use crate::audit::{self, Record};
use crate::error::SourceError;
use crate::name::SecretName;

const CLEAN_UP: &str = "remove what has expired";

/// What a clean-up removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CleanedUp {
    /// Secrets whose time had been over for the retention period.
    pub secrets: Vec<SecretName>,
    /// Previous versions behind their grace period.
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
    /// Removes secrets that expired at least `retention` ago, and previous versions behind their grace period.
    ///
    /// # Errors
    /// [`SourceError::Storage`]; then nothing was removed.
    pub async fn clean_up(&self, retention: Duration) -> Result<CleanedUp, SourceError> {
        let failed = write::failed(CLEAN_UP);
        let now = now_ms();
        let mut transaction = write::begin(self, CLEAN_UP).await?;
        let query = sqlx::query("DELETE FROM secrets WHERE expires_ms <= ? RETURNING name");
        let query = query.bind(now.saturating_sub(rows::duration_ms(retention)));
        let gone = query.fetch_all(&mut *transaction).await.map_err(&failed)?;
        let secrets: Vec<SecretName> =
            gone.iter().filter_map(|row| SecretName::new(row.get("name")).ok()).collect();
        let query = sqlx::query("DELETE FROM versions WHERE until_ms <= ?").bind(now);
        let versions = query.execute(&mut *transaction).await.map_err(&failed)?.rows_affected();
        let query = "INSERT INTO counters (name, value) VALUES ('cleaned_up', ?) \
                     ON CONFLICT (name) DO UPDATE SET value = value + excluded.value";
        let count = i64::try_from(gone.len()).unwrap_or(i64::MAX);
        sqlx::query(query).bind(count).execute(&mut *transaction).await.map_err(&failed)?;
        write::commit(transaction, CLEAN_UP).await?;
        for name in &secrets {
            audit::noted(audit::SECRET_EXPIRED, Record::of(name).source(ID).outcome("removed"));
        }
        Ok(CleanedUp { secrets, versions })
    }

    /// Cleans up now and then, on the current runtime. A failure is logged and tried again the next time.
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
