//! Conversion of the file's rows into metadata of secrets.

use std::time::Duration;

use time::OffsetDateTime;

use super::record::Record;
use crate::error::SourceError;
use crate::name::SecretName;
use crate::secret::{RotationPolicy, SecretMetadata, Stage, VersionMetadata};

pub(super) fn metadata(record: &Record) -> Result<SecretMetadata, SourceError> {
    let mut secret = SecretMetadata::new(SecretName::new(&record.name)?);
    secret.created = Some(time(record.created_ms));
    let changed = time(record.changed_ms);
    secret.changed = Some(changed);
    secret.expires = record.expires_ms.map(time);
    secret.rotation = policy(record);
    let lifetime = record.expires_ms.and_then(|expires| expires.checked_sub(record.changed_ms));
    secret.lifetime = lifetime.filter(|ms| *ms > 0).map(|ms| Duration::from_millis(ms.unsigned_abs()));
    // A policy from before there was a limit may lead beyond the last day that there is: it is due then.
    secret.rotate_by =
        secret.rotation.map(|policy| changed.checked_add(signed(policy.every)).unwrap_or_else(last));
    secret.versions = record.versions.iter().map(version).collect();
    secret.tags = record.tags.iter().cloned().collect();
    Ok(secret)
}

fn version(version: &super::record::Version) -> VersionMetadata {
    let stage = Stage::from(version.stage.as_str());
    VersionMetadata::new(version.version.clone(), vec![stage], Some(time(version.created_ms)))
}

/// The last second that has a date: the end of the year 9999.
fn last() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(253_402_300_799).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn signed(duration: Duration) -> time::Duration {
    time::Duration::try_from(duration).unwrap_or(time::Duration::MAX)
}

pub(super) fn time(ms: i64) -> OffsetDateTime {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    at.unwrap_or_else(|_| if ms > 0 { last() } else { OffsetDateTime::UNIX_EPOCH })
}

pub(super) fn milliseconds(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

pub(super) fn duration_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn policy(record: &Record) -> Option<RotationPolicy> {
    let duration = |ms: Option<i64>| ms.map(|ms| Duration::from_millis(ms.unsigned_abs()));
    let grace = duration(record.grace_ms).unwrap_or(RotationPolicy::DEFAULT_GRACE);
    duration(record.every_ms).map(|every| RotationPolicy { every, grace })
}
