//! Tests that need private functions: derivation, and sealing with a given message id.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use serde::Deserialize;

use super::*;
use crate::text::decode_base64;

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    suite: Option<String>,
    data_key: String,
    wrapped_data_key: Option<String>,
    binding: Option<Cell>,
    canonical_binding: Option<String>,
    message_id: Option<String>,
    content_key: Option<String>,
    commitment: Option<String>,
    plaintext: Option<String>,
    stored: Option<String>,
}

#[derive(Deserialize)]
struct Cell {
    table: String,
    column: String,
    key: Vec<(String, String)>,
    owner: Vec<(String, String)>,
}

impl Vector {
    fn derived(&self) -> MessageKey {
        let suite = self.suite.as_deref().and_then(|id| id.strip_prefix("0x")).unwrap();
        derive(u16::from_str_radix(suite, 16).unwrap(), &self.key(), &bytes(&self.message_id))
    }

    fn key(&self) -> DataKey {
        self.data_key.parse().unwrap()
    }

    fn binding(&self) -> Binding<'_> {
        let cell = self.binding.as_ref().unwrap();
        let mut binding = Binding::new(&cell.table, &cell.column);
        for (name, value) in &cell.key {
            binding = binding.key(name, value);
        }
        for (name, value) in &cell.owner {
            binding = binding.owner(name, value);
        }
        binding
    }
}

#[test]
fn keys_are_derived_as_the_aws_encryption_sdk_publishes() {
    let vectors = read(include_str!("../../../tests/vectors/aws_commitment.json"));
    assert_eq!(vectors.len(), 7);
    for vector in vectors {
        assert_derived(&vector);
    }
}

#[test]
fn sealing_gives_the_vectors_to_the_byte() {
    let vectors = read(include_str!("../../../tests/vectors/bound.json"));
    for vector in vectors.iter().filter(|vector| !vector.name.starts_with("fail_")) {
        assert_derived(vector);
        assert_eq!(
            hex::encode(vector.binding().canonical().unwrap()),
            *vector.canonical_binding.as_ref().unwrap()
        );
        let suite = Envelope::parse(vector.stored.as_ref().unwrap()).unwrap().suite();
        let wrapped = WrappedDataKey::new(bytes(&vector.wrapped_data_key), None).unwrap();
        let id = bytes(&vector.message_id).try_into().unwrap();
        let plaintext = bytes(&vector.plaintext);
        let sealed = seal_with_id(suite, &vector.key(), &wrapped, &vector.binding(), &plaintext, &id);
        assert_eq!(sealed.unwrap(), *vector.stored.as_ref().unwrap(), "{}", vector.name);
    }
}

fn assert_derived(vector: &Vector) {
    let derived = vector.derived();
    assert_eq!(derived.content_key.to_vec(), bytes(&vector.content_key), "{}", vector.name);
    assert_eq!(derived.commitment.to_vec(), bytes(&vector.commitment), "{}", vector.name);
}

fn read(json: &str) -> Vec<Vector> {
    serde_json::from_str::<File>(json).unwrap().vectors
}

fn bytes(base64: &Option<String>) -> Vec<u8> {
    decode_base64(base64.as_deref().unwrap()).unwrap()
}
