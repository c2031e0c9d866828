//! A rotation of one secret, step by step: the stages of the secret's versions, and how they change.
//!
//! Each step may be repeated, and may be taken by two at once: completed work stays as it is.

use super::failure::{self, Asked};
use super::{SecretsManager, convert, payload, quiet};
use crate::error::{self, SourceError};
use crate::name::SecretName;
use crate::secret::{SecretMetadata, Stage};
use crate::value::SecretValue;

/// The version that a rotation makes: a secret, by name or ARN, and the token that the service gave the rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewVersion {
    /// The secret.
    pub secret: SecretName,
    /// The id of the version: `ClientRequestToken` in the events of the service.
    pub token: String,
}

/// The progress of the version of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// The service does not have it yet.
    Absent,
    /// It is pending, with or without a value.
    Pending,
    /// It is the current version: the rotation is finished.
    Current,
    /// It is neither: another rotation has taken its place.
    Superseded,
}

impl SecretsManager {
    /// The progress of the version.
    ///
    /// # Errors
    /// As [`describe`](crate::SecretSource::describe).
    pub async fn standing(&self, version: &NewVersion) -> Result<Standing, SourceError> {
        Ok(standing(&self.describe_version(version).await?, version))
    }

    /// The value of the version; `None` if it has no value yet.
    ///
    /// # Errors
    /// As [`get`](crate::SecretSource::get).
    pub async fn pending_value(&self, version: &NewVersion) -> Result<Option<SecretValue>, SourceError> {
        let (name, stage) = (&version.secret, Stage::Pending);
        let request = self.client.get_secret_value().secret_id(name.as_str()).version_id(&version.token);
        let asked = Asked { operation: error::GET, name, stage: Some(&stage) };
        let answer = quiet(request.version_stage(stage.label()).send()).await;
        match answer.map_err(|e| failure::of(&asked, e)).and_then(|answer| convert::from_get(name, answer)) {
            Ok(secret) => Ok(Some(secret.value)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives the version a value, and returns the one that it has: another call may have been first.
    ///
    /// # Errors
    /// As [`put`](crate::SecretSource::put).
    pub async fn put_pending(
        &self,
        version: &NewVersion,
        value: &SecretValue,
    ) -> Result<SecretValue, SourceError> {
        let name = &version.secret;
        let (text, binary) = payload(value);
        let request = self.client.put_secret_value().secret_id(name.as_str());
        let request = request.client_request_token(&version.token).version_stages(Stage::Pending.label());
        let request = request.set_secret_string(text).set_secret_binary(binary);
        let asked = Asked { operation: error::PUT, name, stage: None };
        match quiet(request.send()).await.map_err(|e| failure::of_write(&asked, e)) {
            Ok(_) => Ok(value.duplicate()),
            // The service keeps the value that a version has.
            Err(conflict @ SourceError::Conflict { .. }) => {
                self.pending_value(version).await?.ok_or(conflict)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes the version the current one, and the current one the previous.
    ///
    /// # Errors
    /// As [`promote`](crate::SecretSource::promote).
    pub async fn make_current(&self, version: &NewVersion) -> Result<(), SourceError> {
        let known = self.describe_version(version).await?;
        if standing(&known, version) == Standing::Current {
            return Ok(());
        }
        let name = &version.secret;
        let request = self.client.update_secret_version_stage().secret_id(name.as_str());
        let request = request.version_stage(Stage::Current.label()).move_to_version_id(&version.token);
        let current = known.version(&Stage::Current).map(|current| current.version.clone());
        let request = request.set_remove_from_version_id(current);
        let asked = Asked { operation: error::PROMOTE, name, stage: None };
        match request.send().await.map_err(|e| failure::of_write(&asked, e)) {
            Ok(_) => Ok(()),
            // Another call may have finished the same rotation.
            Err(error) => match self.standing(version).await {
                Ok(Standing::Current) => Ok(()),
                _ => Err(error),
            },
        }
    }

    async fn describe_version(&self, version: &NewVersion) -> Result<SecretMetadata, SourceError> {
        crate::SecretSource::describe(self, &version.secret).await
    }
}

fn standing(known: &SecretMetadata, version: &NewVersion) -> Standing {
    let Some(found) = known.versions.iter().find(|found| found.version == version.token) else {
        return Standing::Absent;
    };
    match (found.stages.contains(&Stage::Current), found.stages.contains(&Stage::Pending)) {
        (true, _) => Standing::Current,
        (false, true) => Standing::Pending,
        (false, false) => Standing::Superseded,
    }
}
