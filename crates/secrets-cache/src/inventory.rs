//! Counting what a source holds, by metadata only.

use time::OffsetDateTime;

use crate::error::SourceError;
use crate::name::SecretName;
use crate::source::{ListRequest, SecretSource};

/// The number of secrets, and of those that need attention.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inventory {
    /// Secrets.
    pub secrets: u64,
    /// Their versions.
    pub versions: u64,
    /// Secrets that are not served any more.
    pub expired: u64,
    /// Secrets whose policy requires a new value.
    pub due: u64,
    /// When each secret with a schedule is due for rotation; empty where only numbers were counted.
    pub rotate_by: Vec<(SecretName, OffsetDateTime)>,
}

impl Inventory {
    /// Counts the secrets of a source, page by page and without fetching a value.
    ///
    /// # Errors
    /// As [`SecretSource::list`].
    pub async fn take(source: &dyn SecretSource) -> Result<Self, SourceError> {
        let now = OffsetDateTime::now_utc();
        let mut request = ListRequest::default();
        let mut counts = Self::default();
        loop {
            let page = source.list(&request).await?;
            for secret in &page.secrets {
                counts.secrets += 1;
                counts.versions += secret.versions.len() as u64;
                counts.expired += u64::from(secret.is_expired(now));
                counts.due += u64::from(secret.is_due(now));
                counts.rotate_by.extend(secret.rotate_by.map(|at| (secret.name.clone(), at)));
            }
            match page.next {
                Some(next) => request.cursor = Some(next),
                None => return Ok(counts),
            }
        }
    }
}
