//! Secrets that the process was started with, in its environment variables.

use std::sync::Arc;

use async_trait::async_trait;
use secrecy::SecretString;

use super::SecretSource;
use crate::error::SourceError;
use crate::name::SecretName;
use crate::secret::{Secret, SecretMetadata, Stage};
use crate::value::SecretValue;

/// The environment variables of this process: a variable is a secret of the same name, in any spelling of it
/// (`TEST_SECRET` is `test-secret`).
///
/// It reads only. It does not list: most variables of an environment are no secrets.
#[derive(Debug)]
pub struct EnvironmentVariables {
    id: Arc<str>,
}

impl EnvironmentVariables {
    /// The variables of this process, read each time one is asked for.
    #[must_use]
    pub fn new() -> Self {
        Self { id: "environment".into() }
    }
}

impl Default for EnvironmentVariables {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl SecretSource for EnvironmentVariables {
    fn id(&self) -> Arc<str> {
        Arc::clone(&self.id)
    }

    /// The variable that answers, or the one that would.
    fn own_name(&self, name: &SecretName) -> SecretName {
        let [.., last] = name.spellings();
        let answers = name.spellings().into_iter().find(|spelling| std::env::var_os(spelling).is_some());
        SecretName::new(&answers.unwrap_or(last)).unwrap_or_else(|_| name.clone())
    }

    async fn get(&self, name: &SecretName, stage: &Stage) -> Result<Secret, SourceError> {
        let value = variable(name)?;
        if *stage != Stage::Current {
            return Err(SourceError::NoSuchStage { name: name.clone(), stage: stage.clone() });
        }
        Ok(Secret::new(name.clone(), value, self.id()))
    }

    async fn describe(&self, name: &SecretName) -> Result<SecretMetadata, SourceError> {
        variable(name).map(|_| SecretMetadata::new(name.clone()))
    }
}

fn variable(name: &SecretName) -> Result<SecretValue, SourceError> {
    // A name with `=` cannot be a variable, and is only reported as not set.
    let value = name.spellings().iter().find_map(std::env::var_os);
    let value = value.ok_or_else(|| SourceError::NotFound { name: name.clone() })?;
    Ok(match value.into_string() {
        Ok(text) => SecretValue::text(SecretString::from(text)),
        Err(bytes) => SecretValue::binary(bytes.into_encoded_bytes()),
    })
}
