//! The versions that may be right while a secret is being rotated.

use std::sync::Arc;

use time::OffsetDateTime;

use super::SecretsCache;
use crate::error::SourceError;
use crate::secret::{Secret, Stage};

/// The current version of a secret and, soon after a rotation, the previous one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Candidates {
    /// The current version: to be tried first.
    pub current: Arc<Secret>,
    /// The one before, while it may still be the one that the other side knows.
    pub previous: Option<Arc<Secret>>,
}

impl Candidates {
    /// The versions, in the order to try them in.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Secret>> {
        std::iter::once(&self.current).chain(&self.previous)
    }
}

pub(super) async fn candidates(cache: &SecretsCache, name: &str) -> Result<Candidates, SourceError> {
    let current = cache.get(name).await?;
    let age = current.created.map(|created| OffsetDateTime::now_utc() - created);
    let previous = match age.filter(|age| *age < cache.inner.options.grace) {
        // The current version is good: a failure to get the other one is no reason to withhold it.
        Some(_) => cache.get_stage(name, &Stage::Previous).await.ok(),
        None => None,
    };
    Ok(Candidates { current, previous })
}
