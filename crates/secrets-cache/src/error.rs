//! Why a request to a source failed.

use std::error::Error;
use std::sync::Arc;

use envelope_core::OpenError;
use envelope_core::correlation::CorrelationId;
use time::OffsetDateTime;

use crate::name::{NameError, SecretName};
use crate::secret::Stage;

/// The cause of a failure, shared so that one failed call can answer every caller that waited for it.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// A failure of a secret source. No variant carries a value, or an answer that could hold one.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// There is no secret of this name.
    #[error("secret {name:?} does not exist")]
    NotFound {
        /// The name.
        name: SecretName,
    },
    /// The secret exists, but has no version under this stage.
    #[error("secret {name:?} has no version under {stage}")]
    NoSuchStage {
        /// The name.
        name: SecretName,
        /// The stage asked for.
        stage: Stage,
    },
    /// The secret's time is over. It is never served again.
    #[error("secret {name:?} expired at {at}")]
    Expired {
        /// The name.
        name: SecretName,
        /// When it expired.
        at: OffsetDateTime,
    },
    /// The secret is scheduled for deletion.
    #[error("secret {name:?} is scheduled for deletion")]
    PendingDeletion {
        /// The name.
        name: SecretName,
    },
    /// The secret is replicated between Regions: it is written in its primary Region only, and deleted only without
    /// replicas.
    #[error("secret {name:?} is replicated between Regions, which forbids this")]
    Replicated {
        /// The name.
        name: SecretName,
    },
    /// Another writer has made or changed a secret of this name at the same moment.
    #[error("secret {name:?} was changed by another writer at the same time")]
    Conflict {
        /// The name.
        name: SecretName,
    },
    /// The caller's identity may not do this.
    #[error("not allowed to {operation}")]
    Denied {
        /// The attempted operation.
        operation: &'static str,
        /// The source's message.
        #[source]
        cause: Option<Cause>,
    },
    /// Too many requests.
    #[error("too many requests: could not {operation}")]
    Throttled {
        /// The attempted operation.
        operation: &'static str,
        /// The source's message.
        #[source]
        cause: Option<Cause>,
    },
    /// No answer, or a fault on the source's side.
    #[error("source is unavailable: could not {operation}")]
    Unavailable {
        /// The attempted operation.
        operation: &'static str,
        /// The failure.
        #[source]
        cause: Option<Cause>,
    },
    /// No answer in time.
    #[error("no answer in time: could not {operation}")]
    Timeout {
        /// The attempted operation.
        operation: &'static str,
    },
    /// The source refused the request itself.
    #[error("invalid request: could not {operation}")]
    Invalid {
        /// The attempted operation.
        operation: &'static str,
        /// The source's message.
        #[source]
        cause: Option<Cause>,
    },
    /// The source cannot hold this value, or not under this name.
    #[error("secret {name:?} cannot be stored: {reason}")]
    Unfit {
        /// The name.
        name: SecretName,
        /// The reason.
        reason: Unfit,
    },
    /// The name is not valid for a secret.
    #[error("not a name of a secret")]
    Name(#[from] NameError),
    /// This kind of source cannot do this.
    #[error("source {source_id} cannot {operation}")]
    Unsupported {
        /// The source.
        source_id: Arc<str>,
        /// The attempted operation.
        operation: &'static str,
    },
    /// This source is for development only.
    #[error("source {source_id} is for development and refused in production")]
    DevelopmentOnly {
        /// The source.
        source_id: Arc<str>,
    },
    /// The stored value did not open under its own name.
    #[error("stored value of secret {name:?} does not open (correlation id {correlation_id})")]
    Sealed {
        /// The name.
        name: SecretName,
        /// The name of this failure in the audit trail.
        correlation_id: CorrelationId,
        /// Why.
        #[source]
        cause: OpenError,
    },
    /// The store is not as its last change left it.
    #[error("the store is not trusted")]
    Untrusted(#[from] Untrusted),
    /// The file of the source cannot be read, written or understood.
    #[error("storage failed: could not {operation}")]
    Storage {
        /// The attempted operation.
        operation: &'static str,
        /// The failure.
        #[source]
        cause: Option<Cause>,
    },
}

/// Why a local store is not accepted as unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Untrusted {
    /// An older copy of the file was put back.
    #[error("the file is an older copy than the key ring remembers")]
    RolledBack,
    /// Something that does not have the keys changed the file.
    #[error("the file was changed by another program")]
    Changed,
    /// The key that the file was sealed under is not in the ring.
    #[error("the file was sealed under a key that is not in the key ring")]
    Key,
}

impl From<OpenError> for Untrusted {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::UnknownDataKey { .. } => Self::Key,
            _ => Self::Changed,
        }
    }
}

impl SourceError {
    /// Every class, for a counter in which each must exist from the start.
    pub const CLASSES: [&'static str; 18] = [
        "not_found",
        "no_such_stage",
        "expired",
        "pending_deletion",
        "replicated",
        "conflict",
        "denied",
        "throttled",
        "unavailable",
        "timeout",
        "invalid",
        "unfit",
        "unsupported",
        "development_only",
        "sealed",
        "untrusted",
        "storage",
        "name",
    ];

    /// The label of this kind of failure in metrics, logs and reports.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::NoSuchStage { .. } => "no_such_stage",
            Self::Expired { .. } => "expired",
            Self::PendingDeletion { .. } => "pending_deletion",
            Self::Replicated { .. } => "replicated",
            Self::Conflict { .. } => "conflict",
            Self::Denied { .. } => "denied",
            Self::Throttled { .. } => "throttled",
            Self::Unavailable { .. } => "unavailable",
            Self::Timeout { .. } => "timeout",
            Self::Invalid { .. } => "invalid",
            Self::Unfit { .. } => "unfit",
            Self::Name(_) => "name",
            Self::Unsupported { .. } => "unsupported",
            Self::DevelopmentOnly { .. } => "development_only",
            Self::Sealed { .. } => "sealed",
            Self::Untrusted(_) => "untrusted",
            Self::Storage { .. } => "storage",
        }
    }

    /// The name of this failure in the audit trail, if it is about a stored value that does not open.
    #[must_use]
    pub fn correlation_id(&self) -> Option<CorrelationId> {
        match self {
            Self::Sealed { correlation_id, .. } => Some(*correlation_id),
            _ => None,
        }
    }

    /// Whether the source is merely not answering: the same request may succeed later by itself, and a value
    /// fetched before may be served meanwhile. Every other failure is an answer.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        let storage = matches!(self, Self::Storage { .. });
        storage || matches!(self, Self::Throttled { .. } | Self::Unavailable { .. } | Self::Timeout { .. })
    }

    /// Whether there is no such secret, or no such version of it.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::NoSuchStage { .. })
    }

    /// The next step for the operator.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotFound { .. } => "check the name and the prefix; `list` shows all names",
            Self::NoSuchStage { .. } => {
                "give a secret without a value one; only a rotated secret has a previous version, and only for its grace period"
            }
            Self::Expired { .. } => "store a new value, or one without an expiry",
            Self::PendingDeletion { .. } => "restore the secret, or choose another name",
            Self::Replicated { .. } => "write in the primary Region; remove the replicas before a deletion",
            Self::Conflict { .. } => "read it again and repeat",
            Self::Denied { cause, .. } if is_of_vault(cause.as_ref()) => {
                "check VAULT_TOKEN or the login, and that the token's policy allows this on the path"
            }
            Self::Denied { operation, .. } => denied_hint(operation),
            Self::Throttled { cause, .. } if is_of_vault(cause.as_ref()) => {
                "fetch names together, cache for longer, or raise the server's rate limit quota"
            }
            Self::Throttled { .. } => "fetch names together, cache for longer, or ask for a higher quota",
            Self::Unavailable { cause, .. } if is_of_vault(cause.as_ref()) => {
                "check VAULT_ADDR, VAULT_NAMESPACE, the mount, the network path to the server, and that it is unsealed"
            }
            Self::Unavailable { .. } => "check the network path, the Region and the endpoint URL",
            Self::Timeout { .. } => {
                "check the network path to the source, and its address: the Region and the endpoint URL, or VAULT_ADDR"
            }
            Self::Invalid { .. } => "see the cause",
            Self::Unfit { reason, .. } => reason.hint(),
            Self::Name(NameError::Prefix) => "end the prefix with `/`",
            Self::Name(_) => "names have 1 to 512 bytes, no control characters and no `#`",
            Self::Unsupported { operation, .. } if OPERATIONS.contains(operation) => {
                "use another source for this"
            }
            Self::Unsupported { .. } => "leave that option out, or use another source",
            Self::DevelopmentOnly { .. } => "move the file into a secret store with `manage-secrets import`",
            Self::Sealed { .. } => {
                "check KMS_MASTER_KEY and the keyring; restore the store from a backup if damaged"
            }
            Self::Untrusted(Untrusted::Key) => "use the keyring that the store was written with",
            Self::Untrusted(_) => {
                "if you restored or edited it yourself, accept it with `accept-restore`; otherwise restore a backup and find out who did"
            }
            Self::Storage { .. } => "check that the file exists, is writable and is a secret store",
        })
    }

    #[cfg(any(feature = "dotenv", feature = "local-store"))]
    pub(crate) fn storage(operation: &'static str, cause: impl Error + Send + Sync + 'static) -> Self {
        Self::Storage { operation, cause: Some(Arc::new(cause)) }
    }
}

/// Why a source cannot hold a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// The value is empty.
    #[error("the value is empty")]
    Empty,
    /// The value is too long.
    #[error("the value has {actual} bytes, and the limit is {limit}")]
    TooLong {
        /// Its length, in bytes.
        actual: usize,
        /// The most that the source holds, in bytes.
        limit: usize,
    },
    /// The name has a character that the source does not allow.
    #[error("a name may have letters, digits and `/_+=.@-` only")]
    NameCharacter,
}

impl Unfit {
    fn hint(self) -> &'static str {
        match self {
            Self::Empty => "give it a value, or leave it out",
            Self::TooLong { .. } => "store it elsewhere, or in parts",
            Self::NameCharacter => "choose another name",
        }
    }
}

/// Whether the failure is OpenBao's or Vault's, as its cause shows.
#[cfg(feature = "vault")]
fn is_of_vault(cause: Option<&Cause>) -> bool {
    cause.is_some_and(crate::source::vault::is_cause)
}

#[cfg(not(feature = "vault"))]
fn is_of_vault(_cause: Option<&Cause>) -> bool {
    false
}

fn denied_hint(operation: &str) -> &'static str {
    match operation {
        GET => "allow secretsmanager:GetSecretValue on the secret, and kms:Decrypt on its key",
        GET_MANY => "allow secretsmanager:BatchGetSecretValue, and GetSecretValue on each secret",
        DESCRIBE => "allow secretsmanager:DescribeSecret on the secret",
        LIST => "allow secretsmanager:ListSecrets",
        PUT | ROTATE => {
            "allow secretsmanager:CreateSecret, PutSecretValue, UpdateSecretVersionStage and TagResource, and kms:GenerateDataKey on its key"
        }
        PROMOTE => "allow secretsmanager:DescribeSecret and UpdateSecretVersionStage on the secret",
        DELETE => "allow secretsmanager:DeleteSecret on the secret",
        _ => "check the credentials in use",
    }
}

/// The operations, as messages name them.
pub(crate) const GET: &str = "get a secret";
pub(crate) const GET_MANY: &str = "get secrets together";
pub(crate) const DESCRIBE: &str = "describe a secret";
pub(crate) const LIST: &str = "list secrets";
pub(crate) const PUT: &str = "store a secret";
pub(crate) const ROTATE: &str = "rotate a secret";
pub(crate) const PROMOTE: &str = "promote a pending version";
pub(crate) const DELETE: &str = "delete a secret";
/// Whole operations, unlike the options of one.
const OPERATIONS: [&str; 8] = [GET, GET_MANY, DESCRIBE, LIST, PUT, ROTATE, PROMOTE, DELETE];
