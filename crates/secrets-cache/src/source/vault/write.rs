//! Storing a value as the version after the current one.

use std::collections::BTreeMap;

use serde_json::json;
use zeroize::Zeroizing;

use super::VaultKv;
use super::convert::{self, Metadata, Shape, Written};
use super::failure::{self, Asked};
use crate::error::{self, SourceError};
use crate::name::SecretName;
use crate::secret::{Secret, Stage};
use crate::source::{SecretSource as _, Stored, readable};
use crate::typed;
use crate::value::SecretValue;

/// The current version, as far as it can be read, and the layout of the value after it.
pub(super) struct Before {
    secret: Option<Secret>,
    pub(super) shape: Shape,
}

impl Before {
    /// The current version, if it has this value.
    pub(super) fn version_with(&self, value: &SecretValue) -> Option<String> {
        let there = self.secret.as_ref().filter(|there| there.holds(value));
        there.map(|there| there.version.clone())
    }
}

impl VaultKv {
    /// Stores a value as the version after `current`, unless it is the value of that one.
    pub(super) async fn write(
        &self,
        name: &SecretName,
        value: &SecretValue,
        current: u64,
    ) -> Result<Stored, SourceError> {
        let before = self.before(name, value, current).await?;
        if let Some(version) = before.version_with(value) {
            return Ok(Stored::as_before(version));
        }
        let version = self.write_as(before.shape, name, value, current, error::ROTATE).await?;
        Ok(Stored::new(version.to_string(), false))
    }

    pub(super) async fn write_as(
        &self,
        shape: Shape,
        name: &SecretName,
        value: &SecretValue,
        current: u64,
        operation: &'static str,
    ) -> Result<u64, SourceError> {
        let path = self.place("data", name, operation).await?;
        let body: Zeroizing<Vec<u8>> = convert::write_body(value, current, shape);
        let answer = self.client.post_bytes(&path, &body).await;
        let answer = answer.map_err(|error| failure::of(&Asked { operation, name }, error))?;
        let written: Written = answer.data().map_err(|_| failure::no_answer(operation))?;
        Ok(written.version)
    }

    /// Reads the current version once. That it cannot be read is an error only where its layout matters, for an object.
    pub(super) async fn before(
        &self,
        name: &SecretName,
        value: &SecretValue,
        current: u64,
    ) -> Result<Before, SourceError> {
        if current == 0 {
            return Ok(Before { secret: None, shape: Shape::Value });
        }
        let answer = self.get(name, &Stage::Current).await;
        let is_gone =
            matches!(answer, Err(SourceError::PendingDeletion { .. } | SourceError::Expired { .. }))
                || answer.as_ref().is_err_and(SourceError::is_not_found);
        let secret = match answer {
            Err(error) if !is_gone && typed::is_json_object(value) => return Err(error),
            answer => readable(answer)?,
        };
        let shape = secret.as_ref().map_or(Shape::Value, |secret| Shape::of(value, secret));
        Ok(Before { secret, shape })
    }

    /// Adds tags to those that are there.
    pub(super) async fn tag(
        &self,
        name: &SecretName,
        before: Option<&Metadata>,
        tags: &BTreeMap<String, String>,
    ) -> Result<(), SourceError> {
        if tags.is_empty() {
            return Ok(());
        }
        let mut all = before.map(Metadata::tags).unwrap_or_default();
        all.extend(tags.clone());
        let path = self.place("metadata", name, error::PUT).await?;
        let answer = self.client.post(&path, &json!({ "custom_metadata": all })).await;
        answer.map(drop).map_err(|error| failure::of(&Asked { operation: error::PUT, name }, error))
    }
}
