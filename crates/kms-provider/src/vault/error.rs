//! Failed calls to Transit: their class, and a hint for each.

use envelope_core::KeyError;
use envelope_core::provider::ErrorClass;
use vault_client::{Refusal, VaultError};

use crate::uri::TransitKey;

/// The calls that are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    DataKey,
    Decrypt,
    Rewrap,
    Encrypt,
    ReadKey,
}

impl Operation {
    /// The call's path below `/v1/`.
    pub(super) fn path(self, key: &TransitKey) -> String {
        format!("{}/{}/{}", key.mount(), self.name(), key.name())
    }

    fn name(self) -> &'static str {
        match self {
            Self::DataKey => "datakey/plaintext",
            Self::Decrypt => "decrypt",
            Self::Rewrap => "rewrap",
            Self::Encrypt => "encrypt",
            Self::ReadKey => "keys",
        }
    }

    fn capability(self) -> &'static str {
        if self == Self::ReadKey { "read" } else { "update" }
    }

    /// Whether the call is about one stored value.
    fn opens(self) -> bool {
        matches!(self, Self::Decrypt | Self::Rewrap)
    }
}

/// Turns a failed call into an error that says what to do. The server's own words are read, and not passed on.
pub(super) fn map_error(operation: Operation, key: &TransitKey, error: VaultError) -> KeyError {
    let call = operation.path(key);
    match error {
        VaultError::Refused(refusal) => refused(operation, key, &refusal),
        VaultError::Timeout { .. } => {
            new(ErrorClass::Timeout, format!("{call} was not answered in time"), NETWORK).with_source(error)
        }
        VaultError::Unreachable { .. } => {
            new(ErrorClass::Unavailable, format!("{call} did not reach the server"), NETWORK)
                .with_source(error)
        }
        VaultError::Untrusted => {
            new(ErrorClass::Misconfigured, "the server's certificate is not trusted", TLS)
        }
        VaultError::Login { .. } => {
            new(ErrorClass::Denied, "the server refused the login", LOGIN).with_source(error)
        }
        VaultError::NotAnAnswer => not_an_answer(operation),
        VaultError::Misconfigured { .. } | VaultError::File { .. } => no_client(error),
        other => new(ErrorClass::Unavailable, format!("{call} failed"), NETWORK).with_source(other),
    }
}

/// Nothing could be sent, because a setting is wrong.
pub(super) fn no_client(error: VaultError) -> KeyError {
    new(ErrorClass::Misconfigured, "OpenBao or Vault cannot be used", SETTINGS).with_source(error)
}

const NETWORK: &str = "check VAULT_ADDR, the network path to the server, and `bao status` there";
const TLS: &str = "set VAULT_CACERT to the certificate authority that signed the server's certificate, and VAULT_ADDR \
                   to a name in it";
const LOGIN: &str = "check the role and its secret id (VAULT_ROLE_ID, VAULT_SECRET_ID_FILE) or the service account's \
                     role (VAULT_K8S_ROLE), and their bound addresses and namespaces";
/// The next step after a data key that came twice.
pub(super) const TWICE: &str = "nothing was stored; check VAULT_ADDR and what answers in the server's place, such as a proxy that keeps answers";
const SETTINGS: &str = "check VAULT_ADDR, VAULT_TOKEN or VAULT_TOKEN_FILE, VAULT_CACERT and VAULT_NAMESPACE";

/// Statuses and reasons: OpenBao's `builtin/logical/transit` and `sdk/helper/keysutil/policy.go`, which Vault's agree
/// with, as seen in the answers of OpenBao 2.7.
fn refused(operation: Operation, key: &TransitKey, refusal: &Refusal) -> KeyError {
    let status = refusal.status();
    match status {
        _ if !refusal.is_the_servers() && !matches!(status, 301..=308 | 429 | 502..=504) => {
            not_an_answer(operation)
        }
        400 if refusal.says("encryption key not found") => no_such_key(key),
        400 if refusal.says("soft-deleted key") => unsuited(key, ErrorClass::PendingDeletion),
        400 if refusal.says("disallowed by policy (too old)") => retired(key),
        400 if operation.opens() => does_not_open(),
        403 => denied(operation, key),
        404 if operation == Operation::ReadKey && !refusal.says("no handler for route") => no_such_key(key),
        404 => new(
            ErrorClass::NotFound,
            format!("no Transit is mounted at {}", key.mount()),
            "check the mount in {key} (vault:<mount>/<key>) and VAULT_NAMESPACE; `bao secrets enable transit` \
             mounts Transit",
        ),
        405 => new(
            ErrorClass::Misconfigured,
            format!("the engine mounted at {} is not Transit", key.mount()),
            "check the mount in {key} (vault:<mount>/<key>); `bao secrets list` shows what is mounted where",
        ),
        429 => new(
            ErrorClass::Throttled,
            "the server limits the rate of calls",
            "raise the quota (`bao read sys/quotas/rate-limit/<name>`), or lower {rate}",
        ),
        301..=308 => new(
            ErrorClass::Unavailable,
            "the server redirects, as a standby does",
            "set VAULT_ADDR to the active server or to a load balancer in front of it: a redirect is not followed, \
             because it would take the token along",
        ),
        408 | 504 => new(ErrorClass::Timeout, "the server did not answer in time", NETWORK),
        503 if refusal.says("sealed") => new(
            ErrorClass::Unavailable,
            "the server is sealed",
            "unseal it with `bao operator unseal`; nothing is lost, and calls succeed again after that",
        ),
        500..=599 | 412 => new(ErrorClass::Unavailable, format!("the server answered {status}"), NETWORK),
        _ => new(
            ErrorClass::InvalidRequest,
            format!("the server refused {} ({status})", operation.name()),
            "check that the key is symmetric (`bao read <mount>/keys/<key>`) and that this version of the server knows \
             the call",
        ),
    }
}

fn no_such_key(key: &TransitKey) -> KeyError {
    let make = format!("bao write -f {}/keys/{} derived=true", key.mount(), key.name());
    new(
        ErrorClass::NotFound,
        format!("there is no key {key}"),
        format!("check the name in {{key}}; no key was made. `{make}` makes one"),
    )
}

fn denied(operation: Operation, key: &TransitKey) -> KeyError {
    new(
        ErrorClass::Denied,
        format!("the token may not do {}, or is no longer valid", operation.path(key)),
        format!(
            "path \"{}\" {{ capabilities = [\"{}\"] }} has to be in a policy of the token; `bao token lookup` shows \
             whether it is valid",
            operation.path(key),
            operation.capability()
        ),
    )
}

/// The data key was wrapped at a version below `min_decryption_version`.
fn retired(key: &TransitKey) -> KeyError {
    new(
        ErrorClass::VersionRetired,
        format!("wrapped under a version of {key} that is retired"),
        format!(
            "lower it with `bao write {}/keys/{}/config min_decryption_version=1`, run `rewrap`, and raise it again",
            key.mount(),
            key.name()
        ),
    )
}

/// The server ignores the encryption context with a key that is not derived.
pub(super) fn not_derived(key: &TransitKey) -> KeyError {
    new(
        ErrorClass::Misconfigured,
        format!("the key {key} is not derived, so that it binds no encryption context"),
        format!(
            "make another key with `bao write -f {}/keys/<name> derived=true`: a key cannot be changed afterwards",
            key.mount()
        ),
    )
}

/// The description is that of another key.
pub(super) fn another_key(key: &TransitKey) -> KeyError {
    new(
        ErrorClass::WrongKey,
        format!("the server described another key than {key}"),
        "nothing was stored; check VAULT_ADDR, VAULT_NAMESPACE, and proxies in front of the server that change paths",
    )
}

/// A key that exists and cannot be used.
pub(super) fn unsuited(key: &TransitKey, class: ErrorClass) -> KeyError {
    if class == ErrorClass::PendingDeletion {
        let restore =
            format!("`bao write -f {}/keys/{}/soft-delete-restore` brings it back", key.mount(), key.name());
        return new(class, format!("the key {key} is deleted"), restore);
    }
    new(
        class,
        format!("the key {key} is of a type that binds no encryption context"),
        "make another key of type aes256-gcm96 or chacha20-poly1305 with derived=true",
    )
}

/// Another context, another key and damage are one error, as they are one answer of the server.
pub(super) fn does_not_open() -> KeyError {
    KeyError::new(ErrorClass::ContextMismatchOrCorrupt, "wrapped data key does not open")
}

pub(super) fn not_an_answer(operation: Operation) -> KeyError {
    new(
        ErrorClass::Unavailable,
        format!("the answer to {} is not one of OpenBao or Vault", operation.name()),
        "something else may be answering: check VAULT_ADDR, and proxies in front of the server",
    )
}

fn new(
    class: ErrorClass,
    message: impl Into<std::borrow::Cow<'static, str>>,
    hint: impl Into<std::borrow::Cow<'static, str>>,
) -> KeyError {
    KeyError::new(class, message).with_hint(hint)
}
