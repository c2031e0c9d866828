//! Audit events: who asked for which secret, which version, where it came from and how it ended; never the value.
//!
//! Every event is a `tracing` event of the target [`TARGET`], so a subscriber decides where the trail goes. Its fields
//! are `event`, `actor`, `secret`, `version`, `stage`, `source`, `outcome`, `key` and `correlation_id`; those that do not
//! apply are left out. [`CACHE_HIT`] is of level DEBUG, since it may occur thousands of times per second;
//! everything else is INFO, and failures are WARN, other than that there is no such secret.

use envelope_core::correlation::CorrelationId;

use crate::error::SourceError;
use crate::name::SecretName;
use crate::secret::Stage;

/// The target of every audit event.
pub const TARGET: &str = "audit";

/// The local store was opened with its keys.
pub const KMS_INITIALIZED: &str = "kms_initialized";
/// A value was stored.
pub const SECRET_STORED: &str = "secret_stored";
/// A value was fetched from a source.
pub const SECRET_RETRIEVED: &str = "secret_retrieved";
/// A fetch failed; `outcome` is the class.
pub const SECRET_ACCESS_FAILED: &str = "secret_access_failed";
/// An expired value was asked for, or cleaned up.
pub const SECRET_EXPIRED: &str = "secret_expired";
/// A secret got a new value.
pub const SECRET_ROTATED: &str = "secret_rotated";
/// A secret was deleted.
pub const SECRET_DELETED: &str = "secret_deleted";
/// Values were re-sealed under the active data key.
pub const DATA_KEY_ROTATED: &str = "data_key_rotated";
/// A value was sealed under a data key.
pub const DATA_ENCRYPTED: &str = "data_encrypted";
/// A value was opened.
pub const DATA_DECRYPTED: &str = "data_decrypted";
/// A stored value did not open.
pub const DECRYPTION_FAILED: &str = "decryption_failed";
/// A read was answered from memory; `outcome` is `ok`, `stale` or `not_found`.
pub const CACHE_HIT: &str = "cache_hit";
/// A read had to go to the source.
pub const CACHE_MISS: &str = "cache_miss";

/// The subject of an event.
#[derive(Clone, Copy, Default)]
pub(crate) struct Record<'a> {
    pub(crate) actor: Option<&'a str>,
    pub(crate) secret: Option<&'a str>,
    pub(crate) version: Option<&'a str>,
    pub(crate) stage: Option<&'a str>,
    pub(crate) source: Option<&'a str>,
    pub(crate) outcome: Option<&'a str>,
    pub(crate) key: Option<&'a str>,
    pub(crate) correlation_id: Option<CorrelationId>,
}

impl<'a> Record<'a> {
    pub(crate) fn of(name: &'a SecretName) -> Self {
        Self { secret: Some(name.as_str()), ..Self::default() }
    }

    pub(crate) fn by(self, actor: &'a str) -> Self {
        Self { actor: Some(actor), ..self }
    }

    pub(crate) fn version(self, version: &'a str) -> Self {
        Self { version: Some(version), ..self }
    }

    pub(crate) fn stage(self, stage: &'a Stage) -> Self {
        Self { stage: Some(stage.label()), ..self }
    }

    pub(crate) fn source(self, source: &'a str) -> Self {
        Self { source: Some(source), ..self }
    }

    #[cfg(feature = "local-store")]
    pub(crate) fn key(self, key: &'a str) -> Self {
        Self { key: Some(key), ..self }
    }

    pub(crate) fn outcome(self, outcome: &'a str) -> Self {
        Self { outcome: Some(outcome), ..self }
    }
}

macro_rules! emit {
    ($level:ident, $event:expr, $record:expr) => {{
        let Record { actor, secret, version, stage, source, outcome, key, correlation_id } = $record;
        tracing::$level!(
            target: TARGET, event = $event, actor, secret, version, stage, source, outcome, key,
            correlation_id = correlation_id.map(tracing::field::display)
        );
    }};
}

/// Something was done.
pub(crate) fn done(event: &'static str, record: Record<'_>) {
    emit!(info, event, record.outcome("ok"));
}

/// Something was done, with a word on how.
pub(crate) fn noted(event: &'static str, record: Record<'_>) {
    emit!(info, event, record);
}

/// A read was answered from memory.
pub(crate) fn hit(record: Record<'_>) {
    emit!(debug, CACHE_HIT, record);
}

/// An operation on a secret failed.
pub(crate) fn failed(record: Record<'_>, error: &SourceError) {
    let event = match error {
        SourceError::Expired { .. } => SECRET_EXPIRED,
        _ => SECRET_ACCESS_FAILED,
    };
    let record = record.outcome(error.class());
    // A first import, a default or a later layer asks for secrets that do not exist.
    match error.is_not_found() {
        true => emit!(info, event, record),
        false => emit!(warn, event, record),
    }
}

/// A stored value did not open. Gives the failure its name.
#[cfg(feature = "local-store")]
pub(crate) fn did_not_open(record: Record<'_>, error: &envelope_core::OpenError) -> CorrelationId {
    let id = CorrelationId::random();
    let record = Record { correlation_id: Some(id), ..record.outcome(error.class()) };
    emit!(warn, DECRYPTION_FAILED, record);
    id
}
