//! The secrets engine KV, version 2, of OpenBao and Vault as a source.
//!
//! A value that this source stores is the field `value` of its secret, or `value_base64` where it is not text. A secret
//! that another program stored with other fields is served as a JSON object, whose fields `name#field` reads, and a JSON object
//! that replaces it is stored with fields as well.

mod convert;
mod failure;
mod leases;
mod path;
mod write;

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use serde_json::json;
use tokio::sync::OnceCell;
use vault_client::{VaultClient, VaultError};

use self::convert::{Metadata, Read};
use self::failure::Asked;
use super::{ListPage, ListRequest, NewSecret, Replaces, SecretSource, Stored, unsupported};
use crate::error::{self, SourceError};
use crate::name::SecretName;
use crate::secret::{Secret, SecretMetadata, Stage};
use crate::value::SecretValue;

pub(crate) use self::failure::is_cause;
pub use self::leases::VaultLeases;
pub use self::path::{KvPath, KvPathError};

pub(crate) const ID: &str = "vault";

/// How many secrets are asked for at once.
const AT_ONCE: usize = 8;

/// Secrets in KV version 2 of OpenBao or Vault, below one path.
///
/// # Stages
///
/// The newest version is current, and the newest readable one before it is previous. [`Stage::Other`] with a number names
/// that version. A pending version is refused, because every other reader of KV would take it for the current one.
///
/// # Writing
///
/// Every write carries the version that it replaces (check-and-set), so that a change by another program is a
/// [`SourceError::Conflict`] and not lost.
///
/// # What is not served
///
/// A deleted version can be brought back ([`SourceError::PendingDeletion`]), a destroyed one cannot
/// ([`SourceError::NoSuchStage`]), and one that has expired returns ([`SourceError::Expired`]). Expiry is
/// KV's own `delete_version_after`; expiry and rotation policies of this crate are refused.
///
/// # Capabilities
///
/// `read` on `<mount>/data/<path>/*` and `<mount>/metadata/<path>/*`; for writing `create` and `update` on both; to list
/// `list` on `<mount>/metadata/<path>/*`; to delete `update` on `<mount>/delete/<path>/*`.
pub struct VaultKv {
    client: VaultClient,
    path: KvPath,
    mount: OnceCell<Mount>,
}

/// The mount of the engine, and the path below it.
#[derive(Clone, Debug)]
struct Mount {
    mount: String,
    base: String,
}

impl VaultKv {
    /// Uses the secrets below a path. Nothing is sent before the first secret is asked for.
    #[must_use]
    pub fn new(client: VaultClient, path: KvPath) -> Self {
        Self { client, path, mount: OnceCell::new() }
    }

    /// The mount that the path begins with. A mount may have slashes in its name, so the server is asked.
    async fn mount(&self, operation: &'static str) -> Result<&Mount, SourceError> {
        let ask = || async {
            let path = format!("sys/internal/ui/mounts/{}", self.path);
            match self.client.get(&path).await {
                Ok(answer) => {
                    let found: convert::MountAnswer =
                        answer.data().map_err(|_| failure::not_kv(operation))?;
                    self.path
                        .below(&found.path)
                        .filter(|_| found.is_kv2())
                        .ok_or_else(|| failure::not_kv(operation))
                }
                // Only a token that may use something below the mount is answered.
                Err(VaultError::Refused(refusal))
                    if refusal.status() == 403 || refusal.is_nothing_there() =>
                {
                    Ok(self.path.split())
                }
                Err(error) => Err(failure::of_many(operation, error)),
            }
        };
        let found = self.mount.get_or_try_init(|| async {
            let (mount, base) = ask().await?;
            Ok::<_, SourceError>(Mount { mount, base })
        });
        found.await
    }

    async fn place(
        &self,
        kind: &str,
        name: &SecretName,
        operation: &'static str,
    ) -> Result<String, SourceError> {
        Ok(self.mount(operation).await?.place(kind, name.as_str()))
    }

    /// The metadata of a secret; `None` if it does not exist.
    async fn metadata(
        &self,
        name: &SecretName,
        operation: &'static str,
    ) -> Result<Option<Metadata>, SourceError> {
        let path = self.place("metadata", name, operation).await?;
        match self.client.get(&path).await {
            Ok(answer) => answer.data().map(Some).map_err(|_| failure::no_answer(operation)),
            Err(VaultError::Refused(refusal)) if refusal.is_nothing_there() => Ok(None),
            Err(error) => Err(failure::of(&Asked { operation, name }, error)),
        }
    }

    async fn read(
        &self,
        name: &SecretName,
        stage: &Stage,
        version: Option<u64>,
    ) -> Result<Secret, SourceError> {
        let asked = Asked { operation: error::GET, name };
        let path = self.place("data", name, error::GET).await?;
        let answer = match version {
            Some(version) => self.client.get_with(&path, &format!("version={version}")).await,
            None => self.client.get(&path).await,
        };
        match answer {
            Ok(answer) => {
                let read: Read<'_> = answer.data().map_err(|_| failure::no_answer(error::GET))?;
                let stages = vec![stage.clone()];
                convert::secret(name, &read, stages).ok_or_else(|| failure::no_answer(error::GET))
            }
            Err(VaultError::Refused(refusal)) if refusal.is_nothing_there() => {
                let gone = refusal.data::<convert::Gone>().ok();
                Err(self.gone(name, stage, gone).await)
            }
            Err(error) => Err(failure::of(&asked, error)),
        }
    }

    /// Why a version is not there.
    async fn gone(&self, name: &SecretName, stage: &Stage, gone: Option<convert::Gone>) -> SourceError {
        let no_such_stage = || SourceError::NoSuchStage { name: name.clone(), stage: stage.clone() };
        let Some(gone) = gone else {
            // Without anything about a version, either the secret is not there or this version never was.
            return match stage {
                Stage::Current => SourceError::NotFound { name: name.clone() },
                _ => no_such_stage(),
            };
        };
        if gone.is_destroyed() {
            return no_such_stage();
        }
        let metadata = self.metadata(name, error::GET).await.ok().flatten();
        match metadata.and_then(|metadata| metadata.expiry_of(gone.version())) {
            Some(at) if gone.is_deleted_at(at) => SourceError::Expired { name: name.clone(), at },
            _ => SourceError::PendingDeletion { name: name.clone() },
        }
    }

    /// The names below a path, those of deeper paths included.
    async fn names(&self) -> Result<Vec<SecretName>, SourceError> {
        let mount = self.mount(error::LIST).await?;
        let mut names = Vec::new();
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            let path = mount.place("metadata", &folder);
            let listed = match self.client.list(path.trim_end_matches('/')).await {
                Ok(answer) => {
                    answer.data::<convert::Listed>().map_err(|_| failure::no_answer(error::LIST))?
                }
                Err(VaultError::Refused(refusal)) if refusal.is_nothing_there() => continue,
                Err(error) => return Err(failure::of_many(error::LIST, error)),
            };
            for key in listed.keys {
                let name = format!("{folder}{key}");
                if name.ends_with('/') {
                    folders.push(name);
                } else if let Ok(name) = SecretName::new(&name) {
                    // A name that is not valid here was stored by another program, and cannot be reached by name.
                    names.push(name);
                }
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

impl Mount {
    fn place(&self, kind: &str, name: &str) -> String {
        let parts = [self.mount.as_str(), kind, self.base.as_str(), name];
        parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("/")
    }
}

#[async_trait]
impl SecretSource for VaultKv {
    fn id(&self) -> Arc<str> {
        ID.into()
    }

    fn keeps_schedule(&self) -> bool {
        false
    }

    async fn get(&self, name: &SecretName, stage: &Stage) -> Result<Secret, SourceError> {
        let no_such_stage = || SourceError::NoSuchStage { name: name.clone(), stage: stage.clone() };
        let version = match stage {
            Stage::Current => None,
            Stage::Other(label) => Some(label.trim_start_matches('v').parse().map_err(|_| no_such_stage())?),
            Stage::Previous => {
                let metadata = self.metadata(name, error::GET).await?;
                let metadata = metadata.ok_or_else(|| SourceError::NotFound { name: name.clone() })?;
                Some(metadata.previous().ok_or_else(no_such_stage)?)
            }
            Stage::Pending => return Err(no_such_stage()),
        };
        self.read(name, stage, version).await
    }

    async fn get_many(&self, names: &[SecretName]) -> Result<Vec<Result<Secret, SourceError>>, SourceError> {
        self.mount(error::GET_MANY).await?;
        let answers = stream::iter(names.to_vec())
            .map(|name| async move { self.read(&name, &Stage::Current, None).await });
        Ok(answers.buffered(AT_ONCE).collect().await)
    }

    async fn describe(&self, name: &SecretName) -> Result<SecretMetadata, SourceError> {
        let metadata = self.metadata(name, error::DESCRIBE).await?;
        let metadata = metadata.ok_or_else(|| SourceError::NotFound { name: name.clone() })?;
        Ok(metadata.describe(name))
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, SourceError> {
        let names = self.names().await?;
        let after = |name: &SecretName| request.cursor.as_deref().is_none_or(|cursor| name.as_str() > cursor);
        let is_asked = |name: &SecretName| name.as_str().starts_with(&request.prefix) && after(name);
        let asked: Vec<SecretName> = names.into_iter().filter(is_asked).collect();
        let page = &asked[..asked.len().min(request.limit.max(1))];
        let found = stream::iter(page.to_vec()).map(|name| async move {
            let metadata = self.metadata(&name, error::LIST).await?;
            Ok((name, metadata))
        });
        let found: Vec<Result<(SecretName, Option<Metadata>), SourceError>> =
            found.buffered(AT_ONCE).collect().await;
        let mut secrets = Vec::new();
        for entry in found {
            // One that was deleted meanwhile, or that only a restore would bring back, is not there.
            if let (name, Some(metadata)) = entry?
                && metadata.is_served()
            {
                secrets.push(metadata.describe(&name));
            }
        }
        secrets.retain(|secret| request.matches(secret));
        let next = (page.len() < asked.len()).then(|| page.last().map(ToString::to_string)).flatten();
        Ok(ListPage::new(secrets, next))
    }

    async fn put(&self, secret: &NewSecret) -> Result<Stored, SourceError> {
        let option = match () {
            () if secret.expires.is_some() => Some("let a secret expire"),
            () if secret.rotation.is_some() => Some("keep a rotation policy"),
            () if secret.stage != Stage::Current => {
                Some("keep a version under another stage than AWSCURRENT")
            }
            () => None,
        };
        if let Some(option) = option {
            return Err(unsupported(self.id(), option));
        }
        let before = self.metadata(&secret.name, error::PUT).await?;
        let current = before.as_ref().map_or(0, Metadata::current);
        let there = self.before(&secret.name, &secret.value, current).await?;
        if let Some(version) = there.version_with(&secret.value) {
            self.tag(&secret.name, before.as_ref(), &secret.tags).await?;
            return Ok(Stored::as_before(version));
        }
        let is_allowed = match &secret.replaces {
            Replaces::Anything => true,
            Replaces::Nothing => !before.as_ref().is_some_and(Metadata::is_served),
            Replaces::Version(version) => current.to_string() == *version,
        };
        if !is_allowed {
            return Err(SourceError::Conflict { name: secret.name.clone() });
        }
        let version = self.write_as(there.shape, &secret.name, &secret.value, current, error::PUT).await?;
        self.tag(&secret.name, before.as_ref(), &secret.tags).await?;
        Ok(Stored::new(version.to_string(), before.is_none()))
    }

    async fn rotate(&self, name: &SecretName, value: &SecretValue) -> Result<Stored, SourceError> {
        let before = self.metadata(name, error::ROTATE).await?.filter(Metadata::is_served);
        let before = before.ok_or_else(|| SourceError::NotFound { name: name.clone() })?;
        self.write(name, value, before.current()).await
    }

    async fn rotate_if(
        &self,
        name: &SecretName,
        value: &SecretValue,
        version: &str,
    ) -> Result<Stored, SourceError> {
        let before = self.metadata(name, error::ROTATE).await?.filter(Metadata::is_served);
        let before = before.ok_or_else(|| SourceError::NotFound { name: name.clone() })?;
        if before.current().to_string() != version {
            return Err(SourceError::Conflict { name: name.clone() });
        }
        // The server compares the number again when it stores.
        self.write(name, value, before.current()).await
    }

    async fn delete(&self, name: &SecretName) -> Result<(), SourceError> {
        let metadata = self.metadata(name, error::DELETE).await?.filter(Metadata::is_served);
        let metadata = metadata.ok_or_else(|| SourceError::NotFound { name: name.clone() })?;
        let path = self.place("delete", name, error::DELETE).await?;
        let answer = self.client.post(&path, &json!({ "versions": metadata.numbers() })).await;
        answer.map(drop).map_err(|error| failure::of(&Asked { operation: error::DELETE, name }, error))
    }
}

impl std::fmt::Debug for VaultKv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VaultKv").field("path", &self.path).finish_non_exhaustive()
    }
}
