//! Re-sealing: after a new data key became active, every value is moved under it.

use envelope_core::correlation::CorrelationId;
use sqlx::{Row, Sqlite, Transaction};

use super::{ID, LocalStore, sealing, write};
use crate::audit::{self, Record};
use crate::error::SourceError;
use crate::name::SecretName;

const RESEAL: &str = "seal values anew";
/// Versions in a transaction.
const BATCH: i64 = 200;

/// How a re-sealing went.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ResealReport {
    /// The data key that values were moved under.
    pub key_id: String,
    /// Versions moved.
    pub resealed: u64,
    /// Versions that somebody changed meanwhile; the new ones are under the key that was active for their writer.
    pub changed: u64,
    /// Versions that do not open, and so stay as they are.
    pub failed: Vec<ResealFailure>,
}

/// A version that does not open.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ResealFailure {
    /// Its secret.
    pub name: String,
    /// The version.
    pub version: String,
    /// The kind of failure, as [`envelope_core::OpenError::class`] labels it.
    pub class: &'static str,
    /// What the audit trail calls this failure.
    pub correlation_id: CorrelationId,
}

struct Stale {
    id: i64,
    name: String,
    version: String,
    envelope: String,
}

impl LocalStore {
    /// Moves every value under the ring's active data key, a batch a transaction.
    ///
    /// What is left to do is in the file itself, so a run that was stopped goes on where it was, and a run with
    /// nothing to do writes nothing. Old data keys may be dropped once [`status`](Self::status) shows no version
    /// under them. `progress` is called after every batch.
    ///
    /// # Errors
    /// [`SourceError::Storage`]. A value that does not open is reported, and does not stop the run.
    pub async fn reseal(&self, mut progress: impl FnMut(&ResealReport)) -> Result<ResealReport, SourceError> {
        let mut report = ResealReport { key_id: self.ring.active().0, ..ResealReport::default() };
        let mut after = i64::MIN;
        loop {
            let batch = self.stale(&report.key_id, after).await?;
            let Some(last) = batch.last() else {
                break;
            };
            after = last.id;
            self.reseal_batch(&batch, &mut report).await?;
            progress(&report);
        }
        if report.resealed > 0 || !report.failed.is_empty() {
            let outcome = if report.failed.is_empty() { "ok" } else { "incomplete" };
            let record = Record::default().source(ID).key(&report.key_id).outcome(outcome);
            audit::noted(audit::DATA_KEY_ROTATED, record);
        }
        Ok(report)
    }

    async fn stale(&self, active: &str, after: i64) -> Result<Vec<Stale>, SourceError> {
        let query = "SELECT v.id, s.name, v.version, e.envelope FROM versions v JOIN secrets s ON s.id = v.secret \
                     JOIN envelopes e ON e.version = v.id WHERE v.key_id <> ? AND v.id > ? ORDER BY v.id LIMIT ?";
        let query = sqlx::query(query).bind(active.to_owned()).bind(after).bind(BATCH);
        let rows = query.fetch_all(&self.pool).await.map_err(write::failed(RESEAL))?;
        let stale = rows.iter().map(|row| Stale {
            id: row.get("id"),
            name: row.get("name"),
            version: row.get("version"),
            envelope: row.get("envelope"),
        });
        Ok(stale.collect())
    }

    async fn reseal_batch(&self, batch: &[Stale], report: &mut ResealReport) -> Result<(), SourceError> {
        let mut sealed = Vec::with_capacity(batch.len());
        for stale in batch {
            let name = SecretName::new(&stale.name)?;
            match sealing::reseal(&*self.ring, &name, &stale.envelope) {
                Ok(anew) => sealed.push((stale, anew)),
                Err(unopened) => report.failed.push(ResealFailure {
                    name: stale.name.clone(),
                    version: stale.version.clone(),
                    class: unopened.cause.class(),
                    correlation_id: unopened.correlation_id,
                }),
            }
        }
        let mut transaction = write::begin(self, RESEAL).await?;
        let mut resealed = 0;
        for (stale, anew) in &sealed {
            resealed += replace(&mut transaction, stale, anew).await.map_err(write::failed(RESEAL))?;
        }
        write::commit(transaction, RESEAL).await?;
        report.resealed += resealed;
        report.changed += sealed.len() as u64 - resealed;
        Ok(())
    }
}

/// Writes only over the envelope that was read, and tells whether it did.
async fn replace(
    transaction: &mut Transaction<'static, Sqlite>,
    stale: &Stale,
    anew: &sealing::Sealed,
) -> Result<u64, sqlx::Error> {
    let query = sqlx::query("UPDATE envelopes SET envelope = ? WHERE version = ? AND envelope = ?");
    let query = query.bind(anew.envelope.clone()).bind(stale.id).bind(stale.envelope.clone());
    let replaced = query.execute(&mut **transaction).await?.rows_affected();
    if replaced == 1 {
        let query = sqlx::query("UPDATE versions SET key_id = ? WHERE id = ?");
        query.bind(anew.key_id.clone()).bind(stale.id).execute(&mut **transaction).await?;
    }
    Ok(replaced)
}
