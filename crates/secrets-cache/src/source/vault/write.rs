//! Storing a value as the version after the current one.

use std::collections::BTreeMap;

use serde_json::json;
use vault_client::VaultError;
use zeroize::Zeroizing;

use super::VaultKv;
use super::convert::{self, Metadata, Read, Shape, Written};
use super::failure::{self, Asked};
use crate::error::{self, SourceError};
use crate::name::SecretName;
use crate::secret::Stage;
use crate::source::{SecretSource as _, Stored, readable};
use crate::typed;
use crate::value::SecretValue;

impl VaultKv {
    /// Stores a value as the version after `current`, unless it is the value of that one.
    pub(super) async fn write(
        &self,
        name: &SecretName,
        value: &SecretValue,
        current: u64,
    ) -> Result<Stored, SourceError> {
        let shape = self.shape(name, value, current, error::ROTATE).await?;
        if let Some(version) = self.version_with(name, value, shape).await? {
            return Ok(Stored::as_before(version));
        }
        let version = self.write_as(shape, name, value, current, error::ROTATE).await?;
        Ok(Stored::new(version.to_string(), false))
    }

    /// The current version, if it has this value.
    pub(super) async fn version_with(
        &self,
        name: &SecretName,
        value: &SecretValue,
        shape: Shape,
    ) -> Result<Option<String>, SourceError> {
        // The server returns the fields of a secret in an order of its own.
        let is_same = |there: &SecretValue| {
            there.same_as(value) || shape == Shape::Fields && typed::has_same_members(there, value)
        };
        let there = readable(self.get(name, &Stage::Current).await)?;
        Ok(there.filter(|there| is_same(&there.value)).map(|there| there.version))
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

    /// The layout of a new value. Only for an object does the one that is there matter.
    pub(super) async fn shape(
        &self,
        name: &SecretName,
        value: &SecretValue,
        current: u64,
        operation: &'static str,
    ) -> Result<Shape, SourceError> {
        if current == 0 || !typed::is_json_object(value) {
            return Ok(Shape::Value);
        }
        let path = self.place("data", name, operation).await?;
        match self.client.get(&path).await {
            Ok(answer) => {
                let read: Read<'_> = answer.data().map_err(|_| failure::no_answer(operation))?;
                Ok(Shape::of(value, &read))
            }
            Err(VaultError::Refused(refusal)) if refusal.is_nothing_there() => Ok(Shape::Value),
            Err(error) => Err(failure::of(&Asked { operation, name }, error)),
        }
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
