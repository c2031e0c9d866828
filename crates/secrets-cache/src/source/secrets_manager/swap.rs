//! Replaces a specific current version with a new one.
//!
//! The service stores a version under any label, and moves `AWSCURRENT` only from the version that a request names
//! (`RemoveFromVersionId` in the `UpdateSecretVersionStage` reference). So the new version gets a label of
//! its own, and takes over `AWSCURRENT` if the version that was read still has it.

use envelope_core::random;

use super::failure::{self, Asked};
use super::{SecretsManager, Stored};
use crate::error::SourceError;
use crate::name::SecretName;
use crate::secret::Stage;
use crate::value::SecretValue;

/// Random bytes in the label of a version that is not current yet.
const LABEL_LEN: usize = 8;

impl SecretsManager {
    /// Stores a value in place of a version, or where no version is current.
    pub(super) async fn swap(
        &self,
        name: &SecretName,
        value: &SecretValue,
        version: Option<&str>,
        operation: &'static str,
    ) -> Result<Stored, SourceError> {
        let asked = Asked { operation, name, stage: None };
        let label = format!("tokenseal-{}", hex::encode(random::bytes::<LABEL_LEN>()));
        let own = Stage::Other(label.into());
        let new = self.put_version(name, value, &own, operation).await?;
        let moved = self.move_current(&asked, version, &new.version).await;
        let moved = match moved {
            Err(error) => self.is_moved(name, version, &new.version, error).await,
            Ok(()) => Ok(()),
        };
        // A version without a label is removed by the service. With it, it is in no one's way.
        if let Err(error) = self.remove_label(&asked, &own, &new.version).await {
            tracing::warn!(
                class = error.class(),
                label = own.label(),
                "a label of a version could not be removed"
            );
        }
        moved.map(|()| new)
    }

    async fn move_current(&self, asked: &Asked<'_>, from: Option<&str>, to: &str) -> Result<(), SourceError> {
        let request = self.client.update_secret_version_stage().secret_id(asked.name.as_str());
        let request = request.version_stage(Stage::Current.label());
        let request = request.set_remove_from_version_id(from.map(Into::into)).move_to_version_id(to);
        request.send().await.map(drop).map_err(|e| failure::of_write(asked, e))
    }

    async fn remove_label(&self, asked: &Asked<'_>, label: &Stage, from: &str) -> Result<(), SourceError> {
        let request = self.client.update_secret_version_stage().secret_id(asked.name.as_str());
        let request = request.version_stage(label.label()).remove_from_version_id(from);
        request.send().await.map(drop).map_err(|e| failure::of_write(asked, e))
    }

    /// Whether the new version is current after all: an answer can be lost. The service has no error of its own for a label
    /// that another version has.
    async fn is_moved(
        &self,
        name: &SecretName,
        from: Option<&str>,
        to: &str,
        error: SourceError,
    ) -> Result<(), SourceError> {
        let known = crate::SecretSource::describe(self, name).await.ok();
        let current = known.as_ref().and_then(|known| known.version(&Stage::Current));
        match current {
            Some(current) if current.version == to => Ok(()),
            Some(current) if Some(current.version.as_str()) != from => {
                Err(SourceError::Conflict { name: name.clone() })
            }
            _ => Err(error),
        }
    }
}
