//! Bound envelopes open and fail as their vectors say, which another implementation made.

use std::sync::Arc;

use envelope_core::error::OpenError;
use envelope_core::format::bound::{self, Envelope, Suite};
use envelope_core::format::{Format, detect};
use envelope_core::{Binding, DataKey, Sealer};
use secrecy::ExposeSecret;
use serde::Deserialize;

use crate::support::memory::{KEY_ID, MemoryKms};
use crate::support::vectors::decode;
use crate::support::{now, pairs};

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    error: Option<String>,
    data_key: String,
    wrapped_data_key: Option<String>,
    binding: Cell,
    plaintext: Option<String>,
    stored: String,
}

#[derive(Deserialize)]
struct Cell {
    table: String,
    column: String,
    key: Vec<(String, String)>,
    owner: Vec<(String, String)>,
}

impl Cell {
    fn binding(&self) -> Binding<'_> {
        let binding = Binding::new(&self.table, &self.column);
        let binding = self.key.iter().fold(binding, |binding, (name, value)| binding.key(name, value));
        self.owner.iter().fold(binding, |binding, (name, value)| binding.owner(name, value))
    }
}

#[test]
fn every_vector_does_what_its_name_says() {
    let vectors = vectors();
    assert!(vectors.len() >= 39);
    for vector in vectors {
        let key: DataKey = vector.data_key.parse().unwrap();
        let opened = Envelope::parse(&vector.stored)
            .map_err(OpenError::from)
            .and_then(|envelope| envelope.open_bytes(&key, &vector.binding.binding()));
        let done = match &opened {
            Ok(opened) => {
                let plaintext = decode(vector.plaintext.as_deref().unwrap_or_default());
                assert_eq!(opened.expose_secret(), plaintext, "{}", vector.name);
                None
            }
            Err(OpenError::Malformed(_)) => Some("malformed"),
            Err(OpenError::NotAuthentic) => Some("not_authentic"),
            Err(other) => panic!("{}: {other:?}", vector.name),
        };
        assert_eq!(done, vector.error.as_deref(), "{}", vector.name);
        assert_eq!(vector.name.starts_with("fail_"), vector.error.is_some());
    }
}

#[test]
fn every_vector_is_detected_or_refused_never_plaintext() {
    for vector in vectors() {
        let malformed = vector.error.as_deref() == Some("malformed");
        assert_eq!(
            detect(&vector.stored).ok(),
            (!malformed).then_some(Format::BoundEnvelope),
            "{}",
            vector.name
        );
    }
}

#[test]
fn every_byte_change_and_truncation_is_refused() {
    for vector in vectors().iter().filter(|vector| vector.error.is_none() && vector.stored.len() < 2_000) {
        let base = pairs(&[("Application", "vod-tender")]);
        let context = Binding::new("t", "c").plain_context(&base).unwrap();
        let wrapped = decode(vector.wrapped_data_key.as_deref().unwrap());
        let kms = MemoryKms::new().caching().with(&wrapped, context, &decode(&vector.data_key));
        let sealer = Sealer::new(Arc::new(kms), base).unwrap();
        let binding = vector.binding.binding();
        let open = |text: &str| now(sealer.open(text, Some(KEY_ID), &binding));
        // "not_text" opens to bytes that are no text, which is an answer about the plaintext: the key was right.
        assert!(matches!(open(&vector.stored), Ok(_) | Err(OpenError::NotText)), "{}", vector.name);
        for at in 0..vector.stored.len() {
            for flip in [1, 2, 4, 8, 16, 32, 64] {
                let mut bytes = vector.stored.clone().into_bytes();
                bytes[at] ^= flip;
                let damaged = String::from_utf8(bytes).unwrap();
                assert_refused(&open(&damaged), &vector.name, at);
                assert_ne!(detect(&damaged), Ok(Format::Plaintext), "{} with byte {at} changed", vector.name);
            }
            if at > 0 {
                assert_refused(&open(&vector.stored[..at]), &vector.name, at);
            }
        }
    }
}

#[test]
fn both_suites_seal_and_open() {
    let (key, kms) = (DataKey::generate(), Arc::new(MemoryKms::new()));
    let binding = Binding::new("customers", "email").key("id", "7");
    let sealer = Sealer::new(kms, pairs(&[])).unwrap();
    let generated = now(sealer.provider().generate(&binding.plain_context(&[]).unwrap())).unwrap();
    for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
        let text = bound::seal(suite, &key, &generated.wrapped, &binding, b"ada@example.org").unwrap();
        let envelope = Envelope::parse(&text).unwrap();
        assert_eq!(envelope.suite(), suite);
        assert_eq!(envelope.open(&key, &binding).unwrap().expose_secret(), "ada@example.org");
    }
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str::<File>(include_str!("../vectors/bound.json")).unwrap().vectors
}

fn assert_refused(opened: &Result<envelope_core::Opened, OpenError>, name: &str, at: usize) {
    let refused = matches!(opened, Err(OpenError::Malformed(_) | OpenError::NotAuthentic));
    assert!(refused, "{name} changed at {at}: {opened:?}");
}
