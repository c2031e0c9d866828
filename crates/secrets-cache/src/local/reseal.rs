//! Re-sealing: after a new data key became active, every value is moved under it.

use envelope_core::correlation::CorrelationId;
use envelope_core::format::node_json;
use sqlx::{AssertSqlSafe, Row};

use super::sealing::{self, Unopened};
use super::trust::Trust;
use super::writing::{Writing, failed};
use super::{ID, LocalStore};
use crate::audit::{self, Record};
use crate::error::SourceError;
use crate::name::SecretName;

const RESEAL: &str = "re-seal values";
/// Secrets in a transaction.
const BATCH: i64 = 100;

/// How a re-sealing went.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ResealReport {
    /// The data key that values were moved under.
    pub key_id: String,
    /// Versions moved.
    pub resealed: u64,
    /// Versions that were changed meanwhile; the new ones are under the key that was active for their writer.
    pub changed: u64,
    /// Whether nothing is left to do: values without a purpose are refused from now on.
    pub complete: bool,
    /// Versions that do not open, and so stay as they are.
    pub failed: Vec<ResealFailure>,
}

/// A version that does not open.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ResealFailure {
    /// Its secret.
    pub name: String,
    /// The version; empty where the secret's own seal does not hold.
    pub version: String,
    /// The kind of failure, as [`envelope_core::OpenError::class`] labels it.
    pub class: &'static str,
    /// The name of this failure in the audit trail.
    pub correlation_id: CorrelationId,
}

impl LocalStore {
    /// Moves every value under the ring's active data key, one batch per transaction; gives a purpose to
    /// values that carry none, and a seal to secrets from before there were any.
    ///
    /// The file itself shows the remaining work, so a run that was stopped continues where it was, and a run with nothing
    /// to do writes nothing. Old data keys may be dropped once [`status`](Self::status) shows no version under them.
    /// `progress` is called after every batch. A run that leaves nothing to do records, in the store and in the ring,
    /// that it is complete: from then on values without a purpose and secrets without a seal are refused.
    ///
    /// # Errors
    /// [`SourceError::Storage`], [`SourceError::Untrusted`]. A value that does not open is reported, and does not stop the
    /// run.
    pub async fn reseal(&self, mut progress: impl FnMut(&ResealReport)) -> Result<ResealReport, SourceError> {
        let mut report = ResealReport { key_id: self.ring.active().0, ..ResealReport::default() };
        if self.is_resealed(&report.key_id).await? {
            report.complete = true;
            return Ok(report);
        }
        let mut after = i64::MIN;
        while let Some(last) = self.reseal_batch(after, &mut report).await? {
            after = last;
            progress(&report);
        }
        if report.resealed > 0 || !report.failed.is_empty() {
            let outcome = if report.failed.is_empty() { "ok" } else { "incomplete" };
            let record = Record::default().source(ID).key(&report.key_id).outcome(outcome);
            audit::noted(audit::DATA_KEY_ROTATED, record);
        }
        Ok(report)
    }

    /// Whether there is nothing to do.
    async fn is_resealed(&self, active: &str) -> Result<bool, SourceError> {
        let known = self.remembered()?;
        let mut transaction = self.begin().await.map_err(failed(RESEAL))?;
        let trust = Trust::read(self, &mut transaction, &known).await?;
        if !trust.is_complete() || !trust.was_resealed() || trust.key_id() != Some(active) {
            return Ok(false);
        }
        let left = sqlx::query(AssertSqlSafe(format!("SELECT count(*) FROM ({STALE})")));
        let left = left.bind(active.to_owned()).bind(i64::MIN).bind(1).fetch_one(&mut *transaction).await;
        Ok(left.map_err(failed(RESEAL))?.get::<i64, _>(0) == 0)
    }

    /// Re-seals the secrets that follow, and returns the last one; `None` if there were none, and then the
    /// run is complete.
    async fn reseal_batch(&self, after: i64, report: &mut ResealReport) -> Result<Option<i64>, SourceError> {
        let mut writing = Writing::begin(self, RESEAL).await?;
        let ids = stale(&mut writing, &report.key_id, after).await?;
        for id in &ids {
            self.reseal_one(&mut writing, *id, report).await?;
        }
        if ids.is_empty() {
            report.complete = report.failed.is_empty();
            writing.head.labelled |= report.complete;
            writing.ends_reseal = report.complete;
        }
        writing.commit().await?;
        Ok(ids.last().copied())
    }

    async fn reseal_one(
        &self,
        writing: &mut Writing<'_>,
        id: i64,
        report: &mut ResealReport,
    ) -> Result<(), SourceError> {
        let Some(record) = writing.record(id).await? else {
            return Ok(());
        };
        let name = SecretName::new(&record.name)?;
        let failure = |version: &str, unopened: Unopened| ResealFailure {
            name: record.name.clone(),
            version: version.to_owned(),
            class: unopened.cause.class(),
            correlation_id: unopened.correlation_id,
        };
        if let Err(cause) = record.check(&*self.ring, &writing.head.id, writing.head.labelled) {
            report.failed.push(failure("", Unopened::told(&name, ID, cause)));
            return Ok(());
        }
        writing.check_bucket(&name).await?;
        let accepted = sealing::accepted(writing.head.labelled);
        let failed_before = report.failed.len();
        for version in &record.versions {
            if version.key_id == report.key_id && node_json::is_labelled(&version.envelope) {
                continue;
            }
            match sealing::reseal(&*self.ring, &name, &version.envelope, accepted) {
                Ok(sealed) => {
                    replace(writing, version.id, &sealed).await.map_err(failed(RESEAL))?;
                    report.resealed += 1;
                }
                Err(unopened) => report.failed.push(failure(&version.version, unopened)),
            }
        }
        // A first seal would authenticate a value that does not open.
        let is_whole = report.failed.len() == failed_before;
        if is_whole || record.seal.is_some() { writing.seal(id).await } else { Ok(()) }
    }
}

/// Secrets with a version or a seal that is not under the active key, or a value that carries no purpose.
const STALE: &str = "SELECT s.id FROM secrets s WHERE (s.seal IS NULL OR s.seal_key <> ?1 OR EXISTS \
                     (SELECT 1 FROM versions v JOIN envelopes e ON e.version = v.id WHERE v.secret = s.id \
                     AND (v.key_id <> ?1 OR e.envelope NOT LIKE '{\"v\":2,%'))) AND s.id > ?2 \
                     ORDER BY s.id LIMIT ?3";

async fn stale(writing: &mut Writing<'_>, active: &str, after: i64) -> Result<Vec<i64>, SourceError> {
    let query = sqlx::query(STALE).bind(active.to_owned()).bind(after).bind(BATCH);
    let rows = query.fetch_all(writing.connection()).await.map_err(failed(RESEAL))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn replace(
    writing: &mut Writing<'_>,
    version: i64,
    sealed: &sealing::Sealed,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query("UPDATE envelopes SET envelope = ? WHERE version = ?");
    query.bind(sealed.envelope.clone()).bind(version).execute(writing.connection()).await?;
    let query = sqlx::query("UPDATE versions SET key_id = ? WHERE id = ?");
    query.bind(sealed.key_id.clone()).bind(version).execute(writing.connection()).await?;
    Ok(())
}
