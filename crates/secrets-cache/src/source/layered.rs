//! A source that combines others: the first that has a name answers.

use std::sync::Arc;

use async_trait::async_trait;

use super::SecretSource;
use crate::error::SourceError;
use crate::name::SecretName;
use crate::secret::{Secret, SecretMetadata, Stage};
use envelope_core::Environment;

/// Sources in order of precedence.
///
/// Only "there is no secret of this name" continues with the next source. A source that denies, fails, or has
/// the secret but not the version gives the answer: falling through would quietly serve an older value from
/// elsewhere. A layered source is for reading; each [`Secret`] says which source it came from.
#[derive(Default)]
pub struct Layered {
    layers: Vec<Arc<dyn SecretSource>>,
}

impl Layered {
    /// No source yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a source after the existing ones.
    #[must_use]
    pub fn then(mut self, source: Arc<dyn SecretSource>) -> Self {
        self.layers.push(source);
        self
    }

    /// Adds a source after the existing ones, if the deployment is one of these.
    #[must_use]
    pub fn then_in(
        self,
        environments: &[Environment],
        current: Environment,
        source: impl FnOnce() -> Arc<dyn SecretSource>,
    ) -> Self {
        if environments.contains(&current) { self.then(source()) } else { self }
    }
}

#[async_trait]
impl SecretSource for Layered {
    fn id(&self) -> Arc<str> {
        "layered".into()
    }

    async fn get(&self, name: &SecretName, stage: &Stage) -> Result<Secret, SourceError> {
        for layer in &self.layers {
            match layer.get(name, stage).await {
                Err(SourceError::NotFound { .. }) => {}
                answer => return answer,
            }
        }
        Err(SourceError::NotFound { name: name.clone() })
    }

    async fn get_many(&self, names: &[SecretName]) -> Result<Vec<Result<Secret, SourceError>>, SourceError> {
        let unknown = |name: &SecretName| Err(SourceError::NotFound { name: name.clone() });
        let mut answers: Vec<Result<Secret, SourceError>> = names.iter().map(unknown).collect();
        let mut open: Vec<usize> = (0..names.len()).collect();
        for layer in &self.layers {
            if open.is_empty() {
                break;
            }
            let asked: Vec<SecretName> = open.iter().map(|&i| names[i].clone()).collect();
            for (&i, answer) in open.iter().zip(layer.get_many(&asked).await?) {
                answers[i] = answer;
            }
            open.retain(|&i| matches!(answers[i], Err(SourceError::NotFound { .. })));
        }
        for &i in &open {
            answers[i] = unknown(&names[i]);
        }
        Ok(answers)
    }

    async fn describe(&self, name: &SecretName) -> Result<SecretMetadata, SourceError> {
        for layer in &self.layers {
            match layer.describe(name).await {
                Err(SourceError::NotFound { .. }) => {}
                answer => return answer,
            }
        }
        Err(SourceError::NotFound { name: name.clone() })
    }
}
