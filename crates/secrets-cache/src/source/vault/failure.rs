//! From the client's errors to ours. The server's own words are read, and not passed on.

use std::sync::Arc;

use vault_client::{Refusal, VaultError};

use crate::error::{Cause, SourceError};
use crate::name::SecretName;

/// The request that failed.
pub(super) struct Asked<'a> {
    pub(super) operation: &'static str,
    pub(super) name: &'a SecretName,
}

/// The next step, where the class of the failure does not say it.
#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error("the server answered {0}")]
    Status(u16),
    #[error("the server is sealed: unseal it with `bao operator unseal`")]
    Sealed,
    #[error("the token lacks a capability on this path, or is no longer valid")]
    Denied,
    #[error("the path is not below a mount of KV version 2")]
    NotKv,
    #[error("nothing answers at this path: the mount or the namespace does not exist")]
    NoMount,
    #[error("the answer is not one of OpenBao or Vault")]
    NotAnAnswer,
}

/// Whether the cause of a failure comes from here.
pub(crate) fn is_cause(cause: &Cause) -> bool {
    cause.is::<Reason>() || cause.is::<VaultError>()
}

/// A request for one secret failed.
pub(super) fn of(asked: &Asked<'_>, error: VaultError) -> SourceError {
    match error {
        VaultError::Refused(refusal) if refusal.says("check-and-set parameter did not match") => {
            SourceError::Conflict { name: asked.name.clone() }
        }
        other => of_many(asked.operation, other),
    }
}

/// A request that is not about one secret failed.
pub(super) fn of_many(operation: &'static str, error: VaultError) -> SourceError {
    match error {
        VaultError::Refused(refusal) => refused(operation, &refusal),
        VaultError::Timeout { .. } => SourceError::Timeout { operation },
        VaultError::Login { .. } => SourceError::Denied { operation, cause: cause(error) },
        VaultError::NotAnAnswer => no_answer(operation),
        VaultError::Misconfigured { .. } | VaultError::File { .. } | VaultError::Untrusted => {
            SourceError::Invalid { operation, cause: cause(error) }
        }
        other => SourceError::Unavailable { operation, cause: cause(other) },
    }
}

fn refused(operation: &'static str, refusal: &Refusal) -> SourceError {
    let status = refusal.status();
    match status {
        403 => SourceError::Denied { operation, cause: cause(Reason::Denied) },
        404 if !refusal.is_the_servers() => no_answer(operation),
        404 if refusal.is_nothing_there() => {
            SourceError::Unavailable { operation, cause: cause(Reason::Status(status)) }
        }
        404 => SourceError::Unavailable { operation, cause: cause(Reason::NoMount) },
        405 => not_kv(operation),
        429 => SourceError::Throttled { operation, cause: cause(Reason::Status(status)) },
        503 if refusal.says("sealed") => SourceError::Unavailable { operation, cause: cause(Reason::Sealed) },
        300..=399 | 412 | 500..=599 => {
            SourceError::Unavailable { operation, cause: cause(Reason::Status(status)) }
        }
        _ => SourceError::Invalid { operation, cause: cause(Reason::Status(status)) },
    }
}

pub(super) fn not_kv(operation: &'static str) -> SourceError {
    SourceError::Invalid { operation, cause: cause(Reason::NotKv) }
}

pub(super) fn no_answer(operation: &'static str) -> SourceError {
    SourceError::Unavailable { operation, cause: cause(Reason::NotAnAnswer) }
}

fn cause(error: impl std::error::Error + Send + Sync + 'static) -> Option<Cause> {
    Some(Arc::new(error))
}
