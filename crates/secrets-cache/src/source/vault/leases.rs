//! Dynamic credentials of OpenBao and Vault as a source: made when they are asked for, kept and renewed for as long as their
//! lease allows, and revoked at the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use tokio::sync::Mutex;
use vault_client::{Answer, VaultClient, VaultError};

use super::failure::{self, Asked};
use super::path::KvPath;
use super::{ID, convert};
use crate::error::{self, SourceError};
use crate::name::SecretName;
use crate::secret::{Secret, SecretMetadata, Stage};
use crate::source::{ListPage, ListRequest, SecretSource};
use crate::value::SecretValue;

/// The part of a lease's time that must be left: below it the lease is renewed or replaced.
const LEAST_LEFT: u32 = 3;
const REVOKE: &str = "revoke a lease";

/// Credentials that the server makes for each lease, below a path such as `database/creds`: the name of a secret is that
/// of a role, and its value a JSON object such as `{"username":"…","password":"…"}`.
///
/// A value is the same until its lease cannot be renewed any more; then a new one is made. [`revoke_all`](Self::revoke_all)
/// ends every lease; without it the server ends them when their time is over.
///
/// # Capabilities
///
/// `read` on `<path>/<role>`, `update` on `sys/leases/renew` and `sys/leases/revoke`; to list, `list` on `<mount>/roles`.
pub struct VaultLeases {
    client: VaultClient,
    path: KvPath,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: BTreeMap<SecretName, Lease>,
    /// Leases that were replaced, to be revoked at the end: a program may still use them.
    replaced: Vec<String>,
}

struct Lease {
    id: String,
    value: SecretValue,
    is_renewable: bool,
    /// The time that it was made for.
    length: Duration,
    until: Instant,
}

#[derive(Deserialize)]
struct Made<'a> {
    lease_id: String,
    lease_duration: u64,
    renewable: bool,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct Renewed {
    lease_duration: u64,
}

impl Lease {
    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    fn has_enough_left(&self) -> bool {
        self.left() * LEAST_LEFT > self.length
    }

    fn secret(&self, name: &SecretName) -> Secret {
        let version = self.id.rsplit('/').next().unwrap_or_default();
        let until = OffsetDateTime::now_utc() + self.left();
        Secret::new(name.clone(), self.value.duplicate(), ID)
            .with_version(version, vec![Stage::Current])
            .with_times(None, Some(until))
    }
}

impl VaultLeases {
    /// Makes credentials below a path, `<mount>/creds` for databases. Nothing is sent before the first is asked for.
    #[must_use]
    pub fn new(client: VaultClient, path: KvPath) -> Self {
        Self { client, path, state: Mutex::default() }
    }

    /// Ends every lease of this source now.
    ///
    /// # Errors
    /// The last failure; the others were revoked. The server ends the remaining ones when their time is over.
    pub async fn revoke_all(&self) -> Result<(), SourceError> {
        let mut state = std::mem::take(&mut *self.state.lock().await);
        let held = std::mem::take(&mut state.held).into_values().map(|lease| lease.id);
        let mut outcome = Ok(());
        for id in held.chain(state.replaced) {
            let revoked = self.client.post("sys/leases/revoke", &json!({ "lease_id": id })).await;
            if let Err(error) = revoked {
                outcome = Err(failure::of_many(REVOKE, error));
            }
        }
        outcome
    }

    async fn make(&self, name: &SecretName) -> Result<Lease, SourceError> {
        let asked = Asked { operation: error::GET, name };
        let answer: Answer = match self.client.get(&format!("{}/{name}", self.path)).await {
            Ok(answer) => answer,
            Err(VaultError::Refused(refusal)) if refusal.says("unknown role") => {
                return Err(SourceError::NotFound { name: name.clone() });
            }
            Err(error) => return Err(failure::of(&asked, error)),
        };
        let made: Made<'_> = answer.parse().map_err(|_| failure::no_answer(error::GET))?;
        let length = Duration::from_secs(made.lease_duration);
        Ok(Lease {
            id: made.lease_id,
            value: SecretValue::text(made.data.get().to_owned()),
            is_renewable: made.renewable,
            length,
            until: Instant::now() + length,
        })
    }

    /// Asks for the whole time again; the server grants less near the end of the longest time that it allows.
    async fn renew(&self, name: &SecretName, lease: &mut Lease) -> Result<(), SourceError> {
        let body = json!({ "lease_id": lease.id, "increment": lease.length.as_secs() });
        let answer = self.client.post("sys/leases/renew", &body).await;
        let answer = answer.map_err(|error| failure::of(&Asked { operation: error::GET, name }, error))?;
        let renewed: Renewed = answer.parse().map_err(|_| failure::no_answer(error::GET))?;
        lease.until = Instant::now() + Duration::from_secs(renewed.lease_duration);
        Ok(())
    }
}

#[async_trait]
impl SecretSource for VaultLeases {
    fn id(&self) -> Arc<str> {
        ID.into()
    }

    fn keeps_schedule(&self) -> bool {
        false
    }

    async fn get(&self, name: &SecretName, stage: &Stage) -> Result<Secret, SourceError> {
        if *stage != Stage::Current {
            return Err(SourceError::NoSuchStage { name: name.clone(), stage: stage.clone() });
        }
        let mut state = self.state.lock().await;
        if let Some(lease) = state.held.get_mut(name) {
            if lease.has_enough_left() {
                return Ok(lease.secret(name));
            }
            if lease.is_renewable {
                // A lease that cannot be renewed is replaced while it still has a third of its time.
                let _ = self.renew(name, lease).await;
                if lease.has_enough_left() {
                    return Ok(lease.secret(name));
                }
            }
        }
        let made = match (self.make(name).await, state.held.get(name)) {
            (Ok(made), _) => made,
            // While the server is away, a held lease is valid until its end.
            (Err(error), Some(lease)) if error.is_outage() && !lease.left().is_zero() => {
                return Ok(lease.secret(name));
            }
            (Err(error), _) => return Err(error),
        };
        let secret = made.secret(name);
        let before = state.held.insert(name.clone(), made);
        state.replaced.extend(before.map(|lease| lease.id));
        Ok(secret)
    }

    async fn describe(&self, name: &SecretName) -> Result<SecretMetadata, SourceError> {
        Ok(SecretMetadata::new(name.clone()))
    }

    /// The roles of the mount.
    async fn list(&self, request: &ListRequest) -> Result<ListPage, SourceError> {
        let (mount, _) = self.path.split();
        let listed: convert::Listed = match self.client.list(&format!("{mount}/roles")).await {
            Ok(answer) => answer.data().map_err(|_| failure::no_answer(error::LIST))?,
            Err(VaultError::Refused(refusal)) if refusal.is_nothing_there() => return Ok(ListPage::default()),
            Err(error) => return Err(failure::of_many(error::LIST, error)),
        };
        let names = listed.keys.iter().filter_map(|name| SecretName::new(name).ok());
        let secrets = names.map(SecretMetadata::new).filter(|secret| request.matches(secret)).collect();
        Ok(ListPage::new(secrets, None))
    }
}

impl std::fmt::Debug for VaultLeases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VaultLeases").field("path", &self.path).finish_non_exhaustive()
    }
}
