//! The lines of a backup.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use zeroize::{Zeroize, Zeroizing};

use super::BackupError;
use crate::name::SecretName;
use crate::secret::{RotationPolicy, Secret, SecretMetadata, Stage};
use crate::source::NewSecret;
use crate::value::SecretValue;

const VERSION: u32 = 1;
/// Room in a line for everything except name and value; more than that only makes the line grow.
const ROOM: usize = 2_048;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct First {
    tokenseal_secrets: u32,
    #[serde(with = "time::serde::rfc3339")]
    written: OffsetDateTime,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Last {
    records: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: String,
    stage: String,
    text: Option<String>,
    binary: Option<String>,
    #[serde(with = "time::serde::rfc3339::option")]
    expires: Option<OffsetDateTime>,
    /// Since after the first backups: how long a value lives, so that those after a late restore live as long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lifetime_ms: Option<u64>,
    every_seconds: Option<u64>,
    grace_seconds: Option<u64>,
    tags: BTreeMap<String, String>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.text.zeroize();
        self.binary.zeroize();
    }
}

pub(super) fn first() -> Result<Zeroizing<Vec<u8>>, BackupError> {
    encode(&First { tokenseal_secrets: VERSION, written: OffsetDateTime::now_utc() }, 0)
}

pub(super) fn last(records: u64) -> Result<Zeroizing<Vec<u8>>, BackupError> {
    encode(&Last { records }, 0)
}

pub(super) fn line(
    secret: &Secret,
    stage: &Stage,
    known: &SecretMetadata,
) -> Result<Zeroizing<Vec<u8>>, BackupError> {
    let line = Line {
        name: secret.name.to_string(),
        stage: stage.label().to_owned(),
        text: secret.value.expose_text().map(Into::into),
        binary: secret.value.is_binary().then(|| STANDARD.encode(secret.value.expose_bytes())),
        expires: known.expires,
        lifetime_ms: known.lifetime.and_then(|lifetime| u64::try_from(lifetime.as_millis()).ok()),
        every_seconds: known.rotation.map(|policy| policy.every.as_secs()),
        grace_seconds: known.rotation.map(|policy| policy.grace.as_secs()),
        tags: known.tags.clone(),
    };
    // JSON makes a byte six at most.
    encode(&line, 6 * (secret.name.as_str().len() + secret.value.len()))
}

fn encode(line: &impl Serialize, secret_len: usize) -> Result<Zeroizing<Vec<u8>>, BackupError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(ROOM + secret_len));
    serde_json::to_writer(&mut *bytes, line).map_err(|_| BackupError::Content)?;
    bytes.write_all(b"\n")?;
    Ok(bytes)
}

/// Reads the records of a backup, one by one, and demands that there are as many as there should be.
pub(super) struct Records<R: Read> {
    lines: BufReader<R>,
    buffer: Zeroizing<Vec<u8>>,
    read: u64,
    is_done: bool,
}

impl<R: Read> Records<R> {
    pub(super) fn new(reader: R) -> Result<Self, BackupError> {
        let mut records = Self {
            lines: BufReader::new(reader),
            buffer: Zeroizing::new(Vec::with_capacity(ROOM)),
            read: 0,
            is_done: false,
        };
        records.next_line()?;
        match serde_json::from_slice::<First>(&records.buffer) {
            Ok(first) if first.tokenseal_secrets == VERSION => Ok(records),
            _ => Err(BackupError::Content),
        }
    }

    /// The next version; none at the end, and only then is the backup whole.
    pub(super) fn next(&mut self) -> Result<Option<NewSecret>, BackupError> {
        if self.is_done {
            return Ok(None);
        }
        self.next_line()?;
        if let Ok(last) = serde_json::from_slice::<Last>(&self.buffer) {
            self.next_line()?;
            // Nothing follows the last line, and the stream below is known to be complete.
            if last.records != self.read || !self.buffer.is_empty() {
                return Err(BackupError::Content);
            }
            self.is_done = true;
            return Ok(None);
        }
        self.read += 1;
        let line: Line = serde_json::from_slice(&self.buffer).map_err(|_| BackupError::Content)?;
        Ok(Some(secret(line)?))
    }

    fn next_line(&mut self) -> Result<(), BackupError> {
        self.buffer.zeroize();
        match self.lines.read_until(b'\n', &mut self.buffer) {
            Ok(_) => Ok(()),
            Err(error) => Err(stream_error(error)),
        }
    }
}

/// The stream's own error, which has come through [`Read`].
fn stream_error(error: std::io::Error) -> BackupError {
    match error.downcast() {
        Ok(error) => BackupError::Stream(error),
        Err(error) => error.into(),
    }
}

fn secret(mut line: Line) -> Result<NewSecret, BackupError> {
    let value = match (line.text.take(), line.binary.take()) {
        (Some(text), None) => SecretValue::text(text),
        (None, Some(text)) => {
            let text = Zeroizing::new(text);
            SecretValue::binary(STANDARD.decode(text.as_bytes()).map_err(|_| BackupError::Content)?)
        }
        _ => return Err(BackupError::Content),
    };
    let name = SecretName::new(&line.name).map_err(|_| BackupError::Content)?;
    let mut secret = NewSecret::new(name, value).at_stage(Stage::from(line.stage.as_str()));
    secret.expires = line.expires;
    secret.lifetime = line.lifetime_ms.map(Duration::from_millis);
    secret.rotation = line.every_seconds.map(|every| RotationPolicy {
        every: Duration::from_secs(every),
        grace: line.grace_seconds.map_or(RotationPolicy::DEFAULT_GRACE, Duration::from_secs),
    });
    secret.tags = std::mem::take(&mut line.tags);
    Ok(secret)
}
