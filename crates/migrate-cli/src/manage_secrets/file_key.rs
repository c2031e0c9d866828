//! The keys of backups and sealed files: a data key of the key service for each file, otherwise the master key.

use std::path::Path;
use std::sync::Arc;

use envelope_core::{DataKey, EncryptionContext};
use kms_provider::KeyUri;
use secrets_cache::sealed_stream::{self, StreamKey, StreamKind};
use tokenseal::Settings;
use tokenseal::key_service::{KeyService, Load};

use super::Options;
use super::failure::Failure;
use crate::exit::CliError;
use crate::output::printable;

/// The name of the key in the header of files that the master key opens.
const MASTER_KEY_LABEL: &str = "KMS_MASTER_KEY";

/// The keys that the settings give for files.
pub(super) struct FileKeys<'a> {
    settings: &'a Settings,
    /// The key service of `KMS_KEY_ID`, where it is not the local keyring.
    service: Option<KeyService>,
}

impl<'a> FileKeys<'a> {
    /// Opens the key service, if the settings name one.
    pub(super) async fn open(settings: &'a Settings, options: &Options) -> Result<Self, Failure> {
        let service = match &settings.key {
            // The keyring itself is under the master key: a file under the master key needs one part less.
            None | Some(KeyUri::Keyring(_)) => None,
            Some(_) => KeyService::open(settings, Load::Few, &options.common.telemetry).await?,
        };
        Ok(Self { settings, service })
    }

    /// The key of a new file.
    pub(super) async fn for_new(&self, kind: StreamKind) -> Result<StreamKey, Failure> {
        let Some(service) = &self.service else {
            return Ok(StreamKey::new(self.master()?, MASTER_KEY_LABEL));
        };
        let generated = service.provider.generate(&self.context(kind)?).await.map_err(CliError::Key)?;
        Ok(StreamKey::generated(generated))
    }

    /// The key of a file that is there.
    pub(super) async fn of(&self, path: &Path) -> Result<Arc<DataKey>, Failure> {
        let header = sealed_stream::header(path)?;
        let (Some(wrapped), Some(kind)) = (header.wrapped(), header.kind()) else {
            return self.master();
        };
        let Some(service) = &self.service else {
            let key = printable(header.label());
            let problem = format!("{} is under a data key that {key} wrapped", path.display());
            return Err(Failure::usage(problem, "set KMS_KEY_ID to that key"));
        };
        let unwrapped = service.provider.unwrap(wrapped, &self.context(kind)?).await;
        Ok(unwrapped.map_err(CliError::Key)?)
    }

    fn context(&self, kind: StreamKind) -> Result<EncryptionContext, Failure> {
        kind.context(&self.settings.profile.base_context()).ok_or_else(|| {
            Failure::usage("ENCRYPTION_CONTEXT makes no context for files", "shorten ENCRYPTION_CONTEXT")
        })
    }

    fn master(&self) -> Result<Arc<DataKey>, Failure> {
        let missing = || {
            Failure::usage(
                "KMS_MASTER_KEY is not set, and this file is under it",
                "set KMS_MASTER_KEY, or for new files KMS_KEY_ID to a key of a key service",
            )
        };
        let master = self.settings.master_key.as_ref().ok_or_else(missing)?;
        let key = DataKey::from_slice(master.expose_secret())
            .map_err(|error| CliError::usage(error.to_string()))?;
        Ok(Arc::new(key))
    }
}
