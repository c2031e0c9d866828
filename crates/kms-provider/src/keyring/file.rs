//! The keyring's file as text: a JSON document, and the checks that only a holder of the master key has written it.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use envelope_core::ledger::StoreRecord;
use serde::{Deserialize, Serialize};

use super::error::KeyringError;
use super::master::{CHECK_LEN, Master, WRAPPED_LEN};
use super::ring::{Ring, RingKey};

const FORMAT: &str = "tokenseal-keyring";
/// The version that is written. Version 1 has no `stores`.
const VERSION: u64 = 2;

/// Writes a ring as the text of a file.
pub(super) fn encode(ring: &Ring, master: &Master) -> Vec<u8> {
    let keys = ring.keys.iter().map(|key| KeyText {
        id: key.id.to_string(),
        created_at: key.created_at.to_string(),
        active: ring.is_active(key),
        wrapped: STANDARD.encode(key.stored),
    });
    let mut document = Document {
        format: FORMAT.into(),
        version: VERSION,
        master_check: STANDARD.encode(master.check()),
        keys: keys.collect(),
        stores: Some(ring.stores.iter().map(StoreText::from).collect()),
        seal: String::new(),
    };
    document.seal = STANDARD.encode(master.seal(&document.sealed_bytes()));
    #[expect(clippy::expect_used, reason = "a document of strings and numbers has a JSON form")]
    let mut text = serde_json::to_vec_pretty(&document).expect("the document has a JSON form");
    text.push(b'\n');
    text
}

/// Reads a ring from the text of a file, and trusts nothing that the seal does not cover.
pub(super) fn decode(path: &Path, text: &[u8], master: &Master) -> Result<Ring, KeyringError> {
    let damaged = |what| KeyringError::Damaged { path: path.into(), what };
    let document = parse(path, text)?;
    let seal = decode_base64(&document.seal);
    let sealed = seal.is_some_and(|seal| master.is_sealed(&document.sealed_bytes(), &seal));
    let recognized = decode_base64(&document.master_check).is_some_and(|check| check == master.check());
    match (recognized, sealed) {
        (true, true) => {}
        (true, false) => return Err(damaged("its list of keys was changed")),
        (false, true) => return Err(damaged("its master key check was changed")),
        (false, false) => return Err(KeyringError::WrongMasterKey { path: path.into() }),
    }
    let mut keys = Vec::with_capacity(document.keys.len());
    let mut active = None;
    for (index, text) in document.keys.into_iter().enumerate() {
        if text.active && active.replace(index).is_some() {
            return Err(damaged("it has more than one active key"));
        }
        let stored = decode_base64(&text.wrapped).and_then(|bytes| <[u8; WRAPPED_LEN]>::try_from(bytes).ok());
        let key = stored.and_then(|stored| RingKey::unwrap(text.id, text.created_at, stored, master));
        keys.push(key.ok_or_else(|| damaged("one of its keys does not unwrap"))?);
    }
    let active = active.ok_or_else(|| damaged("it has no active key"))?;
    let stores = document.stores.into_iter().flatten().map(StoreRecord::from).collect();
    Ring::new(keys, active, stores).ok_or_else(|| damaged("two of its keys have the same id"))
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: String,
    version: u64,
    master_check: String,
    keys: Vec<KeyText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stores: Option<Vec<StoreText>>,
    seal: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyText {
    id: String,
    created_at: String,
    active: bool,
    wrapped: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreText {
    id: String,
    path: String,
    revision: u64,
    labelled: bool,
    resealed: bool,
}

impl From<&StoreRecord> for StoreText {
    fn from(record: &StoreRecord) -> Self {
        let StoreRecord { id, path, revision, labelled, resealed, .. } = record.clone();
        Self { id, path, revision, labelled, resealed }
    }
}

impl From<StoreText> for StoreRecord {
    fn from(text: StoreText) -> Self {
        let mut record = Self::new(text.id, text.path);
        (record.revision, record.labelled, record.resealed) = (text.revision, text.labelled, text.resealed);
        record
    }
}

impl Document {
    /// The bytes that the seal covers: the version and, in the file's order, every field of every key and, from version 2 on, of
    /// every store, each text prefixed with its big-endian `u32` length.
    fn sealed_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&self.version.to_be_bytes());
        push_length(&mut out, self.keys.len());
        for key in &self.keys {
            for text in [&key.id, &key.created_at, &key.wrapped] {
                push_length(&mut out, text.len());
                out.extend_from_slice(text.as_bytes());
            }
            out.push(key.active.into());
        }
        if self.version >= 2 {
            let stores = self.stores.as_deref().unwrap_or_default();
            push_length(&mut out, stores.len());
            for store in stores {
                for text in [&store.id, &store.path] {
                    push_length(&mut out, text.len());
                    out.extend_from_slice(text.as_bytes());
                }
                out.extend_from_slice(&store.revision.to_be_bytes());
                out.push(store.labelled.into());
                out.push(store.resealed.into());
            }
        }
        out
    }
}

fn parse(path: &Path, text: &[u8]) -> Result<Document, KeyringError> {
    // A later version may have other fields, and should not be reported as damage.
    #[derive(Deserialize)]
    struct Head {
        format: String,
        version: u64,
    }
    let refused = |line, column| KeyringError::NotAKeyring { path: path.into(), line, column };
    // The parser's own words may repeat parts of the file, so only the place is kept.
    let head: Head = serde_json::from_slice(text).map_err(|error| refused(error.line(), error.column()))?;
    if head.format != FORMAT {
        return Err(refused(1, 1));
    }
    if !(1..=VERSION).contains(&head.version) {
        return Err(KeyringError::UnknownVersion { path: path.into(), version: head.version });
    }
    let document: Document =
        serde_json::from_slice(text).map_err(|error| refused(error.line(), error.column()))?;
    // The seal of version 1 covers no stores, so that such a file has none.
    match document.stores.is_some() == (document.version >= 2) {
        true => Ok(document),
        false => Err(refused(1, 1)),
    }
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

#[expect(clippy::expect_used, reason = "a file of at most 4 MiB has no longer field")]
fn push_length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&u32::try_from(length).expect("fields are bounded by the file").to_be_bytes());
}

const _: () = assert!(CHECK_LEN == 16 && WRAPPED_LEN == 60, "the file's documented lengths");
